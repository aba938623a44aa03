//! Links of proxied pages, made to lead through the proxy again.
//!
//! What a pod has at `/x` its reader finds below the proxy's own path. So that path is put before
//! the paths in the `Location` of an answer and in the links of a page; links to elsewhere, and
//! those that go from the page's own place, stay as they are.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use http::{HeaderName, HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::Frame;

use super::Body;
use super::html::Page;

/// What a page allows other sites is for the server's own site to say.
const OF_SITE: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// Where a proxied server is for its reader.
#[derive(Debug, Clone)]
pub struct Links {
    /// The proxy's path, without a slash at its end.
    pub prefix: String,
    /// The server's own host and port.
    pub host: String,
    /// The host and port that the reader asked.
    pub reader: String,
}

impl Links {
    /// The answer of the server as its reader gets it.
    pub fn apply(self, mut answer: Response<Body>) -> Response<Body> {
        let headers = answer.headers_mut();
        OF_SITE.iter().for_each(|name| drop(headers.remove(name)));
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(location) = text(header::LOCATION) {
            let new = self.rewrite(location).and_then(|new| HeaderValue::try_from(new).ok());
            new.map(|new| headers.insert(header::LOCATION, new));
            return answer;
        }
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        let is_page = kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html");
        let coding = match text(header::CONTENT_ENCODING).unwrap_or_default() {
            "" => Coding::None,
            "gzip" => Coding::gzip(),
            // Nothing is known of what is in there.
            _ => return answer,
        };
        if !is_page {
            return answer;
        }
        headers.remove(header::CONTENT_LENGTH);
        answer.map(|inner| {
            Rewritten { inner, links: self, page: Page::default(), coding, ended: false }.boxed()
        })
    }

    /// A link as it leads through the proxy, where it is another then.
    fn rewrite(&self, link: &str) -> Option<String> {
        let (before, host, rest) = split(link);
        if !rest.starts_with('/') || ![self.host.as_str(), &self.reader, ""].contains(&host) {
            return None;
        }
        // Who named the reader's own way to the server shall go on by it.
        let kept = if host == self.reader { before } else { "" };
        let (path, more) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        if path.starts_with(&self.prefix) {
            return (kept != before).then(|| format!("{kept}{rest}"));
        }
        let slash = if path.ends_with('/') { "/" } else { "" };
        Some(format!("{kept}{}{}{slash}{more}", self.prefix, clean(path)))
    }
}

/// Scheme and host as they stand there, the host alone, and what follows.
fn split(link: &str) -> (&str, &str, &str) {
    let scheme = link.find("://").filter(|at| !link[..*at].contains(['/', '?', '#']));
    let begin = match scheme {
        Some(at) => at + 3,
        None if link.starts_with("//") => 2,
        None => return ("", "", link),
    };
    let end = link[begin..].find(['/', '?', '#']).map_or(link.len(), |at| begin + at);
    (&link[..end], &link[begin..end], &link[end..])
}

/// A path without steps to nowhere or back.
fn clean(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    steps.into_iter().map(|step| format!("/{step}")).collect()
}

/// How the bytes of a page are written.
enum Coding {
    None,
    Gzip(Box<Gzip>),
}

struct Gzip {
    decoder: GzDecoder<Vec<u8>>,
    encoder: GzEncoder<Vec<u8>>,
}

impl Coding {
    fn gzip() -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Self::Gzip(Box::new(Gzip { decoder: GzDecoder::new(Vec::new()), encoder }))
    }
}

/// A page that is rewritten while it passes.
struct Rewritten {
    inner: Body,
    links: Links,
    page: Page,
    coding: Coding,
    ended: bool,
}

