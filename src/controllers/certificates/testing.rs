//! Requests for the tests of this group's controllers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::api::meta::Key;
use crate::client::{CERTIFICATESIGNINGREQUESTS as REQUESTS, Gvr};
use crate::controllers::runner::{Controller, Moment, Plan, testing};

/// An approval.
pub const APPROVED: &str = r#""conditions":[{"type":"Approved","status":"True"}]"#;

/// What is asked, by whom, and what came of it.
pub struct Order<'a> {
    /// The organization of the subject.
    pub group: &'a str,
    /// Its common name.
    pub name: &'a str,
    /// A DNS name; empty for none.
    pub host: &'a str,
    /// Who is to sign.
    pub signer: &'a str,
    /// A list in JSON, without its brackets.
    pub usages: &'a str,
    /// Who asks.
    pub user: &'a str,
    /// Fields of the status.
    pub status: &'a str,
}

impl Order<'_> {
    /// Somebody's.
    pub const PLAIN: Self =
        Self { group: "dev", name: "jane", host: "", signer: "", usages: "", user: "", status: "" };
}

/// What an order asks for, in PEM.
pub fn pem(order: &Order<'_>) -> String {
    let names = (!order.host.is_empty()).then(|| order.host.to_owned());
    let mut params = CertificateParams::new(names.into_iter().collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, order.group);
    params.distinguished_name.push(DnType::CommonName, order.name);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

/// The request `r` of an order, for an hour.
pub fn object(order: &Order<'_>) -> String {
    let request = STANDARD.encode(pem(order));
    let Order { signer, usages, user, status, .. } = order;
    format!(
        r#"{{"metadata":{{"name":"r","uid":"u"}},"spec":{{"request":"{request}",
        "signerName":"{signer}","usages":[{usages}],"username":"{user}",
        "expirationSeconds":3600}},"status":{{{status}}}}}"#
    )
}

/// What a controller does about a request.
pub fn reconcile(controller: &Controller, object: &str) -> Plan {
    let watched: Vec<Gvr> = controller.watches.iter().map(|(gvr, _)| gvr.clone()).collect();
    let views = testing::views(&watched, [(&REQUESTS, object, Vec::new())]);
    let moment = Moment { now: crate::util::clock::now(), failure: None };
    (controller.reconcile)(&views, &Key::new(&REQUESTS.group_resource(), "", "r"), moment)
}
