//! Server-side apply and the owners of fields, as clients see them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Error, ResourceExt};
use serde_json::{Value, json};

use crate::harness::Cluster;

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.invalid/web:1
        ports: [{containerPort: 80}]
";

const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              text: {type: string}
              items:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, size: {type: integer}}
          status:
            type: object
            properties: {phase: {type: string}}
";

/// `manager operation subresource` of each entry.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let line = |entry: &Value| {
        let parts = ["manager", "operation", "subresource"].map(|key| text(entry, key));
        parts.join(" ").trim_end().to_owned()
    };
    entries.iter().map(line).collect()
}

fn seen(cluster: &Cluster, what: &str) -> Value {
    let text = cluster.kubectl(&format!("get {what} -o json --show-managed-fields")).ok();
    serde_json::from_str(&text).expect("an object in JSON")
}

#[test]
fn kubectl_applies_on_the_server() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let apply = |flags: &[&str], manifest: &str| {
        let words = [&["apply", "--server-side", "-f", "-"], flags].concat();
        cluster.kubectl_with(&words, manifest)
    };
    assert_eq!(apply(&[], WEB).ok(), "deployment.apps/web serverside-applied\n");
    let first = seen(&cluster, "deployment web");
    assert_eq!(owners(&first)[0], "kubectl Apply");
    let container = "k:{\"name\":\"web\"}";
    let fields = &first["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"];
    let port = "k:{\"containerPort\":80,\"protocol\":\"TCP\"}";
    assert_eq!(
        fields["f:spec"]["f:containers"][container]["f:ports"][port],
        json!({".": {}, "f:containerPort": {}})
    );
    let plain = cluster.kubectl("get deployment web -o yaml").ok();
    assert!(!plain.contains("managedFields"), "kubectl hides them");

    // Nothing new: nothing is written.
    apply(&[], WEB).ok();
    let again = seen(&cluster, "deployment web");
    let of = |object: &Value| object["metadata"]["managedFields"][0].clone();
    assert_eq!(of(&again), of(&first));

    conflicts(&cluster, &apply);
    takes_over(&cluster, &apply);
    custom(&cluster, &apply);
    cluster.with_client(async |client| {
        kube_applies(&client).await;
        statuses(&client).await;
        clears(&client).await;
    });
}

type Apply<'a> = dyn Fn(&[&str], &str) -> crate::harness::Ran + 'a;

fn conflicts(cluster: &Cluster, apply: &Apply<'_>) {
    cluster.kubectl("scale deployment web --replicas=3").ok();
    let scaled = seen(cluster, "deployment web");
    assert!(owners(&scaled).contains(&"kubectl Update scale".to_owned()), "{scaled}");
    let refused = apply(&[], WEB).fails();
    let told = "error: Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \
                \"scale\" using apps/v1: .spec.replicas\n";
    assert!(refused.starts_with(told), "{refused}");
    apply(&["--force-conflicts"], WEB).ok();
    let forced = seen(cluster, "deployment web");
    assert_eq!(forced["spec"]["replicas"], 1);
    assert!(!owners(&forced).contains(&"kubectl Update scale".to_owned()));
    // What is not applied any more goes, where nobody else has it.
    apply(&[], &WEB.replace(", labels: {app: web}}\nspec", "}\nspec")).ok();
    assert_eq!(seen(cluster, "deployment web")["metadata"]["labels"], Value::Null);
    let unknown = apply(&[], &WEB.replace("replicas: 1", "replicaz: 1")).fails();
    assert!(unknown.contains(".spec.replicaz: field not declared in schema"), "{unknown}");
    apply(&["--dry-run=server"], &WEB.replace("replicas: 1", "replicas: 9")).ok();
    assert_eq!(seen(cluster, "deployment web")["spec"]["replicas"], 1);
}

/// From client-side to server-side apply.
fn takes_over(cluster: &Cluster, apply: &Apply<'_>) {
    let map = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m}}\ndata: {{a: '{value}'}}\n")
    };
    cluster.apply(&map("1")).ok();
    assert_eq!(owners(&seen(cluster, "configmap m")), ["kubectl-client-side-apply Update"]);
    apply(&[], &map("2")).ok();
    let taken = seen(cluster, "configmap m");
    assert_eq!(taken["data"]["a"], "2");
    let moved = ["kubectl-last-applied Apply", "kubectl Apply"];
    assert_eq!(owners(&taken), moved, "kubectl moves what it owned, and owns its note apart");
    let note =
        &taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert!(note.as_str().expect("still noted").contains("\"a\":\"2\""), "{note}");
}

