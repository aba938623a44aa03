//! Documents about the server itself: version, discovery, OpenAPI, keys.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use parking_lot::Mutex;

use super::body::{Body, Rope};
use super::{Front, output, statusz};
use crate::api::registry::Registry;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::apiserver::discovery;
use crate::history;

/// Documents that are made once per registry: a change of what is served makes them anew.
#[derive(Default)]
pub(super) struct Documents {
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    registry: Option<Arc<Registry>>,
    /// `/api` and `/apis` in one document each.
    aggregated: [Option<Document>; 2],
}

/// A document and the hash by which clients ask whether it has changed.
#[derive(Clone)]
struct Document {
    bytes: bytes::Bytes,
    etag: String,
}

impl Document {
    fn new(value: &Value) -> Self {
        let bytes = bytes::Bytes::from(history::encode(value));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &bytes);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Self { bytes, etag: format!("\"{hex}\"") }
    }

    /// The document, or that the client has it already.
    fn answer(&self, headers: &HeaderMap, media_type: &str) -> Response<Body> {
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| *tag == *self.etag);
        let mut response = if known {
            output::answer(304, media_type, Body::empty())
        } else {
            output::answer(200, media_type, Rope::from(self.bytes.clone()))
        };
        let headers = response.headers_mut();
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

impl Documents {
    fn aggregated(&self, registry: &Arc<Registry>, core: bool) -> Document {
        let mut made = self.made.lock();
        if !made.registry.as_ref().is_some_and(|known| Arc::ptr_eq(known, registry)) {
            *made = Made { registry: Some(Arc::clone(registry)), ..Made::default() };
        }
        let place = &mut made.aggregated[usize::from(core)];
        place.get_or_insert_with(|| Document::new(&discovery::aggregated(registry, core))).clone()
    }
}

/// The media type of aggregated discovery.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether a client takes aggregated discovery in the one version there is.
fn takes_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.unwrap_or_default().split(',').any(|clause| {
        let parts: Vec<&str> = clause.split(';').map(str::trim).collect();
        ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
            .iter()
            .all(|wanted| parts.contains(wanted))
    })
}

impl Front {
    /// Answers a path that is no resource.
    pub(super) fn document(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Status> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let found = match parts.as_slice() {
            ["version"] => Some(version()),
            ["api" | "apis"] if takes_aggregated(headers) => {
                let document = self
                    .documents
                    .aggregated(&self.engine.registry(), path.trim_matches('/') == "api");
                return Ok(document.answer(headers, AGGREGATED));
            }
            ["api"] => Some(discovery::core_versions(&self.address)),
            ["apis"] => Some(discovery::group_list(&self.engine.registry())),
            ["api", version] => discovery::resource_list(&self.engine.registry(), "", version),
            ["apis", group] => discovery::group(&self.engine.registry(), group),
            ["apis", group, version] => {
                discovery::resource_list(&self.engine.registry(), group, version)
            }
            [".well-known", "openid-configuration"] => {
                self.tokens.as_ref().map(|tokens| tokens.discovery(&self.url()))
            }
            ["openid", "v1", "jwks"] => return self.keys(),
            ["statusz"] => {
                return statusz::answer(headers, self.metrics.started(), self.paths().into_iter());
            }
            [""] => {
                let paths: Vec<Value> = self.paths().into_iter().map(Value::from).collect();
                Some(Value::from([("paths", paths.into())]))
            }
            _ => None,
        };
        found.map(|value| output::json(200, &value)).ok_or_else(Status::no_such_path)
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn keys(&self) -> Result<Response<Body>, Status> {
        let tokens = self.tokens.as_ref().ok_or_else(Status::no_such_path)?;
        Ok(output::answer(200, "application/jwk-set+json", Rope::from(tokens.jwks().to_owned())))
    }

    /// `/`: what else there is.
    fn paths(&self) -> Vec<String> {
        let registry = self.engine.registry();
        let mut paths: Vec<String> = registry
            .iter()
            .flat_map(|resource| match &*resource.group {
                "" => vec!["/api".to_owned(), format!("/api/{}", resource.version)],
                group => vec![
                    "/apis".to_owned(),
                    format!("/apis/{group}"),
                    format!("/apis/{group}/{}", resource.version),
                ],
            })
            .chain(
                [
                    "/healthz",
                    "/livez",
                    "/metrics",
                    "/openapi/v2",
                    "/openapi/v3",
                    "/readyz",
                    "/statusz",
                    "/version",
                ]
                .map(str::to_owned),
            )
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

/// `/version`: the release of the API that is served. Clients compare major and minor as numbers.
pub(super) fn version() -> Value {
    let release = crate::api::schema::builtin().release();
    let mut numbers = release.trim_start_matches('v').split('.');
    let mut number = || -> String {
        let digits = numbers.next().unwrap_or_default();
        digits.chars().take_while(char::is_ascii_digit).collect()
    };
    let (major, minor) = (number(), number());
    Value::from([
        ("major", major.into()),
        ("minor", minor.into()),
        ("gitVersion", format!("{release}+rk").into()),
        ("gitCommit", "".into()),
        ("gitTreeState", "clean".into()),
        ("buildDate", "1970-01-01T00:00:00Z".into()),
        ("goVersion", "".into()),
        ("compiler", "rustc".into()),
        ("platform", format!("linux/{}", platform()).into()),
    ])
}

/// The processor in Go's words.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A page that whoever put the server together adds, such as the authority's certificate.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its path.
    pub path: String,
    /// Its media type.
    pub media_type: &'static str,
    /// What it says.
    pub body: bytes::Bytes,
}

impl Page {
    pub(super) fn answer(&self) -> Response<Body> {
        output::answer(StatusCode::OK.as_u16(), self.media_type, Rope::from(self.body.clone()))
    }
}
