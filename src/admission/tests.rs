//! What the built-in plugins add and refuse, worded as upstream.

use super::*;
use crate::api::meta::{GroupResource, Key};
use crate::api::registry::{Called, Plain, Scope};
use crate::api::schema::Schema;
use crate::auth::{Authorization, MASTERS};
use crate::history::{Change, History, Object};
use crate::util::clock::{self, Wall};

mod pods;

fn resource(group: &str, plural: &str, scope: Scope) -> Arc<Resource> {
    Arc::new(Resource {
        called: Called::new(group, "v1", plural),
        group: group.into(),
        version: "v1".into(),
        kind: "Kind".into(),
        list_kind: "KindList".into(),
        plural: plural.into(),
        singular: "kind".into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        verbs: Vec::new(),
        subresources: Vec::new(),
        storage: GroupResource::new(group, plural),
        stored_as: "v1".into(),
        unconditional_update: true,
        create_on_update: false,
        schema: Schema::default(),
        rules: Arc::new(Plain),
        custom: false,
    })
}

pub(super) struct World {
    history: Arc<History>,
    plugins: Plugins,
}

pub(super) fn world() -> World {
    let history = History::new(1, 1 << 20);
    let authorization = Arc::new(Authorization::new(&history));
    let plugins = Plugins::new(Arc::clone(&history), authorization);
    let world = World { history, plugins };
    world.put("namespaces", r#"{"metadata":{"name":"a"}}"#);
    let account = r#"{"metadata":{"name":"default","namespace":"a"},
        "imagePullSecrets":[{"name":"pull"}]}"#;
    world.put("serviceaccounts", account);
    world
}

/// A request without its object.
pub(super) struct Ask<'a> {
    pub operation: Operation,
    pub what: (&'a str, &'a str, &'a str),
    pub namespace: &'a str,
    pub name: &'a str,
    pub old: Option<&'a Value>,
    pub user: UserInfo,
}

impl<'a> Ask<'a> {
    pub fn create(plural: &'a str, namespace: &'a str) -> Self {
        Self {
            operation: Operation::Create,
            what: ("", plural, ""),
            namespace,
            name: "",
            old: None,
            user: UserInfo::system("admin", &[MASTERS]),
        }
    }

    /// Makes the request about an object, and gives the object back.
    fn of(
        &self,
        json: &str,
        then: impl FnOnce(&mut AdmissionRequest<'_>) -> Result<(), Status>,
    ) -> Result<Value, Status> {
        let (group, plural, subresource) = self.what;
        let scope = if self.namespace.is_empty() { Scope::Cluster } else { Scope::Namespaced };
        let mut object = Value::parse(json.as_bytes()).unwrap();
        let mut request = AdmissionRequest {
            operation: self.operation,
            resource: &resource(group, plural, scope),
            subresource,
            namespace: self.namespace,
            name: self.name,
            object: &mut object,
            old: self.old,
            user: &self.user,
            dry_run: false,
            options: &Value::Null,
            warnings: Vec::new(),
        };
        then(&mut request).map(|()| object)
    }
}

impl World {
    pub fn put(&self, resource: &str, json: &str) {
        let tree = Value::parse(json.as_bytes()).unwrap();
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let key = Key::new(&GroupResource::new(group, plural), tree.namespace(), tree.name());
        let fields = match tree.at(&["spec", "nodeName"]).as_str() {
            Some(node) => vec![("spec.nodeName", node.into())],
            None => Vec::new(),
        };
        let revision = self.history.revision() + 1;
        let object = Arc::new(Object::new(key, tree, revision, fields));
        self.history.publish(vec![Change::Put(object)], revision);
    }

    pub fn mutate(&self, ask: &Ask<'_>, json: &str) -> Result<Value, Status> {
        ask.of(json, |request| {
            let done = self.plugins.mutate(request);
            futures_util::FutureExt::now_or_never(done).unwrap()
        })
    }

    pub fn validate(&self, ask: &Ask<'_>, json: &str) -> Result<(), Status> {
        self.judged(ask, json).map(drop)
    }

