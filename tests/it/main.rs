//! Behaviour as a client sees it: one binary, a folder per area.

mod api;
mod net;
mod readme;
mod runtime;
mod tidy;
