//! What callers may ask for besides the verb: the `*Options` of `meta/v1`, from query or body.

use std::time::Duration;

use crate::api::registry::Errors;
use crate::api::selector::{FieldSelector, LabelSelector};
use crate::api::status::{Cause, Status};
use crate::api::tree::Value;

/// The parameters of a request, decoded, in order.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes what follows the `?`.
    pub fn parse(text: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key, true), decode(value, true))
        };
        Self(text.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// The first value of `key`; empty where absent.
    pub fn get(&self, key: &str) -> &str {
        self.find(key).unwrap_or_default()
    }

    /// The first value of `key`.
    pub fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All parameters.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// A boolean as Go reads one from a query: given and neither `false` nor `0` is true.
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.find(key).map(|value| !matches!(value, "false" | "0"))
    }

    /// A number.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn int(&self, key: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.find(key).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })
    }
}

/// Undoes percent-encoding; what is not well encoded stays as it is.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match bytes[at] {
            b'%' if hex().is_some() => {
                out.extend(hex());
                at += 2;
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The state that a list or get asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// The most recent.
    #[default]
    Newest,
    /// Any that is not older than a revision.
    NotOlderThan(u64),
    /// The one at a revision.
    Exact(u64),
}

/// The options of a list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Labels that objects must have.
    pub labels: LabelSelector,
    /// Fields that objects must have.
    pub fields: FieldSelector,
    /// The most objects in one answer; 0 for all.
    pub limit: usize,
    /// The token that continues an earlier list; empty for the beginning.
    pub resume: String,
    /// Which state is read.
    pub state: State,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the objects that there are, at a state not older than a revision.
    Initial {
        /// The revision; 0 for any.
        not_older_than: u64,
        /// Whether a bookmark marks the end of the initial objects (watch-list).
        marked: bool,
    },
    /// With what comes next.
    Now,
    /// With the events after a revision.
    After(u64),
}

/// The options of a watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Labels that objects must have.
    pub labels: LabelSelector,
    /// Fields that objects must have.
    pub fields: FieldSelector,
    /// Where it begins.
    pub start: Start,
    /// Whether the client understands bookmarks.
    pub bookmarks: bool,
    /// How long it lasts; a random time where absent.
    pub timeout: Option<Duration>,
}

/// What an unreadable revision says.
fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let error = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: {error}"
        ))
    })
}

/// The 422 for options that contradict each other.
fn invalid_options(kind: &str, errors: Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", kind, "", errors.into_causes()))
}

fn selectors(query: &Query) -> Result<(LabelSelector, FieldSelector), Status> {
    Ok((
        LabelSelector::parse(query.get("labelSelector"))?,
        FieldSelector::parse(query.get("fieldSelector"))?,
    ))
}

const EXACT: &str = "Exact";
const NOT_OLDER_THAN: &str = "NotOlderThan";

impl ListOptions {
    /// From the parameters of a list.
    ///
    /// # Errors
    /// 400 for what does not parse, 422 for options that contradict each other.
    pub fn from_query(query: &Query) -> Result<Self, Status> {
        let (labels, fields) = selectors(query)?;
        let (at, rule) = (query.get("resourceVersion"), query.get("resourceVersionMatch"));
        let resume = query.get("continue").to_owned();
        check_match(query, at, rule, &resume)?;
        if !resume.is_empty() && !matches!(at, "" | "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let limit = query.int("limit")?.unwrap_or(0);
        let state = match (at, rule) {
            ("", _) => State::Newest,
            (at, EXACT) => State::Exact(revision(at)?),
            // Without a rule a page asks for exactly that state, a whole list for none older.
            (at, "") if limit > 0 && at != "0" => State::Exact(revision(at)?),
            (at, _) => State::NotOlderThan(revision(at)?),
        };
        let limit = usize::try_from(limit).unwrap_or(0);
        Ok(Self { labels, fields, limit, resume, state })
    }
}

fn check_match(query: &Query, at: &str, rule: &str, resume: &str) -> Result<(), Status> {
    const FIELD: &str = "resourceVersionMatch";
    let mut errors = Errors::default();
    if !rule.is_empty() {
        if at.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.forbidden(FIELD, why);
        }
        if !resume.is_empty() {
            errors.forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided");
        }
        if ![EXACT, NOT_OLDER_THAN].contains(&rule) {
            errors.not_supported(FIELD, &rule.into(), &[EXACT, NOT_OLDER_THAN, ""]);
        }
        if rule == EXACT && at == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.forbidden(FIELD, why);
        }
    }
    if query.find("sendInitialEvents").is_some() {
        errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    invalid_options("ListOptions", errors)
}

