//! `/openapi/v2` and `/openapi/v3`: made when first asked for, kept compressed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use parking_lot::Mutex;

use super::body::{Body, Rope};
use super::{Front, output};
use crate::api::registry::{Registry, Resource};
use crate::api::schema::openapi;
use crate::api::status::Status;

/// What is known of documents: their fingerprints for one registry, and those that were made.
#[derive(Default)]
pub(super) struct OpenApi {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    registry: Option<Arc<Registry>>,
    /// By path: `v2`, `api/v1`, `apis/apps/v1`.
    fingerprints: BTreeMap<String, String>,
    /// By path and media type, with the fingerprint for which they were made.
    documents: BTreeMap<(String, Form), (String, Bytes)>,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Json,
    Protobuf,
}

impl Form {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => openapi::V2_PROTOBUF,
        }
    }
}

/// The path of the document of version 2.
const V2: &str = "v2";

/// The resources of a document, in the registry's order.
fn resources<'a>(registry: &'a Registry, path: &str) -> Vec<&'a Resource> {
    let all = registry.iter().map(|resource| &**resource);
    all.filter(|resource| path == V2 || path_of(resource) == path).collect()
}

fn path_of(resource: &Resource) -> String {
    match &*resource.group {
        "" => format!("api/{}", resource.version),
        group => format!("apis/{group}/{}", resource.version),
    }
}

impl OpenApi {
    /// The fingerprints of all documents of a registry.
    fn fingerprints(&self, registry: &Arc<Registry>) -> BTreeMap<String, String> {
        let mut known = self.known.lock();
        if !known.registry.as_ref().is_some_and(|known| Arc::ptr_eq(known, registry)) {
            let mut paths: Vec<String> = registry.iter().map(|r| path_of(r)).collect();
            paths.push(V2.to_owned());
            paths.dedup();
            let fingerprint = |path: String| {
                let fingerprint = openapi::fingerprint(&resources(registry, &path));
                (path, fingerprint)
            };
            known.fingerprints = paths.into_iter().map(fingerprint).collect();
            let Known { fingerprints, documents, .. } = &mut *known;
            documents.retain(|(path, _), (made_for, _)| fingerprints.get(path) == Some(made_for));
            known.registry = Some(Arc::clone(registry));
        }
        known.fingerprints.clone()
    }

    /// A document, compressed.
    fn document(
        &self,
        registry: &Registry,
        path: &str,
        form: Form,
        fingerprint: &str,
    ) -> io::Result<Bytes> {
        let key = (path.to_owned(), form);
        if let Some((made_for, document)) = self.known.lock().documents.get(&key)
            && made_for == fingerprint
        {
            return Ok(document.clone());
        }
        let served = resources(registry, path);
        let plain = match (path, form, served.first()) {
            (V2, Form::Json, _) => openapi::v2(&served),
            (V2, Form::Protobuf, _) => openapi::v2_protobuf(&served),
            (_, _, Some(first)) => openapi::v3(&first.group, &first.version, &served),
            (_, _, None) => Vec::new(),
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain)?;
        let packed = Bytes::from(encoder.finish()?);
        self.known.lock().documents.insert(key, (fingerprint.to_owned(), packed.clone()));
        Ok(packed)
    }
}

impl Front {
    /// Answers a path below `/openapi`.
    ///
    /// # Errors
    /// 404 for a document that there is not, 406 for a form.
    pub(super) async fn openapi(
        self: &Arc<Self>,
        path: &str,
        hash: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let registry = self.engine.registry();
        let fingerprints = self.openapi.fingerprints(&registry);
        let path = path.trim_matches('/');
        if path == "openapi/v3" {
            let documents = fingerprints.iter().filter(|(path, _)| *path != V2);
            let documents = documents.map(|(path, hash)| (path.as_str(), hash.as_str()));
            return Ok(output::json(200, &openapi::v3_index(documents)));
        }
        let (path, form) = match path {
            "openapi/v2" => (V2, form(headers)),
            path => (path.strip_prefix("openapi/v3/").unwrap_or_default(), Form::Json),
        };
        let fingerprint = fingerprints.get(path).ok_or_else(Status::no_such_path)?.clone();
        if !hash.is_empty() && hash != fingerprint {
            return Ok(moved(path, &fingerprint));
        }
        let known = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
        if known.is_some_and(|tag| tag.trim_matches('"') == fingerprint) {
            return Ok(tagged(output::answer(304, form.media_type(), Body::empty()), &fingerprint));
        }
        let packed = {
            let (front, path, hash) = (Arc::clone(self), path.to_owned(), fingerprint.clone());
            // Making a document takes a good part of a second.
            let make = move || front.openapi.document(&registry, &path, form, &hash);
            tokio::task::spawn_blocking(make).await
        };
        let packed = packed.map_err(io::Error::other).and_then(|made| made);
        let packed = packed.map_err(|error| Status::internal(error.to_string()))?;
        let mut answer = written(packed, form, headers)?;
        if !hash.is_empty() {
            // What a hash names never changes.
            let always = HeaderValue::from_static("public, max-age=31536000, immutable");
            answer.headers_mut().insert(header::CACHE_CONTROL, always);
        }
        Ok(tagged(answer, &fingerprint))
    }
}

/// The form of version 2 that a client wants; kubectl asks by the old name, with an `@`.
fn form(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let mut clauses = accept.unwrap_or_default().split(',').map(str::trim);
    let first = clauses.find_map(|clause| match clause.split(';').next().unwrap_or_default() {
        openapi::V2_PROTOBUF | "application/com.github.proto-openapi.spec.v2@v1.0+protobuf" => {
            Some(Form::Protobuf)
        }
        "application/json" => Some(Form::Json),
        _ => None,
    });
    first.unwrap_or(Form::Json)
}

/// A document as the client takes it: as it is kept, or unpacked.
fn written(packed: Bytes, form: Form, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let accept = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    if accept.is_some_and(output::takes_gzip) {
        let mut answer = output::answer(200, form.media_type(), Rope::from(packed));
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok(answer);
    }
    let mut plain = Vec::new();
    GzDecoder::new(&*packed)
        .read_to_end(&mut plain)
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(output::answer(200, form.media_type(), Rope::from(plain)))
}

fn tagged(mut answer: Response<Body>, fingerprint: &str) -> Response<Body> {
    let headers = answer.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{fingerprint}\"")) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    answer
}

/// The document has another hash by now.
fn moved(path: &str, fingerprint: &str) -> Response<Body> {
    let mut answer = output::answer(301, "text/plain", Body::empty());
    let place = format!("/openapi/v3/{path}?hash={fingerprint}");
    if let Ok(place) = HeaderValue::from_str(&place) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}
