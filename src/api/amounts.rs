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

/// The same of a pod whose containers may be resized while they run: the most of what is asked for
/// as `list` (`requests` or `limits`), of what its node has set aside, and of what they have. Where
/// the node says that it can never give what is asked for, that is not counted.
pub fn of_resized<T: Totals>(pod: &Value, list: &str, of: impl Fn(&Value) -> T) -> T {
    let (spec, infeasible) = (pod.get("spec"), is_infeasible(pod));
    let asked = |container: &Value| of(container.at(&["resources", list]));
    if pod.at(&["status", "containerStatuses"]).is_empty() && !infeasible {
        return of_pod(spec, asked);
    }
    let fallback = |container: &Value| if infeasible { of(&Value::Null) } else { asked(container) };
    let given = |container: &Value| match container_status(pod, container).get("allocatedResources")
    {
        aside if list == "requests" && !aside.is_null() => of(aside),
        _ => fallback(container),
    };
    let had = |container: &Value| match container_status(pod, container).at(&["resources", list]) {
        Value::Null => given(container),
        has => of(has),
    };
    let mut most = of_pod(spec, had);
    most.raise_to(&of_pod(spec, given));
    if !infeasible {
        most.raise_to(&of_pod(spec, asked));
    }
    most
}

fn is_infeasible(pod: &Value) -> bool {
    let conditions = pod.at(&["status", "conditions"]).items();
    let pending = conditions.iter().find(|c| c.get("type").str() == "PodResizePending");
    pending.is_some_and(|condition| condition.get("reason").str() == "Infeasible")
}

fn container_status<'p>(pod: &'p Value, container: &Value) -> &'p Value {
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    let mut all = lists.flat_map(|list| pod.at(&["status", list]).items());
    all.find(|status| status.get("name") == container.get("name")).unwrap_or(&Value::Null)
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

    /// The sum of a pod's `requests` or `limits`, be it in the middle of a resize.
    pub fn of_resized(pod: &Value, list: &str) -> Self {
        of_resized(pod, list, Self::of)
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

    #[test]
    fn a_pod_that_is_resized_counts_by_the_most_that_is_wanted_given_or_had() {
        let pod = |condition: &str| {
            let json = format!(
                r#"{{"spec":{{"containers":[{{"name":"a","resources":{{"requests":{{"cpu":"3",
                "memory":"1Gi"}},"limits":{{"cpu":"4"}}}}}},{{"name":"b"}}]}},"status":{{
                "conditions":[{condition}],"containerStatuses":[{{"name":"a","allocatedResources":
                {{"cpu":"1","memory":"2Gi"}},"resources":{{"requests":{{"cpu":"2","memory":"2Gi"}},
                "limits":{{"cpu":"2"}}}}}}]}}}}"#
            );
            let pod = Value::parse(json.as_bytes()).unwrap();
            let sum = |list| Amounts::of_resized(&pod, list).to_text();
            (sum("requests"), sum("limits"))
        };
        assert_eq!(pod(""), ("cpu=3,memory=2Gi".into(), "cpu=4".into()));
        let pending =
            |reason: &str| format!(r#"{{"type":"PodResizePending","reason":"{reason}"}}"#);
        assert_eq!(pod(&pending("Deferred")), ("cpu=3,memory=2Gi".into(), "cpu=4".into()));
        assert_eq!(pod(&pending("Infeasible")), ("cpu=2,memory=2Gi".into(), "cpu=2".into()));
    }
}
