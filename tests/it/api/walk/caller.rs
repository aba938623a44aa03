//! Requests over one connection.

use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use rk::api::tree::Value;

/// JSON as body and answer.
pub const JSON: &str = "application/json";

/// Sends requests as the administrator.
pub struct Caller {
    client: Client,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The warnings in the head.
    pub warnings: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; nothing where it is none.
    pub fn json(&self) -> Value {
        Value::parse(&self.body).unwrap_or(Value::Null)
    }

    /// Whether it went well.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The body for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request: method, path, media type of the body, media type of the answer, body.
pub struct Call<'c> {
    /// The method.
    pub method: &'c str,
    /// Path and query.
    pub path: &'c str,
    /// What the body is.
    pub sends: &'c str,
    /// What the answer shall be.
    pub takes: &'c str,
    /// The body.
    pub body: Vec<u8>,
}

impl Caller {
    /// Over a client's connection.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn begin(&self, call: Call<'_>) -> http::Response<Body> {
        let request = http::Request::builder()
            .method(call.method)
            .uri(call.path)
            .header("Content-Type", call.sends)
            .header("Accept", call.takes)
            .body(Body::from(call.body))
            .expect("a request");
        self.client.send(request).await.expect("an answer")
    }

    /// Sends a request and reads the whole answer.
    pub async fn call(&self, call: Call<'_>) -> Answer {
        let response = self.begin(call).await;
        let warnings = response.headers().get_all("warning").iter();
        let warnings =
            warnings.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join("\n");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes().to_vec();
        Answer { code, warnings, body }
    }

    /// Reads in JSON.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_as(path, JSON).await
    }

    /// Reads in the form of a media type.
    pub async fn get_as(&self, path: &str, takes: &str) -> Answer {
        self.call(Call { method: "GET", path, sends: JSON, takes, body: Vec::new() }).await
    }

    /// Sends a body of a media type.
    pub async fn send(&self, method: &str, path: &str, sends: &str, body: &[u8]) -> Answer {
        self.call(Call { method, path, sends, takes: JSON, body: body.to_vec() }).await
    }

    /// Reads lines of JSON until one is the last, or the answer ends.
    pub async fn lines(&self, path: &str, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let call = Call { method: "GET", path, sends: JSON, takes: JSON, body: Vec::new() };
        let mut body = self.begin(call).await.into_body();
        let (mut rest, mut found) = (Vec::new(), Vec::new());
        while let Some(Ok(frame)) = body.frame().await {
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                found.push(Value::parse(&line).expect("a line of JSON"));
                if found.last().is_some_and(&is_last) {
                    return found;
                }
            }
        }
        found
    }
}
