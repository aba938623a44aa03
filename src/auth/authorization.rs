//! All authorisers together: masters, then nodes, then roles.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::node::NodeAuthorizer;
use super::rbac::Rbac;
use super::{Attributes, Authorizer, Decision, MASTERS, Rule, UserInfo, policy};
use crate::history::History;

/// What is wrong with every list of a node's rules: its pods decide what it may read.
const OF_NODES: &str = "node authorizer does not support user rule resolution";

/// Decides for everybody.
pub struct Authorization {
    /// The roles, for those who ask more than yes or no.
    pub rbac: Rbac,
    node: NodeAuthorizer,
    decisions: Family<Labels, Counter>,
    /// Of `decisions`, looked up once.
    allowed: [Counter; 2],
}

/// Who decided what.
type Labels = [(&'static str, &'static str); 3];

impl Authorization {
    /// Decides by the roles, bindings and pods of a history.
    pub fn new(history: &Arc<History>) -> Self {
        let decisions = Family::default();
        let allowed = [("Node", "node"), ("RBAC", "rbac")].map(|(ty, name)| {
            let labels: Labels = [("type", ty), ("name", name), ("decision", "allowed")];
            decisions.get_or_create_owned(&labels)
        });
        Self {
            rbac: Rbac::new(Arc::clone(history)),
            node: NodeAuthorizer::new(Arc::clone(history)),
            decisions,
            allowed,
        }
    }

    /// Has shown what was decided by whom; neither nodes' nor roles' authorisers ever deny.
    pub fn register(&self, r: &mut Registry) {
        let help = "Total number of terminal decisions made by an authorizer";
        r.register("apiserver_authorization_decisions", help, self.decisions.clone());
    }

    /// All rules that hold for a user in a namespace, and what is wrong with them, if anything.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, String) {
        if user.is_in(MASTERS) {
            return (policy::everything(), String::new());
        }
        let (rules, error) = self.rbac.rules_for(user, namespace);
        let error = match (user.as_node().is_some(), error.is_empty()) {
            (false, _) => error,
            (true, true) => OF_NODES.to_owned(),
            (true, false) => format!("[{OF_NODES}, {error}]"),
        };
        (rules, error)
    }
}

impl Authorizer for Authorization {
    fn authorize(&self, request: &Attributes<'_>) -> Decision {
        if request.user.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        let [by_node, by_role] = &self.allowed;
        match self.node.authorize(request) {
            Decision::NoOpinion(reason) => match self.rbac.authorize(request) {
                Decision::NoOpinion(more) => Decision::NoOpinion(joined(&reason, &more)),
                decided => counted(decided, by_role),
            },
            decided => counted(decided, by_node),
        }
    }
}

fn counted(decided: Decision, allowed: &Counter) -> Decision {
    if decided.allowed() {
        allowed.inc();
    }
    decided
}

fn joined(one: &str, other: &str) -> String {
    match (one, other) {
        ("", only) | (only, "") => only.to_owned(),
        // Upstream puts each authoriser on a line of its own.
        (one, other) => format!("{one}\n{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::World;

    #[test]
    fn masters_may_do_everything_without_any_role() {
        let world = World::default();
        let all = Authorization::new(&world.history);
        let admin = UserInfo::system("admin", &[MASTERS]);
        assert!(all.authorize(&Attributes::resource(&admin, "delete", "", "nodes")).allowed());
        assert!(all.authorize(&Attributes::path(&admin, "get", "/metrics")).allowed());
        let other = UserInfo::system("admin", &[]);
        let refused = all.check(&Attributes::resource(&other, "delete", "", "nodes")).unwrap_err();
        assert_eq!(refused.code, 403);
    }

    #[test]
    fn a_node_s_refusal_says_why() {
        let world = World::default();
        let all = Authorization::new(&world.history);
        let node = UserInfo::node("n1");
        let list = Attributes::resource(&node, "list", "", "pods");
        assert_eq!(
            all.authorize(&list).reason(),
            "can only list/watch pods with spec.nodeName field selector"
        );
        assert_eq!(all.rules_for(&node, "a").1, OF_NODES);
    }
}
