//! EndpointSlices as a set: the least change that makes those that are into those that should be.
//!
//! Every change of a slice goes to every node, so an endpoint stays in the slice where it is.

use std::collections::BTreeMap;

use super::backends::Port;
use super::calls;
use super::runner::Views;
use crate::api::meta::{Key, Meta};
use crate::api::selector::Labels;
use crate::api::tree::Value;
use crate::client::{Call, ENDPOINTSLICES, Gvr};
use crate::history::Event;

/// The label that names a slice's Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// `addressType` of most slices.
pub(super) const IPV4: &str = "IPv4";
/// `addressType` of the others.
pub(super) const IPV6: &str = "IPv6";

/// Endpoints by the address type and the ports that they have in common.
pub(super) type Groups = BTreeMap<(&'static str, Vec<Port>), Vec<Value>>;

/// What slices are made for: a Service, or an Endpoints object of its name.
pub(super) struct Source<'a> {
    /// Namespace and name.
    pub(super) key: &'a Key,
    /// Its kind, of the group without a name.
    pub(super) kind: &'static str,
    /// Its UID.
    pub(super) uid: &'a str,
    /// Who keeps the slices.
    pub(super) manager: &'static str,
    /// Labels that the slices inherit.
    pub(super) labels: Value,
    /// Annotations that the slices inherit; null where they inherit none and keep their own.
    pub(super) annotations: Value,
    /// How many endpoints there are in a slice.
    pub(super) endpoints_max: usize,
}

/// The key of what a slice is made for, if this manager keeps it.
pub(super) fn source(event: &Event, manager: &str, kind: &Gvr) -> Vec<Key> {
    let header = &event.object.header;
    if header.label(MANAGED_BY) != Some(manager) {
        return Vec::new();
    }
    let key = |name| Key::new(&kind.group_resource(), &header.key.namespace, name);
    header.label(SERVICE).map(key).into_iter().collect()
}

/// The slices of a Service that a manager keeps.
pub(super) fn of(views: &Views, key: &Key, manager: &str) -> Vec<Value> {
    let all = views.of(&ENDPOINTSLICES).snapshot();
    let own = all.in_namespace(&key.namespace).filter(|slice| {
        slice.header.label(MANAGED_BY) == Some(manager)
            && slice.header.label(SERVICE) == Some(&*key.name)
            && !slice.header.deleting
    });
    own.filter_map(|slice| slice.tree().ok()).collect()
}

/// Removes a slice of what has this key.
pub(super) fn delete(key: &Key, slice: &Value) -> Call {
    calls::delete(&ENDPOINTSLICES, &slice_key(key, slice), slice.uid())
}

fn slice_key(key: &Key, slice: &Value) -> Key {
    Key::new(&ENDPOINTSLICES.group_resource(), &key.namespace, slice.name())
}

/// Whether two endpoints are the same pod at the same address.
fn same_endpoint(a: &Value, b: &Value) -> bool {
    a.get("addresses") == b.get("addresses") && a.get("targetRef") == b.get("targetRef")
}

/// The endpoints of one kind that are to be put into slices.
struct Group {
    family: &'static str,
    ports: Value,
    endpoints: Vec<Value>,
    /// Whether a slice is there even for no endpoints.
    kept_empty: bool,
}

