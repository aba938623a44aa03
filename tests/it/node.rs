//! What nodes do for pods, seen through the API: real containers, on the server's own machine and
//! on one that has joined.

mod bundles;
mod cases;
mod certificates;
mod families;
mod far;
mod images;
mod resize;
mod services;
mod streams;
mod world;
