//! What watchers are told, by a real server.
#![allow(clippy::expect_used, reason = "a test that cannot go on says where")]

mod crowd;
mod informers;
mod streams;
