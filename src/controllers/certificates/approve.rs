//! Approves nodes' requests for client certificates where a role allows the one who asks: his own
//! (`selfnodeclient`) or any node's (`nodeclient`).

use super::{NODE_CLIENT, has, node_client, object, requested, usages, with_condition};
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::{
    CERTIFICATESIGNINGREQUESTS as REQUESTS, CLUSTERROLEBINDINGS, CLUSTERROLES, Call,
    SUBJECTACCESSREVIEWS,
};
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Moment, Next, Plan, Sequel, Views};
use crate::history::Event;

/// A right by which requests are approved.
struct Way {
    /// The subresource that must be allowed to be created.
    right: &'static str,
    /// What the condition says.
    message: &'static str,
}

/// The narrower right first.
const WAYS: [Way; 2] = [
    Way {
        right: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    },
    Way {
        right: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    },
];

/// The controller's row.
pub fn approver() -> Controller {
    Controller {
        name: "certificatesigningrequest-approving-controller",
        watches: vec![
            (REQUESTS, runner::itself),
            (CLUSTERROLEBINDINGS, of_nodes),
            (CLUSTERROLES, of_nodes),
        ],
        reconcile: Box::new(reconcile),
    }
}

/// All requests of nodes: a grant may be what they wait for. They are few, and soon removed.
fn of_nodes(_: &Event, views: &Views) -> Vec<Key> {
    let requests = views.of(&REQUESTS).snapshot();
    let ours = requests.iter().filter(|r| r.header.field("spec.signerName") == Some(NODE_CLIENT));
    ours.map(|request| request.header.key.clone()).collect()
}

fn reconcile(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let Some(object) = object(views, &REQUESTS, key).filter(is_open) else {
        return Plan::default();
    };
    let Some(request) = requested(&object) else { return Plan::default() };
    if node_client(&request, &usages(&object)).is_err() {
        return Plan::default();
    }
    let own = object.at(&["spec", "username"]).str() == request.subject.common_name();
    let ways = if own { &WAYS[..] } else { &WAYS[1..] };
    let Next::Sequel(sequel) = ask(key, object, ways) else { return Plan::default() };
    Plan { sequels: vec![sequel], ..Plan::default() }
}

/// Whether nobody has decided yet.
fn is_open(object: &Value) -> bool {
    object.at(&["spec", "signerName"]).str() == NODE_CLIENT
        && object.at(&["status", "certificate"]).is_empty()
        && !has(object, "Approved")
        && !has(object, "Denied")
}

/// Asks for the first right; where it is missing for the next.
fn ask(key: &Key, object: Value, ways: &'static [Way]) -> Next {
    let Some((way, others)) = ways.split_first() else { return Next::Done };
    let (review, key) = (review(&object, way), key.clone());
    let then = move |answer: &Value| match answer.at(&["status", "allowed"]).is_true() {
        true => Next::Call(approval(&key, object, way)),
        false => ask(&key, object, others),
    };
    Next::Sequel(Sequel::new(review, then))
}

fn review(object: &Value, way: &Way) -> Call {
    let spec = object.get("spec");
    let attributes = Value::from([
        ("group", "certificates.k8s.io".into()),
        ("resource", "certificatesigningrequests".into()),
        ("verb", "create".into()),
        ("subresource", way.right.into()),
        ("version", "*".into()),
    ]);
    let mut asked = Value::from([("resourceAttributes", attributes)]);
    for (field, from) in
        [("user", "username"), ("uid", "uid"), ("groups", "groups"), ("extra", "extra")]
    {
        if !spec.get(from).is_null() {
            asked.set(field, spec.get(from).clone());
        }
    }
    let review = Value::from([
        ("apiVersion", "authorization.k8s.io/v1".into()),
        ("kind", "SubjectAccessReview".into()),
        ("spec", asked),
    ]);
    calls::create(&SUBJECTACCESSREVIEWS, "", review)
}

fn approval(key: &Key, object: Value, way: &Way) -> Call {
    let object = with_condition(object, "Approved", "AutoApproved", way.message);
    Call { subresource: "approval", ..calls::update(&REQUESTS, key, object) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::certificates::testing::{self, Order};

    fn plan(order: &Order<'_>) -> Plan {
        testing::reconcile(&approver(), &testing::object(order))
    }

    const NODE: Order<'_> = Order {
        group: "system:nodes",
        name: "system:node:n1",
        signer: NODE_CLIENT,
        usages: r#""client auth","digital signature""#,
        user: "system:node:n1",
        ..Order::PLAIN
    };

    fn allowed(yes: bool) -> Value {
        Value::from([("status", Value::from([("allowed", yes.into())]))])
    }

    #[test]
    fn a_node_s_own_request_is_approved_by_the_narrower_right_or_the_wider() {
        let sequel = || plan(&NODE).sequels.remove(0);
        let (review, next) = sequel().answered(&allowed(true));
        let spec = review.body.get("spec");
        assert_eq!(spec.get("user").str(), "system:node:n1");
        assert_eq!(spec.at(&["resourceAttributes", "subresource"]).str(), "selfnodeclient");
        let Next::Call(approval) = next else { panic!("not approved") };
        assert_eq!(approval.subresource, "approval");
        let said = &approval.body.at(&["status", "conditions"]).items()[0];
        assert_eq!(said.get("reason").str(), "AutoApproved");
        let (_, next) = sequel().answered(&allowed(false));
        let Next::Sequel(next) = next else { panic!("the wider right is not asked for") };
        let (review, next) = next.answered(&allowed(false));
        let right = review.body.at(&["spec", "resourceAttributes", "subresource"]);
        assert_eq!(right.str(), "nodeclient");
        assert!(matches!(next, Next::Done), "{next:?}");
    }

    #[test]
    fn others_and_decided_ones_are_left_alone() {
        let other = plan(&Order { user: "system:bootstrap:x", ..NODE }).sequels.remove(0);
        let (review, _) = other.answered(&allowed(false));
        let right = review.body.at(&["spec", "resourceAttributes", "subresource"]);
        assert_eq!(right.str(), "nodeclient", "not its own");
        let denied = r#""conditions":[{"type":"Denied","status":"True"}]"#;
        for order in [
            Order { signer: "example.com/x", ..NODE },
            Order { group: "system:masters", ..NODE },
            Order { usages: r#""server auth","digital signature""#, ..NODE },
            Order { status: denied, ..NODE },
        ] {
            assert!(plan(&order).sequels.is_empty());
        }
    }
}
