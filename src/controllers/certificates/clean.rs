//! Removes requests whose time is over.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{conditions, has, object};
use crate::api::meta::{Key, Meta};
use crate::api::time;
use crate::api::tree::Value;
use crate::client::{
    CERTIFICATESIGNINGREQUESTS as REQUESTS, Gvr, PODCERTIFICATEREQUESTS as OF_PODS,
};
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Moment, Plan, Views};
use crate::util::clock::Wall;
use crate::util::x509::{self, Certificate};

/// How long a request stays that was issued, denied or has failed.
const DECIDED: Duration = Duration::from_secs(3600);
/// How long one stays that waits.
const PENDING: Duration = Duration::from_secs(24 * 3600);
/// How long a pod's stays, which is made anew for each certificate.
const OF_POD: Duration = Duration::from_secs(15 * 60);
/// The longest time for which a cleaner sleeps; what the clock does meanwhile is not told.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The row of the controller that removes CertificateSigningRequests.
pub fn cleaner() -> Controller {
    Controller {
        name: "certificatesigningrequest-cleaner-controller",
        watches: vec![(REQUESTS, runner::itself)],
        reconcile: Box::new(|views, key, moment| clean(&REQUESTS, end, views, key, moment)),
    }
}

/// The row of the controller that removes PodCertificateRequests.
pub fn pod_cleaner() -> Controller {
    let end = |object: &Value| Some(object.created()?.after(OF_POD));
    Controller {
        name: "podcertificaterequest-cleaner-controller",
        watches: vec![(OF_PODS, runner::itself)],
        reconcile: Box::new(move |views, key, moment| clean(&OF_PODS, end, views, key, moment)),
    }
}

/// Removes an object whose end, as a function tells it, has come.
fn clean(
    resource: &Gvr,
    end: impl Fn(&Value) -> Option<Wall>,
    views: &Views,
    key: &Key,
    moment: Moment<'_>,
) -> Plan {
    let Some(object) = object(views, resource, key) else { return Plan::default() };
    let Some(end) = end(&object) else { return Plan::default() };
    if end > moment.now {
        let again = Some(end.since(moment.now).min(SLEEP_MAX));
        return Plan { again, ..Plan::default() };
    }
    let call = calls::delete(resource, key, object.uid());
    Plan { calls: vec![call.into()], ..Plan::default() }
}

/// When a request is over: the first of all reasons. Without conditions it waits since it was made.
fn end(object: &Value) -> Option<Wall> {
    let certificate = object.at(&["status", "certificate"]).str();
    let after = |kind: &'static str, stays: Duration| {
        let told = conditions(object, kind);
        let told = told.filter_map(|c| time::parse(c.get("lastUpdateTime").str()));
        told.map(move |told| told.after(stays)).min()
    };
    let approved = if certificate.is_empty() { PENDING } else { DECIDED };
    let waits = object.at(&["status", "conditions"]).items().is_empty();
    let pending = object.created().filter(|_| waits).map(|made| made.after(PENDING));
    let expires = expiry(certificate).filter(|_| has(object, "Approved"));
    let ends = [
        after("Approved", approved),
        after("Denied", DECIDED),
        after("Failed", DECIDED),
        pending,
        expires,
    ];
    ends.into_iter().flatten().min()
}

/// When an issued certificate expires.
fn expiry(certificate: &str) -> Option<Wall> {
    let pem = STANDARD.decode(certificate).ok()?;
    let first = x509::blocks(&pem).into_iter().next()?;
    Some(Certificate::of_der(first.contents()).ok()?.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(status: &str) -> Option<u64> {
        let text = format!(
            r#"{{"metadata":{{"name":"r","creationTimestamp":"2026-01-01T00:00:00Z"}},
            "status":{{{status}}}}}"#
        );
        let made = time::parse("2026-01-01T00:00:00Z").unwrap();
        let end = end(&Value::parse(text.as_bytes()).unwrap())?;
        Some(end.since(made).as_secs() / 3600)
    }

    #[test]
    fn each_state_has_its_time() {
        let condition = |kind: &str| {
            format!(r#""conditions":[{{"type":"{kind}","lastUpdateTime":"2026-01-01T02:00:00Z"}}]"#)
        };
        assert_eq!(hours(""), Some(24), "it waits");
        assert_eq!(hours(&condition("Approved")), Some(26), "nobody signs it");
        let issued = format!(r#"{},"certificate":"eA==""#, condition("Approved"));
        assert_eq!(hours(&issued), Some(3));
        assert_eq!(hours(&condition("Denied")), Some(3));
        assert_eq!(hours(&condition("Failed")), Some(3));
        assert_eq!(hours(&condition("Mine")), None, "its signer is at work");
    }
}
