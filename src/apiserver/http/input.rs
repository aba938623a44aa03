//! Request bodies: read within bounds, decoded by their media type.

use bytes::{Buf, Bytes};
use http::header::{self, HeaderMap};
use http_body_util::{BodyExt, Limited};

use super::Upload;
use crate::api::codec::{self, Decoded, FieldValidation, json, protobuf, yaml};
use crate::api::patch::Patch;
use crate::api::patch::apply::Config;
use crate::api::schema::Schema;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::apiserver::engine::{Ask, Query, body_type};
use crate::limits;

/// What bodies of objects may be.
const OBJECTS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// The same for custom resources, which have no protobuf form.
const CUSTOM_OBJECTS: &str = "application/json, application/yaml";
/// The media types of patches.
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Reads a body whole.
///
/// # Errors
/// 413 for one that is too large, 400 for one that breaks off.
pub async fn read(body: Upload) -> Result<Bytes, Status> {
    let mut body = body;
    let limited = Limited::new(&mut body, limits::REQUEST_BYTES_MAX);
    match limited.collect().await {
        Ok(collected) => {
            let mut whole = collected.aggregate();
            Ok(whole.copy_to_bytes(whole.remaining()))
        }
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            body.discard().await;
            let limit = limits::REQUEST_BYTES_MAX;
            Err(Status::too_large(format!("Request entity too large: limit is {limit}")))
        }
        Err(error) => Err(Status::bad_request(error.to_string())),
    }
}

/// The media type of a body, without its parameters; JSON where none is said.
fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match text.unwrap_or_default().split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        media_type => media_type,
    }
}

/// How unknown and duplicate fields are taken.
pub fn validation(query: &Query) -> FieldValidation {
    FieldValidation::parse(query.get("fieldValidation")).unwrap_or_default()
}

/// The object in a body.
pub struct Given {
    /// The object.
    pub object: Value,
    /// What the client is to be warned of.
    pub warnings: Vec<String>,
    /// What was given empty: see [`Decoded::empties`].
    pub empties: Vec<(String, &'static str)>,
}

/// Decodes the object of a create or update.
///
/// # Errors
/// 415 for an unknown media type, 400 for what does not decode.
pub fn object(ask: &Ask, headers: &HeaderMap, query: &Query, body: &[u8]) -> Result<Given, Status> {
    let ((_, version, kind), schema) = body_type(ask);
    let refused = |error: codec::Error| refused(&kind, &version, &error);
    let decoded = match media_type(headers) {
        "application/json" => json::decode(body, &schema),
        "application/yaml" => yaml::decode(body, &schema),
        protobuf::MEDIA_TYPE if !ask.resource.custom => typed(body, &schema),
        other if ask.resource.custom => {
            return Err(Status::unsupported_media_type(other, CUSTOM_OBJECTS));
        }
        other => return Err(Status::unsupported_media_type(other, OBJECTS)),
    };
    let mut decoded = decoded.map_err(refused)?;
    let empties = std::mem::take(&mut decoded.empties);
    let (object, warnings) = decoded.accept(validation(query)).map_err(refused)?;
    if ask.resource.custom && kind == ask.resource.kind {
        check_named(&object, &kind, &ask.resource.api_version(), body)?;
    }
    Ok(Given { object, warnings, empties })
}

/// A custom resource must say what it is; built-in kinds may leave it to the path.
fn check_named(object: &Value, kind: &str, version: &str, body: &[u8]) -> Result<(), Status> {
    if object.get("kind").str().is_empty() {
        let body = String::from_utf8_lossy(body);
        let begin: String = body.chars().take(30).collect();
        let more = if begin.len() < body.len() { " ..." } else { "" };
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is \
             missing in '{body}' ({begin}{more})"
        )));
    }
    if object.get("apiVersion").str().is_empty() {
        return Err(Status::bad_request(format!(
            "the API version in the data () does not match the expected API version ({version})"
        )));
    }
    Ok(())
}

/// An object in protobuf. Its type may be blank: then it is what the path says.
fn typed(body: &[u8], schema: &Schema) -> Result<Decoded, codec::Error> {
    let envelope = protobuf::open(body)?;
    let mut value = protobuf::decode(envelope.message, schema)?;
    for (key, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            value.set(key, text);
        }
    }
    Ok(Decoded { value, ..Decoded::default() })
}

/// The 400 for an object that does not decode, in upstream's words.
fn refused(kind: &str, version: &str, error: &codec::Error) -> Status {
    Status::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"
    ))
}

/// The `DeleteOptions` in a body; null where it has none.
///
/// # Errors
/// 415 for an unknown media type, 400 for what does not decode.
pub fn delete_options(headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
    const KIND: &str = "DeleteOptions";
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let schema = Schema::of("meta.k8s.io", "v1", KIND).unwrap_or_default();
    let decoded = match media_type(headers) {
        "application/json" => json::decode(body, &schema),
        "application/yaml" => yaml::decode(body, &schema),
        protobuf::MEDIA_TYPE => typed(body, &schema),
        other => return Err(Status::unsupported_media_type(other, OBJECTS)),
    };
    let decoded = decoded.map_err(|error| refused(KIND, "v1", &error))?;
    let kind = decoded.value.get("kind").str();
    // Whoever sends another kind by mistake did not mean to delete with default options.
    if !["", KIND].contains(&kind) {
        let why = format!("decoded object cannot be converted to {KIND}: it is a {kind}");
        return Err(Status::bad_request(why));
    }
    Ok(decoded.value)
}

/// What a patch asks for.
pub enum Change {
    /// To change the object.
    Patch(Patch),
    /// That the object has what a configuration says.
    Apply(Config),
}

/// Whether a patch applies a configuration.
pub fn applies(headers: &HeaderMap) -> bool {
    media_type(headers) == APPLY_PATCH
}

/// The patch in a body.
///
/// # Errors
/// 415 for a form that the resource does not take, 400 for what does not decode.
pub fn patch(ask: &Ask, headers: &HeaderMap, body: &[u8]) -> Result<Change, Status> {
    let accepted = if ask.resource.custom {
        format!("{JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}")
    } else {
        format!("{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}, {APPLY_PATCH}")
    };
    match media_type(headers) {
        JSON_PATCH => Ok(Change::Patch(Patch::json(body)?)),
        MERGE_PATCH => Ok(Change::Patch(Patch::merge(body)?)),
        STRATEGIC_PATCH if !ask.resource.custom => Ok(Change::Patch(Patch::strategic(body)?)),
        APPLY_PATCH => Ok(Change::Apply(Config::read(body)?)),
        other => Err(Status::unsupported_media_type(other, &accepted)),
    }
}
