//! What a new cluster has, and what follows from it: registrations, flow settings, the range of
//! cluster addresses.

use rk::api::tree::Value;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::Wire;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const NETWORKING: &str = "/apis/networking.k8s.io/v1";

#[test]
fn a_new_cluster_tells_what_it_has() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    registrations(&cluster, &wire);
    flow_settings(&cluster, &wire);
    ranges(&wire);
}

/// Waits until what kubectl shows is so.
#[track_caller]
fn shows(cluster: &Cluster, words: &str, fits: impl Fn(&str) -> bool) {
    eventually(words, || match cluster.kubectl(words).ok() {
        text if fits(&text) => Ok(()),
        text => Err(text),
    });
}

/// Every version that is served is registered, those of custom resources for their time.
fn registrations(cluster: &Cluster, wire: &Wire<'_>) {
    let ends = |text: &str, with: &str| text.lines().all(|line| line.contains(with));
    shows(cluster, "get apiservices --no-headers", |text| {
        text.lines().count() >= 22 && ends(text, "Local") && ends(text, "True")
    });
    let core = wire.get(&format!("{SERVICES}/v1.")).ok();
    assert_eq!(core.at(&["spec", "groupPriorityMinimum"]).as_int(), Some(18_000));
    let groups = wire.get("/apis").ok();
    for group in groups.get("groups").items() {
        for version in group.get("versions").items() {
            let name = format!("{}.{}", version.get("version").str(), group.get("name").str());
            if name != "v1.apiregistration.k8s.io" {
                wire.get(&format!("{SERVICES}/{name}")).ok();
            }
        }
    }
    cluster
        .apply(
            r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
            "metadata":{"name":"things.example.com"},"spec":{"group":"example.com",
            "scope":"Cluster","names":{"plural":"things","kind":"Thing"},"versions":[
            {"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}
            ]}}"#,
        )
        .ok();
    cluster.kubectl("wait --for=create apiservice/v1.example.com --timeout=30s").ok();
    cluster.kubectl("wait --for=condition=Available apiservice/v1.example.com --timeout=30s").ok();
    cluster.kubectl("delete crd things.example.com").ok();
    cluster.kubectl("wait --for=delete apiservice/v1.example.com --timeout=30s").ok();
}

/// Upstream's schemas and levels are there, and a schema says whether its level is.
fn flow_settings(cluster: &Cluster, wire: &Wire<'_>) {
    shows(cluster, "get flowschemas --no-headers", |text| {
        text.lines().count() == 11 && text.lines().all(|line| line.trim_end().ends_with("False"))
    });
    let levels = cluster.kubectl("get prioritylevelconfigurations --no-headers").ok();
    assert_eq!(levels.lines().count(), 8, "{levels}");
    let body = r#"{"metadata":{"name":"mine"},"spec":{"priorityLevelConfiguration":{"name":"m"}}}"#;
    wire.post(&format!("{FLOWS}/flowschemas"), body).ok();
    shows(cluster, "get flowschema mine --no-headers", |text| text.trim_end().ends_with("True"));
    let level = r#"{"metadata":{"name":"m"},
        "spec":{"type":"Limited","limited":{"limitResponse":{"type":"Reject"}}}}"#;
    wire.post(&format!("{FLOWS}/prioritylevelconfigurations"), level).ok();
    shows(cluster, "get flowschema mine --no-headers", |text| text.trim_end().ends_with("False"));
}

/// Addresses are objects while Services hold them, and ranges are given out once they are ready.
fn ranges(wire: &Wire<'_>) {
    let space = "/api/v1/namespaces/default/services";
    let ready = |name: &str| {
        let path = format!("{NETWORKING}/servicecidrs/{name}");
        eventually(&path, || {
            let range = wire.get(&path).ok();
            let conditions = range.at(&["status", "conditions"]).items().to_vec();
            match conditions.iter().any(|c| c.get("status").str() == "True") {
                true => Ok(range),
                false => Err(range.to_string()),
            }
        })
    };
    let own = ready("kubernetes");
    assert_eq!(own.at(&["spec", "cidrs"]).to_string(), r#"["10.43.0.0/16"]"#);
    let service = |name: &str, address: &str| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},
            "spec":{{"clusterIP":"{address}","ports":[{{"port":80}}]}}}}"#
        );
        wire.post(space, &body)
    };
    let said = service("far", "10.99.0.5").refused(422, "Invalid");
    assert!(said.contains("not in the valid range. The range of valid IPs is 10.43.0.0/16"));
    let more = r#"{"metadata":{"name":"more"},"spec":{"cidrs":["10.99.0.0/24"]}}"#;
    wire.post(&format!("{NETWORKING}/servicecidrs"), more).ok();
    ready("more");
    service("far", "10.99.0.5").ok();
    let address = format!("{NETWORKING}/ipaddresses/10.99.0.5");
    let told = eventually(&address, || match wire.get(&address) {
        reply if reply.code == 200 => Ok(reply.ok()),
        reply => Err(reply.text()),
    });
    assert_eq!(told.at(&["spec", "parentRef", "name"]).str(), "far");
    held_until_it_is_given_back(wire, space);
    eventually(&address, || match wire.get(&address).code {
        404 => Ok(()),
        code => Err(format!("{code}")),
    });
}

/// A range with addresses that are held does not go, and says why.
fn held_until_it_is_given_back(wire: &Wire<'_>, space: &str) {
    let path = format!("{NETWORKING}/servicecidrs/more");
    wire.delete(&path, "{}").ok();
    let reason = |range: &Value| {
        let conditions = range.at(&["status", "conditions"]).items();
        conditions.first().map(|c| c.get("reason").str().to_owned()).unwrap_or_default()
    };
    eventually(&path, || match wire.get(&path).ok() {
        range if reason(&range) == "Terminating" => Ok(()),
        range => Err(range.to_string()),
    });
    wire.delete(&format!("{space}/far"), "{}").ok();
    eventually(&path, || match wire.get(&path).code {
        404 => Ok(()),
        code => Err(format!("{code}")),
    });
}
