//! What every namespace has: a `default` ServiceAccount, and the certificate authority that its
//! pods need to trust the API server.

use super::calls;
use super::runner::{self, Controller, Moment, Plan, Views};
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::{CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS};
use crate::history::Event;

/// The account that pods get which name none.
const ACCOUNT: &str = "default";
/// The ConfigMap with the authority.
const ROOT_CA: &str = "kube-root-ca.crt";

/// The row of the controller that makes accounts.
pub fn service_account() -> Controller {
    Controller {
        name: "serviceaccount-controller",
        watches: vec![(NAMESPACES, runner::itself), (SERVICEACCOUNTS, of_account)],
        reconcile: Box::new(make_account),
    }
}

/// The row of the controller that publishes the authority, given as PEM.
pub fn root_ca(authority: String) -> Controller {
    Controller {
        name: "root-ca-certificate-publisher-controller",
        watches: vec![(NAMESPACES, runner::itself), (CONFIGMAPS, of_config_map)],
        reconcile: Box::new(move |views, key, _| publish(&authority, views, key)),
    }
}

fn namespace_key(name: &str) -> Key {
    Key::new(&NAMESPACES.group_resource(), "", name)
}

fn of_account(event: &Event, _: &Views) -> Vec<Key> {
    let key = &event.object.header.key;
    let lost = event.deleted && &*key.name == ACCOUNT;
    lost.then(|| namespace_key(&key.namespace)).into_iter().collect()
}

fn of_config_map(event: &Event, _: &Views) -> Vec<Key> {
    let key = &event.object.header.key;
    (&*key.name == ROOT_CA).then(|| namespace_key(&key.namespace)).into_iter().collect()
}

/// Whether a namespace is there to stay.
fn lives(views: &Views, key: &Key) -> bool {
    views.of(&NAMESPACES).get("", &key.name).is_some_and(|n| !n.header.deleting)
}

fn make_account(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    if !lives(views, key) || views.of(&SERVICEACCOUNTS).get(&key.name, ACCOUNT).is_some() {
        return Plan::default();
    }
    let account = Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "ServiceAccount".into()),
        ("metadata", Value::from([("name", ACCOUNT.into())])),
    ]);
    let call = calls::create(&SERVICEACCOUNTS, &key.name, account);
    Plan { calls: vec![call.into()], ..Plan::default() }
}

fn publish(authority: &str, views: &Views, key: &Key) -> Plan {
    if !lives(views, key) {
        return Plan::default();
    }
    let data = Value::from([("ca.crt", authority.into())]);
    let old = views.of(&CONFIGMAPS).get(&key.name, ROOT_CA).and_then(|object| object.tree().ok());
    let call = match old {
        Some(old) if *old.get("data") == data => None,
        Some(mut old) => {
            old.set("data", data);
            let own = Key::new(&CONFIGMAPS.group_resource(), &key.name, ROOT_CA);
            Some(calls::update(&CONFIGMAPS, &own, old))
        }
        None => Some(calls::create(&CONFIGMAPS, &key.name, new_root_ca(data))),
    };
    Plan { calls: call.into_iter().map(Into::into).collect(), ..Plan::default() }
}

fn new_root_ca(data: Value) -> Value {
    let description = "Contains a CA bundle that can be used to verify the kube-apiserver when \
                       using internal endpoints such as the internal service IP or \
                       kubernetes.default.svc. No other usage is guaranteed across distributions \
                       of Kubernetes clusters.";
    let annotations = Value::from([("kubernetes.io/description", description.into())]);
    Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "ConfigMap".into()),
        ("metadata", Value::from([("name", ROOT_CA.into()), ("annotations", annotations)])),
        ("data", data),
    ])
}
