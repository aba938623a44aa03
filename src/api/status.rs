//! Errors as Kubernetes answers them: `meta/v1.Status`, with upstream's reasons and wording.

use std::collections::HashSet;

use super::tree::Value;

/// An API error. Its text is the `Status` message that clients see and sometimes match.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`; empty where Kubernetes gives none.
    pub reason: &'static str,
    /// What went wrong, in Kubernetes' words.
    pub message: String,
    /// What it is about, where that is known.
    pub details: Option<Box<Details>>,
}

/// `meta/v1.StatusDetails`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// The API group of its resource.
    pub group: String,
    /// The resource (plural, as Kubernetes fills it) or kind.
    pub kind: String,
    /// The object's UID, for precondition failures.
    pub uid: String,
    /// Field errors.
    pub causes: Vec<Cause>,
    /// Seconds after which a client may try again; 0 for none.
    pub retry_after_s: u32,
    /// `metadata.continue` of the Status: how an expired list may go on inconsistently.
    pub resume: String,
}

/// `meta/v1.StatusCause`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid` and the like.
    pub reason: &'static str,
    /// The message without the field's path.
    pub message: String,
    /// The field's path, as `spec.containers[0].name`.
    pub field: String,
}

/// A group and resource as errors name them: `pods`, `deployments.apps`.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    /// An error with no details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: resource.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403, worded by the authoriser or an admission plugin.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = qualified(group, resource);
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{what} is forbidden: {why}"),
            (false, false) => format!("{what} \"{name}\" is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    /// 404 for an object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, resource));
        Self::new(404, "NotFound", message).about(group, resource, name)
    }

    /// 404 for a path that nothing serves.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .about("", "", "")
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 406.
    pub fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(406, "NotAcceptable", message)
    }

    /// 409: the object is already there.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, resource));
        Self::new(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409: somebody else changed the object, or a precondition does not hold.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(group, resource)
        );
        Self::new(409, "Conflict", message).about(group, resource, name)
    }

    /// 409 in the words that every client's retry loop knows.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 410: the asked revision is gone from the history.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415.
    pub fn unsupported_media_type(given: &str, accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {accepted} (got {given})"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object does not satisfy its kind's rules. `kind` is the kind, as Kubernetes has it.
    /// What is said twice is told once.
    pub fn invalid(group: &str, kind: &str, name: &str, mut causes: Vec<Cause>) -> Self {
        let mut told = HashSet::new();
        causes.retain(|cause| told.insert((cause.field.clone(), cause.message.clone())));
        let list: Vec<String> =
            causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let errors = match list.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {errors}", qualified(group, kind));
        let mut status = Self::new(422, "Invalid", message).about(group, kind, name);
        if let Some(details) = &mut status.details {
            details.causes = causes;
        }
        status
    }

    /// Shows lists and maps as empty in field errors where the client gave empty ones: in an object
    /// they are as if absent. `empties` are their paths and how they are written.
    #[must_use]
    pub fn showing(self, empties: &[(String, &'static str)]) -> Self {
        let Some(details) = self.details.as_deref().filter(|_| self.code == 422) else {
            return self;
        };
        let mut causes = details.causes.clone();
        for cause in &mut causes {
            let given = empties.iter().find(|(path, _)| *path == cause.field);
            for what in ["Invalid value: ", "Unsupported value: "] {
                let rest = cause.message.strip_prefix(what).and_then(|m| m.strip_prefix("null"));
                if let (Some((_, form)), Some(rest)) = (given, rest) {
                    cause.message = format!("{what}{form}{rest}");
                }
            }
        }
        if causes == details.causes {
            return self;
        }
        Self::invalid(&details.group, &details.kind, &details.name, causes)
    }

    /// 429 with the seconds after which to try again.
    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> Self {
        let mut status = Self::new(429, "TooManyRequests", message).about("", "", "");
        if let Some(details) = &mut status.details {
            details.retry_after_s = retry_after_s;
        }
        status
    }

    /// 500. The message goes to the client: no secrets.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(500, "InternalError", message)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504.
    pub fn timeout(message: impl Into<String>, retry_after_s: u32) -> Self {
        let mut status = Self::new(504, "Timeout", message).about("", "", "");
        if let Some(details) = &mut status.details {
            details.retry_after_s = retry_after_s;
        }
        status
    }

    /// Whether this is the 404 of a missing object.
    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    /// Whether this is the 409 of a lost race.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// Whether this is the 409 of a taken name.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// The `Status` object that goes to the client.
    pub fn to_value(&self) -> Value {
        let mut value = Value::from([
            ("kind", "Status".into()),
            ("apiVersion", "v1".into()),
            ("metadata", Value::object()),
            ("status", "Failure".into()),
            ("message", self.message.as_str().into()),
            ("code", i64::from(self.code).into()),
        ]);
        if !self.reason.is_empty() {
            value.set("reason", self.reason);
        }
        if let Some(details) = &self.details {
            value.set("details", details.to_value());
            if !details.resume.is_empty() {
                value.entry("metadata").set("continue", details.resume.as_str());
            }
        }
        value
    }

    /// Reads a `Status` object as a far server sent it; `code` is the HTTP status.
    pub fn from_value(code: u16, value: &Value) -> Self {
        let message = match value.get("message").str() {
            "" => format!("the server answered with HTTP status {code}"),
            message => message.to_owned(),
        };
        let mut status = Self::new(code, known_reason(value.get("reason").str()), message);
        let details = value.get("details");
        if !details.is_null() {
            let resume = value.at(&["metadata", "continue"]).str().to_owned();
            let details = Details { resume, ..Details::from_value(details) };
            status.details = Some(Box::new(details));
        }
        status
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut value = Value::object();
        let texts = [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value.set(key, text.as_str());
        }
        if !self.causes.is_empty() {
            value.set("causes", self.causes.iter().map(Cause::to_value).collect::<Vec<_>>());
        }
        if self.retry_after_s != 0 {
            value.set("retryAfterSeconds", self.retry_after_s);
        }
        value
    }

    fn from_value(value: &Value) -> Self {
        let text = |key: &str| value.get(key).str().to_owned();
        let cause = |c: &Value| Cause {
            reason: known_reason(c.get("reason").str()),
            message: c.get("message").str().to_owned(),
            field: c.get("field").str().to_owned(),
        };
        Self {
            name: text("name"),
            group: text("group"),
            kind: text("kind"),
            uid: text("uid"),
            causes: value.get("causes").items().iter().map(cause).collect(),
            retry_after_s: value
                .get("retryAfterSeconds")
                .as_int()
                .and_then(|s| u32::try_from(s).ok())
                .unwrap_or(0),
            resume: String::new(),
        }
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = Value::from([("reason", self.reason.into())]);
        if !self.message.is_empty() {
            value.set("message", self.message.as_str());
        }
        if !self.field.is_empty() {
            value.set("field", self.field.as_str());
        }
        value
    }
}

/// Reasons that code may compare with; any other reads as the empty one.
const REASONS: &[&str] = &[
    "AlreadyExists",
    "BadRequest",
    "Conflict",
    "Expired",
    "FieldManagerConflict",
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueNotFound",
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
    "Forbidden",
    "Gone",
    "InternalError",
    "Invalid",
    "MethodNotAllowed",
    "NamespaceTerminating",
    "NotAcceptable",
    "NotFound",
    "RequestEntityTooLarge",
    "ResourceVersionTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "StorageReadError",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "Unknown",
    "UnsupportedMediaType",
];

fn known_reason(reason: &str) -> &'static str {
    REASONS.iter().find(|known| **known == reason).copied().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(field: &str, message: &str) -> Cause {
        Cause { reason: "FieldValueInvalid", message: message.into(), field: field.into() }
    }

    #[test]
    fn what_is_said_twice_is_told_once() {
        let causes = vec![cause("a", "x"), cause("a", "x"), cause("b", "x")];
        let status = Status::invalid("", "Pod", "p", causes);
        assert_eq!(status.message, r#"Pod "p" is invalid: [a: x, b: x]"#);
        assert_eq!(status.details.unwrap().causes.len(), 2);
    }

    #[test]
    fn what_was_given_empty_is_shown_empty() {
        let causes =
            vec![cause("a", "Invalid value: null: why"), cause("b", "Invalid value: null")];
        let status = Status::invalid("", "Pod", "p", causes);
        let shown = status.clone().showing(&[("a".to_owned(), "{}"), ("c".to_owned(), "[]")]);
        let wanted = r#"Pod "p" is invalid: [a: Invalid value: {}: why, b: Invalid value: null]"#;
        assert_eq!(shown.message, wanted);
        assert_eq!(status.clone().showing(&[]), status);
    }

    #[test]
    fn worded_as_upstream() {
        assert_eq!(
            Status::not_found("apps", "deployments", "web").message,
            r#"deployments.apps "web" not found"#
        );
        assert_eq!(
            Status::modified("", "pods", "p").message,
            "Operation cannot be fulfilled on pods \"p\": the object has been modified; please \
             apply your changes to the latest version and try again"
        );
    }

    #[test]
    fn survives_the_wire() {
        let cause = Cause {
            reason: "FieldValueRequired",
            message: "Required value".into(),
            field: "spec.containers".into(),
        };
        let status = Status::invalid("", "Pod", "p", vec![cause]);
        assert_eq!(status.message, r#"Pod "p" is invalid: spec.containers: Required value"#);
        assert_eq!(Status::from_value(422, &status.to_value()), status);
    }
}
