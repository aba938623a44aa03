//! Protobuf as Kubernetes speaks it, driven by the schema table: trees in both directions.
//!
//! An object stands in an envelope, the bytes `k8s\0` and a `runtime.Unknown` message with the
//! type and the object's own message ([`open`], [`seal`]). The object's message is what
//! [`encode`] and [`decode`] deal with; lists are written item by item ([`List`]), and watch events
//! made of sealed objects ([`watch_frame`]), so that each object is encoded once, in its place.
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
    let mut sealed = Sealed::with_room(message.len() + api_version.len() + kind.len() + 32);
    sealed.out.raw(message);
    sealed.close(api_version, kind)
}

/// An envelope that is being written, from its end to its beginning.
struct Sealed {
    out: wire::Writer,
    /// What stands behind the message.
    behind: usize,
}

impl Sealed {
    fn with_room(bytes: usize) -> Self {
        let mut out = wire::Writer::with_capacity(bytes);
        // Content encoding and type, always there and always empty.
        out.bytes(4, b"");
        out.bytes(3, b"");
        Self { behind: out.len(), out }
    }

    fn close(self, api_version: &str, kind: &str) -> Vec<u8> {
        let Self { mut out, behind } = self;
        out.close(2, behind);
        let behind = out.len();
        out.bytes(2, kind.as_bytes());
        out.bytes(1, api_version.as_bytes());
        out.close(1, behind);
        out.raw(MAGIC);
        out.finish()
    }
}

/// A whole object in its envelope, by the type that it says itself.
///
/// # Errors
/// A tree that is not in the shape of its kind.
pub fn encode_sealed(object: &Value, schema: &Schema) -> Result<Vec<u8>, Error> {
    let message = encode(object, schema)?;
    Ok(seal(object.get("apiVersion").str(), object.get("kind").str(), &message))
}

/// A list that is being written in its envelope, from its last item to its first, each in place.
pub struct List(Sealed);

impl List {
    /// An empty list, with room for about so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self(Sealed::with_room(bytes + 256))
    }

    /// Puts an item before those that are there.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn item(&mut self, object: &Value, schema: &Schema) -> Result<(), Error> {
        self.0.out.nested(2, |out| write::encode_into(out, object, schema))
    }

    /// The list with its type and its `ListMeta`.
    ///
    /// # Errors
    /// A `metadata` that is none.
    pub fn seal(
        mut self,
        api_version: &str,
        kind: &str,
        metadata: &Value,
    ) -> Result<Vec<u8>, Error> {
        let empty = Schema::of("", "v1", "PodList").unwrap_or_default();
        let head = Value::from([("metadata", metadata.clone())]);
        write::encode_into(&mut self.0.out, &head, &empty)?;
        Ok(self.0.close(api_version, kind))
    }
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
