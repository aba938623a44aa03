//! Roles and bindings as an index that answers in microseconds.
//!
//! The index follows the history: every question first takes in what was written since the last
//! one, so that a grant or its removal is in force for the next request. Nothing runs in between.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::feed::{Change, Feed};
use super::rule::Rule;
use super::{Attributes, Decision, SERVICE_ACCOUNT_PREFIX, UserInfo};
use crate::api::meta::GroupResource;
use crate::api::selector::LabelSelector;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::{History, Object};

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Namespace (empty for cluster-wide) and name.
type Place = (Arc<str>, Arc<str>);

/// Roles and bindings, indexed.
pub struct Rbac {
    history: Arc<History>,
    state: RwLock<State>,
}

struct State {
    /// Everything up to this revision is in the index.
    revision: u64,
    feeds: [Feed; 4],
    index: Index,
}

#[derive(Default)]
struct Index {
    /// Roles, and with an empty namespace ClusterRoles, their aggregated rules included.
    roles: HashMap<Place, Arc<[Rule]>>,
    cluster_roles: HashMap<Arc<str>, ClusterRole>,
    /// Whom each RoleBinding, and with an empty namespace each ClusterRoleBinding, is for.
    bindings: HashMap<Place, Vec<Subject>>,
    users: HashMap<Arc<str>, Bound>,
    groups: HashMap<Arc<str>, Bound>,
}

/// A ClusterRole as aggregation needs it.
struct ClusterRole {
    object: Arc<Object>,
    own: Vec<Rule>,
    /// Whose rules it takes over; none for an ordinary role.
    selectors: Option<Vec<LabelSelector>>,
}

/// A subject's bindings by namespace and name, and the role of each, which has an empty namespace
/// if it is a ClusterRole.
type Bound = HashMap<Arc<str>, BTreeMap<Arc<str>, Place>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Subject {
    group: bool,
    name: Arc<str>,
}

/// What a walk over a user's rules yields.
struct Grant<'a> {
    rules: &'a Arc<[Rule]>,
    /// Namespace and name of the binding, and the role that it names.
    binding: (&'a str, &'a str),
    role: &'a Place,
    subject: Subject,
}

impl Rbac {
    /// An index over a history; empty until it is first asked.
    pub fn new(history: Arc<History>) -> Self {
        let feed = |plural| Feed::new(GroupResource::new(GROUP, plural));
        let feeds = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"].map(feed);
        let state = State { revision: 0, feeds, index: Index::default() };
        Self { history, state: RwLock::new(state) }
    }

    /// The index as of the newest revision.
    fn state(&self) -> RwLockReadGuard<'_, State> {
        let revision = self.history.revision();
        let state = self.state.read();
        // A feed that was never drained is not up to date at any revision.
        if state.revision >= revision && state.revision > 0 {
            return state;
        }
        drop(state);
        let mut state = self.state.write();
        state.refresh(&self.history, revision);
        RwLockWriteGuard::downgrade(state)
    }

    /// Whether a role that is bound to the user allows a request.
    pub fn authorize(&self, request: &Attributes<'_>) -> Decision {
        let state = self.state();
        let mut absent = Vec::new();
        let found = state.index.grants(request.user, request.namespace, &mut absent, |grant| {
            grant.rules.iter().any(|rule| rule.allows(request)).then(|| grant.reason())
        });
        match found {
            Some(reason) => Decision::Allow(reason),
            None => Decision::NoOpinion(absent_roles(&absent)),
        }
    }

    /// All rules that hold for a user in a namespace, the cluster-wide ones included; and which
    /// bound roles do not exist.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, String) {
        let state = self.state();
        let (mut rules, mut absent) = (Vec::new(), Vec::new());
        state.index.grants(user, namespace, &mut absent, |grant| {
            rules.extend(grant.rules.iter().cloned());
            None::<()>
        });
        (rules, absent_roles(&absent))
    }

    /// The rules of the role that a binding in `namespace` names.
    ///
    /// # Errors
    /// 404 when there is no such role.
    pub fn rules_of(&self, role_ref: &Value, namespace: &str) -> Result<Arc<[Rule]>, Status> {
        let place = role_place(role_ref, namespace);
        let rules = self.state().index.roles.get(&place).cloned();
        rules.ok_or_else(|| Status::not_found(GROUP, plural(&place), &place.1))
    }

    /// The rules of a ClusterRole as aggregation makes them; `None` for one without aggregation.
    pub fn aggregated(&self, name: &str) -> Option<Arc<[Rule]>> {
        let state = self.state();
        state.index.cluster_roles.get(name)?.selectors.as_ref()?;
        state.index.roles.get(&(Arc::from(""), Arc::from(name))).cloned()
    }
}

