//! Where a webhook is called: by a URL, or at a Service.

use crate::api::kinds::check::{At, Rule};
use crate::api::kinds::text;
use crate::api::registry::Errors;

const FORM: &str = "; desired format: https://host[/path]";

/// Checks a `clientConfig`.
pub(super) fn config(at: At<'_>, errors: &mut Errors) {
    let (url, service) = (at.field("url"), at.field("service"));
    match (url.is_null(), service.is_null()) {
        (true, true) | (false, false) => {
            errors.required(at, "exactly one of url or service is required");
        }
        (false, true) => self::url(url, errors),
        (true, false) => self::service(service, errors),
    }
}

/// Only `https`, and no more than a host and a path.
fn url(at: At<'_>, errors: &mut Errors) {
    let whole = at.value().str();
    let (rest, fragment) = whole.split_once('#').unwrap_or((whole, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once(':').unwrap_or(("", rest));
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority = &authority[..authority.find('/').unwrap_or(authority.len())];
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let mut refuse = |shown: &str, why: String| errors.invalid(at, &shown.into(), &why);
    if !scheme.eq_ignore_ascii_case("https") {
        refuse(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        refuse(host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        refuse(user, "user information is not permitted in the URL".to_owned());
    }
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL".to_owned());
    }
    if !query.is_empty() {
        refuse(query, "query parameters are not permitted in the URL".to_owned());
    }
}

fn service(at: At<'_>, errors: &mut Errors) {
    Rule::Required("").check(at.field("name"), errors);
    Rule::Required("").check(at.field("namespace"), errors);
    let port = at.field("port");
    if port.as_int().is_some_and(|port| !(1..=65_535).contains(&port)) {
        let why = format!("port is not valid: {}", text::between(1, 65_535));
        errors.invalid(port, &port, &why);
    }
    let path = at.field("path");
    match path.value().str() {
        "" | "/" => {}
        "//" => errors.invalid(path, &path, "segment[0] may not be empty"),
        text => segments(path, text, errors),
    }
}

fn segments(at: At<'_>, path: &str, errors: &mut Errors) {
    if !path.starts_with('/') {
        errors.invalid(at, &at, "must start with a '/'");
    }
    // As upstream: the first character goes, be it a slash or not.
    let inner: &str = path.char_indices().nth(1).map_or("", |(second, _)| &path[second..]);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (number, segment) in inner.split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(at, &at, &format!("segment[{number}] may not be empty"));
            continue;
        }
        for fault in text::dns_subdomain(segment) {
            errors.invalid(at, &at, &format!("segment[{number}]: {fault}"));
        }
    }
}
