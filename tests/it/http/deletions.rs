//! Deletions: preconditions, propagation, finalizers, collections.

use rk::api::tree::Value;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::Wire;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn what_is_deleted_goes_as_it_was_asked_to() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    preconditions(&wire);
    refused_options(&wire);
    finalizers(&wire);
    background(&wire);
    orphans(&wire);
    foreground(&wire);
    collections(&wire);
}

fn make(wire: &Wire<'_>, name: &str, more: &str) -> Value {
    wire.post(MAPS, &format!(r#"{{"metadata":{{"name":"{name}"{more}}}}}"#)).ok()
}

fn uid(object: &Value) -> String {
    object.at(&["metadata", "uid"]).str().to_owned()
}

fn path(name: &str) -> String {
    format!("{MAPS}/{name}")
}

fn is_there(wire: &Wire<'_>, name: &str) -> bool {
    wire.get(&path(name)).code == 200
}

#[track_caller]
fn goes(wire: &Wire<'_>, name: &str) {
    eventually(&format!("{name} goes"), || match is_there(wire, name) {
        true => Err("it is still there".to_owned()),
        false => Ok(()),
    });
}

/// An owner and what it owns.
fn family(wire: &Wire<'_>, owner: &str, child: &str) {
    let uid = uid(&make(wire, owner, ""));
    let reference = format!(
        r#","ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"{owner}",
            "uid":"{uid}","blockOwnerDeletion":true}}]"#
    );
    make(wire, child, &reference);
}

fn preconditions(wire: &Wire<'_>) {
    let made = make(wire, "p", "");
    let said = wire.delete(&path("p"), r#"{"preconditions":{"uid":"other"}}"#);
    let said = said.refused(409, "Conflict");
    assert!(said.contains("the UID in the precondition (other) does not match"), "{said}");
    let said = wire.delete(&path("p"), r#"{"preconditions":{"resourceVersion":"1"}}"#);
    let said = said.refused(409, "Conflict");
    assert!(said.contains("the ResourceVersion in the precondition (1)"), "{said}");
    let (uid, revision) = (uid(&made), made.at(&["metadata", "resourceVersion"]).str().to_owned());
    let right = format!(r#"{{"preconditions":{{"uid":"{uid}","resourceVersion":"{revision}"}}}}"#);
    let gone = wire.delete(&path("p"), &right).ok();
    assert_eq!((gone.get("kind").str(), gone.get("status").str()), ("Status", "Success"));
    assert_eq!(gone.at(&["details", "uid"]).str(), uid);
    wire.delete(&path("p"), "").refused(404, "NotFound");
}

fn refused_options(wire: &Wire<'_>) {
    make(wire, "o", "");
    for (options, part) in [
        (r#"{"propagationPolicy":"Sideways"}"#, "Unsupported value: \"Sideways\""),
        (r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#, "cannot be both set"),
        (r#"{"dryRun":["Some"]}"#, "Unsupported value: [\"Some\"]"),
    ] {
        let said = wire.delete(&path("o"), options).refused(422, "Invalid");
        assert!(said.contains(part), "{said}");
    }
    wire.delete(&path("o"), r#"{"gracePeriodSeconds":"soon"}"#).refused(400, "BadRequest");
    wire.delete(&path("o"), "{").refused(400, "BadRequest");
    assert!(is_there(wire, "o"), "what was refused harms nobody");
}

fn finalizers(wire: &Wire<'_>) {
    make(wire, "f", r#","finalizers":["example.com/hold"]"#);
    let marked = wire.delete(&path("f"), "").ok();
    assert!(!marked.at(&["metadata", "deletionTimestamp"]).is_null(), "{marked}");
    wire.delete(&path("f"), "").ok();
    let more = r#"{"metadata":{"finalizers":["example.com/hold","example.com/more"]}}"#;
    let said = wire.merge(&path("f"), more).refused(422, "Invalid");
    assert!(
        said.contains("no new finalizers can be added if the object is being deleted"),
        "{said}"
    );
    wire.merge(&path("f"), r#"{"data":{"still":"changed"}}"#).ok();
    wire.post(MAPS, r#"{"metadata":{"name":"f"}}"#).refused(409, "AlreadyExists");
    wire.merge(&path("f"), r#"{"metadata":{"finalizers":null}}"#).ok();
    assert!(!is_there(wire, "f"));
}

fn background(wire: &Wire<'_>) {
    family(wire, "b", "b-child");
    wire.call(&format!("{}?propagationPolicy=Background", path("b")), &["-X", "DELETE"]).ok();
    assert!(!is_there(wire, "b"));
    goes(wire, "b-child");
}

fn orphans(wire: &Wire<'_>) {
    family(wire, "x", "x-child");
    wire.delete(&path("x"), r#"{"propagationPolicy":"Orphan"}"#).ok();
    goes(wire, "x");
    let child = wire.get(&path("x-child")).ok();
    assert!(child.at(&["metadata", "ownerReferences"]).items().is_empty(), "{child}");
}

fn foreground(wire: &Wire<'_>) {
    family(wire, "y", "y-child");
    wire.merge(&path("y-child"), r#"{"metadata":{"finalizers":["example.com/hold"]}}"#).ok();
    let marked = wire.delete(&path("y"), r#"{"propagationPolicy":"Foreground"}"#).ok();
    assert_eq!(marked.at(&["metadata", "finalizers"]).to_string(), r#"["foregroundDeletion"]"#);
    eventually("the child is being deleted", || {
        let child = wire.get(&path("y-child")).ok();
        let marked = !child.at(&["metadata", "deletionTimestamp"]).is_null();
        if marked { Ok(()) } else { Err(child.to_string()) }
    });
    assert!(is_there(wire, "y"), "the owner waits for what it owns");
    wire.merge(&path("y-child"), r#"{"metadata":{"finalizers":null}}"#).ok();
    goes(wire, "y");
    assert!(!is_there(wire, "y-child"));
}

fn collections(wire: &Wire<'_>) {
    for (name, team) in [("c1", "a"), ("c2", "a"), ("c3", "b"), ("c4", "b")] {
        make(wire, name, &format!(r#","labels":{{"team":"{team}"}}"#));
    }
    let query = "labelSelector=team=a&fieldSelector=metadata.name!=c2";
    let gone = wire.call(&format!("{MAPS}?{query}"), &["-X", "DELETE"]).ok();
    assert_eq!((gone.get("kind").str(), gone.get("items").items().len()), ("ConfigMapList", 1));
    let left = ["c1", "c2", "c3", "c4"].map(|name| is_there(wire, name));
    assert_eq!(left, [false, true, true, true]);
    let said = wire.call("/api/v1/configmaps", &["-X", "DELETE"]);
    said.refused(405, "MethodNotAllowed");
    wire.call(&format!("{MAPS}?labelSelector=team"), &["-X", "DELETE"]).ok();
    assert!(!is_there(wire, "c3"));
}
