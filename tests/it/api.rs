//! What an object is: encodings and patches, compared with Kubernetes' own code.
#![allow(clippy::expect_used, reason = "a test that cannot go on says where")]

mod apply;
mod codec;
mod custom;
mod fuzz;
mod hammer;
mod mirroring;
mod mutate;
pub mod objects;
mod openapi;
pub mod oracle;
mod owners;
mod patch;
mod protection;
mod protobuf;
mod quotas;
mod replay;
mod security;
mod verbs;
mod walk;