    /// What the second round warns of.
    fn judged(&self, ask: &Ask<'_>, json: &str) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        ask.of(json, |request| {
            let done = self.plugins.validate(request);
            warnings = futures_util::FutureExt::now_or_never(done).unwrap()?;
            Ok(())
        })?;
        Ok(warnings)
    }

    /// Why the second round refuses.
    pub fn refused(&self, ask: &Ask<'_>, json: &str) -> String {
        self.validate(ask, json).unwrap_err().message
    }

    pub fn refusal(&self, ask: &Ask<'_>, json: &str) -> String {
        self.mutate(ask, json).unwrap_err().message
    }
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_not_there_or_is_going() {
    let world = world();
    let missing = world.mutate(&Ask::create("configmaps", "b"), "{}").unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), (404, "namespaces \"b\" not found"));
    world.put(
        "namespaces",
        r#"{"metadata":{"name":"b","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#,
    );
    let json = r#"{"metadata":{"name":"c"}}"#;
    let going = world.mutate(&Ask::create("configmaps", "b"), json).unwrap_err();
    assert_eq!(
        going.message,
        "configmaps \"c\" is forbidden: unable to create new content in namespace b because it is \
         being terminated"
    );
    let cause = &going.details.unwrap().causes[0];
    assert_eq!(cause.reason, "NamespaceTerminating");
    let update = Ask { operation: Operation::Update, ..Ask::create("configmaps", "b") };
    assert!(world.mutate(&update, json).is_ok(), "what is there may still change");
    assert!(world.mutate(&Ask::create("configmaps", "a"), json).is_ok());
}

#[test]
fn three_namespaces_stay() {
    let world = world();
    let delete = |name| Ask { operation: Operation::Delete, name, ..Ask::create("namespaces", "") };
    assert_eq!(
        world.refusal(&delete("kube-system"), "null"),
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted"
    );
    assert!(world.mutate(&delete("a"), "null").is_ok());
}

const POD: &str = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c"},
    {"name":"own","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount",
    "name":"x"}]}],"initContainers":[{"name":"i"}]}}"#;

