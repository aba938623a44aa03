//! Amounts of resources: what a pod asks for, what a node has.

use std::collections::BTreeMap;

use crate::api::amounts::{self, Totals};
use crate::api::quantity::Quantity;
use crate::api::tree::Value;

/// What kube-scheduler counts for a container that asks for nothing, in scores only.
const DEFAULT_CPU_MILLI: i64 = 100;
const DEFAULT_MEMORY_BYTES: i64 = 200 << 20;

/// Amounts by resource: CPU in thousandths, all else in whole units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts {
    amounts: BTreeMap<String, i64>,
}

impl Amounts {
    /// From a `ResourceList`; an amount that does not parse counts as none, for validation refused
    /// it long before.
    pub fn of(list: &Value) -> Self {
        let amounts = list.fields().filter_map(|(name, value)| {
            let quantity = Quantity::of(value).ok()?;
            let amount = if name == "cpu" { quantity.milli_value() } else { quantity.value() };
            Some((name.to_owned(), amount))
        });
        Self { amounts: amounts.collect() }
    }

    /// The amount of a resource.
    pub fn get(&self, name: &str) -> i64 {
        self.amounts.get(name).copied().unwrap_or(0)
    }

    /// The amounts by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.amounts.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether this is more than the other of anything.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.iter().any(|(name, amount)| amount > other.get(name))
    }

    /// Adds other amounts, `sign` times.
    pub fn count(&mut self, other: &Self, sign: i64) {
        for (name, amount) in &other.amounts {
            *self.amounts.entry(name.clone()).or_default() += sign * amount;
        }
    }
}

impl Totals for Amounts {
    fn add(&mut self, other: &Self) {
        self.count(other, 1);
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.amounts {
            let own = self.amounts.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

/// What a pod asks for: its containers together, or its hungriest moment of starting, and what its
/// class adds (KEP-753 for sidecars). One that is resized counts by the most that it may have
/// meanwhile.
pub fn of_pod(pod: &Value) -> Amounts {
    requests(pod, Amounts::of)
}

/// The same for scores, where a container that asks for nothing counts as a small one.
pub fn of_pod_for_score(pod: &Value) -> Amounts {
    requests(pod, |list| {
        let mut amounts = Amounts::of(list);
        amounts.amounts.entry("cpu".into()).or_insert(DEFAULT_CPU_MILLI);
        amounts.amounts.entry("memory".into()).or_insert(DEFAULT_MEMORY_BYTES);
        amounts
    })
}

fn requests(pod: &Value, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut total = amounts::of_resized(pod, "requests", of);
    total.add(&Amounts::of(pod.at(&["spec", "overhead"])));
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_always() {
        let pod = Value::parse(
            br#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"100m","memory":"64Mi"}}},
            {"resources":{"requests":{"cpu":"0.2"}}}],
            "initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"50m"}}},
            {"resources":{"requests":{"cpu":"1"}}}],"overhead":{"memory":"1Mi"}}}"#,
        )
        .unwrap();
        let amounts = of_pod(&pod);
        assert_eq!((amounts.get("cpu"), amounts.get("memory")), (1050, 65 << 20));
        assert_eq!(of_pod_for_score(&pod).get("memory"), (64 + 200 + 200 + 1) << 20);
    }
}