fn plural(role: &Place) -> &'static str {
    if role.0.is_empty() { "clusterroles" } else { "roles" }
}

/// Bindings to roles that are not there, as upstream's reason has it.
fn absent_roles(absent: &[Place]) -> String {
    let mut texts: Vec<String> = absent
        .iter()
        .map(|place| {
            let kind = plural(place).trim_end_matches('s');
            format!("{kind}.{GROUP} {:?} not found", place.1)
        })
        .collect();
    texts.sort();
    texts.dedup();
    match texts.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    }
}

impl Grant<'_> {
    /// As upstream's audit annotation says it.
    fn reason(&self) -> String {
        let (namespace, name) = self.binding;
        let binding = match namespace {
            "" => format!("ClusterRoleBinding {name:?}"),
            namespace => format!("RoleBinding {:?}", format!("{name}/{namespace}")),
        };
        let role = if self.role.0.is_empty() { "ClusterRole" } else { "Role" };
        format!(
            "RBAC: allowed by {binding} of {role} {:?} to {}",
            self.role.1,
            self.subject.shown()
        )
    }
}

impl Subject {
    fn shown(&self) -> String {
        if self.group {
            return format!("Group {:?}", self.name);
        }
        match self.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':')) {
            Some((namespace, name)) => {
                format!("ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
            None => format!("User {:?}", self.name),
        }
    }

    /// A subject of a binding in `namespace`.
    fn from_value(value: &Value, namespace: &str) -> Self {
        let name = value.get("name").str();
        if value.get("kind").str() != "ServiceAccount" {
            return Self { group: value.get("kind").str() == "Group", name: name.into() };
        }
        let namespace = value.get("namespace").as_str().unwrap_or(namespace);
        Self { group: false, name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}").into() }
    }
}

fn role_place(role_ref: &Value, namespace: &str) -> Place {
    let namespace = if role_ref.get("kind").str() == "ClusterRole" { "" } else { namespace };
    (namespace.into(), role_ref.get("name").str().into())
}

impl State {
    fn refresh(&mut self, history: &Arc<History>, revision: u64) {
        let Self { feeds: [cluster_roles, roles, cluster_bindings, bindings], index, .. } = self;
        let mut aggregate = false;
        cluster_roles.drain(history, |change| {
            aggregate = true;
            index.cluster_role(change);
        });
        if aggregate {
            index.aggregate();
        }
        roles.drain(history, |change| index.role(change));
        cluster_bindings.drain(history, |change| index.binding(change, true));
        bindings.drain(history, |change| index.binding(change, false));
        self.revision = self.revision.max(revision).max(1);
    }
}

/// Where an object stands.
fn place(object: &Object) -> Place {
    (Arc::clone(&object.header.key.namespace), Arc::clone(&object.header.key.name))
}

/// The tree of a role or binding. One that does not parse grants nothing.
fn tree(object: &Object) -> Value {
    object.tree().unwrap_or_else(|error| {
        tracing::error!(object = %object.header.key, %error, "cannot read a stored object");
        Value::Null
    })
}

impl Index {
    fn cluster_role(&mut self, change: Change<'_>) {
        match change {
            Change::Reset => self.cluster_roles.clear(),
            Change::Delete(object) => drop(self.cluster_roles.remove(&object.header.key.name)),
            Change::Put(object) => {
                let tree = tree(object);
                let selectors = tree.get("aggregationRule").get("clusterRoleSelectors");
                let selectors = (!tree.get("aggregationRule").is_null()).then(|| {
                    let parsed = selectors.items().iter().map(LabelSelector::from_object);
                    parsed.filter_map(Result::ok).collect()
                });
                let own = Rule::all(&tree);
                let role = ClusterRole { object: Arc::clone(object), own, selectors };
                self.cluster_roles.insert(Arc::clone(&object.header.key.name), role);
            }
        }
    }

    /// Works out the rules of all ClusterRoles anew: they are few and seldom change.
    fn aggregate(&mut self) {
        self.roles.retain(|(namespace, _), _| !namespace.is_empty());
        for name in self.cluster_roles.keys() {
            let mut rules = Vec::new();
            self.collect(name, &mut rules, &mut Vec::new());
            self.roles.insert((Arc::from(""), Arc::clone(name)), rules.into());
        }
    }

