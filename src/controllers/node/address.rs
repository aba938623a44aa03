//! Gives every node a part of the cluster's pod addresses: a /24 of IPv4, and a /64 of IPv6 where
//! the cluster has both.

use std::collections::HashSet;

use ipnet::IpNet;

use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::NODES;
use crate::client::events::{Regarding, Severity};
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Moment, Plan, Views};
use crate::util::nets::Nets;

/// Bits of a node's part.
const NODE_MASK: u8 = 24;
/// The same of IPv6.
const NODE_MASK_SIX: u8 = 64;
/// How many parts of a network are looked at.
const PARTS_MAX: usize = 1 << 24;

/// The controller's row; `cluster` are the addresses of all pods.
pub fn controller(cluster: Nets) -> Controller {
    Controller {
        name: "node-ipam-controller",
        watches: vec![(NODES, runner::itself)],
        reconcile: Box::new(move |views, key, moment| reconcile(cluster, views, key, moment)),
    }
}

fn reconcile(cluster: Nets, views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let nodes = views.of(&NODES).snapshot();
    let node = nodes.get("", &key.name).and_then(|object| object.tree().ok());
    let Some(node) = node.filter(|node| node.at(&["spec", "podCIDR"]).is_empty()) else {
        return Plan::default();
    };
    let all = nodes.iter().filter_map(|object| object.tree().ok());
    let taken: HashSet<String> = all.flat_map(|node| held(&node)).collect();
    let free = |net: IpNet| parts(net).find(|part| !taken.contains(part));
    let mut plan = Plan::default();
    match cluster.iter().map(free).collect::<Option<Vec<String>>>() {
        Some(parts) => {
            let cidrs: Vec<Value> = parts.into_iter().map(Value::from).collect();
            let spec = Value::from([("podCIDR", cidrs[0].clone()), ("podCIDRs", cidrs.into())]);
            let seen = Value::from([("resourceVersion", node.resource_version().into())]);
            let patch = Value::from([("metadata", seen), ("spec", spec)]);
            plan.calls.push(calls::merge(&NODES, key, patch).into());
        }
        None => {
            let message = "Node status is now: CIDRNotAvailable".to_owned();
            let regarding = Regarding::to("v1", "Node", &node);
            plan.events.push((regarding, Severity::Normal, "CIDRNotAvailable", message));
        }
    }
    plan
}

/// The parts that a node has.
fn held(node: &Value) -> Vec<String> {
    let spec = node.get("spec");
    let all = std::iter::once(spec.get("podCIDR")).chain(spec.get("podCIDRs").items());
    all.map(|part| part.str().to_owned()).collect()
}

/// The parts of a network in order.
fn parts(net: IpNet) -> impl Iterator<Item = String> {
    let mask = if net.addr().is_ipv4() { NODE_MASK } else { NODE_MASK_SIX }.max(net.prefix_len());
    let parts = net.subnets(mask).into_iter().flatten();
    parts.take(PARTS_MAX).map(|part| part.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::runner::testing::views;

    #[test]
    fn parts_are_disjoint_and_in_order() {
        let all: Vec<String> = parts("10.42.0.0/16".parse().unwrap()).collect();
        assert_eq!(
            (all.len(), all[0].as_str(), all[255].as_str()),
            (256, "10.42.0.0/24", "10.42.255.0/24")
        );
        let small: Vec<String> = parts("10.0.0.0/26".parse().unwrap()).collect();
        assert_eq!(small, ["10.0.0.0/26"]);
        let six: Vec<String> = parts("2001:cafe:42::/56".parse().unwrap()).collect();
        assert_eq!((six.len(), &*six[0], &*six[1]), {
            (256, "2001:cafe:42::/64", "2001:cafe:42:1::/64")
        });
    }

    #[test]
    fn a_node_gets_a_part_of_each_family() {
        let objects = [
            (
                &NODES,
                r#"{"metadata":{"name":"a"},"spec":{"podCIDR":"10.42.0.0/24",
                "podCIDRs":["10.42.0.0/24","fd00::/64"]}}"#,
                Vec::new(),
            ),
            (&NODES, r#"{"metadata":{"name":"b"},"spec":{}}"#, Vec::new()),
        ];
        let views = views(&[NODES], objects);
        let given = |cluster: &str, name: &str| {
            let moment = Moment { now: crate::util::clock::now(), failure: None };
            let key = Key::new(&NODES.group_resource(), "", name);
            let plan = reconcile(cluster.parse().unwrap(), &views, &key, moment);
            let spec = |step: &runner::Step| step.call.body.get("spec").to_string();
            plan.calls.first().map(spec)
        };
        let both = r#"{"podCIDR":"10.42.1.0/24","podCIDRs":["10.42.1.0/24","fd00:0:0:1::/64"]}"#;
        assert_eq!(given("10.42.0.0/16,fd00::/56", "b").as_deref(), Some(both));
        let one = r#"{"podCIDR":"10.42.1.0/24","podCIDRs":["10.42.1.0/24"]}"#;
        assert_eq!(given("10.42.0.0/16", "b").as_deref(), Some(one));
        assert_eq!(given("10.42.0.0/16,fd00::/64", "b"), None, "there is no second part");
        assert_eq!(given("10.42.0.0/16,fd00::/56", "a"), None, "it has its own");
    }
}