#[test]
fn a_pod_gets_its_account_and_token() {
    let world = world();
    let pod = world.mutate(&Ask::create("pods", "a"), POD).unwrap();
    let spec = pod.get("spec");
    assert_eq!(spec.get("serviceAccountName").str(), "default");
    assert_eq!(spec.get("imagePullSecrets").to_string(), r#"[{"name":"pull"}]"#);
    let volume = &spec.get("volumes").items()[0];
    assert!(volume.get("name").str().starts_with("kube-api-access-"));
    assert_eq!(
        volume.get("projected").to_string(),
        r#"{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}]}"#
    );
    let mounts = |list: &str, at: usize| spec.get(list).items()[at].get("volumeMounts").clone();
    assert_eq!(mounts("containers", 0), mounts("initContainers", 0));
    assert_eq!(mounts("containers", 0).items()[0].get("name"), volume.get("name"));
    assert_eq!(mounts("containers", 1).items().len(), 1, "its own mount stays");
}

#[test]
fn a_pod_may_do_without_a_token_but_not_without_an_account() {
    let world = world();
    let json = POD.replace(r#""spec":{"#, r#""spec":{"automountServiceAccountToken":false,"#);
    let pod = world.mutate(&Ask::create("pods", "a"), &json).unwrap();
    assert!(pod.at(&["spec", "volumes"]).is_null());
    let json = POD.replace(r#""spec":{"#, r#""spec":{"serviceAccountName":"x","#);
    assert_eq!(
        world.refusal(&Ask::create("pods", "a"), &json),
        "pods \"p\" is forbidden: error looking up service account a/x: serviceaccount \"x\" not \
         found"
    );
}

#[test]
fn a_pod_gets_priority_and_tolerations() {
    let world = world();
    let pod = world.mutate(&Ask::create("pods", "a"), POD).unwrap();
    let spec = pod.get("spec");
    assert_eq!(spec.get("priority").as_int(), Some(0));
    assert_eq!(spec.get("preemptionPolicy").str(), "PreemptLowerPriority");
    assert_eq!(spec.get("tolerations").items().len(), 2);
    let class = r#"{"metadata":{"name":"system-node-critical"},"value":2000001000}"#;
    world.put("priorityclasses.scheduling.k8s.io", class);
    let json = POD.replace(
        r#""spec":{"#,
        r#""spec":{"priorityClassName":"system-node-critical","tolerations":[{"operator":"Exists"}],"#,
    );
    let pod = world.mutate(&Ask::create("pods", "a"), &json).unwrap();
    assert_eq!(pod.at(&["spec", "priority"]).as_int(), Some(2_000_001_000));
    assert_eq!(pod.at(&["spec", "tolerations"]).items().len(), 1);
    let json = POD.replace(r#""spec":{"#, r#""spec":{"priorityClassName":"nope","#);
    assert_eq!(
        world.refusal(&Ask::create("pods", "a"), &json),
        "pods \"p\" is forbidden: no PriorityClass with name nope was found"
    );
}

#[test]
fn a_pod_of_no_class_is_of_the_default_class() {
    let world = world();
    let classes = "priorityclasses.scheduling.k8s.io";
    let default = r#"{"metadata":{"name":"x"},"value":7,"globalDefault":true,
        "preemptionPolicy":"Never"}"#;
    world.put(classes, default);
    let pod = world.mutate(&Ask::create("pods", "a"), POD).unwrap();
    let spec = pod.get("spec");
    assert_eq!(
        (spec.get("priority").as_int(), spec.get("priorityClassName").str()),
        (Some(7), "x")
    );
    assert_eq!(spec.get("preemptionPolicy").str(), "Never");
    let json = POD.replace(r#""spec":{"#, r#""spec":{"priority":8,"#);
    assert_eq!(
        world.refusal(&Ask::create("pods", "a"), &json),
        "pods \"p\" is forbidden: the integer value of priority (8) must not be provided in pod \
         spec; priority admission controller computed 7 from the given PriorityClass name"
    );
    let class = Ask { what: ("scheduling.k8s.io", "priorityclasses", ""), ..Ask::create("", "") };
    assert_eq!(
        world.refused(&class, r#"{"metadata":{"name":"y"},"globalDefault":true}"#),
        "priorityclasses.scheduling.k8s.io \"y\" is forbidden: PriorityClass x is already marked \
         as default. Only one default can exist"
    );
    let update = Ask { operation: Operation::Update, name: "x", ..class };
    assert!(world.validate(&update, default).is_ok());
    let old = pod.clone();
    let update = Ask { operation: Operation::Update, old: Some(&old), ..Ask::create("pods", "a") };
    let kept = world.mutate(&update, POD).unwrap();
    assert_eq!(kept.at(&["spec", "priority"]).as_int(), Some(7));
}

#[test]
fn a_pod_is_held_to_the_limits_of_its_namespace() {
    let world = world();
    let range = r#"{"metadata":{"name":"r","namespace":"a"},"spec":{"limits":[
        {"type":"Container","default":{"cpu":"2"},"defaultRequest":{"cpu":"1","memory":"1Gi"},
         "min":{"memory":"2Gi"},"maxLimitRequestRatio":{"cpu":"1500m"}},
        {"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"2Gi"}}]}}"#;
    world.put("limitranges", range);
    let json = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c",
        "resources":{"requests":{"memory":"3Gi"}}}],"initContainers":[{"name":"i"}]}}"#;
    let ask = Ask::create("pods", "a");
    let pod = world.mutate(&ask, json).unwrap();
    let needs = |list: &str| pod.at(&["spec", list]).items()[0].get("resources").to_string();
    assert_eq!(
        needs("containers"),
        r#"{"limits":{"cpu":"2"},"requests":{"cpu":"1","memory":"3Gi"}}"#
    );
    assert_eq!(
        pod.at(&["metadata", "annotations", "kubernetes.io/limit-ranger"]).str(),
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c; cpu, \
         memory request for init container i; cpu limit for init container i"
    );
    assert_eq!(
        world.refused(&ask, &pod.to_string()),
        "pods \"p\" is forbidden: [cpu max limit to request ratio per Container is 1500m, but \
         provided ratio is 2.000000, minimum memory usage per Container is 2Gi, but request is \
         1Gi, cpu max limit to request ratio per Container is 1500m, but provided ratio is \
         2.000000]"
    );
    let claim = |storage: &str| {
        format!(
            r#"{{"metadata":{{"name":"v"}},"spec":{{"resources":{{"requests":{{{storage}}}}}}}}}"#
        )
    };
    let ask = Ask::create("persistentvolumeclaims", "a");
    assert!(world.validate(&ask, &claim(r#""storage":"1500Mi""#)).is_ok());
    assert_eq!(
        world.refused(&ask, &claim(r#""storage":"3Gi""#)),
        "persistentvolumeclaims \"v\" is forbidden: maximum storage usage per \
         PersistentVolumeClaim is 2Gi, but request is 3Gi"
    );
}

#[test]
fn a_pod_takes_over_from_its_runtime_class() {
    let world = world();
    let class = r#"{"metadata":{"name":"heavy"},"handler":"runc","overhead":{"podFixed":{"cpu":"1"}},
        "scheduling":{"nodeSelector":{"a":"b"},"tolerations":[{"key":"k","operator":"Exists"}]}}"#;
    world.put("runtimeclasses.node.k8s.io", class);
    let ask = Ask::create("pods", "a");
    let pod = |more: &str| {
        let spec = format!(r#""spec":{{"runtimeClassName":"heavy",{more}"#);
        POD.replace(r#""spec":{"#, &spec)
    };
    let given = r#""tolerations":[{"key":"k","operator":"Equal","value":"x"},{"key":"l"}],"#;
    let made = world.mutate(&ask, &pod(given)).unwrap();
    let spec = made.get("spec");
    assert_eq!(spec.get("overhead").to_string(), r#"{"cpu":"1"}"#);
    assert_eq!(spec.get("nodeSelector").to_string(), r#"{"a":"b"}"#);
    let keys: Vec<&str> =
        spec.get("tolerations").items().iter().map(|one| one.get("key").str()).collect();
    let own = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    assert_eq!(keys, ["l", own[0], own[1], "k"], "what another one covers is left out");
    assert_eq!(
        world.refusal(&ask, &pod(r#""nodeSelector":{"a":"c"},"#)),
        "pods \"p\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[a] = b; \
         pod.spec.nodeSelector[a] = c"
    );
    let differs = "pods \"p\" is forbidden: pod rejected: Pod's Overhead doesn't match \
                   RuntimeClass's defined Overhead";
    assert_eq!(world.refusal(&ask, &pod(r#""overhead":{"cpu":"2"},"#)), differs);
    assert!(world.mutate(&ask, &pod(r#""overhead":{"cpu":"1000m"},"#)).is_ok());
    let bare = POD.replace(r#""spec":{"#, r#""spec":{"overhead":{"cpu":"2"},"#);
    assert_eq!(
        world.refused(&ask, &bare),
        "pods \"p\" is forbidden: pod rejected: Pod Overhead set without corresponding \
         RuntimeClass defined Overhead"
    );
    let other = POD.replace(r#""spec":{"#, r#""spec":{"runtimeClassName":"none","#);
    assert_eq!(
        world.refusal(&ask, &other),
        "pods \"p\" is forbidden: pod rejected: RuntimeClass \"none\" not found"
    );
}

/// Names of quotas and what is used of them then.
fn charged(world: &World, ask: &Ask<'_>, json: &str) -> Result<Vec<String>, Status> {
    let mut told = Vec::new();
    ask.of(json, |request| {
        let charges = world.plugins.charge(request)?;
        for charge in charges {
            let stored = world.history.get(charge.key()).unwrap();
            let Verdict::Becomes(tree) = charge.on(&stored) else { panic!("{charge:?}") };
            told.push(format!("{} {}", tree.name(), tree.at(&["status", "used"])));
        }
        Ok(())
    })?;
    Ok(told)
}

#[test]
fn writes_are_charged_to_the_quotas_that_count_them() {
    let world = world();
    world.put(
        "services",
        r#"{"metadata":{"name":"s","namespace":"a"},"spec":{"type":"NodePort",
        "ports":[{}]}}"#,
    );
    // This one does not say yet what is used: it is counted.
    let new = r#"{"metadata":{"name":"new","namespace":"a"},"spec":{"hard":{"services":"3",
        "services.nodeports":"2","pods":"1"}}}"#;
    world.put("resourcequotas", new);
    let old = r#"{"metadata":{"name":"old","namespace":"a"},"spec":{"hard":{"count/services":"9"}},
        "status":{"hard":{"count/services":"9"},"used":{"count/services":"7"}}}"#;
    world.put("resourcequotas", old);
    let service = r#"{"metadata":{"name":"t"},"spec":{"type":"NodePort","ports":[{}]}}"#;
    let create = Ask::create("services", "a");
    assert_eq!(
        charged(&world, &create, service).unwrap(),
        [
            r#"new {"pods":"0","services":"2","services.nodeports":"2"}"#,
            r#"old {"count/services":"8"}"#
        ]
    );
    let plain = Value::parse(br#"{"metadata":{"name":"t"},"spec":{"ports":[{}]}}"#).unwrap();
    let update = Ask { operation: Operation::Update, old: Some(&plain), ..create };
    assert_eq!(
        charged(&world, &update, service).unwrap(),
        [r#"new {"pods":"0","services":"1","services.nodeports":"2"}"#],
        "an update is charged by the difference"
    );
    let three = service.replace("[{}]", "[{},{},{}]");
    assert_eq!(
        charged(&world, &Ask::create("services", "a"), &three).unwrap_err().message,
        "services \"t\" is forbidden: exceeded quota: new, requested: services.nodeports=3, used: \
         services.nodeports=1, limited: services.nodeports=2"
    );
    assert!(charged(&world, &Ask::create("services", "b"), &three).unwrap().is_empty());
    let binding = Ask { what: ("", "pods", "binding"), ..Ask::create("pods", "a") };
    assert!(charged(&world, &binding, "{}").unwrap().is_empty());
}

#[test]
fn a_charge_holds_for_the_quota_as_it_is_when_it_is_made() {
    let world = world();
    let quota = |hard: &str, used: &str| {
        let hard = format!(r#"{{"hard":{{"secrets":"{hard}"}}}}"#);
        format!(
            r#"{{"metadata":{{"name":"q","namespace":"a"}},"spec":{hard},
            "status":{{"hard":{{"secrets":"9"}},"used":{{"secrets":"{used}"}}}}}}"#
        )
    };
    world.put("resourcequotas", &quota("9", "7"));
    let mut charges = Vec::new();
    let secret = r#"{"metadata":{"name":"s"}}"#;
    let made = Ask::create("secrets", "a").of(secret, |request| {
        charges = world.plugins.charge(request)?;
        Ok(())
    });
    made.unwrap();
    let verdict = |hard: &str, used: &str| {
        world.put("resourcequotas", &quota(hard, used));
        match charges[0].on(&world.history.get(charges[0].key()).unwrap()) {
            Verdict::Becomes(tree) => tree.at(&["status", "used", "secrets"]).str().to_owned(),
            Verdict::Stale => "stale".into(),
            Verdict::Refuses(why) => why,
        }
    };
    assert_eq!(verdict("9", "8"), "9", "somebody else was charged meanwhile");
    assert_eq!(verdict("8", "7"), "stale", "it has become another quota");
    assert_eq!(
        verdict("9", "9"),
        "exceeded quota: q, requested: secrets=1, used: secrets=9, limited: secrets=9"
    );
}

#[test]
fn a_new_node_is_tainted_once() {
    let world = world();
    let node = world.mutate(&Ask::create("nodes", ""), r#"{"metadata":{"name":"n"}}"#).unwrap();
    assert_eq!(node.at(&["spec", "taints"]).items().len(), 1);
    let again = world.mutate(&Ask::create("nodes", ""), &node.to_string()).unwrap();
    assert_eq!(again, node);
}

/// Labels of a namespace for pod security.
fn strict(labels: &str) -> String {
    let labels: Vec<String> = labels
        .split(' ')
        .filter_map(|label| label.split_once('='))
        .map(|(key, value)| format!(r#""pod-security.kubernetes.io/{key}":"{value}""#))
        .collect();
    format!(r#"{{"metadata":{{"name":"a","labels":{{{}}}}}}}"#, labels.join(","))
}

#[test]
fn pods_are_held_to_what_their_namespace_allows() {
    let world = world();
    let pod = r#"{"metadata":{"name":"p"},"spec":{"hostPID":true,"containers":[{"name":"c"}]}}"#;
    let ask = Ask::create("pods", "a");
    assert!(world.judged(&ask, pod).unwrap().is_empty(), "no label, no rule");
    world.put("namespaces", &strict("enforce=baseline warn=restricted warn-version=v1.7"));
    assert_eq!(
        world.refused(&ask, pod),
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces \
         (hostPID=true)"
    );
    let fine = pod.replace("hostPID", "x");
    let warning = "would violate PodSecurity \"restricted:v1.7\": runAsNonRoot != true (pod or \
                   container \"c\" must set securityContext.runAsNonRoot=true)";
    assert_eq!(world.judged(&ask, &fine).unwrap(), [warning]);
    let job = format!(
        r#"{{"metadata":{{"name":"j"}},"spec":{{"jobTemplate":{{"spec":{{"template":{fine}}}}}}}}}"#
    );
    let ask = Ask { what: ("batch", "cronjobs", ""), ..Ask::create("", "a") };
    assert_eq!(world.judged(&ask, &job).unwrap(), [warning]);
    let empty = r#"{"metadata":{"name":"r"},"spec":{}}"#;
    let ask = Ask::create("replicationcontrollers", "a");
    assert!(world.judged(&ask, empty).unwrap().is_empty(), "no template, no pods");
}

#[test]
fn only_what_a_pod_runs_is_judged_again() {
    let world = world();
    world.put("namespaces", &strict("enforce=baseline"));
    let json = r#"{"metadata":{"name":"p"},"spec":{"hostPID":true,
        "containers":[{"name":"c","image":"a"}]}}"#;
    let old = Value::parse(json.as_bytes()).unwrap();
    let part = |subresource| Ask {
        operation: Operation::Update,
        what: ("", "pods", subresource),
        name: "p",
        old: Some(&old),
        ..Ask::create("pods", "a")
    };
    let labelled = json.replace(r#""name":"p""#, r#""name":"p","labels":{"x":"y"}"#);
    assert!(world.validate(&part(""), &labelled).is_ok());
    let other = json.replace(r#""image":"a""#, r#""image":"b""#);
    assert!(world.refused(&part(""), &other).contains("violates PodSecurity"));
    assert!(world.validate(&part("status"), &other).is_ok(), "a status runs nothing");
    assert!(world.refused(&part("resize"), &other).contains("violates PodSecurity"));
    let more = r#""ephemeralContainers":[{"name":"e","image":"c"}],"containers""#;
    let more = json.replace(r#""containers""#, more);
    assert!(world.refused(&part("ephemeralcontainers"), &more).contains("violates PodSecurity"));
    let gone = Ask { operation: Operation::Delete, ..part("") };
    assert!(world.validate(&gone, "null").is_ok());
}

#[test]
fn a_namespace_says_what_can_be_said_of_pods() {
    let world = world();
    let wrong = strict("enforce=strict warn-version=1.25");
    let create = Ask::create("namespaces", "");
    assert_eq!(
        world.refused(&create, &wrong),
        "Namespace \"a\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid \
         value: \"strict\": must be one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.25\": must \
         be \"latest\" or \"v1.x\"]"
    );
    let pod = r#"{"metadata":{"name":"p","namespace":"a"},"spec":{"hostPID":true}}"#;
    world.put("pods", pod);
    world.put("pods", &pod.replace(r#""p""#, r#""o""#));
    let update = |json: &str, old: &str| {
        let old = Value::parse(old.as_bytes()).unwrap();
        let operation = Operation::Update;
        world.judged(
            &Ask { operation, name: "a", old: Some(&old), ..Ask::create("namespaces", "") },
            json,
        )
    };
    assert!(update(&wrong, &wrong).is_ok(), "what was wrong before may stay");
    assert!(update(&wrong, &strict("")).is_err());
    assert_eq!(
        update(&strict("enforce=baseline"), &strict("")).unwrap(),
        [
            "existing pods in namespace \"a\" violate the new PodSecurity enforce level \
             \"baseline:latest\"",
            "o (and 1 other pod): host namespaces"
        ]
    );
    let relaxed = update(&strict("enforce=baseline"), &strict("enforce=restricted")).unwrap();
    assert!(relaxed.is_empty(), "what becomes milder harms no pod");
}

#[test]
fn claims_and_ingresses_get_the_newest_default_class() {
    let world = world();
    let put = |resource: &str, mark: &str, name: &str, second: u8| {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","creationTimestamp":"2026-01-01T00:00:0{second}Z",
            "annotations":{{"{mark}/is-default-class":"true"}}}}}}"#
        );
        world.put(resource, &json);
    };
    let claims = Ask::create("persistentvolumeclaims", "a");
    let class = |json: &str| {
        let claim = world.mutate(&claims, json).unwrap();
        claim.at(&["spec", "storageClassName"]).as_str().map(str::to_owned)
    };
    assert_eq!(class("{}"), None, "there is no class yet");
    for (name, second) in [("old", 1), ("z", 2), ("y", 2)] {
        put("storageclasses.storage.k8s.io", "storageclass.beta.kubernetes.io", name, second);
        put("ingressclasses.networking.k8s.io", "ingressclass.kubernetes.io", name, second);
    }
    assert_eq!(class("{}").as_deref(), Some("y"));
    assert_eq!(class(r#"{"spec":{"storageClassName":""}}"#).as_deref(), Some(""));
    let beta = r#"{"metadata":{"annotations":{"volume.beta.kubernetes.io/storage-class":"x"}}}"#;
    assert_eq!(class(beta), None);
    let what = ("networking.k8s.io", "ingresses", "");
    let ingresses = Ask { what, ..Ask::create("", "a") };
    let class = |json: &str| {
        let ingress = world.mutate(&ingresses, json).unwrap();
        ingress.at(&["spec", "ingressClassName"]).as_str().map(str::to_owned)
    };
    assert_eq!(class("{}").as_deref(), Some("y"));
    let annotated = r#"{"metadata":{"annotations":{"kubernetes.io/ingress.class":"x"}}}"#;
    assert_eq!(class(annotated), None);
}

#[test]
fn what_may_be_in_use_is_protected() {
    let world = world();
    let ask = Ask::create("persistentvolumeclaims", "a");
    let finalizers = |json: &str| {
        let made = world.mutate(&ask, json).unwrap();
        made.metadata().get("finalizers").to_string()
    };
    let own = r#"["kubernetes.io/pvc-protection"]"#;
    assert_eq!(finalizers("{}"), own);
    assert_eq!(finalizers(&format!(r#"{{"metadata":{{"finalizers":{own}}}}}"#)), own);
    let other = r#"{"metadata":{"finalizers":["example.com/x"]}}"#;
    assert_eq!(finalizers(other), r#"["example.com/x","kubernetes.io/pvc-protection"]"#);
    let classes = ("storage.k8s.io", "volumeattributesclasses", "");
    for (what, name) in [(("", "persistentvolumes", ""), "pv"), (classes, "vac")] {
        let ask = Ask { what, ..Ask::create("", "") };
        let made = world.mutate(&ask, "{}").unwrap();
        let wanted = format!(r#"["kubernetes.io/{name}-protection"]"#);
        assert_eq!(made.metadata().get("finalizers").to_string(), wanted);
    }
    let update = Ask { operation: Operation::Update, ..Ask::create("persistentvolumeclaims", "a") };
    assert!(world.mutate(&update, "{}").unwrap().metadata().get("finalizers").is_null());
}

#[test]
fn claims_grow_when_they_are_bound_and_their_class_lets_them() {
    let world = world();
    for (name, grows) in [("fixed", "false"), ("elastic", "true")] {
        let json = format!(r#"{{"metadata":{{"name":"{name}"}},"allowVolumeExpansion":{grows}}}"#);
        world.put("storageclasses.storage.k8s.io", &json);
    }
    let claim = |class: &str, size: &str, phase: &str| {
        format!(
            r#"{{"metadata":{{"name":"v"}},"spec":{{"storageClassName":"{class}","resources":
            {{"requests":{{"storage":"{size}"}}}}}},"status":{{"phase":"{phase}"}}}}"#
        )
    };
    let update = |class: &str, size: &str, phase: &str| {
        let old = Value::parse(claim(class, "1Gi", phase).as_bytes()).unwrap();
        let ask = Ask::create("persistentvolumeclaims", "a");
        let ask = Ask { operation: Operation::Update, old: Some(&old), ..ask };
        world.validate(&ask, &claim(class, size, phase)).map_err(|status| status.message)
    };
    assert_eq!(update("elastic", "2Gi", "Bound"), Ok(()));
    assert_eq!(update("fixed", "1024Mi", "Pending"), Ok(()), "this is no growth");
    assert_eq!(
        update("elastic", "2Gi", "Pending").unwrap_err(),
        "persistentvolumeclaims \"v\" is forbidden: Only bound persistent volume claims can be \
         expanded"
    );
    for class in ["fixed", "gone", ""] {
        assert_eq!(
            update(class, "2Gi", "Bound").unwrap_err(),
            "persistentvolumeclaims \"v\" is forbidden: only dynamically provisioned pvc can be \
             resized and the storageclass that provisions the pvc must support resize"
        );
    }
}

#[test]
fn a_bundle_of_trust_is_published_by_who_may_attest_for_its_signer() {
    let world = world();
    let what = ("certificates.k8s.io", "clustertrustbundles", "");
    let user = || UserInfo::system("jane", &[]);
    let ask = Ask { what, user: user(), ..Ask::create("", "") };
    let bundle = r#"{"metadata":{"name":"a.b:c:d"},"spec":{"signerName":"a.b/c"}}"#;
    assert_eq!(
        world.refused(&ask, bundle),
        "clustertrustbundles.certificates.k8s.io \"a.b:c:d\" is forbidden: user not permitted to \
         attest for signerName \"a.b/c\""
    );
    assert_eq!(world.validate(&ask, r#"{"metadata":{"name":"own"}}"#), Ok(()));
    let master = Ask { what, ..Ask::create("", "") };
    assert_eq!(world.validate(&master, bundle), Ok(()));
    let owned = bundle.replace(r#""name""#, r#""finalizers":["x/y"],"name""#);
    let old = Value::parse(owned.as_bytes()).unwrap();
    let update = Ask { operation: Operation::Update, old: Some(&old), user: user(), ..master };
    assert_eq!(world.validate(&update, bundle), Ok(()), "it still says the same");
}

#[test]
fn a_pod_s_certificate_is_issued_now_by_who_may_sign() {
    let world = world();
    let what = ("certificates.k8s.io", "podcertificaterequests", "status");
    let old = r#"{"metadata":{"name":"p"},"spec":{"signerName":"a.b/c"}}"#;
    let old = Value::parse(old.as_bytes()).unwrap();
    let issued = |at: Wall| {
        let mut new = old.clone();
        new.entry("status").set("notBefore", crate::api::time::format(at));
        new.to_string()
    };
    let update = |user: UserInfo| Ask {
        what,
        operation: Operation::Update,
        name: "p",
        old: Some(&old),
        user,
        ..Ask::create("", "")
    };
    let said = world.refused(&update(UserInfo::system("jane", &[])), &issued(clock::now()));
    assert!(
        said.contains("User \"jane\" is not permitted to \"sign\" for signer \"a.b/c\""),
        "{said}"
    );
    let master = update(UserInfo::system("admin", &[MASTERS]));
    assert_eq!(world.validate(&master, &issued(clock::now())), Ok(()));
    let hour = std::time::Duration::from_secs(3600);
    for time in [clock::now().before(hour), clock::now().after(hour)] {
        let said = world.refused(&master, &issued(time));
        assert!(said.contains("within 5 minutes of kube-apiserver's current time"), "{said}");
    }
}

#[test]
fn no_client_certificate_makes_a_master() {
    use base64::Engine as _;
    let world = world();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = |group: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let text = base64::engine::general_purpose::STANDARD.encode(pem);
        format!(
            r#"{{"metadata":{{"name":"r"}},"spec":{{"signerName":"{signer}","request":"{text}"}}}}"#
        )
    };
    let what = ("certificates.k8s.io", "certificatesigningrequests", "");
    let ask = Ask { what, ..Ask::create("", "") };
    let client = "kubernetes.io/kube-apiserver-client";
    assert_eq!(
        world.refused(&ask, &request(MASTERS, client)),
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    assert_eq!(world.validate(&ask, &request("others", client)), Ok(()));
    assert_eq!(world.validate(&ask, &request(MASTERS, "example.com/x")), Ok(()));
    let nonsense = r#"{"metadata":{"name":"r"},"spec":{"signerName":
        "kubernetes.io/kube-apiserver-client","request":"eA=="}}"#;
    assert!(world.refused(&ask, nonsense).contains("failed to parse CSR: "));
}
