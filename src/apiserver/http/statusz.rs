//! `/statusz`: what runs here, since when, in which version, and what else it answers.

use std::collections::BTreeSet;

use http::Response;
use http::header::{self, HeaderMap};

use super::accept;
use super::body::{Body, Rope};
use super::output;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::util::clock::{self, Wall};

const COMPONENT: &str = "apiserver";
const GROUP: &str = "config.k8s.io";
const VERSION: &str = "v1beta1";
const KIND: &str = "Statusz";

/// What answers for clients; all else is there for those who look after the server.
const NOT_LISTED: &[&str] = &["api", "apis", "openapi", "openid", ".well-known"];

/// What is told.
struct Facts {
    started: Wall,
    up_s: u64,
    release: &'static str,
    paths: Vec<String>,
}

/// Answers with the state of a server that began at `started` and answers `paths`.
///
/// # Errors
/// 406 for a client that takes neither text nor the object.
pub fn answer(
    headers: &HeaderMap,
    started: Wall,
    paths: impl Iterator<Item = String>,
) -> Result<Response<Body>, Status> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let structured = accept::structured(accept.unwrap_or_default(), (GROUP, VERSION, KIND))?;
    let facts = Facts {
        started,
        up_s: clock::now().since(started).as_secs(),
        release: crate::api::schema::builtin().release().trim_start_matches('v'),
        paths: listed(paths),
    };
    Ok(match structured {
        true => output::json(200, &facts.object()),
        false => output::answer(200, "text/plain; charset=utf-8", Rope::from(facts.text())),
    })
}

/// The first step of each path.
fn listed(paths: impl Iterator<Item = String>) -> Vec<String> {
    let first = |path: String| path.split('/').nth(1).map(str::to_owned);
    let steps: BTreeSet<String> = paths
        .filter_map(first)
        .filter(|step| !step.is_empty() && !NOT_LISTED.contains(&step.as_str()))
        .collect();
    steps.into_iter().map(|step| format!("/{step}")).collect()
}

impl Facts {
    /// Major and minor version.
    fn emulated(&self) -> &str {
        self.release.rsplit_once('.').map_or(self.release, |(minor, _)| minor)
    }

    fn text(&self) -> String {
        let (hours, minutes, seconds) = (self.up_s / 3600, self.up_s / 60 % 60, self.up_s % 60);
        format!(
            "\n{COMPONENT} statusz\n\
             Warning: This endpoint is not meant to be machine parseable, has no formatting \
             compatibility guarantees and is for debugging purposes only.\n\n\
             Started: {}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\n\
             Binary version: {}\nEmulation version: {}\nPaths: {}\n",
            time::format_unix(self.started),
            self.release,
            self.emulated(),
            self.paths.join(" ")
        )
    }

    fn object(&self) -> Value {
        let paths: Vec<Value> = self.paths.iter().map(|path| path.as_str().into()).collect();
        Value::from([
            ("apiVersion", format!("{GROUP}/{VERSION}").into()),
            ("kind", KIND.into()),
            ("metadata", Value::from([("name", COMPONENT.into())])),
            ("startTime", time::format(self.started).into()),
            ("uptimeSeconds", i64::try_from(self.up_s).unwrap_or(i64::MAX).into()),
            // What upstream is built with; rk has none of it.
            ("goVersion", "".into()),
            ("binaryVersion", self.release.into()),
            ("emulationVersion", self.emulated().into()),
            ("paths", paths.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_told_to_people_and_to_programs() {
        let paths = ["/api", "/apis/apps/v1", "/metrics", "/openapi/v2", "/livez", "/livez/ping"];
        let facts = Facts {
            started: Wall::from_seconds(1_795_168_080),
            up_s: 3723,
            release: "1.37.2",
            paths: listed(paths.into_iter().map(str::to_owned)),
        };
        let text = facts.text();
        let (_, told) = text.split_once("only.\n\n").unwrap();
        assert_eq!(
            told,
            "Started: Fri Nov 20 09:48:00 UTC 2026\nUp: 1 hr 02 min 03 sec\nBinary version: \
             1.37.2\nEmulation version: 1.37\nPaths: /livez /metrics\n"
        );
        assert_eq!(facts.object().get("uptimeSeconds").as_int(), Some(3723));
    }
}
