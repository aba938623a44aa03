//! Bundles of trust in volumes: chosen by name and by signer, waited for, and kept up to date.

use serde_json::json;

use super::world::World;
use crate::guestbook::eventually;

const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

#[test]
fn bundles_of_trust_reach_pods() {
    let world = World::far();
    let of_signer = format!("clustertrustbundle --field-selector spec.signerName={SIGNER}");
    let own = eventually("the bundle of the API server", || {
        match world.get(&of_signer, "{.items[*].spec.trustBundle}") {
            text if text.is_empty() => Err("there is none".to_owned()),
            text => Ok(text),
        }
    });
    let sources = json!([
        {"clusterTrustBundle": {"path": "signer", "signerName": SIGNER, "labelSelector": {}}},
        {"clusterTrustBundle": {"path": "mine", "name": "mine"}},
        {"clusterTrustBundle": {"path": "absent", "name": "absent", "optional": true}}]);
    let container = json!({"name": "main", "image": "test/busybox:1", "command": ["sleep", "600"],
        "volumeMounts": [{"name": "trust", "mountPath": "/trust"}]});
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "trust", "projected": {"sources": sources}}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trusts"},
        "spec": spec});
    world.cluster.apply(&pod.to_string()).ok();
    eventually("a pod that waits", || match world.kubectl("events --for pod/trusts").out {
        events if events.contains("clustertrustbundle.certificates.k8s.io \"mine\" not found") => {
            Ok(())
        }
        events => Err(events),
    });
    let put = |name: &str| {
        let bundle = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle",
            "metadata": {"name": name}, "spec": {"trustBundle": format!("ours\n{own}")}});
        world.cluster.apply(&bundle.to_string()).ok();
    };
    put("mine");
    world.kubectl("wait --for=condition=Ready pod/trusts --timeout=60s").ok();
    let shown = |file: &str| world.kubectl(&format!("exec trusts -- cat /trust/{file}")).ok();
    assert_eq!(shown("signer").trim(), own.trim());
    assert_eq!(shown("mine").trim(), own.trim());
    assert_eq!(shown("absent"), "");
    put("absent");
    eventually("what has come", || match shown("absent") {
        text if text.trim() == own.trim() => Ok(()),
        text => Err(text),
    });
}
