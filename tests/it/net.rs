//! Packets between pods, services and the world, each test in network namespaces of its own.

mod dns;
mod foreign;
mod link;
mod service;
mod six;
mod world;
