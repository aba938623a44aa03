//! HTTP requests to history and store, and back.
