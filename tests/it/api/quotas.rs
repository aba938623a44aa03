//! What a namespace may hold: quotas, limit ranges, and the classes of pods.

use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Error};
use serde_json::json;

use crate::guestbook::eventually;
use crate::harness::Cluster;

/// Writers at once.
const WRITERS: usize = 32;
/// What they may make between them.
const ALLOWED: usize = 11;

fn named<T: serde::de::DeserializeOwned>(name: &str, more: serde_json::Value) -> T {
    let mut object = json!({"metadata": {"name": name}});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

#[test]
fn a_namespace_holds_what_its_quotas_and_limits_allow() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("create namespace q").ok();
    cluster.kubectl("wait -n q --for=create configmap/kube-root-ca.crt --timeout=30s").ok();
    cluster.kubectl("wait -n q --for=create serviceaccount/default --timeout=30s").ok();
    cluster.with_client(async |client| {
        Box::pin(many_writers(&client)).await;
        Box::pin(storm(&client)).await;
    });
    pods(&cluster);
    services_and_custom_kinds(&cluster);
    limits(&cluster);
    classes(&cluster);
}

async fn used(quotas: &Api<ResourceQuota>, name: &str, resource: &str) -> String {
    let status = quotas.get(name).await.unwrap().status.unwrap_or_default();
    status.used.and_then(|used| used.get(resource).cloned()).map(|n| n.0).unwrap_or_default()
}

/// However many write at once, no more is made than there may be, and each is counted once.
async fn many_writers(client: &Client) {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), "q");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "q");
    // One is there already: the cluster's authority.
    let hard = json!({"spec": {"hard": {"count/configmaps": (ALLOWED + 1).to_string(),
        "configmaps": "100"}}});
    quotas.create(&PostParams::default(), &named("maps", hard)).await.unwrap();
    let names: Vec<String> = (0..WRITERS).map(|at| format!("m-{at}")).collect();
    let post = PostParams::default();
    let writes = names.iter().map(|name| {
        let (maps, post) = (&maps, &post);
        async move { maps.create(post, &named(name, json!({}))).await.map(drop) }
    });
    let done = futures_util::future::join_all(writes).await;
    let made = done.iter().filter(|result| result.is_ok()).count();
    assert_eq!(made, ALLOWED);
    for refused in done.into_iter().filter_map(Result::err) {
        let Error::Api(status) = refused else { panic!("{refused}") };
        assert_eq!(status.code, 403);
        let why = "is forbidden: exceeded quota: maps, requested: count/configmaps=1, used: \
                   count/configmaps=12, limited: count/configmaps=12";
        assert!(status.message.ends_with(why), "{}", status.message);
    }
    assert_eq!(used(&quotas, "maps", "count/configmaps").await, "12");
    assert_eq!(used(&quotas, "maps", "configmaps").await, "12");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert!(maps.create(&dry, &named("dry", json!({}))).await.is_err());
    let list = ListParams::default().fields("metadata.name!=kube-root-ca.crt");
    maps.delete_collection(&DeleteParams::default(), &list).await.unwrap();
    let mut left = String::new();
    for _ in 0..100 {
        left = used(&quotas, "maps", "count/configmaps").await;
        if left == "1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(left, "1", "what is deleted is given back within seconds");
    maps.create(&post, &named("again", json!({}))).await.unwrap();
    assert_eq!(used(&quotas, "maps", "count/configmaps").await, "2", "charged with the object");
    quotas.delete("maps", &DeleteParams::default()).await.unwrap();
}