    /// Adds the rules of a ClusterRole, and of those that it takes over, each once. `within` are
    /// the roles on the way here: aggregation may go in circles.
    fn collect(&self, name: &Arc<str>, rules: &mut Vec<Rule>, within: &mut Vec<Arc<str>>) {
        let Some(role) = self.cluster_roles.get(name) else { return };
        let Some(selectors) = &role.selectors else {
            let new: Vec<Rule> =
                role.own.iter().filter(|rule| !rules.contains(rule)).cloned().collect();
            rules.extend(new);
            return;
        };
        within.push(Arc::clone(name));
        let mut chosen: Vec<&Arc<str>> = self
            .cluster_roles
            .iter()
            .filter(|(name, _)| !within.contains(name))
            .filter(|(_, role)| selectors.iter().any(|s| s.matches(&role.object.header)))
            .map(|(name, _)| name)
            .collect();
        chosen.sort();
        chosen.into_iter().for_each(|name| self.collect(name, rules, within));
        within.pop();
    }

    fn role(&mut self, change: Change<'_>) {
        match change {
            Change::Reset => self.roles.retain(|(namespace, _), _| namespace.is_empty()),
            Change::Delete(object) => drop(self.roles.remove(&place(object))),
            Change::Put(object) => {
                self.roles.insert(place(object), Rule::all(&tree(object)).into());
            }
        }
    }

    fn binding(&mut self, change: Change<'_>, cluster: bool) {
        match change {
            Change::Reset => {
                let old: Vec<Place> = self
                    .bindings
                    .keys()
                    .filter(|(namespace, _)| namespace.is_empty() == cluster)
                    .cloned()
                    .collect();
                old.iter().for_each(|place| self.unbind(place));
            }
            Change::Delete(object) => self.unbind(&place(object)),
            Change::Put(object) => {
                self.unbind(&place(object));
                self.bind(place(object), &tree(object));
            }
        }
    }

    fn bind(&mut self, place: Place, tree: &Value) {
        let subjects = tree.get("subjects").items().iter();
        let subjects: Vec<Subject> =
            subjects.map(|value| Subject::from_value(value, &place.0)).collect();
        let role = role_place(tree.get("roleRef"), &place.0);
        for subject in &subjects {
            let bound = self.bound(subject).entry(Arc::clone(&subject.name)).or_default();
            let here = bound.entry(Arc::clone(&place.0)).or_default();
            here.insert(Arc::clone(&place.1), role.clone());
        }
        self.bindings.insert(place, subjects);
    }

    fn unbind(&mut self, place: &Place) {
        for subject in &self.bindings.remove(place).unwrap_or_default() {
            let subjects = self.bound(subject);
            let Some(bound) = subjects.get_mut(&subject.name) else { continue };
            if let Some(names) = bound.get_mut(&place.0) {
                names.remove(&place.1);
            }
            bound.retain(|_, names| !names.is_empty());
            if bound.is_empty() {
                subjects.remove(&subject.name);
            }
        }
    }

    fn bound(&mut self, subject: &Subject) -> &mut HashMap<Arc<str>, Bound> {
        if subject.group { &mut self.groups } else { &mut self.users }
    }

    /// Visits what is bound to a user, cluster-wide first, until `visit` finds what it looks for.
    fn grants<T>(
        &self,
        user: &UserInfo,
        namespace: &str,
        absent: &mut Vec<Place>,
        mut visit: impl FnMut(&Grant<'_>) -> Option<T>,
    ) -> Option<T> {
        let own = self.users.get_key_value(user.name.as_str()).map(|found| (false, found));
        let groups =
            user.groups.iter().filter_map(|group| self.groups.get_key_value(group.as_str()));
        let subjects: Vec<(bool, (&Arc<str>, &Bound))> =
            own.into_iter().chain(groups.map(|found| (true, found))).collect();
        let scopes = if namespace.is_empty() { &[""][..] } else { &["", namespace][..] };
        let bound = scopes.iter().flat_map(|scope| {
            subjects.iter().flat_map(move |(group, (name, bound))| {
                let here = bound.get(*scope).into_iter().flatten();
                here.map(move |(binding, role)| (*scope, *group, *name, binding, role))
            })
        });
        for (scope, group, name, binding, role) in bound {
            let Some(rules) = self.roles.get(role) else {
                absent.push(role.clone());
                continue;
            };
            let subject = Subject { group, name: Arc::clone(name) };
            let grant = Grant { rules, binding: (scope, binding), role, subject };
            if let Some(found) = visit(&grant) {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