impl Source<'_> {
    /// The calls that turn the slices that are into those that should be.
    pub(super) fn difference(&self, existing: Vec<Value>, groups: Groups) -> Vec<Call> {
        let mut by_ports: BTreeMap<(&str, Vec<Port>), Vec<Value>> = BTreeMap::new();
        for slice in existing {
            let family = if slice.get("addressType").str() == IPV6 { IPV6 } else { IPV4 };
            let ports = slice.get("ports").items().iter().map(Port::of).collect();
            by_ports.entry((family, ports)).or_default().push(slice);
        }
        let mut calls = Vec::new();
        for ((family, ports), endpoints) in groups {
            let slices = by_ports.remove(&(family, ports.clone())).unwrap_or_default();
            let ports = Value::Array(ports.iter().map(Port::to_value).collect());
            let kept_empty = endpoints.is_empty();
            calls.extend(self.fill(slices, Group { family, ports, endpoints, kept_empty }));
        }
        let left = by_ports.into_values().flatten();
        calls.extend(left.map(|slice| delete(self.key, &slice)));
        calls
    }

    /// Puts endpoints into the slices of one group: where they are, then where there is room.
    fn fill(&self, slices: Vec<Value>, mut group: Group) -> Vec<Call> {
        let endpoints = &mut group.endpoints;
        let mut filled: Vec<(Value, Vec<Value>)> = Vec::new();
        for slice in slices {
            let had = slice.get("endpoints").items();
            let stays = |wanted: &mut Value| had.iter().any(|old| same_endpoint(old, wanted));
            let kept = endpoints.extract_if(.., |wanted| stays(wanted)).collect();
            filled.push((slice, kept));
        }
        for (_, kept) in &mut filled {
            let room = self.endpoints_max.saturating_sub(kept.len()).min(endpoints.len());
            kept.extend(endpoints.drain(..room));
        }
        let mut calls: Vec<Call> = Vec::new();
        let mut left = filled.len();
        for (slice, kept) in filled {
            let empty = kept.is_empty() && (left > 1 || !group.endpoints.is_empty());
            if empty {
                left -= 1;
                calls.push(delete(self.key, &slice));
            } else {
                calls.extend(self.update(slice, kept));
            }
        }
        if left == 0 && group.kept_empty {
            calls.push(self.create(&group, Vec::new()));
        }
        let chunks = group.endpoints.chunks(self.endpoints_max);
        calls.extend(chunks.map(|chunk| self.create(&group, chunk.to_vec())));
        calls
    }

    fn labels(&self) -> Value {
        let mut labels = self.labels.clone();
        labels.set(SERVICE, &*self.key.name);
        labels.set(MANAGED_BY, self.manager);
        labels
    }

    fn create(&self, group: &Group, endpoints: Vec<Value>) -> Call {
        let owner = Value::from([
            ("apiVersion", "v1".into()),
            ("kind", self.kind.into()),
            ("name", (&*self.key.name).into()),
            ("uid", self.uid.into()),
            ("controller", true.into()),
            ("blockOwnerDeletion", true.into()),
        ]);
        let mut metadata = Value::from([
            ("generateName", format!("{}-", self.key.name).into()),
            ("labels", self.labels()),
            ("ownerReferences", vec![owner].into()),
        ]);
        if !self.annotations.is_empty() {
            metadata.set("annotations", self.annotations.clone());
        }
        let slice = Value::from([
            ("apiVersion", "discovery.k8s.io/v1".into()),
            ("kind", "EndpointSlice".into()),
            ("metadata", metadata),
            ("addressType", group.family.into()),
            ("ports", group.ports.clone()),
            ("endpoints", endpoints.into()),
        ]);
        calls::create(&ENDPOINTSLICES, &self.key.namespace, slice)
    }

    /// The update of a slice, if it differs.
    fn update(&self, slice: Value, endpoints: Vec<Value>) -> Option<Call> {
        let mut wanted = slice.clone();
        let metadata = wanted.entry("metadata");
        metadata.set("labels", self.labels());
        if self.annotations.is_empty() && !self.annotations.is_null() {
            metadata.remove("annotations");
        } else if !self.annotations.is_null() {
            metadata.set("annotations", self.annotations.clone());
        }
        let same =
            *slice.get("endpoints").items() == *endpoints && slice.metadata() == wanted.metadata();
        if same {
            return None;
        }
        let key = slice_key(self.key, &slice);
        wanted.set("endpoints", endpoints);
        Some(calls::update(&ENDPOINTSLICES, &key, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{SERVICES, Verb};

    fn source(key: &Key) -> Source<'_> {
        let (labels, annotations) = (Value::object(), Value::Null);
        let (kind, uid, manager, endpoints_max) = ("Service", "s", "m", 100);
        Source { key, kind, uid, manager, labels, annotations, endpoints_max }
    }

    fn key() -> Key {
        Key::new(&SERVICES.group_resource(), "n", "web")
    }

    fn ports() -> Vec<Port> {
        let (name, protocol, app_protocol) = (String::new(), "TCP".to_owned(), String::new());
        vec![Port { name, protocol, number: 80, app_protocol }]
    }

    fn endpoint(i: usize) -> Value {
        Value::from([("addresses", vec![format!("10.0.0.{i}").into()].into())])
    }

    fn slice(name: &str, endpoints: Vec<Value>) -> Value {
        let (ports, kept_empty) = (vec![ports()[0].to_value()].into(), false);
        let group = Group { family: IPV4, ports, endpoints: Vec::new(), kept_empty };
        let mut slice = source(&key()).create(&group, endpoints).body;
        slice.entry("metadata").set("name", name);
        slice
    }

    fn calls_for(existing: Vec<Value>, endpoints: Vec<Value>) -> Vec<(Verb, usize)> {
        let groups = Groups::from([((IPV4, ports()), endpoints)]);
        let calls = source(&key()).difference(existing, groups);
        calls.iter().map(|call| (call.verb, call.body.get("endpoints").items().len())).collect()
    }

    #[test]
    fn slices_hold_a_hundred_and_only_the_changed_one_is_written() {
        let all: Vec<Value> = (0..150).map(endpoint).collect();
        assert_eq!(calls_for(vec![], all.clone()), [(Verb::Create, 100), (Verb::Create, 50)]);
        let existing = || vec![slice("a", all[..100].to_vec()), slice("b", all[100..].to_vec())];
        assert_eq!(calls_for(existing(), all.clone()), []);
        assert_eq!(calls_for(existing(), all[..149].to_vec()), [(Verb::Update, 49)]);
        let mut more = all.clone();
        more.push(endpoint(200));
        assert_eq!(calls_for(existing(), more), [(Verb::Update, 51)]);
    }

    #[test]
    fn the_last_slice_stays_though_it_is_empty() {
        assert_eq!(calls_for(vec![slice("a", vec![endpoint(1)])], vec![]), [(Verb::Update, 0)]);
        let nothing = || Groups::from([((IPV4, Vec::new()), Vec::new())]);
        let calls = source(&key()).difference(vec![], nothing());
        assert_eq!((calls.len(), calls[0].verb), (1, Verb::Create));
        let mut stored = calls[0].body.clone();
        stored.entry("metadata").set("name", "a");
        stored.remove("ports");
        stored.remove("endpoints");
        assert!(source(&key()).difference(vec![stored], nothing()).is_empty(), "it is made once");
    }

    #[test]
    fn a_port_without_a_name_is_the_same_with_an_empty_one() {
        let mut stored = slice("a", vec![endpoint(1)]);
        stored.entry("ports").items_mut()[0].set("name", "");
        assert_eq!(calls_for(vec![stored], vec![endpoint(1)]), []);
    }

    #[test]
    fn slices_of_other_ports_go() {
        let mut old = slice("a", vec![endpoint(1)]);
        old.set("ports", Vec::<Value>::new());
        let calls = calls_for(vec![old], vec![endpoint(1)]);
        assert_eq!(calls, [(Verb::Create, 1), (Verb::Delete, 0)]);
    }
}
