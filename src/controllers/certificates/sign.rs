//! Signs what is approved and is as its signer demands; what is not has failed for good.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    NODE_CLIENT, client, has, node_client, node_serving, object, requested, usages, with_condition,
};
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::CERTIFICATESIGNINGREQUESTS as REQUESTS;
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Plan, Views};
use crate::util::x509::Request;

/// How soon signing is tried again where the authority could not.
const RETRY: Duration = Duration::from_secs(60);

/// What is to be signed.
pub struct Order<'a> {
    /// Whether the certificate is one that clients show.
    pub for_client: bool,
    /// What was asked.
    pub request: &'a Request,
    /// What the certificate is for, in the API's words.
    pub usages: Vec<&'a str>,
    /// For how long it is wanted.
    pub lifetime: Option<Duration>,
}

/// Makes a certificate, in PEM, or says why there is none.
type Sign = dyn Fn(&Order<'_>) -> Result<String, String> + Send + Sync;

/// What signs: controllers have no keys.
#[derive(Clone)]
pub struct Signer(Arc<Sign>);

impl Signer {
    /// A signer that is this function.
    pub fn new(
        sign: impl Fn(&Order<'_>) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(sign))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

/// The controller's row.
pub fn signing(signer: Signer) -> Controller {
    Controller {
        name: "certificatesigningrequest-signing-controller",
        watches: vec![(REQUESTS, runner::itself)],
        reconcile: Box::new(move |views, key, _| reconcile(&signer, views, key)),
    }
}

fn reconcile(signer: &Signer, views: &Views, key: &Key) -> Plan {
    let Some(object) = object(views, &REQUESTS, key).filter(is_due) else {
        return Plan::default();
    };
    let Some(request) = requested(&object) else { return Plan::default() };
    let usages = usages(&object);
    let checked = match object.at(&["spec", "signerName"]).str() {
        "kubernetes.io/kube-apiserver-client" => client(&usages).map(|()| true),
        NODE_CLIENT => node_client(&request, &usages).map(|()| true),
        "kubernetes.io/kubelet-serving" => node_serving(&request, &usages).map(|()| false),
        "kubernetes.io/legacy-unknown" => Ok(false),
        // Somebody else's.
        _ => return Plan::default(),
    };
    let seconds = object.at(&["spec", "expirationSeconds"]).as_int();
    let lifetime = seconds.map(|s| Duration::from_secs(s.try_into().unwrap_or(0)));
    let signed = checked
        .map(|for_client| (signer.0)(&Order { for_client, request: &request, usages, lifetime }));
    let object = match signed {
        Err(why) => with_condition(object, "Failed", "SignerValidationFailure", &why),
        Ok(Ok(certificate)) => signed_object(object, &certificate),
        Ok(Err(error)) => {
            tracing::error!(request = %key, %error, "cannot sign a certificate");
            return Plan { again: Some(RETRY), ..Plan::default() };
        }
    };
    let call = calls::update_status(&REQUESTS, key, object);
    Plan { calls: vec![call.into()], ..Plan::default() }
}

fn signed_object(mut object: Value, certificate: &str) -> Value {
    object.entry("status").set("certificate", STANDARD.encode(certificate));
    object
}

/// Whether it is approved and not done yet.
fn is_due(object: &Value) -> bool {
    has(object, "Approved")
        && !has(object, "Denied")
        && !has(object, "Failed")
        && object.at(&["status", "certificate"]).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::certificates::testing::{self, APPROVED};

    /// The status that is written for an order, if any.
    fn status(order: &testing::Order<'_>) -> Option<String> {
        let signer = Signer::new(|order| {
            let seconds = order.lifetime.map(|lifetime| lifetime.as_secs());
            Ok(format!("{} {:?} {seconds:?}", order.for_client, order.usages))
        });
        let plan = testing::reconcile(&signing(signer), &testing::object(order));
        let call = plan.calls.into_iter().next()?.call;
        assert_eq!(call.subresource, "status");
        let failed = call
            .body
            .at(&["status", "conditions"])
            .items()
            .iter()
            .find(|condition| condition.get("reason").str() == "SignerValidationFailure");
        let certificate = STANDARD.decode(call.body.at(&["status", "certificate"]).str()).unwrap();
        match failed {
            Some(failed) => Some(failed.get("message").str().to_owned()),
            None => Some(String::from_utf8(certificate).unwrap()),
        }
    }

    const USER: testing::Order<'_> = testing::Order {
        signer: "kubernetes.io/kube-apiserver-client",
        usages: r#""client auth""#,
        status: APPROVED,
        ..testing::Order::PLAIN
    };

    #[test]
    fn what_is_approved_is_signed_once() {
        assert_eq!(status(&USER).as_deref(), Some("true [\"client auth\"] Some(3600)"));
        let signed = format!(r#"{APPROVED},"certificate":"eA==""#);
        for order in [
            testing::Order { status: "", ..USER },
            testing::Order { status: &signed, ..USER },
            testing::Order { signer: "example.com/x", ..USER },
        ] {
            assert_eq!(status(&order), None);
        }
    }

    #[test]
    fn what_is_not_as_the_signer_demands_fails() {
        let server = testing::Order { usages: r#""client auth","server auth""#, ..USER };
        let said = "invalid usage for client certificate: server auth";
        assert_eq!(status(&server).as_deref(), Some(said));
        let none = testing::Order { usages: r#""digital signature""#, ..USER };
        let said = "missing required usage for client certificate: client auth";
        assert_eq!(status(&none).as_deref(), Some(said));
        let node = testing::Order { signer: NODE_CLIENT, ..USER };
        assert_eq!(status(&node).as_deref(), Some("subject organization is not system:nodes"));
    }
}
