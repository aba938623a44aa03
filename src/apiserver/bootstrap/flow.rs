//! The flow schemas and priority levels that upstream makes, mandatory and suggested: clients and
//! operators look for them by name, and a cluster that moves to rk or from it finds the same.

use super::object;
use crate::api::tree::Value;

const VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// A level: name, shares, how many percent of them it lends, and its queues, with the size of a
/// hand. One without queues refuses; one without shares is exempt.
struct Level(&'static str, i64, i64, Option<(i64, i64)>);

const LEVELS: &[Level] = &[
    Level("catch-all", 5, 0, None),
    Level("exempt", 0, 0, None),
    Level("global-default", 20, 50, Some((128, 6))),
    Level("leader-election", 10, 0, Some((16, 4))),
    Level("node-high", 40, 25, Some((64, 6))),
    Level("system", 30, 33, Some((64, 6))),
    Level("workload-high", 40, 50, Some((128, 6))),
    Level("workload-low", 100, 90, Some((128, 6))),
];

/// How many requests wait in one queue.
const QUEUE_LENGTH_MAX: i64 = 50;

/// What a schema matches.
enum Matches {
    /// Every request.
    All,
    /// Looking whether the server is well.
    Probes,
    /// Leases, by these verbs.
    Leases(&'static [&'static str]),
    /// What a node says of itself.
    OwnNode,
}
use Matches::{All, Leases, OwnNode, Probes};

/// A schema: name, precedence, level, what tells its flows apart, whom it is for (`Group name`,
/// `User name`, `ServiceAccount namespace`), and what it matches.
struct Flow(
    &'static str,
    i64,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    Matches,
);

const EVERYBODY: &[(&str, &str)] =
    &[("Group", "system:unauthenticated"), ("Group", "system:authenticated")];
const MANAGER: (&str, &str) = ("User", "system:kube-controller-manager");
const SCHEDULER: (&str, &str) = ("User", "system:kube-scheduler");
const ACCOUNTS: (&str, &str) = ("ServiceAccount", "kube-system");
const NODES: &[(&str, &str)] = &[("Group", "system:nodes")];
const CANDIDATES: &[&str] = &["get", "create", "update"];

const FLOWS: &[Flow] = &[
    Flow("exempt", 1, "exempt", "", &[("Group", "system:masters")], All),
    Flow("probes", 2, "exempt", "", EVERYBODY, Probes),
    Flow(
        "system-leader-election",
        100,
        "leader-election",
        "ByUser",
        &[MANAGER, SCHEDULER, ACCOUNTS],
        Leases(CANDIDATES),
    ),
    Flow("system-node-high", 400, "node-high", "ByUser", NODES, OwnNode),
    Flow("system-nodes", 500, "system", "ByUser", NODES, All),
    Flow("kube-controller-manager", 800, "workload-high", "ByNamespace", &[MANAGER], All),
    Flow("kube-scheduler", 800, "workload-high", "ByNamespace", &[SCHEDULER], All),
    Flow("kube-system-service-accounts", 900, "workload-high", "ByNamespace", &[ACCOUNTS], All),
    Flow(
        "service-accounts",
        9000,
        "workload-low",
        "ByUser",
        &[("Group", "system:serviceaccounts")],
        All,
    ),
    Flow("global-default", 9900, "global-default", "ByUser", EVERYBODY, All),
    Flow("catch-all", 10_000, "catch-all", "ByUser", EVERYBODY, All),
];

/// The priority levels.
pub(super) fn levels() -> impl Iterator<Item = Value> {
    LEVELS.iter().map(|Level(name, shares, lends, queues)| {
        let mut level = ours("PriorityLevelConfiguration", name);
        let mut share = Value::from([
            ("nominalConcurrencyShares", (*shares).into()),
            ("lendablePercent", (*lends).into()),
        ]);
        let exempt = *shares == 0;
        if !exempt {
            share.set("limitResponse", response(*queues));
        }
        let (kind, part) = if exempt { ("Exempt", "exempt") } else { ("Limited", "limited") };
        level.set("spec", Value::from([("type", kind.into()), (part, share)]));
        level
    })
}

fn response(queues: Option<(i64, i64)>) -> Value {
    let Some((queues, hand)) = queues else { return Value::from([("type", "Reject".into())]) };
    let queuing = Value::from([
        ("queues", queues.into()),
        ("handSize", hand.into()),
        ("queueLengthLimit", QUEUE_LENGTH_MAX.into()),
    ]);
    Value::from([("type", "Queue".into()), ("queuing", queuing)])
}

/// The flow schemas.
pub(super) fn schemas() -> impl Iterator<Item = Value> {
    FLOWS.iter().map(|Flow(name, precedence, level, apart, subjects, matches)| {
        let mut rule = rule(matches);
        rule.set("subjects", subjects.iter().map(subject).collect::<Vec<_>>());
        let mut spec = Value::from([
            ("matchingPrecedence", (*precedence).into()),
            ("priorityLevelConfiguration", Value::from([("name", (*level).into())])),
            ("rules", vec![rule].into()),
        ]);
        if !apart.is_empty() {
            spec.set("distinguisherMethod", Value::from([("type", (*apart).into())]));
        }
        let mut schema = ours("FlowSchema", name);
        schema.set("spec", spec);
        schema
    })
}

/// An object that upstream would keep as it is, as long as the annotation says so.
fn ours(kind: &str, name: &str) -> Value {
    let mut made = object(VERSION, kind, "", name);
    let annotations = made.entry_at(&["metadata", "annotations"]);
    annotations.set("apf.kubernetes.io/autoupdate-spec", "true");
    made
}

fn subject((kind, name): &(&str, &str)) -> Value {
    let (part, who) = match *kind {
        "Group" => ("group", Value::from([("name", (*name).into())])),
        "User" => ("user", Value::from([("name", (*name).into())])),
        _ => {
            let all = [("namespace", (*name).into()), ("name", "*".into())];
            ("serviceAccount", Value::from(all))
        }
    };
    Value::from([("kind", (*kind).into()), (part, who)])
}

fn rule(matches: &Matches) -> Value {
    let paths = |verbs: &[&str], paths: &[&str]| {
        Value::from([("verbs", texts(verbs)), ("nonResourceURLs", texts(paths))])
    };
    let leases = |verbs: &[&str]| on(verbs, "coordination.k8s.io", &["leases"], false);
    match matches {
        All => Value::from([
            ("resourceRules", vec![on(&["*"], "*", &["*"], true)].into()),
            ("nonResourceRules", vec![paths(&["*"], &["*"])].into()),
        ]),
        Probes => {
            let health = paths(&["get"], &["/healthz", "/readyz", "/livez"]);
            Value::from([("nonResourceRules", vec![health].into())])
        }
        Leases(verbs) => Value::from([("resourceRules", vec![leases(verbs)].into())]),
        OwnNode => {
            let node = on(&["*"], "", &["nodes", "nodes/status"], true);
            Value::from([("resourceRules", vec![node, leases(&["*"])].into())])
        }
    }
}

fn on(verbs: &[&str], group: &str, resources: &[&str], of_cluster: bool) -> Value {
    let mut rule = Value::from([
        ("verbs", texts(verbs)),
        ("apiGroups", texts(&[group])),
        ("resources", texts(resources)),
        ("namespaces", texts(&["*"])),
    ]);
    if of_cluster {
        rule.set("clusterScope", true);
    }
    rule
}

fn texts(of: &[&str]) -> Value {
    of.iter().map(|text| Value::from(*text)).collect::<Vec<_>>().into()
}
