//! Answers as HTTP: status codes, media types, warnings, compression.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::Body as _;
use tokio::sync::watch;

use super::accept::Media;
use super::body::{Body, Rope};
use super::metrics::WatchCounters;
use super::render::Renderer;
use super::server::stopped;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::apiserver::engine::Watch;
use crate::history;
use crate::limits;

/// An answer of a media type.
pub fn answer(code: u16, media_type: &str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    let private = HeaderValue::from_static("no-cache, private");
    headers.insert(header::CACHE_CONTROL, private);
    response
}

/// A document in JSON.
pub fn json(code: u16, value: &Value) -> Response<Body> {
    answer(code, Media::Json.name(), Rope::from(history::encode(value)))
}

/// An error as clients get it.
pub fn status(status: &Status) -> Response<Body> {
    let mut response = json(status.code, &status.to_value());
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_s);
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Writes a document in JSON with indents, for people: `pretty=true`. Long lists, which are never
/// whole in memory, stay as they are.
pub fn indent(response: Response<Body>) -> Response<Body> {
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|t| *t == "application/json");
    let (parts, body) = response.into_parts();
    let body = match body {
        Body::Whole(rope) if is_json => {
            let bytes: Vec<u8> = rope.parts().flat_map(|part| part.iter().copied()).collect();
            let indented =
                Value::parse(&bytes).ok().and_then(|v| serde_json::to_vec_pretty(&v).ok());
            indented.map_or(rope, Rope::from).into()
        }
        body => body,
    };
    Response::from_parts(parts, body)
}

/// The answer to a HEAD: what it would say, and how long that is. HTTP/2 takes no body there.
pub fn head_only(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::empty())
}

/// Adds `Warning: 299` headers. What a header cannot carry is left out of it.
pub fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut left = limits::WARNINGS_BYTES_MAX;
    for (at, warning) in warnings.iter().enumerate() {
        let known = warnings[..at].contains(warning);
        if known || warning.len() > left {
            continue;
        }
        left -= warning.len();
        let clean: String = warning.chars().filter(|c| !c.is_control()).collect();
        let text = format!("299 - \"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
}

/// A watch as it goes on; it ends with the server.
pub fn watch(
    watch: Watch,
    renderer: Renderer,
    counters: WatchCounters,
    stop: watch::Receiver<bool>,
) -> Response<Body> {
    let media_type = renderer.accepted().media.stream_name();
    let told = (watch, renderer, counters, stop);
    let ropes = stream::unfold(told, |(mut watch, mut renderer, counters, mut stop)| async move {
        let initial = watch.is_initial();
        let frames = tokio::select! {
            biased;
            () = stopped(&mut stop) => return None,
            frames = watch.next() => frames?,
        };
        counters.told(frames.len(), initial);
        let rope = renderer.frames(&frames).map_err(io::Error::other);
        Some((rope, (watch, renderer, counters, stop)))
    });
    answer(200, media_type, Body::stream(ropes))
}

/// Compresses an answer where the client takes it and it is worth the while.
pub fn compress(accept: Option<&HeaderValue>, response: Response<Body>) -> Response<Body> {
    let takes = accept.and_then(|value| value.to_str().ok()).is_some_and(takes_gzip);
    let large = match response.body() {
        Body::Whole(rope) => rope.len() > limits::GZIP_BYTES_MIN,
        Body::Ropes(_) => true,
        Body::Passed(_) | Body::Counted(..) => false,
    };
    if !takes || !large || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, gzip(body))
}

/// Whether an `Accept-Encoding` has gzip.
pub(super) fn takes_gzip(accept: &str) -> bool {
    let mut clauses = accept.split(',').map(str::trim);
    clauses.any(|clause| clause == "gzip" || clause.starts_with("gzip;") && clause != "gzip;q=0")
}

/// Compresses portion by portion: memory is bounded, and no portion holds up a worker for long.
fn gzip(body: Body) -> Body {
    let ropes = match body {
        Body::Whole(rope) => portions(rope).boxed(),
        Body::Ropes(ropes) => ropes,
        passed => return passed,
    };
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = stream::unfold(Some((ropes, encoder)), |state| async {
        let (mut ropes, mut encoder) = state?;
        loop {
            let Some(rope) = ropes.next().await else {
                return Some((encoder.finish().map(Rope::from), None));
            };
            let written =
                rope.and_then(|rope| rope.parts().try_for_each(|part| encoder.write_all(part)));
            if let Err(error) = written {
                return Some((Err(error), None));
            }
            if encoder.get_ref().len() >= limits::GZIP_PORTION {
                let ready = std::mem::take(encoder.get_mut());
                return Some((Ok(ready.into()), Some((ropes, encoder))));
            }
            tokio::task::yield_now().await;
        }
    });
    Body::stream(compressed)
}

/// A rope in portions of its pieces, large pieces cut.
fn portions(rope: Rope) -> impl futures_util::Stream<Item = io::Result<Rope>> + Send {
    let pieces: Vec<Rope> = rope
        .parts()
        .flat_map(|part| {
            let starts = (0..part.len()).step_by(limits::GZIP_PORTION);
            starts.map(|at| part.slice(at..part.len().min(at + limits::GZIP_PORTION)).into())
        })
        .collect();
    stream::iter(pieces.into_iter().map(Ok))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::BodyExt;

    use super::*;

    async fn bytes(response: Response<Body>) -> Vec<u8> {
        use bytes::Buf;
        let mut whole = response.into_body().collect().await.unwrap().aggregate();
        whole.copy_to_bytes(whole.remaining()).to_vec()
    }

    #[tokio::test]
    async fn large_answers_are_compressed_for_those_who_ask() {
        let text: String = (0..40_000).map(|i| format!("line {},", i / 100)).collect();
        assert!(text.len() > limits::GZIP_BYTES_MIN);
        let gzip = HeaderValue::from_static("br, gzip");
        let made = || answer(200, "text/plain", Rope::from(text.clone()));
        let packed = compress(Some(&gzip), made());
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        let packed = bytes(packed).await;
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&*packed).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        assert!(packed.len() < text.len() / 10, "{}", packed.len());
        assert!(!compress(None, made()).headers().contains_key(header::CONTENT_ENCODING));
        let small = answer(200, "text/plain", Rope::from("x"));
        assert!(!compress(Some(&gzip), small).headers().contains_key(header::CONTENT_ENCODING));
    }

    #[test]
    fn warnings_fit_headers() {
        let mut headers = HeaderMap::new();
        let twice = "say \"no\"\n".to_owned();
        warn(&mut headers, &[twice.clone(), twice, "x".repeat(5000)]);
        let all: Vec<_> = headers.get_all(header::WARNING).iter().collect();
        assert_eq!(all, [r#"299 - "say \"no\"""#]);
    }

    #[test]
    fn errors_say_when_to_come_back() {
        let busy = status(&Status::too_many_requests("busy", 3));
        assert_eq!(
            (busy.status().as_u16(), &busy.headers()[header::RETRY_AFTER]),
            (429, &"3".parse().unwrap())
        );
    }
}