impl Rewritten {
    fn push(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        let Self { links, page, coding, .. } = self;
        let link = |text: &str| links.rewrite(text);
        let Coding::Gzip(gzip) = coding else { return Ok(page.push(data, &link)) };
        let Gzip { decoder, encoder } = gzip.as_mut();
        decoder.write_all(data)?;
        decoder.flush()?;
        encoder.write_all(&page.push(&std::mem::take(decoder.get_mut()), &link))?;
        encoder.flush()?;
        Ok(std::mem::take(encoder.get_mut()))
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        let rest = self.page.finish();
        match &mut self.coding {
            Coding::None => Ok(rest),
            Coding::Gzip(gzip) => {
                gzip.encoder.write_all(&rest)?;
                gzip.encoder.try_finish()?;
                Ok(std::mem::take(gzip.encoder.get_mut()))
            }
        }
    }
}

impl hyper::body::Body for Rewritten {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        while !this.ended {
            let made = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.push(&data),
                    Err(_) => continue,
                },
                Some(Err(error)) => Err(error),
                None => {
                    this.ended = true;
                    this.finish()
                }
            };
            match made {
                Ok(bytes) if bytes.is_empty() => {}
                made => return Poll::Ready(Some(made.map(|bytes| Frame::data(bytes.into())))),
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http_body_util::Full;

    use super::*;

    fn links() -> Links {
        Links {
            prefix: "/api/proxy".to_owned(),
            host: "10.0.0.1:80".to_owned(),
            reader: "rk:6443".to_owned(),
        }
    }

    async fn answer(headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let body = Full::new(Bytes::copy_from_slice(body)).map_err(|never| match never {});
        let answer = links().apply(response.body(body.boxed()).unwrap());
        let (parts, body) = answer.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    #[test]
    fn absolute_paths_lead_through_the_proxy() {
        for (link, new) in [
            ("/x", "/api/proxy/x"),
            ("/", "/api/proxy/"),
            ("/x/?a=/b#c", "/api/proxy/x/?a=/b#c"),
            ("/x/../y//z", "/api/proxy/y/z"),
            ("/../../x", "/api/proxy/x"),
            ("http://10.0.0.1:80/x", "/api/proxy/x"),
            ("//10.0.0.1:80/x", "/api/proxy/x"),
            ("https://rk:6443/x", "https://rk:6443/api/proxy/x"),
            ("http://10.0.0.1:80/api/proxy/x", "/api/proxy/x"),
        ] {
            assert_eq!(links().rewrite(link).as_deref(), Some(new), "{link}");
        }
        for link in [
            "x",
            "",
            "#x",
            "?a=/x",
            "http://example.com/x",
            "//example.com/x",
            "mailto:a@b",
            "/api/proxy/x",
            "https://rk:6443/api/proxy/x",
            "http://10.0.0.1:80",
            "x?u=http://a/b",
        ] {
            assert_eq!(links().rewrite(link), None, "{link}");
        }
    }

    #[tokio::test]
    async fn pages_and_locations_are_rewritten_and_nothing_else() {
        const PAGE: &[u8] = br#"<a href="/x">test</a>"#;
        const NEW: &[u8] = br#"<a href="/api/proxy/x">test</a>"#;
        let html = ("content-type", "text/html; charset=utf-8");
        let length = ("content-length", "21");
        let got = answer(&[html, length, ("access-control-allow-origin", "*")], PAGE).await;
        assert_eq!((got.body().as_ref(), got.headers().len()), (NEW, 1));
        let got = answer(&[("content-type", "text/plain"), length], PAGE).await;
        assert_eq!((got.body().as_ref(), got.headers().len()), (PAGE, 2));
        let got = answer(&[html, ("content-encoding", "br")], PAGE).await;
        assert_eq!(got.body().as_ref(), PAGE);
        let got = answer(&[html, ("location", "/x")], PAGE).await;
        assert_eq!(
            (got.body().as_ref(), got.headers()["location"].to_str().unwrap()),
            (PAGE, "/api/proxy/x")
        );

        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(PAGE).unwrap();
        let packed = packed.finish().unwrap();
        let got = answer(&[html, ("content-encoding", "gzip")], &packed).await;
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(got.body().as_ref()).read_to_end(&mut text).unwrap();
        assert_eq!(text, NEW);
    }
}
