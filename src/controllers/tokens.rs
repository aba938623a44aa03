//! Secrets that are credentials: the tokens of service accounts that ask for a Secret, and the
//! bootstrap tokens whose time is over.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::calls;
use super::runner::{self, Controller, Moment, Next, Plan, Sequel, Views};
use crate::api::meta::{Key, Meta};
use crate::api::time;
use crate::api::tree::Value;
use crate::client::{Call, SECRETS, SERVICEACCOUNTS};
use crate::history::Event;
use crate::util::clock::Wall;

/// The type of a Secret that holds a service account's token.
const ACCOUNT_TYPE: &str = "kubernetes.io/service-account-token";
/// The annotations that say which account it is for; a rule of the API demands the first.
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// The type of a bootstrap token.
const BOOTSTRAP_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Where bootstrap tokens are.
const BOOTSTRAP_NAMESPACE: &str = "kube-system";
/// How long the token of a Secret lasts, in seconds: the longest that can be asked for. It ends
/// with its Secret or its account.
const LIFETIME_S: i64 = 1 << 32;
/// The longest time for which the cleaner sleeps; what the clock does meanwhile is not told.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The row of the controller that fills Secrets with service accounts' tokens, and removes those
/// whose account is gone. `authority` is the server's, as PEM.
pub fn of_accounts(authority: String) -> Controller {
    Controller {
        name: "serviceaccount-token-controller",
        watches: vec![(SECRETS, runner::itself), (SERVICEACCOUNTS, of_account)],
        reconcile: Box::new(move |views, key, _| fill(&authority, views, key)),
    }
}

/// The row of the controller that removes bootstrap tokens when their time is over.
pub fn cleaner() -> Controller {
    Controller {
        name: "token-cleaner-controller",
        watches: vec![(SECRETS, of_bootstrap)],
        reconcile: Box::new(clean),
    }
}

/// The Secrets of an account's namespace that may be for it.
fn of_account(event: &Event, views: &Views) -> Vec<Key> {
    let secrets = views.of(&SECRETS).snapshot();
    let here = secrets.in_namespace(&event.object.header.key.namespace);
    let tokens = here.filter(|secret| secret.header.field("type") == Some(ACCOUNT_TYPE));
    tokens.map(|secret| secret.header.key.clone()).collect()
}

fn of_bootstrap(event: &Event, _: &Views) -> Vec<Key> {
    let header = &event.object.header;
    let ours = header.field("type") == Some(BOOTSTRAP_TYPE)
        && &*header.key.namespace == BOOTSTRAP_NAMESPACE;
    ours.then(|| header.key.clone()).into_iter().collect()
}

/// A Secret of a type as a tree, unless it is on its way out.
fn secret(views: &Views, key: &Key, kind: &str) -> Option<Value> {
    let object = views.of(&SECRETS).get(&key.namespace, &key.name)?;
    let wanted = object.header.field("type") == Some(kind) && !object.header.deleting;
    wanted.then(|| object.tree().ok()).flatten()
}

fn fill(authority: &str, views: &Views, key: &Key) -> Plan {
    let Some(secret) = secret(views, key, ACCOUNT_TYPE) else { return Plan::default() };
    let name = secret.annotation(ACCOUNT_NAME).unwrap_or_default();
    let account = views.of(&SERVICEACCOUNTS).get(&key.namespace, name);
    let uid = secret.annotation(ACCOUNT_UID).unwrap_or_default();
    match account {
        Some(account) if uid.is_empty() || *account.header.uid == *uid => {
            complete(authority, key, secret, &account.header.uid)
        }
        // Without a UID the account may be about to come: manifests make them in any order.
        None if uid.is_empty() => Plan::default(),
        _ => {
            let call = calls::delete(&SECRETS, key, secret.uid());
            Plan { calls: vec![call.into()], ..Plan::default() }
        }
    }
}

/// Adds what a Secret lacks; the token comes last, since it has to be asked for.
fn complete(authority: &str, key: &Key, mut secret: Value, uid: &str) -> Plan {
    let old = secret.clone();
    secret.entry("metadata").entry("annotations").set(ACCOUNT_UID, uid);
    let data = secret.entry("data");
    data.set("ca.crt", STANDARD.encode(authority));
    data.set("namespace", STANDARD.encode(&*key.namespace));
    if data.get("token").is_null() {
        let key = key.clone();
        let then = move |answer: &Value| Next::Call(with_token(&key, secret, answer));
        let sequel = Sequel::new(request(&old), then);
        return Plan { sequels: vec![sequel], ..Plan::default() };
    }
    let call = (secret != old).then(|| calls::update(&SECRETS, key, secret));
    Plan { calls: call.into_iter().map(Into::into).collect(), ..Plan::default() }
}

/// Asks for a token that lives as long as the Secret.
fn request(secret: &Value) -> Call {
    let bound = Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Secret".into()),
        ("name", secret.name().into()),
        ("uid", secret.uid().into()),
    ]);
    let spec = Value::from([("boundObjectRef", bound), ("expirationSeconds", LIFETIME_S.into())]);
    let body = Value::from([
        ("apiVersion", "authentication.k8s.io/v1".into()),
        ("kind", "TokenRequest".into()),
        ("spec", spec),
    ]);
    let name = secret.annotation(ACCOUNT_NAME).unwrap_or_default().to_owned();
    let call = calls::create(&SERVICEACCOUNTS, secret.namespace(), body);
    Call { name, subresource: "token", ..call }
}

fn with_token(key: &Key, mut secret: Value, answer: &Value) -> Call {
    let token = answer.at(&["status", "token"]).str();
    secret.entry("data").set("token", STANDARD.encode(token));
    calls::update(&SECRETS, key, secret)
}

fn clean(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let Some(secret) = secret(views, key, BOOTSTRAP_TYPE) else { return Plan::default() };
    let Some(end) = expiration(&secret) else { return Plan::default() };
    if end > moment.now {
        return Plan { again: Some(end.since(moment.now).min(SLEEP_MAX)), ..Plan::default() };
    }
    let call = calls::delete(&SECRETS, key, secret.uid());
    Plan { calls: vec![call.into()], ..Plan::default() }
}

/// When a bootstrap token's time is over; none for one that lasts, or that says so in no time's
/// form: that one is not let in, but is its owner's to mend.
fn expiration(secret: &Value) -> Option<Wall> {
    let text = STANDARD.decode(secret.at(&["data", "expiration"]).str()).ok()?;
    time::parse(std::str::from_utf8(&text).ok()?)
}

#[cfg(test)]
mod tests;
