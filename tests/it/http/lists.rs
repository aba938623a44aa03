//! Lists and watches: pages, states, selectors, what is too old, and what is only tried.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rk::api::tree::Value;

use crate::harness::Cluster;
use crate::wire::Wire;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn lists_and_watches_follow_the_rules_of_revisions() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("wait --for=create configmap/kube-root-ca.crt --timeout=30s").ok();
    let wire = Wire::new(&cluster);
    for i in 0..5 {
        let map = format!(r#"{{"metadata":{{"name":"m{i}","labels":{{"n":"{i}"}}}}}}"#);
        wire.post(MAPS, &map).ok();
    }
    options(&wire);
    selectors(&wire);
    dry_runs(&wire);
    generated_names(&wire);
    endings(&wire);
    pages_that_expire(&wire);
}

fn names(list: &Value) -> Vec<String> {
    let name = |item: &Value| item.at(&["metadata", "name"]).str().to_owned();
    list.get("items").items().iter().map(name).filter(|name| name != "kube-root-ca.crt").collect()
}

fn revision(list: &Value) -> u64 {
    list.at(&["metadata", "resourceVersion"]).str().parse().unwrap()
}

/// A query, code, reason, and a part of the message.
const OPTIONS: &[(&str, u16, &str, &str)] = &[
    ("limit=x", 400, "BadRequest", "parsing \"x\": invalid syntax"),
    ("resourceVersion=x", 400, "BadRequest", "Invalid value: \"x\""),
    ("labelSelector=a=b=c", 400, "BadRequest", "found '=', expected: ',' or 'end of string'"),
    ("fieldSelector=a", 400, "BadRequest", "invalid selector: 'a'; can't understand 'a'"),
    ("fieldSelector=spec.x=1", 400, "BadRequest", "\"spec.x\" is not a known field selector"),
    ("continue=xyz", 400, "BadRequest", "invalid continue token: continue key is not valid: "),
    (
        "resourceVersionMatch=Exact",
        422,
        "Invalid",
        "resourceVersionMatch is forbidden unless resourceVersion is provided",
    ),
    (
        "resourceVersionMatch=Some&resourceVersion=1",
        422,
        "Invalid",
        "Unsupported value: \"Some\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
    ),
    (
        "resourceVersionMatch=Exact&resourceVersion=0",
        422,
        "Invalid",
        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
    ),
    ("sendInitialEvents=true", 422, "Invalid", "sendInitialEvents is forbidden for list"),
    (
        "watch=1&sendInitialEvents=true",
        422,
        "Invalid",
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    ),
    (
        "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
        422,
        "Invalid",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
    ),
    ("watch=1&fieldSelector=spec.x=1", 400, "BadRequest", "\"spec.x\" is not a known field"),
    (
        "resourceVersion=999999999999&resourceVersionMatch=NotOlderThan",
        504,
        "Timeout",
        "Too large resource version: 999999999999, current: ",
    ),
];

