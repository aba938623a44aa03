//! Rules in CEL, from the definition to what they refuse.

use crate::harness::Cluster;
use crate::wire::Wire;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GAUGES: &str = "/apis/example.com/v1/namespaces/default/gauges";

/// A definition with rules of every kind.
pub const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gauges, kind: Gauge}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-validations:
        - rule: "self.metadata.name.startsWith('g')"
        properties:
          spec:
            type: object
            x-kubernetes-validations:
            - rule: self.low <= self.high
              messageExpression: "'%d is above %d'.format([self.low, self.high])"
              fieldPath: .low
            - {rule: self.high >= oldSelf.high, message: may only grow}
            - {rule: "!has(self.size) || quantity(self.size).isLessThan(quantity('1Gi'))"}
            properties:
              low: {type: integer, default: 0}
              high: {type: integer, default: 9}
              size: {type: string, maxLength: 20}
              note: {type: string}
          status:
            type: object
            properties:
              seen: {type: integer, x-kubernetes-validations: [{rule: self > 0}]}
"#;

/// An object of it.
pub fn gauge(name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"example.com/v1","kind":"Gauge","metadata":{{"name":"{name}"}},
            "spec":{spec}}}"#
    )
}

fn refused(wire: &Wire<'_>, spec: &str) -> String {
    wire.post(GAUGES, &gauge("g", spec)).refused(422, "Invalid")
}

#[test]
fn rules_hold_for_objects_and_their_status() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.apply(DEFINITION).ok();
    cluster.kubectl("wait --for=condition=Established crd/gauges.example.com --timeout=30s").ok();
    let wire = Wire::new(&cluster);

    let said = refused(&wire, r#"{"low":10}"#);
    assert!(said.contains("spec.low: Invalid value: 10 is above 9"), "{said}");
    let said = refused(&wire, r#"{"size":"2Gi"}"#);
    assert!(said.contains("spec: Invalid value: failed rule: !has(self.size)"), "{said}");
    let said = wire.post(GAUGES, &gauge("x", "{}")).refused(422, "Invalid");
    let wanted = "<nil>: Invalid value: failed rule: self.metadata.name.startsWith('g')";
    assert!(said.contains(wanted), "{said}");

    let path = format!("{GAUGES}/g");
    wire.post(GAUGES, &gauge("g", r#"{"size":"1Mi"}"#)).ok();
    wire.merge(&path, r#"{"spec":{"high":12}}"#).ok();
    let said = wire.merge(&path, r#"{"spec":{"high":11}}"#).refused(422, "Invalid");
    assert!(said.contains("spec: Invalid value: may only grow"), "{said}");
    let status = format!("{path}/status");
    let said = wire.merge(&status, r#"{"status":{"seen":0}}"#).refused(422, "Invalid");
    assert!(said.contains("status.seen: Invalid value: 0: failed rule: self > 0"), "{said}");
    wire.merge(&status, r#"{"status":{"seen":1}}"#).ok();
    what_was_there_before(&wire);
}

/// A rule that comes later is not held against what an update leaves as it was.
fn what_was_there_before(wire: &Wire<'_>) {
    let definition = format!("{DEFINITIONS}/gauges.example.com");
    let made = wire.get(&definition).ok();
    let mut versions = made.at(&["spec", "versions"]).clone();
    let schema = versions.items_mut()[0].entry_at(&["schema", "openAPIV3Schema"]);
    let spec = schema.entry_at(&["properties", "spec"]);
    spec.set("x-kubernetes-validations", vec![[("rule", "self.high < 12".into())].into()]);
    wire.merge(&definition, &format!(r#"{{"spec":{{"versions":{versions}}}}}"#)).ok();

    let path = format!("{GAUGES}/g");
    crate::guestbook::eventually("the new rule holds", || {
        let reply = wire.post(GAUGES, &gauge("g2", r#"{"high":13}"#));
        match reply.status() {
            (422, ..) => Ok(()),
            other => {
                wire.delete(&format!("{GAUGES}/g2"), "");
                Err(format!("{other:?}"))
            }
        }
    });
    wire.merge(&path, r#"{"metadata":{"labels":{"a":"b"}}}"#).ok();
    let said = wire.merge(&path, r#"{"spec":{"note":"x"}}"#).refused(422, "Invalid");
    assert!(said.contains("spec: Invalid value: failed rule: self.high < 12"), "{said}");
}

/// A merge into the definition's schema, and what it is refused for.
const WRONG: &[(&str, &str)] = &[
    (
        r#"{"type":"integer","x-kubernetes-validations":[{"rule":"foo > 1"}]}"#,
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: \
         Invalid value: {\"rule\":\"foo > 1\"}: compilation failed: ERROR: <input>:1:1: undeclared \
         reference to 'foo' (in container '')\n | foo > 1\n | ^",
    ),
    (
        r#"{"type":"array","items":{"type":"string"},
            "x-kubernetes-validations":[{"rule":"self.all(a, self.all(b, a == b))"}]}"#,
        "x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor \
         of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)",
    ),
    (
        r#"{"type":"array","items":{"type":"integer",
            "x-kubernetes-validations":[{"rule":"self >= oldSelf"}]}}"#,
        "oldSelf cannot be used on the uncorrelatable portion of the schema within \
         spec.validation.openAPIV3Schema.properties[spec]",
    ),
];

#[test]
fn rules_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    for (schema, fault) in WRONG {
        let definition = format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
              "metadata":{{"name":"gauges.example.com"}},"spec":{{"group":"example.com",
              "scope":"Cluster","names":{{"plural":"gauges","kind":"Gauge"}},
              "versions":[{{"name":"v1","served":true,"storage":true,"schema":{{
                "openAPIV3Schema":{{"type":"object","properties":{{"spec":{schema}}}}}}}}}]}}}}"#
        );
        let said = wire.post(DEFINITIONS, &definition).refused(422, "Invalid");
        assert!(said.contains(fault), "{schema}: {said}");
    }
}
