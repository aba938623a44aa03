//! `/livez`, `/readyz`, `/healthz`: named checks, and what they say.

use std::sync::Arc;

use http::Response;

use super::body::{Body, Rope};
use super::output;
use crate::apiserver::engine::Query;

/// One thing that must be well.
pub struct Check {
    /// Its name, `etcd` or `poststarthook/bootstrap`.
    pub name: &'static str,
    /// Whether only readiness depends on it: a server that is not ready yet, or stops, is alive.
    pub readiness_only: bool,
    /// What is wrong, if anything.
    pub run: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// All checks.
#[derive(Clone)]
pub struct Health {
    checks: Arc<Vec<Check>>,
}

/// The paths under which checks are found.
const ENDPOINTS: [&str; 3] = ["livez", "readyz", "healthz"];

impl Health {
    /// Checks in the order in which they are told.
    pub fn new(mut checks: Vec<Check>) -> Self {
        let ping = Check { name: "ping", readiness_only: false, run: Box::new(|| Ok(())) };
        checks.insert(0, ping);
        Self { checks: Arc::new(checks) }
    }

    /// Answers a path below one of the endpoints; `None` for any other, or an unknown check.
    pub fn answer(&self, path: &str, query: &Query) -> Option<Response<Body>> {
        let path = path.trim_matches('/');
        let (endpoint, name) = path.split_once('/').unwrap_or((path, ""));
        if !ENDPOINTS.contains(&endpoint) {
            return None;
        }
        let relevant = |check: &&Check| endpoint == "readyz" || !check.readiness_only;
        if !name.is_empty() {
            let check = self.checks.iter().filter(relevant).find(|check| check.name == name)?;
            return Some(match (check.run)() {
                Ok(()) => text(200, "ok".into()),
                Err(why) => text(500, format!("internal server error: {why}\n")),
            });
        }
        let excluded: Vec<&str> = query.all("exclude").collect();
        let checks: Vec<&Check> = self.checks.iter().filter(relevant).collect();
        Some(self.all(endpoint, &checks, &excluded, query.find("verbose").is_some()))
    }

    fn all(
        &self,
        endpoint: &str,
        checks: &[&Check],
        excluded: &[&str],
        verbose: bool,
    ) -> Response<Body> {
        let mut lines = String::new();
        let mut failed = false;
        for check in checks {
            let name = check.name;
            if excluded.contains(&name) {
                lines += &format!("[+]{name} excluded: ok\n");
                continue;
            }
            match (check.run)() {
                Ok(()) => lines += &format!("[+]{name} ok\n"),
                Err(error) => {
                    failed = true;
                    tracing::warn!(check = name, %error, "a health check fails");
                    // The reason stays in the log: the path may be open to everybody.
                    lines += &format!("[-]{name} failed: reason withheld\n");
                }
            }
        }
        for unknown in excluded.iter().filter(|e| !checks.iter().any(|c| c.name == **e)) {
            lines += &format!(
                "warn: some health checks cannot be excluded: no matches for {unknown:?}\n"
            );
        }
        match (failed, verbose) {
            (true, _) => text(500, format!("{lines}{endpoint} check failed\n")),
            (false, true) => text(200, format!("{lines}{endpoint} check passed\n")),
            (false, false) => text(200, "ok".into()),
        }
    }
}

fn text(code: u16, text: String) -> Response<Body> {
    output::answer(code, "text/plain; charset=utf-8", Rope::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(health: &Health, path: &str, query: &str) -> (u16, String) {
        let answer = health.answer(path, &Query::parse(query)).unwrap();
        let code = answer.status().as_u16();
        let Body::Whole(rope) = answer.into_body() else { panic!("a text is whole") };
        let bytes: Vec<u8> = rope.parts().flat_map(|part| part.to_vec()).collect();
        (code, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn checks_have_names_and_readiness_its_own() {
        let fails = || Err("not yet".to_owned());
        let check = Check { name: "bootstrap", readiness_only: true, run: Box::new(fails) };
        let health = Health::new(vec![check]);
        assert_eq!(said(&health, "/livez", ""), (200, "ok".into()));
        let (code, text) = said(&health, "/readyz", "verbose");
        assert_eq!(code, 500);
        assert_eq!(text, "[+]ping ok\n[-]bootstrap failed: reason withheld\nreadyz check failed\n");
        assert_eq!(said(&health, "/readyz", "exclude=bootstrap").0, 200);
        assert_eq!(said(&health, "/readyz/ping", "").0, 200);
        assert_eq!(said(&health, "/readyz/bootstrap", "").0, 500);
        assert!(health.answer("/readyz/other", &Query::default()).is_none());
        assert!(health.answer("/other", &Query::default()).is_none());
    }
}
