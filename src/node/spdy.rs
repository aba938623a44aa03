//! SPDY/3.1 as Kubernetes' older streaming clients speak it, the server's side.
//!
//! Contract: [`connect`] takes an upgraded connection and yields the streams that the client opens;
//! each carries bytes both ways and can be closed halfway. Flow-control windows are neither kept
//! nor expected, as in the only client there is: a slow reader holds its whole connection back
//! instead, in bounded memory. A broken peer ends its own connection, never more.
//!
//! It must not know what the streams are for.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Connection, Sender, Stream, connect};
pub use headers::Headers;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// The socket broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer does not speak the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
}
