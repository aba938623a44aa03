//! Every resource of the API by every verb, every subresource and every form of body that there
//! is. Which there must be is read from the source of the `k8s-openapi` crate, so that none is
//! forgotten.

pub mod caller;
pub mod served;
mod steps;

use std::collections::BTreeMap;

use rk::api::tree::Value;

use super::objects;
use crate::harness::Cluster;
use crate::tests;
use caller::Caller;
use served::{Served, Verbs};

/// The namespace in which objects are made.
pub const SPACE: &str = "walk";

/// What has no object of its own to walk: subresources and reviews, with the tests that see them
/// work.
const ELSEWHERE: &[(&str, &str)] = &[
    ("bindings", POSTED),
    ("certificatesigningrequests/approval", CERTIFICATES),
    ("localsubjectaccessreviews", POSTED),
    ("namespaces/finalize", POSTED),
    ("nodes/proxy", "node::streams::a_nodes_server_is_reached_through_the_api"),
    ("pods/attach", "node::streams::a_containers_own_input_and_output_are_attached"),
    ("pods/binding", POSTED),
    ("pods/ephemeralcontainers", POSTED),
    ("pods/eviction", "workloads::budgets::a_drain_waits_for_the_budget"),
    ("pods/exec", "kubectl::streams::exec_runs_programs_with_and_without_a_terminal"),
    ("pods/log", "node::streams::logs_are_read_as_one_asks"),
    ("pods/portforward", "node::streams::ports_of_pods_are_forwarded"),
    ("pods/resize", "node::cases::pods_are_resized_while_they_run"),
    ("pods/proxy", "node::services::pods_and_services_are_proxied"),
    ("selfsubjectaccessreviews", TOKENS),
    ("selfsubjectreviews", TOKENS),
    ("selfsubjectrulesreviews", TOKENS),
    ("serviceaccounts/token", TOKENS),
    ("services/proxy", "node::services::pods_and_services_are_proxied"),
    ("subjectaccessreviews", TOKENS),
    ("tokenreviews", TOKENS),
];

const POSTED: &str = "http::subresources::what_is_posted_acts_on_what_it_names";
const CERTIFICATES: &str = "auth::certificates::what_is_approved_is_signed_and_names_a_user";
const TOKENS: &str = "auth::tokens::tokens_reviews_and_other_names";

/// What every resource with objects of its own can do.
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Resources that upstream gives fewer verbs, and which.
const FEWER: &[(&str, &[&str])] = &[
    ("componentstatuses", &["get", "list"]),
    ("namespaces", &["create", "delete", "get", "list", "patch", "update", "watch"]),
];

/// What upstream does not list in the discovery of its resources.
const UNLISTED: &[&str] = &["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"];

/// The objects by group, version and kind.
pub fn samples() -> BTreeMap<(String, String), Value> {
    let documents =
        [objects::OWN, objects::COMMON].into_iter().flat_map(|text| text.split("\n---\n"));
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).expect("a manifest");
    let mut found: BTreeMap<(String, String), Value> = BTreeMap::new();
    for object in documents.map(parse) {
        let key = |name: &str| object.get(name).str().to_owned();
        found.insert((key("apiVersion"), key("kind")), object);
    }
    found
}

#[test]
fn every_resource_knows_every_verb() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl(&format!("create namespace {SPACE}")).ok();
    cluster.kubectl(&format!("wait -n {SPACE} --for=create sa/default --timeout=60s")).ok();
    let faults = cluster.with_client(async |client| {
        let caller = Caller::new(client);
        let served = served::all(&caller).await;
        let mut faults = holes(&served);
        let mut samples = samples();
        for resource in served.iter().filter(|resource| resource.verbs.contains("create")) {
            match samples.remove(&(resource.api_version(), resource.kind.clone())) {
                Some(object) => faults.extend(steps::walk(&caller, resource, object).await),
                None if is_elsewhere(&resource.plural) => {}
                None => faults.push(format!("{}: no object of this kind", resource.plural)),
            }
        }
        faults.extend(samples.keys().map(|kind| format!("{kind:?} is not served")));
        faults
    });
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn is_elsewhere(name: &str) -> bool {
    ELSEWHERE.iter().any(|(known, _)| *known == name)
}

/// What is missing in what is served, before anything is tried.
fn holes(served: &[Served]) -> Vec<String> {
    let types = served::types_of_the_crate();
    let tests = tests::all();
    let unknown = ELSEWHERE.iter().filter(|(_, test)| !tests.contains(*test));
    let mut faults: Vec<String> = unknown.map(|(_, test)| format!("no test {test}")).collect();
    assert!(types.len() > 70, "the crate has {} types", types.len());
    let is_there = |(group, version, kind): &(String, String, String)| {
        served.iter().any(|resource| {
            let own = resource.group == *group && resource.version == *version;
            (own && resource.kind == *kind)
                || resource.below.iter().any(|(_, below)| below.kind == *kind)
        })
    };
    let missing = types.iter().filter(|kind| !UNLISTED.contains(&&*kind.2) && !is_there(kind));
    faults.extend(missing.map(|kind| format!("{kind:?} is not served")));
    for resource in served {
        let fewer = FEWER.iter().find(|(plural, _)| *plural == resource.plural);
        let wanted: Verbs = match fewer {
            _ if is_elsewhere(&resource.plural) => ["create"].map(str::to_owned).into(),
            Some((_, verbs)) => verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            None => VERBS.iter().map(|verb| (*verb).to_owned()).collect(),
        };
        if resource.verbs != wanted {
            faults.push(format!("{} has the verbs {:?}", resource.plural, resource.verbs));
        }
        for (name, _) in &resource.below {
            let full = format!("{}/{name}", resource.plural);
            if !["status", "scale"].contains(&&**name) && !is_elsewhere(&full) {
                faults.push(format!("{full}: no test is named for it"));
            }
        }
    }
    faults
}
