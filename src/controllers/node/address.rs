//! Gives every node a part of the cluster's pod addresses: a /24 out of the cluster CIDR.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::NODES;
use crate::client::events::{Regarding, Severity};
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Moment, Plan, Views};

/// Bits of a node's part.
const NODE_MASK: u8 = 24;

/// The controller's row; `cluster` is the address and prefix length of all pods.
pub fn controller(cluster: (Ipv4Addr, u8)) -> Controller {
    Controller {
        name: "node-ipam-controller",
        watches: vec![(NODES, runner::itself)],
        reconcile: Box::new(move |views, key, moment| reconcile(cluster, views, key, moment)),
    }
}

fn reconcile(cluster: (Ipv4Addr, u8), views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let nodes = views.of(&NODES).snapshot();
    let node = nodes.get("", &key.name).and_then(|object| object.tree().ok());
    let Some(node) = node.filter(|node| node.at(&["spec", "podCIDR"]).is_empty()) else {
        return Plan::default();
    };
    let all = nodes.iter().filter_map(|object| object.tree().ok());
    let taken: HashSet<String> =
        all.map(|node| node.at(&["spec", "podCIDR"]).str().to_owned()).collect();
    let mut plan = Plan::default();
    match parts(cluster).find(|part| !taken.contains(part)) {
        Some(part) => {
            let cidrs = vec![part.as_str().into()];
            let spec = Value::from([("podCIDR", part.as_str().into()), ("podCIDRs", cidrs.into())]);
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

/// The parts of the cluster's addresses in order.
fn parts((base, prefix): (Ipv4Addr, u8)) -> impl Iterator<Item = String> {
    let mask = NODE_MASK.max(prefix);
    let count = 1u32 << (mask - prefix).min(24);
    let start = u32::from(base);
    let step = 1u32.checked_shl(u32::from(32 - mask)).unwrap_or(0);
    (0..count).map(move |i| format!("{}/{mask}", Ipv4Addr::from(start.wrapping_add(i * step))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_in_order() {
        let all: Vec<String> = parts((Ipv4Addr::new(10, 42, 0, 0), 16)).collect();
        assert_eq!(
            (all.len(), all[0].as_str(), all[255].as_str()),
            (256, "10.42.0.0/24", "10.42.255.0/24")
        );
        let small: Vec<String> = parts((Ipv4Addr::new(10, 0, 0, 0), 26)).collect();
        assert_eq!(small, ["10.0.0.0/26"]);
    }
}
