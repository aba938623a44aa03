//! HTTP requests to history and store, and back.

pub mod discovery;