fn options(wire: &Wire<'_>) {
    for (query, code, reason, part) in OPTIONS {
        let reply = wire.get(&format!("{MAPS}?{query}"));
        let (is, said, message) = reply.status();
        assert_eq!((is, &*said), (*code, *reason), "{query}: {message}");
        assert!(message.contains(part), "{query}: {message}");
    }
    let reply = wire.get(&format!("{MAPS}?resourceVersion=999999999999"));
    assert_eq!(reply.header("retry-after"), "1");
    // A token as browsers and Go send it: encoded in per cent.
    let first = wire.get(&format!("{MAPS}?limit=2")).ok();
    assert_eq!(first.at(&["metadata", "remainingItemCount"]).as_int(), Some(4));
    let token = first.at(&["metadata", "continue"]).str().to_owned();
    let encoded: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let second = wire.get(&format!("{MAPS}?limit=2&continue={encoded}")).ok();
    let again = wire.get(&format!("{MAPS}?limit=2&continue={token}")).ok();
    assert_eq!(second.to_string(), again.to_string());
    let said = wire.get(&format!("{MAPS}?continue={token}&resourceVersion=5"));
    let said = said.refused(400, "BadRequest");
    assert_eq!(said, "specifying resource version is not allowed when using continue");
    // A state that the server still knows.
    let exact = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", revision(&first));
    wire.post(MAPS, r#"{"metadata":{"name":"later"}}"#).ok();
    let then = wire.get(&exact).ok();
    assert_eq!((revision(&then), names(&then).len()), (revision(&first), 5));
    wire.delete(&format!("{MAPS}/later"), "").ok();
}

fn selectors(wire: &Wire<'_>) {
    for (query, wanted) in [
        ("labelSelector=n%20in%20(1,2)", &["m1", "m2"][..]),
        ("labelSelector=n,n!=1,n%20notin%20(0,2,3)", &["m4"]),
        ("labelSelector=!n", &[]),
        ("fieldSelector=metadata.name=m3", &["m3"]),
        ("fieldSelector=metadata.name!=m3,metadata.namespace=default", &["m0", "m1", "m2", "m4"]),
        ("fieldSelector=metadata.namespace=other", &[]),
    ] {
        assert_eq!(names(&wire.get(&format!("{MAPS}?{query}")).ok()), wanted, "{query}");
    }
    let pods = wire.get("/api/v1/pods?fieldSelector=spec.none=1").refused(400, "BadRequest");
    assert_eq!(pods, "field label not supported: spec.none");
    for field in ["spec.nodeName", "status.phase", "status.podIP", "spec.restartPolicy"] {
        wire.get(&format!("/api/v1/pods?fieldSelector={field}=x")).ok();
    }
}

/// Whatever is only tried leaves nothing.
fn dry_runs(wire: &Wire<'_>) {
    let before = wire.get(MAPS).ok().get("items").to_string();
    let dry = |path: &str| format!("{path}?dryRun=All");
    let (m0, new) = (format!("{MAPS}/m0"), r#"{"metadata":{"name":"new"},"data":{"a":"b"}}"#);
    let made = wire.post(&dry(MAPS), new).ok();
    assert!(!made.at(&["metadata", "uid"]).str().is_empty());
    assert_eq!(made.at(&["metadata", "resourceVersion"]).str(), "");
    let said = wire.post(&dry(MAPS), r#"{"metadata":{"name":"m0"}}"#);
    said.refused(409, "AlreadyExists");
    let merged = wire.merge(&dry(&m0), r#"{"data":{"a":"b"}}"#).ok();
    assert_eq!(merged.at(&["data", "a"]).str(), "b");
    wire.put(&dry(&m0), r#"{"metadata":{"name":"m0"},"data":{"a":"b"}}"#).ok();
    wire.call(&dry(&m0), &["-X", "DELETE"]).ok();
    wire.delete(&m0, r#"{"dryRun":["All"]}"#).ok();
    wire.call(&dry(MAPS), &["-X", "DELETE"]).ok();
    // Services get addresses, but keep none.
    let services = "/api/v1/namespaces/default/services";
    let service = r#"{"metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}}"#;
    wire.post(&dry(services), service).ok();
    let after = wire.get(MAPS).ok().get("items").to_string();
    assert_eq!(after, before, "nothing has been written");
    assert!(wire.get(&format!("{services}/s")).code == 404);
}

fn generated_names(wire: &Wire<'_>) {
    let long = "x".repeat(100);
    for (base, cut) in [("gen-", 9), (&*long, 63)] {
        let map = format!(r#"{{"metadata":{{"generateName":"{base}"}}}}"#);
        let made: Vec<Value> = (0..8).map(|_| wire.post(MAPS, &map).ok()).collect();
        let mut names: Vec<&str> =
            made.iter().map(|map| map.at(&["metadata", "name"]).str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 8, "all are different");
        assert!(names.iter().all(|name| name.len() == cut), "{names:?}");
    }
    wire.call(MAPS, &["-X", "DELETE", "--get", "--data-urlencode", "labelSelector=!n"]).ok();
}

/// How watches end and what they say then.
fn endings(wire: &Wire<'_>) {
    let watch = |query: &str| wire.get(&format!("{MAPS}?watch=1&timeoutSeconds=1&{query}"));
    let quiet = watch("resourceVersion=0&labelSelector=n=1");
    let events = quiet.lines();
    assert_eq!(quiet.code, 200);
    assert_eq!(events.len(), 1, "{}", quiet.text());
    assert_eq!(events[0].get("type").str(), "ADDED");
    let marked = watch(
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true\
         &labelSelector=n",
    );
    let events = marked.lines();
    let kinds: Vec<&str> = events.iter().map(|event| event.get("type").str()).collect();
    assert_eq!(kinds[..5], ["ADDED"; 5]);
    assert_eq!(kinds[5..], ["BOOKMARK"; 2], "the end of the initial objects, and where to go on");
    let object = events[5].get("object");
    assert_eq!((object.get("kind").str(), object.get("apiVersion").str()), ("ConfigMap", "v1"));
    let end = object.at(&["metadata", "annotations", "k8s.io/initial-events-end"]);
    assert_eq!(end.str(), "true");
    let none = watch("sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
    assert_eq!(none.text().trim(), "", "only what happens from now on");
    let old = wire.get("/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1").lines();
    assert!(old.len() >= 5, "the old form of a watch");
}

/// More writes than the server remembers: older states are gone, and clients are told.
fn pages_that_expire(wire: &Wire<'_>) {
    let first = wire.get(&format!("{MAPS}?limit=2")).ok();
    let token = first.at(&["metadata", "continue"]).str().to_owned();
    let then = revision(&first);
    let large = "x".repeat(900_000);
    for i in 0..24 {
        let map = format!(r#"{{"metadata":{{"name":"big"}},"data":{{"k{i}":"{large}"}}}}"#);
        match i {
            0 => wire.post(MAPS, &map).ok(),
            _ => wire.put(&format!("{MAPS}/big"), &map).ok(),
        };
    }
    let gone = wire.get(&format!("{MAPS}?limit=2&continue={token}"));
    let resume = gone.json().at(&["metadata", "continue"]).str().to_owned();
    let said = gone.refused(410, "Expired");
    assert!(said.starts_with("The provided continue parameter is too old"), "{said}");
    assert_ne!(resume, "");
    let rest = wire.get(&format!("{MAPS}?continue={resume}")).ok();
    assert!(names(&rest).contains(&"m4".to_owned()) && revision(&rest) > then);
    let exact = format!("{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    let said = wire.get(&exact).refused(410, "Expired");
    assert!(said.contains("too old"), "{said}");
    let events = wire.get(&format!("{MAPS}?watch=1&resourceVersion={then}")).lines();
    assert_eq!(events.len(), 1, "an error, and the end");
    assert_eq!(events[0].get("type").str(), "ERROR");
    assert_eq!(events[0].at(&["object", "code"]).as_int(), Some(410));
    assert_eq!(events[0].at(&["object", "reason"]).str(), "Expired");
    // A token of another make.
    let foreign = URL_SAFE_NO_PAD.encode(br#"{"v":"v0","rv":1,"start":"x"}"#);
    let said = wire.get(&format!("{MAPS}?continue={foreign}")).refused(400, "BadRequest");
    assert!(said.contains("server does not recognize this encoded version"), "{said}");
}