impl WatchOptions {
    /// From the parameters of a watch.
    ///
    /// # Errors
    /// 400 for what does not parse, 422 for options that contradict each other.
    pub fn from_query(query: &Query) -> Result<Self, Status> {
        let (labels, fields) = selectors(query)?;
        check_watch_match(query)?;
        let at = query.get("resourceVersion");
        let start = match (query.flag("sendInitialEvents"), at) {
            (Some(true), at) => {
                let not_older_than = if at.is_empty() { 0 } else { revision(at)? };
                Start::Initial { not_older_than, marked: true }
            }
            (Some(false), "" | "0") => Start::Now,
            (None, "" | "0") => Start::Initial { not_older_than: 0, marked: false },
            (_, at) => Start::After(revision(at)?),
        };
        let seconds = query.int("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok());
        Ok(Self {
            labels,
            fields,
            start,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            timeout: seconds.filter(|s| *s > 0).map(Duration::from_secs),
        })
    }
}

fn check_watch_match(query: &Query) -> Result<(), Status> {
    const FIELD: &str = "resourceVersionMatch";
    let rule = query.get(FIELD);
    let initial = query.find("sendInitialEvents").is_some();
    let mut errors = Errors::default();
    if initial && rule != NOT_OLDER_THAN {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.forbidden(FIELD, why);
    }
    if !rule.is_empty() {
        if !initial {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                       provided";
            errors.forbidden(FIELD, why);
        }
        if rule != NOT_OLDER_THAN {
            errors.not_supported(FIELD, &rule.into(), &[NOT_OLDER_THAN]);
        }
        if !query.get("continue").is_empty() {
            errors.forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided");
        }
    }
    invalid_options("ListOptions", errors)
}

/// The options of a create, update or patch.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Whether everything is done but the storing.
    pub dry_run: bool,
    /// The options as an object, for admission.
    pub given: Value,
    /// The name under which the writer owns fields.
    pub manager: String,
    /// Whether an apply takes what others own.
    pub force: bool,
}

impl WriteOptions {
    /// From the parameters of a write; `kind` is that of the options, such as `CreateOptions`.
    ///
    /// # Errors
    /// 422 for values that are not known.
    pub fn from_query(query: &Query, kind: &str) -> Result<Self, Status> {
        Self::checked(query, kind, Errors::default())
    }

    /// From the parameters of a patch, which applies or does not.
    ///
    /// # Errors
    /// As [`Self::from_query`], for an apply without a manager, and for a patch by force.
    pub fn of_patch(query: &Query, applies: bool) -> Result<Self, Status> {
        let mut errors = Errors::default();
        let force = query.flag("force");
        if applies && query.get("fieldManager").is_empty() {
            errors.required("fieldManager", "is required for apply patch");
        }
        if !applies && force.is_some() {
            errors.forbidden("force", "may not be specified for non-apply patch");
        }
        let options = Self::checked(query, "PatchOptions", errors)?;
        Ok(Self { force: force.unwrap_or(false), ..options })
    }

    /// The same for a client that calls itself `agent`: who gives no manager owns fields under the
    /// first word of that.
    #[must_use]
    pub fn from_agent(mut self, agent: &str) -> Self {
        if self.manager.is_empty() {
            let name = agent.split('/').next().unwrap_or_default();
            for c in name.chars().filter(|c| !c.is_control()) {
                if self.manager.len() + c.len_utf8() > MANAGER_BYTES_MAX {
                    break;
                }
                self.manager.push(c);
            }
        }
        self
    }