/// Through creations and deletions at once a quota is never overdrawn, and in the end it is right.
async fn storm(client: &Client) {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), "q");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "q");
    let hard = json!({"spec": {"hard": {"count/configmaps": "6"}}});
    quotas.create(&PostParams::default(), &named("few", hard)).await.unwrap();
    let (post, delete) = (PostParams::default(), DeleteParams::default());
    let writer = |writer: usize| {
        let (maps, post, delete) = (&maps, &post, &delete);
        async move {
            for round in 0..10 {
                let name = format!("w-{writer}-{round}");
                match maps.create(post, &named(&name, json!({}))).await {
                    Ok(_) if round % 5 == 4 => {}
                    Ok(_) => drop(maps.delete(&name, delete).await.unwrap()),
                    Err(Error::Api(status)) if status.code == 403 => {}
                    Err(error) => panic!("{error}"),
                }
                let there = maps.list(&ListParams::default()).await.unwrap().items.len();
                assert!(there <= 6, "{there} are more than there may be");
            }
        }
    };
    futures_util::future::join_all((0..16).map(writer)).await;
    let there = maps.list(&ListParams::default()).await.unwrap().items.len();
    let mut counted = String::new();
    for _ in 0..100 {
        counted = used(&quotas, "few", "count/configmaps").await;
        if counted == there.to_string() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(counted, there.to_string());
    let list = ListParams::default().fields("metadata.name!=kube-root-ca.crt");
    maps.delete_collection(&delete, &list).await.unwrap();
    quotas.delete("few", &delete).await.unwrap();
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec: {containers: [{name: c, image: x, resources: {requests: {cpu: CPU, memory: 1Gi}}}]}
";

fn pod(name: &str, cpu: &str) -> String {
    POD.replace("NAME", name).replace("CPU", cpu)
}

fn apply(cluster: &Cluster, text: &str) -> crate::harness::Ran {
    cluster.kubectl_with(&["apply", "-n", "q", "-f", "-"], text)
}

fn pods(cluster: &Cluster) {
    cluster.kubectl("create quota cpu -n q --hard=cpu=1,pods=5,limits.memory=2Gi").ok();
    let said = apply(cluster, &pod("a", "600m")).fails();
    let why = "pods \"a\" is forbidden: failed quota: cpu: must specify limits.memory for: c";
    assert!(said.contains(why), "{said}");
    cluster.kubectl("delete quota cpu -n q").ok();
    cluster.kubectl("create quota cpu -n q --hard=cpu=1,pods=5").ok();
    cluster.kubectl("create quota light -n q --hard=pods=0 --scopes=BestEffort").ok();
    apply(cluster, &pod("a", "600m")).ok();
    let said = apply(cluster, &pod("b", "500m")).fails();
    let why = "pods \"b\" is forbidden: exceeded quota: cpu, requested: cpu=500m, used: cpu=600m, \
               limited: cpu=1";
    assert!(said.contains(why), "{said}");
    apply(cluster, &pod("b", "400m")).ok();
    let table = cluster.kubectl("get quota cpu -n q --no-headers").ok();
    assert!(table.contains("cpu: 1/1, pods: 2/5"), "{table}");
    cluster
        .kubectl("patch quota cpu -n q --type=merge -p {\"spec\":{\"hard\":{\"cpu\":\"2\"}}}")
        .ok();
    apply(cluster, &pod("c", "1")).ok();
    let best = "apiVersion: v1\nkind: Pod\nmetadata: {name: d}\n\
                spec: {containers: [{name: c, image: x}]}\n";
    cluster.kubectl("delete quota cpu -n q").ok();
    let said = apply(cluster, best).fails();
    assert!(said.contains("exceeded quota: light, requested: pods=1, used: pods=0"), "{said}");
    cluster.kubectl("delete quota light -n q").ok();
    replicas(cluster);
    cluster.kubectl("delete pods -n q --all --timeout=30s").ok();
}

const REPLICAS: &str = "\
apiVersion: v1
kind: ReplicationController
metadata: {name: rc}
spec:
  replicas: 3
  template: {metadata: {labels: {app: rc}}, spec: {containers: [{name: c, image: x}]}}
";

/// Who makes pods says that the quota does not let it, and no longer when it need not.
fn replicas(cluster: &Cluster) {
    cluster.kubectl("delete pods -n q --all --timeout=30s").ok();
    cluster.kubectl("create quota pair -n q --hard=pods=2").ok();
    apply(cluster, REPLICAS).ok();
    let conditions = || {
        let path = "{.status.replicas}{.status.conditions[*].type}";
        cluster.kubectl(&format!("get rc rc -n q -o jsonpath={path}")).ok()
    };
    let becomes = |wanted: &str| {
        eventually(wanted, || {
            let now = conditions();
            if now == wanted { Ok(()) } else { Err(now) }
        });
    };
    becomes("2ReplicaFailure");
    let events = cluster.kubectl("get events -n q --field-selector reason=FailedCreate").ok();
    assert!(events.contains("exceeded quota: pair, requested: pods=1, used: pods=2"), "{events}");
    cluster.kubectl("scale rc rc -n q --replicas=2").ok();
    becomes("2");
    let shown = cluster.kubectl("describe quota pair -n q").ok();
    assert!(shown.lines().any(|l| l.split_whitespace().eq(["pods", "2", "2"])), "{shown}");
    cluster.kubectl("delete rc rc -n q --timeout=30s").ok();
    cluster.kubectl("delete quota pair -n q").ok();
}

const THINGS: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
";

fn services_and_custom_kinds(cluster: &Cluster) {
    cluster.apply(THINGS).ok();
    cluster.kubectl("wait --for=condition=Established crd/things.example.com --timeout=30s").ok();
    let hard = "services.nodeports=1,services=3,count/things.example.com=1";
    cluster.kubectl(&format!("create quota more -n q --hard={hard}")).ok();
    let thing = |name: &str| {
        format!("---\n{{apiVersion: example.com/v1, kind: Thing, metadata: {{name: {name}}}}}\n")
    };
    apply(cluster, &thing("a")).ok();
    let said = apply(cluster, &thing("b")).fails();
    assert!(said.contains("exceeded quota: more, requested: count/things.example.com=1"), "{said}");
    cluster.kubectl("create service clusterip s -n q --tcp=80").ok();
    cluster.kubectl("create service nodeport t -n q --tcp=80").ok();
    let to_node_port = "patch service s -n q --type=merge -p {\"spec\":{\"type\":\"NodePort\"}}";
    let said = cluster.kubectl(to_node_port).fails();
    let why = "exceeded quota: more, requested: services.nodeports=1, used: services.nodeports=1, \
               limited: services.nodeports=1";
    assert!(said.contains(why), "{said}");
    cluster
        .kubectl("patch service t -n q --type=merge -p {\"spec\":{\"type\":\"ClusterIP\"}}")
        .ok();
    eventually("the node port is given back", || {
        let ran = cluster.kubectl(to_node_port);
        if ran.status.success() { Ok(()) } else { Err(ran.err) }
    });
    cluster.kubectl("delete quota more -n q").ok();
}

const RANGE: &str = "\
apiVersion: v1
kind: LimitRange
metadata: {name: r}
spec:
  limits:
  - {type: Container, default: {cpu: 300m}, defaultRequest: {memory: 2Gi}, max: {memory: 3Gi}}
  - {type: Pod, max: {memory: 5Gi}}
";

fn limits(cluster: &Cluster) {
    apply(cluster, RANGE).ok();
    let shown = cluster.kubectl("describe namespace q").ok();
    assert!(shown.contains("Resource Limits") && shown.contains("300m"), "{shown}");
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n\
                spec: {containers: [{name: c, image: x}]}\n";
    apply(cluster, text).ok();
    let field = |path: &str| cluster.kubectl(&format!("get pod p -n q -o jsonpath={path}")).ok();
    assert_eq!(
        field("{.spec.containers[0].resources.requests}"),
        r#"{"cpu":"300m","memory":"2Gi"}"#
    );
    assert_eq!(field("{.spec.containers[0].resources.limits}"), r#"{"cpu":"300m","memory":"3Gi"}"#);
    assert_eq!(
        field("{.metadata.annotations.kubernetes\\.io/limit-ranger}"),
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for \
         container c"
    );
    let big = text.replace("name: p", "name: big").replace(
        "image: x",
        "image: x, resources: {requests: {memory: 4Gi}, limits: {memory: 6Gi}}",
    );
    let said = apply(cluster, &big).fails();
    let why = "pods \"big\" is forbidden: [maximum memory usage per Container is 3Gi, but limit is \
               6Gi, maximum memory usage per Pod is 5Gi, but limit is 6Gi]";
    assert!(said.contains(why), "{said}");
    cluster.kubectl("delete limits r -n q").ok();
}

const CLASSES: &str = "\
---
{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: heavy}
handler: runc
overhead: {podFixed: {memory: 64Mi}}
scheduling: {nodeSelector: {heavy: \"yes\"}}
";

fn classes(cluster: &Cluster) {
    let table = cluster.kubectl("get priorityclasses --no-headers").ok();
    let names: Vec<&str> = table.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(names, ["system-cluster-critical", "system-node-critical"]);
    assert!(table.contains("2000000000") && table.contains("PreemptLowerPriority"), "{table}");
    cluster.apply(CLASSES).ok();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\n\
                spec: {containers: [{name: c, image: x}], MORE}\n";
    let pod = |name: &str, more: &str| text.replace("NAME", name).replace("MORE", more);
    let said = apply(cluster, &pod("x", "priorityClassName: none")).fails();
    assert!(said.contains("no PriorityClass with name none was found"), "{said}");
    let said = apply(cluster, &pod("x", "runtimeClassName: none")).fails();
    assert!(said.contains("pod rejected: RuntimeClass \"none\" not found"), "{said}");
    apply(cluster, &pod("z", "priorityClassName: high, runtimeClassName: heavy")).ok();
    let path = "{.spec.priority}/{.spec.overhead.memory}/{.spec.nodeSelector.heavy}";
    let shown = cluster.kubectl(&format!("get pod z -n q -o jsonpath={path}")).ok();
    assert_eq!(shown, "1000/64Mi/yes");
    let value = "patch priorityclass high --type=merge -p {\"value\":1}";
    let said = cluster.kubectl(value).fails();
    assert!(said.contains("value: Forbidden: may not be changed in an update."), "{said}");
}
