//! CustomResourceDefinitions and their resources, through kubectl.

use crate::guestbook::eventually;
use crate::harness::Cluster;

/// A definition with all that is not a rule.
pub const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    selectableFields: [{jsonPath: .spec.cronSpec}, {jsonPath: .spec.replicas}]
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What is wanted
            required: [cronSpec]
            properties:
              cronSpec: {type: string, pattern: '^\S+( \S+){4}$', description: When}
              replicas: {type: integer, default: 1, minimum: 1, maximum: 9}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

/// An object of it.
pub fn tab(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn with_definition() -> Cluster {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.apply(DEFINITION).ok();
    cluster.kubectl("wait --for=condition=Established crd --all --timeout=30s").ok();
    cluster
}

#[test]
fn custom_resources_are_resources() {
    let mut cluster = with_definition();
    cluster.apply(&tab("a", r#"{cronSpec: "* * * * 5"}"#)).ok();
    let table = cluster.kubectl("get ct a").ok();
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["a", "*", "*", "*", "*", "5", "1"], "{table}");
    cluster.kubectl("scale ct/a --replicas=3").ok();
    let said = cluster.kubectl("get ct a -o jsonpath={.spec.replicas}/{.metadata.generation}").ok();
    assert_eq!(said, "3/2");
    let status = r#"{"status":{"replicas":2,"conditions":[{"type":"Ready","status":"True"}]}}"#;
    let patch = ["patch", "ct", "a", "--subresource=status", "--type=merge", "-p", status];
    cluster.kubectl_with(&patch, "").ok();
    assert!(cluster.kubectl("get ct a").ok().contains("True"));
    assert_eq!(cluster.kubectl("get ct a -o jsonpath={.metadata.generation}").ok(), "2");
    let old = cluster.kubectl("get crontabs.v1beta1.stable.example.com a -o yaml").ok();
    assert!(old.contains("apiVersion: stable.example.com/v1beta1"), "{old}");
    let explained = cluster.kubectl("explain crontab.spec").ok();
    assert!(explained.contains("What is wanted") && explained.contains("cronSpec"), "{explained}");
    assert!(cluster.kubectl("get all").ok().contains("crontab.stable.example.com/a"));

    cluster.apply(&tab("b", r#"{cronSpec: "* * * * 6", replicas: 2}"#)).ok();

    // They are there at once after a restart.
    cluster.kill();
    cluster.go();
    let selected = cluster.kubectl("get ct --field-selector=spec.replicas=3 -o name").ok();
    assert_eq!(selected, "crontab.stable.example.com/a\n");
    let others = cluster.kubectl("get ct --field-selector=spec.replicas!=3 -o name").ok();
    assert_eq!(others, "crontab.stable.example.com/b\n");
    let said = cluster.kubectl("get ct --field-selector=spec.none=3").fails();
    assert!(said.contains("field label not supported: spec.none"), "{said}");
}

#[test]
fn the_schema_is_law() {
    let cluster = with_definition();
    let said = cluster.apply(&tab("a", r#"{cronSpec: "x", replicas: 10}"#)).fails();
    for wanted in [
        r#"The CronTab "a" is invalid"#,
        r#"spec.cronSpec: Invalid value: "x": spec.cronSpec in body should match"#,
        "spec.replicas: Invalid value: 10: spec.replicas in body should be less than or equal to 9",
    ] {
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
    let said = cluster.apply(&tab("a", "{replicas: x}")).fails();
    let wanted = r#"spec.replicas in body must be of type integer: "string""#;
    assert!(said.contains(wanted) && said.contains("spec.cronSpec: Required value"), "{said}");
    let said = cluster.apply(&tab("a", r#"{cronSpec: "* * * * *", colour: red}"#)).fails();
    assert!(said.contains(r#"unknown field "spec.colour""#), "{said}");
    let relaxed = ["apply", "--validate=false", "-f", "-"];
    let unknown = tab("a", r#"{cronSpec: "* * * * *", colour: red}"#);
    cluster.kubectl_with(&relaxed, &unknown).ok();
    let pruned = cluster.kubectl("get ct a -o jsonpath={.spec}").ok();
    assert_eq!(pruned, r#"{"cronSpec":"* * * * *","replicas":1}"#);
}

#[test]
fn definitions_end_with_their_objects_and_bad_ones_never_begin() {
    let cluster = with_definition();
    cluster.apply(&tab("a", r#"{cronSpec: "* * * * *"}"#)).ok();
    let hold = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    cluster.kubectl_with(&["patch", "ct", "a", "--type=merge", "-p", hold], "").ok();
    cluster.kubectl("delete crd crontabs.stable.example.com --wait=false").ok();
    eventually("the object's deletion", || {
        let path = "get ct a -o jsonpath={.metadata.deletionTimestamp}";
        Some(cluster.kubectl(path).ok()).filter(|at| !at.is_empty()).ok_or("none yet".to_owned())
    });
    let said = cluster.apply(&tab("b", r#"{cronSpec: "* * * * *"}"#)).fails();
    assert!(
        said.contains("create not allowed while custom resource definition is terminating"),
        "{said}"
    );
    let free = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl_with(&["patch", "ct", "a", "--type=merge", "-p", free], "").ok();
    cluster.kubectl("wait --for=delete crd/crontabs.stable.example.com --timeout=30s").ok();
    assert!(!cluster.kubectl("api-resources").ok().contains("crontabs"));

    let rival = DEFINITION.replace("crontabs", "rivals").replace("crontab,", "rival,");
    cluster.apply(DEFINITION).ok();
    cluster.kubectl("wait --for=condition=Established crd --all --timeout=30s").ok();
    cluster.apply(&rival).ok();
    let wait =
        "wait --for=condition=NamesAccepted=false crd/rivals.stable.example.com --timeout=30s";
    cluster.kubectl(wait).ok();
    let crd = cluster.kubectl("get crd rivals.stable.example.com -o yaml").ok();
    assert!(crd.contains("is already in use"), "{crd}");
    let loose = DEFINITION
        .replace("            type: object\n            description", "            description");
    let said = cluster.apply(&loose).fails();
    assert!(
        said.contains("type: Required value: must not be empty for specified object"),
        "{said}"
    );
}
