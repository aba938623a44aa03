//! The roles and bindings that every cluster starts with, and is brought back to at each start.
//!
//! One table each. The names and rules are upstream's for what exists here; roles of controllers
//! are missing, since those run as one user, `system:kube-controller-manager`.

use super::rbac::GROUP;
use super::rule::Rule;
use crate::api::meta::Meta;
use crate::api::tree::Value;

/// A rule on resources: verbs, groups, resources, names; each a list with spaces between. The core
/// group is written `core`.
struct On(&'static str, &'static str, &'static str, &'static str);

/// What a role allows.
enum Grants {
    /// Rules on resources.
    On(&'static [On]),
    /// Reading paths.
    Get(&'static [&'static str]),
    /// Posting to paths.
    Post(&'static [&'static str]),
    /// Everything.
    Everything,
    /// What the ClusterRoles with this label allow.
    Aggregated(&'static str),
}
use Grants::{Aggregated, Everything, Get, Post};

/// A role: namespace (empty: a ClusterRole), name, the role that takes it over, what it allows.
struct Role(&'static str, &'static str, &'static str, Grants);

/// A binding: namespace, name and role; whom it is for as `Kind name`, `ServiceAccount ns:name`.
struct Binding(&'static str, &'static str, &'static [&'static str]);

/// Where nodes get their certificates.
pub const JOIN_PATH: &str = "/rk/v1/join";

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const READ_WRITE: &str = "get list watch create delete deletecollection patch update";

const HEALTH_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];

const NODE: &[On] = &[
    On("create", "authentication.k8s.io", "tokenreviews", ""),
    On("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", ""),
    On(READ, "core", "services", ""),
    On("create get list watch", "core", "nodes", ""),
    On("patch update", "core", "nodes nodes/status", ""),
    On("create delete get list watch", "core", "pods", ""),
    On("patch update", "core", "pods/status", ""),
    On("create", "core", "pods/eviction", ""),
    On(READ, "core", "configmaps secrets", ""),
    On("get", "core", "persistentvolumeclaims persistentvolumes", ""),
    On("get patch update", "core", "persistentvolumeclaims/status", ""),
    On("get", "core", "endpoints serviceaccounts", ""),
    On("create", "core", "serviceaccounts/token", ""),
    On("create patch update", "core events.k8s.io", "events", ""),
    On(READ, "discovery.k8s.io", "endpointslices", ""),
    On(READ, "networking.k8s.io", "networkpolicies", ""),
    On("create delete get patch update", "coordination.k8s.io", "leases", ""),
    On("create get list watch", "certificates.k8s.io", "certificatesigningrequests", ""),
    On(READ, "certificates.k8s.io", "clustertrustbundles", ""),
    On("create get list watch", "certificates.k8s.io", "podcertificaterequests", ""),
    On("get", "storage.k8s.io", "volumeattachments", ""),
    On(READ, "storage.k8s.io", "csidrivers", ""),
    On("create delete get patch update", "storage.k8s.io", "csinodes", ""),
    On(READ, "node.k8s.io", "runtimeclasses", ""),
    On("get", "resource.k8s.io", "resourceclaims", ""),
    On("deletecollection", "resource.k8s.io", "resourceslices", ""),
];

const ADMIN: &[On] = &[
    On("create", "authorization.k8s.io", "localsubjectaccessreviews", ""),
    On(READ_WRITE, GROUP, "rolebindings roles", ""),
];