    fn checked(query: &Query, kind: &str, mut errors: Errors) -> Result<Self, Status> {
        const VALIDATIONS: [&str; 4] = ["", "Ignore", "Strict", "Warn"];
        let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        check_dry_run(&dry_run, &mut errors);
        let validation = query.get("fieldValidation");
        if !VALIDATIONS.contains(&validation) {
            errors.not_supported("fieldValidation", &validation.into(), &VALIDATIONS);
        }
        let manager = query.get("fieldManager");
        check_manager(manager, &mut errors);
        invalid_options(kind, errors)?;
        let mut given =
            Value::from([("kind", kind.into()), ("apiVersion", "meta.k8s.io/v1".into())]);
        if !dry_run.is_empty() {
            given.set("dryRun", dry_run.iter().map(|&v| v.into()).collect::<Vec<Value>>());
        }
        for (key, value) in [("fieldManager", manager), ("fieldValidation", validation)] {
            if !value.is_empty() {
                given.set(key, value);
            }
        }
        let manager = manager.to_owned();
        Ok(Self { dry_run: !dry_run.is_empty(), given, manager, force: false })
    }
}

/// The most bytes of a field manager's name.
const MANAGER_BYTES_MAX: usize = 128;

fn check_dry_run(values: &[&str], errors: &mut Errors) {
    if values.iter().any(|v| *v != "All") {
        let list: Vec<Value> = values.iter().map(|&v| v.into()).collect();
        errors.not_supported("dryRun", &list.into(), &["All"]);
    }
}

fn check_manager(manager: &str, errors: &mut Errors) {
    if manager.len() > MANAGER_BYTES_MAX {
        errors.too_long("fieldManager", MANAGER_BYTES_MAX);
    }
    if let Some(bad) = manager.chars().find(|c| c.is_control()) {
        let why = format!("should only contain printable characters, found {bad:?}");
        errors.invalid("fieldManager", &manager.into(), &why);
    }
}

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They lose their owner and stay.
    Orphan,
    /// They are deleted later.
    Background,
    /// They are deleted first.
    Foreground,
}

/// `meta/v1.DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// The grace period that the client asks for, in seconds.
    pub grace_s: Option<i64>,
    /// The UID that the object must have.
    pub uid: Option<String>,
    /// The revision that the object must have.
    pub revision: Option<String>,
    /// What happens to dependents, where the client says so.
    pub propagation: Option<Propagation>,
    /// Whether the client used `orphanDependents: false`, the old way to ask for a cascade.
    pub legacy_cascade: bool,
    /// Dry run, and the options as given.
    pub write: WriteOptions,
}

impl DeleteOptions {
    /// From the body of a delete, or from its parameters where there is no body.
    ///
    /// # Errors
    /// 400 for what does not parse, 422 for values that are not known.
    pub fn new(query: &Query, body: Value) -> Result<Self, Status> {
        let given = if body.is_null() { Self::query_object(query)? } else { body };
        let mut errors = Errors::default();
        let dry_run: Vec<&str> = given.get("dryRun").items().iter().map(Value::str).collect();
        check_dry_run(&dry_run, &mut errors);
        let orphan = given.get("orphanDependents").as_bool();
        let policy = given.get("propagationPolicy");
        if orphan.is_some() && !policy.is_null() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.invalid("propagationPolicy", policy, why);
        }
        let propagation = match (policy.str(), orphan) {
            ("Orphan", _) | ("", Some(true)) => Some(Propagation::Orphan),
            ("Foreground", _) => Some(Propagation::Foreground),
            ("Background", _) | ("", Some(false)) => Some(Propagation::Background),
            ("", None) => None,
            _ => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.not_supported("propagationPolicy", policy, &known);
                None
            }
        };
        invalid_options("DeleteOptions", errors)?;
        let conditions = given.get("preconditions");
        let condition = |key: &str| conditions.get(key).as_str().map(str::to_owned);
        Ok(Self {
            grace_s: given.get("gracePeriodSeconds").as_int(),
            uid: condition("uid"),
            revision: condition("resourceVersion"),
            propagation,
            legacy_cascade: orphan == Some(false),
            write: WriteOptions { dry_run: !dry_run.is_empty(), given, ..WriteOptions::default() },
        })
    }

    fn query_object(query: &Query) -> Result<Value, Status> {
        let mut given = Value::object();
        if let Some(seconds) = query.int("gracePeriodSeconds")? {
            given.set("gracePeriodSeconds", seconds);
        }
        if let Some(orphan) = query.flag("orphanDependents") {
            given.set("orphanDependents", orphan);
        }
        if let Some(policy) = query.find("propagationPolicy").filter(|p| !p.is_empty()) {
            given.set("propagationPolicy", policy);
        }
        let dry_run: Vec<Value> =
            query.all("dryRun").filter(|v| !v.is_empty()).map(Into::into).collect();
        if !dry_run.is_empty() {
            given.set("dryRun", dry_run);
        }
        Ok(given)
    }
}