fn custom(cluster: &Cluster, apply: &Apply<'_>) {
    apply(&[], DEFINITION).ok();
    cluster.kubectl("wait --for=condition=Established crd/things.example.com").ok();
    let thing = |items: &str| {
        format!(
            "apiVersion: example.com/v1\nkind: Thing\nmetadata: {{name: t}}\nspec: {{items: \
             [{items}]}}\n"
        )
    };
    apply(&["--field-manager=a"], &thing("{name: x, size: 1}")).ok();
    apply(&["--field-manager=b"], &thing("{name: z, size: 2}")).ok();
    let both = seen(cluster, "things.example.com t");
    assert_eq!(both["spec"]["items"].as_array().expect("items").len(), 2);
    let refused = apply(&["--field-manager=b"], &thing("{name: x, size: 9}")).fails();
    let told = "conflict with \"a\": .spec.items[name=\"x\"].size";
    assert!(refused.contains(told), "{refused}");
    apply(&["--field-manager=a"], &thing("")).ok();
    let left = seen(cluster, "things.example.com t");
    assert_eq!(left["spec"]["items"], json!([{"name": "z", "size": 2}]));
}

async fn kube_applies(client: &Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k"},
            "data": {"a": value}})
    };
    let me = PatchParams::apply("me");
    let made = maps.patch("k", &me, &Patch::Apply(map("1"))).await.expect("made");
    let same = maps.patch("k", &me, &Patch::Apply(map("1"))).await.expect("the same");
    assert_eq!(made.resource_version(), same.resource_version());
    let merge = Patch::Merge(json!({"data": {"a": "2"}}));
    maps.patch("k", &PatchParams::default(), &merge).await.expect("patched");
    let refused = maps.patch("k", &me, &Patch::Apply(map("3"))).await;
    match refused {
        Err(Error::Api(status)) => {
            assert_eq!((status.code, &*status.reason), (409, "Conflict"));
            let details = status.details.as_ref().expect("details");
            assert_eq!(details.causes[0].reason, "FieldManagerConflict");
            assert_eq!(details.causes[0].field, ".data.a");
        }
        other => panic!("no conflict: {other:?}"),
    }
    let forced = maps.patch("k", &me.clone().force(), &Patch::Apply(map("3"))).await;
    assert_eq!(forced.expect("by force").data.expect("data")["a"], "3");
    let nobody = maps.patch("k", &PatchParams::default(), &Patch::Apply(map("3"))).await;
    assert!(matches!(nobody, Err(Error::Api(status)) if status.code == 422));
}

async fn statuses(client: &Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": "n"}})).expect("a node");
    nodes.create(&PostParams::default(), &node).await.expect("a node");
    let status = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {"conditions": [{"type": "Odd", "status": "True"}]}});
    let me = PatchParams::apply("doctor");
    nodes.patch_status("n", &me, &Patch::Apply(status)).await.expect("a status");
    let node = serde_json::to_value(nodes.get("n").await.expect("the node")).expect("JSON");
    assert_eq!(owners(&node)[0], "doctor Apply status");
    let none = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "none"}});
    let absent = nodes.patch_status("none", &me, &Patch::Apply(none)).await;
    assert!(matches!(absent, Err(Error::Api(status)) if status.code == 404));
    nodes.delete("n", &kube::api::DeleteParams::default()).await.expect("deleted");
}

async fn clears(client: &Client) {
    let webs: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let clear = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    let cleared = webs.patch("web", &PatchParams::default(), &clear).await.expect("cleared");
    assert!(cleared.metadata.managed_fields.unwrap_or_default().is_empty());
    let label = Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}));
    let labelled = webs.patch("web", &PatchParams::default(), &label).await.expect("labelled");
    assert!(labelled.metadata.managed_fields.is_none(), "who is not tracked stays so");
}