const EDIT: &[On] = &[
    On(
        READ,
        "core",
        "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
        "",
    ),
    On("impersonate", "core", "serviceaccounts", ""),
    On(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy", ""),
    On("create", "core", "pods/eviction", ""),
    On(
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers \
         replicationcontrollers/scale secrets serviceaccounts services services/proxy",
        "",
    ),
    On("create", "core", "serviceaccounts/token", ""),
    On(
        WRITE,
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets \
         replicasets/scale statefulsets statefulsets/scale",
        "",
    ),
    On(WRITE, "autoscaling", "horizontalpodautoscalers", ""),
    On(WRITE, "batch", "cronjobs jobs", ""),
    On(WRITE, "policy", "poddisruptionbudgets", ""),
    On(WRITE, "networking.k8s.io", "ingresses networkpolicies", ""),
    On(READ_WRITE, "coordination.k8s.io", "leases", ""),
];

const VIEW: &[On] = &[
    On(
        READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods \
         replicationcontrollers replicationcontrollers/scale serviceaccounts services \
         services/status",
        "",
    ),
    On(
        READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status \
         replicationcontrollers/status resourcequotas resourcequotas/status",
        "",
    ),
    On(READ, "core", "namespaces", ""),
    On(READ, "discovery.k8s.io", "endpointslices", ""),
    On(
        READ,
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale \
         deployments/status replicasets replicasets/scale replicasets/status statefulsets \
         statefulsets/scale statefulsets/status",
        "",
    ),
    On(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", ""),
    On(READ, "batch", "cronjobs cronjobs/status jobs jobs/status", ""),
    On(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status", ""),
    On(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies", ""),
];

/// All controllers together. The collector and the namespace controller act on every kind.
const CONTROLLERS: &[On] = &[
    On("delete deletecollection get list patch update watch", "*", "*", ""),
    On(
        "create",
        "core",
        "configmaps endpoints events persistentvolumes pods pods/eviction secrets serviceaccounts \
         serviceaccounts/token",
        "",
    ),
    On("escalate", GROUP, "clusterroles", ""),
    On("create", "authorization.k8s.io", "subjectaccessreviews", ""),
    On("create", "certificates.k8s.io", "clustertrustbundles", ""),
    // As what the controllers approve and sign; for whom they sign is theirs to check.
    On("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
    On(
        "sign",
        "certificates.k8s.io",
        "signers",
        "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet \
         kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown",
    ),
    On("attest", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-serving"),
    On("create", "apps", "controllerrevisions replicasets", ""),
    On("create", "batch", "jobs", ""),
    On("create", "coordination.k8s.io", "leases", ""),
    On("create", "discovery.k8s.io", "endpointslices", ""),
    On("create", "events.k8s.io", "events", ""),
    On("create", "networking.k8s.io", "ipaddresses", ""),
    On("create", "apiregistration.k8s.io", "apiservices", ""),
];

const SCHEDULER: &[On] = &[
    On("create patch update", "core events.k8s.io", "events", ""),
    On("create", "coordination.k8s.io", "leases", ""),
    On("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
    On(READ, "core", "namespaces nodes replicationcontrollers services", ""),
    On("delete get list watch", "core", "pods", ""),
    On("create", "core", "bindings pods/binding", ""),
    On("patch update", "core", "pods/status", ""),
    On(READ, "apps", "replicasets statefulsets", ""),
    On(READ, "policy", "poddisruptionbudgets", ""),
    On("get list patch update watch", "core", "persistentvolumeclaims persistentvolumes", ""),
    On(READ, "scheduling.k8s.io", "priorityclasses", ""),
    On(
        READ,
        "storage.k8s.io",
        "csidrivers csinodes csistoragecapacities storageclasses volumeattachments",
        "",
    ),
];

const ROLES: &[Role] = &[
    Role("", "cluster-admin", "", Everything),
    Role("", "admin", "", Aggregated("admin")),
    Role("", "edit", "admin", Aggregated("edit")),
    Role("", "view", "edit", Aggregated("view")),
    Role("", "system:aggregate-to-admin", "admin", Grants::On(ADMIN)),
    Role("", "system:aggregate-to-edit", "edit", Grants::On(EDIT)),
    Role("", "system:aggregate-to-view", "view", Grants::On(VIEW)),
    Role(
        "",
        "system:discovery",
        "",
        Get(&[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/healthz",
            "/livez",
            "/openapi",
            "/openapi/*",
            "/readyz",
            "/version",
            "/version/",
        ]),
    ),
    Role(
        "",
        "system:monitoring",
        "",
        Get(&[
            "/healthz",
            "/healthz/*",
            "/livez",
            "/livez/*",
            "/metrics",
            "/metrics/slis",
            "/readyz",
            "/readyz/*",
            "/statusz",
        ]),
    ),
    Role(
        "",
        "system:basic-user",
        "",
        Grants::On(&[
            On(
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews selfsubjectrulesreviews",
                "",
            ),
            On("create", "authentication.k8s.io", "selfsubjectreviews", ""),
        ]),
    ),
    Role("", "system:public-info-viewer", "", Get(HEALTH_PATHS)),
    // What a machine needs that is to become a node: the authority, and a certificate.
    Role("", "system:rk:authority-viewer", "", Get(&["/cacerts"])),
    Role("", "system:rk:joiner", "", Post(&[JOIN_PATH])),
    Role(
        "",
        "system:auth-delegator",
        "",
        Grants::On(&[
            On("create", "authentication.k8s.io", "tokenreviews", ""),
            On("create", "authorization.k8s.io", "subjectaccessreviews", ""),
        ]),
    ),
    Role(
        "",
        "system:service-account-issuer-discovery",
        "",
        Get(&[
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        ]),
    ),
    Role("", "system:node", "", Grants::On(NODE)),
    Role(
        "",
        "system:node-proxier",
        "",
        Grants::On(&[
            On("list watch", "core", "endpoints services", ""),
            On(READ, "core", "nodes", ""),
            On("create patch update", "core events.k8s.io", "events", ""),
            On("list watch", "discovery.k8s.io", "endpointslices", ""),
        ]),
    ),
    Role(
        "",
        "system:kubelet-api-admin",
        "",
        Grants::On(&[
            On("get list watch", "core", "nodes", ""),
            On("proxy", "core", "nodes", ""),
            On("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/spec nodes/stats", ""),
        ]),
    ),
    Role(
        "",
        "system:node-bootstrapper",
        "",
        Grants::On(&[On(
            "create get list watch",
            "certificates.k8s.io",
            "certificatesigningrequests",
            "",
        )]),
    ),
    Role(
        "",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        "",
        Grants::On(&[On(
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/nodeclient",
            "",
        )]),
    ),
    Role(
        "",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        "",
        Grants::On(&[On(
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/selfnodeclient",
            "",
        )]),
    ),
    Role(
        "",
        "system:certificates.k8s.io:legacy-unknown-approver",
        "",
        Grants::On(&[On(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/legacy-unknown",
        )]),
    ),
    Role(
        "",
        "system:certificates.k8s.io:kubelet-serving-approver",
        "",
        Grants::On(&[On(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kubelet-serving",
        )]),
    ),
    Role(
        "",
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        "",
        Grants::On(&[On(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client",
        )]),
    ),
    Role(
        "",
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        "",
        Grants::On(&[On(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client-kubelet",
        )]),
    ),
    Role(
        "",
        "system:cluster-trust-bundle-discovery",
        "",
        Grants::On(&[On(READ, "certificates.k8s.io", "clustertrustbundles", "")]),
    ),
    Role("", "system:kube-controller-manager", "", Grants::On(CONTROLLERS)),
    Role("", "system:kube-scheduler", "", Grants::On(SCHEDULER)),
    Role(
        "",
        "system:kube-dns",
        "",
        Grants::On(&[On("list watch", "core", "endpoints services", "")]),
    ),
    Role(
        "kube-system",
        "extension-apiserver-authentication-reader",
        "",
        Grants::On(&[On(READ, "core", "configmaps", "extension-apiserver-authentication")]),
    ),
];

const BINDINGS: &[Binding] = &[
    Binding("", "cluster-admin", &["Group system:masters"]),
    Binding("", "system:monitoring", &["Group system:monitoring"]),
    Binding("", "system:discovery", &["Group system:authenticated"]),
    Binding("", "system:basic-user", &["Group system:authenticated"]),
    Binding(
        "",
        "system:public-info-viewer",
        &["Group system:authenticated", "Group system:unauthenticated"],
    ),
    Binding(
        "",
        "system:rk:authority-viewer",
        &["Group system:authenticated", "Group system:unauthenticated"],
    ),
    Binding("", "system:rk:joiner", &["Group system:bootstrappers", "Group system:nodes"]),
    Binding("", "system:service-account-issuer-discovery", &["Group system:serviceaccounts"]),
    Binding("", "system:cluster-trust-bundle-discovery", &["Group system:serviceaccounts"]),
    // The node authoriser applies this role; upstream's binding has nobody in it either.
    Binding("", "system:node", &[]),
    Binding("", "system:node-proxier", &["User system:kube-proxy"]),
    Binding("", "system:kube-controller-manager", &["User system:kube-controller-manager"]),
    Binding("", "system:kube-scheduler", &["User system:kube-scheduler"]),
    Binding("", "system:kube-dns", &["ServiceAccount kube-system:kube-dns"]),
    Binding(
        "kube-system",
        "extension-apiserver-authentication-reader",
        &["User system:kube-controller-manager", "User system:kube-scheduler"],
    ),
];

fn list(text: &str) -> Vec<String> {
    let item = |item: &str| if item == "core" { String::new() } else { item.to_owned() };
    text.split_whitespace().map(item).collect()
}

fn one(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

fn on_paths(verb: &str, paths: &[&str]) -> Rule {
    let urls = paths.iter().map(|&path| path.to_owned()).collect();
    Rule { verbs: one(verb), urls, ..Rule::default() }
}

impl On {
    fn rule(&self) -> Rule {
        let Self(verbs, groups, resources, names) = self;
        Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: list(names),
            urls: Vec::new(),
        }
    }
}

impl Grants {
    fn rules(&self) -> Vec<Rule> {
        match self {
            Self::On(rules) => rules.iter().map(On::rule).collect(),
            Self::Get(paths) => vec![on_paths("get", paths)],
            Self::Post(paths) => vec![on_paths("post", paths)],
            Self::Everything => {
                let paths = Rule { verbs: one("*"), urls: one("*"), ..Rule::default() };
                vec![On("*", "*", "*", "").rule(), paths]
            }
            Self::Aggregated(_) => Vec::new(),
        }
    }
}

/// What every node may do, as far as the node authoriser's checks let it.
pub fn node_rules() -> Vec<Rule> {
    NODE.iter().map(On::rule).collect()
}

/// What everybody who may do everything holds.
pub fn everything() -> Vec<Rule> {
    Everything.rules()
}

fn new(kind: &str, namespace: &str, name: &str) -> Value {
    let kind = if namespace.is_empty() { format!("Cluster{kind}") } else { kind.to_owned() };
    let mut value = Value::from([
        ("apiVersion", format!("{GROUP}/v1").into()),
        ("kind", kind.into()),
        (
            "metadata",
            Value::from([
                ("name", name.into()),
                ("labels", Value::from([("kubernetes.io/bootstrapping", "rbac-defaults".into())])),
                ("annotations", Value::from([(AUTOUPDATE, "true".into())])),
            ]),
        ),
    ]);
    if !namespace.is_empty() {
        value.entry("metadata").set("namespace", namespace);
    }
    value
}

/// Set to `false` by a user who wants to keep a changed default.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

fn aggregate_label(into: &str) -> String {
    format!("{GROUP}/aggregate-to-{into}")
}

impl Role {
    fn value(&self) -> Value {
        let Self(namespace, name, taken_by, grants) = self;
        let mut value = new("Role", namespace, name);
        if !taken_by.is_empty() {
            let labels = value.entry_at(&["metadata", "labels"]);
            labels.set(&aggregate_label(taken_by), "true");
        }
        if let Aggregated(label) = grants {
            let labels = Value::from([(aggregate_label(label).as_str(), "true".into())]);
            let selector = Value::from([("matchLabels", labels)]);
            value.entry("aggregationRule").set("clusterRoleSelectors", vec![selector]);
        }
        let rules: Vec<Value> = grants.rules().iter().map(Rule::to_value).collect();
        value.set("rules", rules);
        value
    }
}

fn subject(text: &str) -> Value {
    let (kind, name) = text.split_once(' ').unwrap_or(("User", text));
    match name.split_once(':') {
        Some((namespace, name)) if kind == "ServiceAccount" => Value::from([
            ("kind", kind.into()),
            ("namespace", namespace.into()),
            ("name", name.into()),
        ]),
        _ => {
            Value::from([("apiGroup", GROUP.into()), ("kind", kind.into()), ("name", name.into())])
        }
    }
}

impl Binding {
    fn value(&self) -> Value {
        let Self(namespace, name, subjects) = self;
        let mut value = new("RoleBinding", namespace, name);
        let role = if namespace.is_empty() { "ClusterRole" } else { "Role" };
        let role = [("apiGroup", GROUP.into()), ("kind", role.into()), ("name", (*name).into())];
        value.set("roleRef", Value::from(role));
        if !subjects.is_empty() {
            value.set("subjects", subjects.iter().map(|s| subject(s)).collect::<Vec<_>>());
        }
        value
    }
}

/// All roles, then all bindings, with their `apiVersion` and `kind`.
pub fn objects() -> Vec<Value> {
    let roles = ROLES.iter().map(Role::value);
    roles.chain(BINDINGS.iter().map(Binding::value)).collect()
}

/// What a stored default must become: missing rules, subjects, labels and aggregation are added,
/// additions are kept. `None` where nothing is missing, or its user has turned updating off.
pub fn reconciled(stored: &Value, default: &Value) -> Option<Value> {
    if stored.annotation(AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut next = stored.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in default.metadata().get(field).fields() {
            if stored.metadata().get(field).get(key).is_null() {
                next.entry_at(&["metadata", field]).set(key, value.clone());
            }
        }
    }
    let aggregated = !default.get("aggregationRule").is_null();
    if aggregated && stored.get("aggregationRule").is_null() {
        next.set("aggregationRule", default.get("aggregationRule").clone());
    }
    let missing = super::rule::missing(&Rule::all(stored), &Rule::all(default));
    if !aggregated && !missing.is_empty() {
        let (mut rules, own) = (default.get("rules").items().to_vec(), stored.get("rules").items());
        rules.extend(
            own.iter().filter(|rule| !default.get("rules").items().contains(rule)).cloned(),
        );
        next.set("rules", rules);
    }
    let absent = default.get("subjects").items().iter();
    let absent: Vec<Value> =
        absent.filter(|s| !stored.get("subjects").items().contains(s)).cloned().collect();
    if !absent.is_empty() {
        let mut subjects = stored.get("subjects").items().to_vec();
        subjects.extend(absent);
        next.set("subjects", subjects);
    }
    (next != *stored).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kind: &str, name: &str) -> Value {
        let found = |o: &Value| o.get("kind").str() == kind && o.name() == name;
        objects().into_iter().find(found).unwrap()
    }

    #[test]
    fn every_binding_has_its_role() {
        for object in objects() {
            let role = object.get("roleRef");
            if !role.is_null() {
                named(role.get("kind").str(), role.get("name").str());
            }
        }
    }

    #[test]
    fn the_core_group_is_empty_and_lists_are_lists() {
        let view = named("ClusterRole", "system:aggregate-to-view");
        let first = &view.get("rules").items()[0];
        assert_eq!(first.get("apiGroups").to_string(), r#"[""]"#);
        assert_eq!(first.get("verbs").to_string(), r#"["get","list","watch"]"#);
        assert_eq!(view.label("rbac.authorization.k8s.io/aggregate-to-view"), Some("true"));
    }

    #[test]
    fn reconciling_adds_what_is_missing_and_keeps_what_was_added() {
        let default = named("ClusterRole", "system:monitoring");
        assert_eq!(reconciled(&default, &default), None);
        let mut changed = default.clone();
        let own = Value::from([("verbs", vec!["get".into()].into())]);
        changed.set("rules", vec![own.clone()]);
        let next = reconciled(&changed, &default).unwrap();
        assert_eq!(next.get("rules").items().len(), 2);
        assert!(next.get("rules").items().contains(&own));
        changed.entry_at(&["metadata", "annotations"]).set(AUTOUPDATE, "false");
        assert_eq!(reconciled(&changed, &default), None);
    }

    #[test]
    fn reconciling_brings_lost_subjects_back() {
        let default = named("ClusterRoleBinding", "cluster-admin");
        let mut changed = default.clone();
        changed.remove("subjects");
        assert_eq!(reconciled(&changed, &default), Some(default));
    }
}
