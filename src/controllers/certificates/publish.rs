//! Publishes what the API server's certificate is trusted by, as the bundle of its signer.

use aws_lc_rs::digest;

use super::object;
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::{CLUSTERTRUSTBUNDLES as BUNDLES, NAMESPACES};
use crate::controllers::calls;
use crate::controllers::runner::{Controller, Plan, Views};
use crate::history::Event;

/// The signer of the API server's certificate.
const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";
/// A namespace that every cluster has: it wakes the controller at the start.
const ALWAYS: &str = "kube-system";

/// The controller's row; `authority` is the server's, as PEM.
pub fn publisher(authority: String) -> Controller {
    Controller {
        name: "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        watches: vec![(NAMESPACES, at_start), (BUNDLES, of_bundle)],
        reconcile: Box::new(move |views, _, _| publish(&authority, views)),
    }
}

/// One key for all bundles of the signer.
fn whole() -> Key {
    Key::new(&BUNDLES.group_resource(), "", "")
}

fn at_start(event: &Event, _: &Views) -> Vec<Key> {
    (&*event.object.header.key.name == ALWAYS).then(whole).into_iter().collect()
}

fn of_bundle(event: &Event, _: &Views) -> Vec<Key> {
    let ours = event.object.header.field("spec.signerName") == Some(SIGNER);
    ours.then(whole).into_iter().collect()
}

/// The bundle, named after what is in it so that a change is seen by all together, and no other.
fn publish(authority: &str, views: &Views) -> Plan {
    let prefix = SIGNER.replace('/', ":");
    let name = format!("{prefix}:{}", hash(authority));
    let key = Key::new(&BUNDLES.group_resource(), "", &name);
    let bundle = match object(views, &BUNDLES, &key) {
        None => Some(calls::create(&BUNDLES, "", made(&name, authority))),
        Some(old) if old.at(&["spec", "trustBundle"]).str() == authority => None,
        Some(mut old) => {
            old.entry("spec").set("trustBundle", authority);
            Some(calls::update(&BUNDLES, &key, old))
        }
    };
    let all = views.of(&BUNDLES).snapshot();
    let others = all.iter().filter(|bundle| {
        bundle.header.field("spec.signerName") == Some(SIGNER) && *bundle.header.key.name != *name
    });
    let gone = others.filter(|bundle| !bundle.header.deleting);
    let gone = gone.map(|bundle| calls::delete(&BUNDLES, &bundle.header.key, &bundle.header.uid));
    Plan {
        calls: bundle.into_iter().map(Into::into).collect(),
        then: gone.map(Into::into).collect(),
        ..Plan::default()
    }
}

/// What tells a bundle from others: the start of its SHA-256 in hex, as upstream has it.
fn hash(authority: &str) -> String {
    let hash = digest::digest(&digest::SHA256, authority.as_bytes());
    hash.as_ref().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

fn made(name: &str, authority: &str) -> Value {
    let spec = Value::from([("signerName", SIGNER.into()), ("trustBundle", authority.into())]);
    Value::from([
        ("apiVersion", "certificates.k8s.io/v1".into()),
        ("kind", "ClusterTrustBundle".into()),
        ("metadata", Value::from([("name", name.into())])),
        ("spec", spec),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::Meta;
    use crate::client::Verb;
    use crate::controllers::runner::testing;

    fn plan(bundles: &[&str]) -> Vec<(Verb, String)> {
        let fields = || vec![("spec.signerName", SIGNER.into())];
        let bundles = bundles.iter().map(|text| (&BUNDLES, *text, fields()));
        let plan = publish("PEM", &testing::views(&[NAMESPACES, BUNDLES], bundles));
        let steps = plan.calls.into_iter().chain(plan.then).map(|step| step.call);
        let named = |call: crate::client::Call| match call.verb {
            Verb::Create => (call.verb, call.body.name().to_owned()),
            verb => (verb, call.name),
        };
        steps.map(named).collect()
    }

    #[test]
    fn the_signer_has_one_bundle() {
        let [(Verb::Create, name)] = &plan(&[])[..] else { panic!("not made") };
        // The first twelve bytes of what `printf PEM | sha256sum` says.
        assert_eq!(name, "kubernetes.io:kube-apiserver-serving:384fb9a44fabe158be2757b9");
        let good = made(name, "PEM").to_string();
        assert!(plan(&[&good]).is_empty());
        let changed = made(name, "OTHER").to_string();
        assert_eq!(plan(&[&changed]), [(Verb::Update, name.clone())]);
        let old = made("kubernetes.io:kube-apiserver-serving:old", "OLD").to_string();
        let gone = "kubernetes.io:kube-apiserver-serving:old".to_owned();
        assert_eq!(plan(&[&good, &old]), [(Verb::Delete, gone)]);
    }
}
