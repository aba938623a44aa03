//! Endpoints that are kept by hand, and the slices that are made of them.

use crate::guestbook::eventually;
use crate::harness::Cluster;

#[test]
fn endpoints_kept_by_hand_are_mirrored_into_slices() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster
        .apply(
            "apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, labels: {tier: data}}
subsets: [{addresses: [{ip: 192.0.2.1}], notReadyAddresses: [{ip: 192.0.2.2}],
  ports: [{port: 5432}]}]
",
        )
        .ok();
    let slice = "get endpointslices -l kubernetes.io/service-name=db -o jsonpath=";
    let wait = |path: &str, wanted: &str| {
        eventually(path, || {
            let told = cluster.kubectl(&format!("{slice}{path}")).ok();
            if told == wanted { Ok(()) } else { Err(told) }
        });
    };
    wait("{.items[*].endpoints[*].addresses[0]}", "192.0.2.1 192.0.2.2");
    wait("{.items[*].endpoints[*].conditions.ready}", "true false");
    wait("{.items[*].metadata.labels.tier}", "data");
    let manager = "{.items[*].metadata.labels.endpointslice\\.kubernetes\\.io/managed-by}";
    wait(manager, "endpointslicemirroring-controller.k8s.io");
    cluster.kubectl("label endpoints db tier=other --overwrite").ok();
    wait("{.items[*].metadata.labels.tier}", "other");
    cluster.kubectl("label endpoints db endpointslice.kubernetes.io/skip-mirror=true").ok();
    wait("{.items[*].metadata.name}", "");
    cluster.kubectl("label endpoints db endpointslice.kubernetes.io/skip-mirror-").ok();
    wait("{.items[*].endpoints[*].addresses[0]}", "192.0.2.1 192.0.2.2");
    cluster.kubectl("delete endpoints db").ok();
    wait("{.items[*].metadata.name}", "");
    let own = "get endpointslices kubernetes -o jsonpath={.metadata.labels}";
    let own = cluster.kubectl(own).ok();
    assert_eq!(own, r#"{"kubernetes.io/service-name":"kubernetes"}"#);
}
