//! The command line, against the real executable.

mod config;
mod server;