/// 504: a revision that this server has not reached.
pub(super) fn too_large(asked: u64, current: u64) -> Status {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let mut status = Status::timeout(message, 1);
    if let Some(details) = &mut status.details {
        details.causes = vec![Cause {
            reason: "ResourceVersionTooLarge",
            message: "Too large resource version".into(),
            field: String::new(),
        }];
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str) -> Result<ListOptions, Status> {
        ListOptions::from_query(&Query::parse(query))
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("continue=a%2Fb%3D&labelSelector=a+in+(b)&x&pretty=%zz");
        assert_eq!(query.get("continue"), "a/b=");
        assert_eq!(query.get("labelSelector"), "a in (b)");
        assert_eq!((query.find("x"), query.find("y")), (Some(""), None));
        assert_eq!(query.get("pretty"), "%zz");
    }

    #[test]
    fn lists_say_which_state_they_want() {
        assert_eq!(list("").unwrap().state, State::Newest);
        assert_eq!(list("resourceVersion=0").unwrap().state, State::NotOlderThan(0));
        assert_eq!(list("resourceVersion=7").unwrap().state, State::NotOlderThan(7));
        assert_eq!(list("resourceVersion=7&limit=5").unwrap().state, State::Exact(7));
        let exact = "resourceVersion=7&resourceVersionMatch=Exact";
        assert_eq!(list(exact).unwrap().state, State::Exact(7));
        assert_eq!(list("resourceVersion=x").unwrap_err().code, 400);
        assert_eq!(list("continue=x&resourceVersion=7").unwrap_err().code, 400);
    }

    #[test]
    fn contradictions_are_refused_in_upstreams_words() {
        assert_eq!(
            list("resourceVersionMatch=Exact").unwrap_err().message,
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
             resourceVersionMatch is forbidden unless resourceVersion is provided"
        );
        let watch = |query: &str| WatchOptions::from_query(&Query::parse(query));
        assert_eq!(watch("sendInitialEvents=true").unwrap_err().code, 422);
        assert_eq!(watch("resourceVersionMatch=NotOlderThan").unwrap_err().code, 422);
        let good = watch("sendInitialEvents=true&resourceVersionMatch=NotOlderThan").unwrap();
        assert_eq!(good.start, Start::Initial { not_older_than: 0, marked: true });
        let create = WriteOptions::from_query(&Query::parse("dryRun=Some"), "CreateOptions");
        assert_eq!(create.unwrap_err().code, 422);
        let patch = |query: &str, applies| WriteOptions::of_patch(&Query::parse(query), applies);
        let refused = patch("force=true", false).unwrap_err();
        assert_eq!(
            refused.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for \
             non-apply patch"
        );
        assert_eq!(patch("", true).unwrap_err().code, 422);
        let applies = patch("fieldManager=me&force=true", true).unwrap();
        assert!(applies.force && applies.from_agent("kubectl/v1").manager == "me");
        let agent = patch("", false).unwrap().from_agent("kube ctl\u{7}/v1.37 (linux)");
        assert_eq!(agent.manager, "kube ctl");
    }

    #[test]
    fn deletes_read_body_or_query() {
        let query = Query::parse("gracePeriodSeconds=5&propagationPolicy=Foreground&dryRun=All");
        let options = DeleteOptions::new(&query, Value::Null).unwrap();
        assert_eq!((options.grace_s, options.write.dry_run), (Some(5), true));
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        let body = Value::parse(br#"{"orphanDependents":false,"preconditions":{"uid":"u"}}"#);
        let options = DeleteOptions::new(&Query::default(), body.unwrap()).unwrap();
        assert_eq!(options.propagation, Some(Propagation::Background));
        assert!(options.legacy_cascade && options.uid.as_deref() == Some("u"));
    }
}
