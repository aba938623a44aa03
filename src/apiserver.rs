//! HTTP requests to history and store, and back.
//!
//! [`engine::Engine`] holds the verbs: it knows resources, not routes. Around it stand the HTTP
//! server, the documents that describe what is served (discovery, OpenAPI), custom resources,
//! allocation for Services, and the near client, through which the rest of the program comes in
//! by the same door as everybody else.
//!
//! It must not know what controllers, scheduler or node do.

pub mod allocate;
pub mod bootstrap;
pub mod connect;
pub mod custom;
pub mod discovery;
pub mod engine;
pub mod http;
pub mod near;
