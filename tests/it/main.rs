//! Behaviour as a client sees it: one binary, a folder per area.

mod api;
mod auth;
mod cli;
mod harness;
mod net;
mod readme;
mod runtime;
mod tidy;
