//! Exact amounts by resource, as a `ResourceList` has them, and what a pod as a whole comes to.

use std::collections::BTreeMap;

use super::quantity::Quantity;
use super::tree::Value;

/// Amounts by resource that can be put together.
pub trait Totals: Default {
    /// Adds other amounts.
    fn add(&mut self, other: &Self);

    /// Takes over those of the other amounts that are larger.
    fn raise_to(&mut self, other: &Self);
}

/// What a pod comes to: its containers together, or its hungriest moment of starting (KEP-753 for
/// sidecars). What its class adds is left to the caller.
pub fn of_pod<T: Totals>(spec: &Value, of: impl Fn(&Value) -> T) -> T {
    let (mut running, mut peak, mut sidecars) = (T::default(), T::default(), T::default());
    spec.get("containers").items().iter().for_each(|container| running.add(&of(container)));
    for container in spec.get("initContainers").items() {
        let mut moment = of(container);
        if container.get("restartPolicy").str() == "Always" {
            running.add(&moment);
            sidecars.add(&moment);
            peak.raise_to(&sidecars);
        } else {
            moment.add(&sidecars);
            peak.raise_to(&moment);
        }
    }
    running.raise_to(&peak);
    running
}

/// Amounts by resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts {
    amounts: BTreeMap<String, Quantity>,
}

impl Amounts {
    /// From a `ResourceList`; an amount that does not parse counts as none, for validation refused
    /// it long before.
    pub fn of(list: &Value) -> Self {
        let amounts =
            list.fields().filter_map(|(name, text)| Some((name.into(), Quantity::of(text).ok()?)));
        Self { amounts: amounts.collect() }
    }

    /// The sum of a pod's `requests` or `limits`.
    pub fn of_pod(spec: &Value, list: &str) -> Self {
        of_pod(spec, |container| Self::of(container.at(&["resources", list])))
    }

    /// The amount of a resource, where there is one.
    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.amounts.get(name).copied()
    }

    /// Sets the amount of a resource.
    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.amounts.insert(name.into(), amount);
    }

    /// The amounts by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.amounts.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }

    /// Leaves only the amounts for which `wanted` holds.
    pub fn retain(&mut self, wanted: impl Fn(&str, Quantity) -> bool) {
        self.amounts.retain(|name, amount| wanted(name, *amount));
    }

    /// As a `ResourceList`.
    pub fn to_value(&self) -> Value {
        let entry = |(name, amount): (&String, &Quantity)| (name.clone(), amount.to_string());
        let mut list = Value::object();
        self.amounts.iter().map(entry).for_each(|(name, amount)| list.set(&name, amount));
        list
    }

    /// `cpu=1,memory=1Gi`.
    pub fn to_text(&self) -> String {
        let parts: Vec<String> = self.iter().map(|(name, n)| format!("{name}={n}")).collect();
        parts.join(",")
    }
}

impl Totals for Amounts {
    fn add(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let sum = self.get(name).map_or(amount, |own| own + amount);
            self.set(name, sum);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in other.iter() {
            let most = self.get(name).map_or(amount, |own| own.max(amount));
            self.set(name, most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_always() {
        let spec = Value::parse(
            br#"{"containers":[{"resources":{"requests":{"cpu":"100m","memory":"64Mi"}}},
            {"resources":{"requests":{"cpu":"0.2"}}}],
            "initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"50m"}}},
            {"resources":{"requests":{"cpu":"1"}}}]}"#,
        )
        .unwrap();
        assert_eq!(Amounts::of_pod(&spec, "requests").to_text(), "cpu=1050m,memory=64Mi");
        assert!(Amounts::of_pod(&spec, "limits").is_empty());
    }
}
