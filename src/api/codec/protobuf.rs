//! Protobuf as Kubernetes speaks it, driven by the schema table: trees in both directions.
//!
//! An object stands in an envelope, the bytes `k8s\0` and a `runtime.Unknown` message with the
//! type and the object's own message ([`open`], [`seal`]). The object's message is what
//! [`encode`] and [`decode`] deal with; lists are put together from the messages of their items
//! ([`list`]), and watch events from sealed objects ([`watch_frame`]), so that each object need
//! be encoded once.
//!
//! What Go always writes (zero values of plain fields) is always written, so that the bytes equal
//! upstream's. Unknown fields are skipped. Custom resources have no protobuf form.

use super::Error;
use crate::api::schema::Schema;
use crate::api::tree::Value;

mod read;
pub(in crate::api) mod wire;
mod write;

pub use read::decode;
pub use write::encode;

/// The media type of objects.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8; 4] = b"k8s\0";

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`; may be blank, then the request's path says it.
    pub api_version: String,
    /// `Deployment`; may be blank.
    pub kind: String,
    /// The object's message.
    pub message: &'a [u8],
}

/// Opens an envelope.
///
/// # Errors
/// Bytes that are no envelope.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        let what = "provided data does not appear to be a protobuf message, expected prefix";
        Error::Syntax(format!("{what} [107 56 115 0]"))
    })?;
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), message: &[] };
    let mut unknown = wire::Reader::new(body);
    while let Some((number, value)) = unknown.field()? {
        match number {
            1 => {
                let mut meta = wire::Reader::new(value.bytes(number)?);
                while let Some((number, value)) = meta.field()? {
                    match number {
                        1 => envelope.api_version = value.text(number)?,
                        2 => envelope.kind = value.text(number)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.message = value.bytes(number)?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Puts an object's message into an envelope.
pub fn seal(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = wire::Writer::with_capacity(message.len() + api_version.len() + kind.len() + 32);
    // Content encoding and type, always there and always empty.
    out.bytes(4, b"");
    out.bytes(3, b"");
    out.bytes(2, message);
    out.nested(1, |out| {
        out.bytes(2, kind.as_bytes());
        out.bytes(1, api_version.as_bytes());
        Ok::<(), Error>(())
    })
    .ok();
    out.raw(MAGIC);
    out.finish()
}

/// A whole object in its envelope, by the type that it says itself.
///
/// # Errors
/// A tree that is not in the shape of its kind.
pub fn encode_sealed(object: &Value, schema: &Schema) -> Result<Vec<u8>, Error> {
    let message = encode(object, schema)?;
    Ok(seal(object.get("apiVersion").str(), object.get("kind").str(), &message))
}

/// A list's message from its `ListMeta` and the messages of its items.
///
/// # Errors
/// A `metadata` that is none.
pub fn list<'a>(
    metadata: &Value,
    items: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, Error> {
    let empty = Schema::of("", "v1", "PodList").unwrap_or_default();
    let head = encode(&Value::from([("metadata", metadata.clone())]), &empty)?;
    let mut out = wire::Writer::with_capacity(head.len() + 256);
    for item in items.rev() {
        out.bytes(2, item);
    }
    out.raw(&head);
    Ok(out.finish())
}

/// One event of a watch: a length and a `WatchEvent` with a sealed object.
pub fn watch_frame(event: &str, sealed: &[u8]) -> Vec<u8> {
    let mut out = wire::Writer::with_capacity(sealed.len() + event.len() + 32);
    let object = out.nested(2, |out| {
        out.bytes(1, sealed);
        Ok::<(), Error>(())
    });
    debug_assert!(object.is_ok());
    out.bytes(1, event.as_bytes());
    let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.raw(&len.to_be_bytes());
    out.finish()
}
