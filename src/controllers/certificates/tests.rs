//! What the signers demand of requests.

use super::testing::{Order, pem};
use super::*;

fn request(order: &Order<'_>) -> Request {
    Request::of_pem(pem(order).as_bytes()).unwrap()
}

const NODE: Order<'_> = Order { group: "system:nodes", name: "system:node:n1", ..Order::PLAIN };

#[test]
fn a_node_s_client_certificate_names_the_node_and_no_host() {
    let check = |order: &Order<'_>, usages: &[&str]| node_client(&request(order), usages);
    let usages = ["client auth", "digital signature"];
    assert_eq!(check(&NODE, &usages), Ok(()));
    assert_eq!(check(&NODE, &["client auth", "digital signature", "key encipherment"]), Ok(()));
    for wrong in [&["client auth"][..], &["client auth", "digital signature", "server auth"]] {
        let said = check(&NODE, wrong).unwrap_err();
        assert_eq!(said, "usages did not match [client auth digital signature key encipherment]");
    }
    let host = check(&Order { host: "a.example", ..NODE }, &usages);
    assert_eq!(host.unwrap_err(), "DNS subjectAltNames are not allowed");
    let name = check(&Order { name: "jane", ..NODE }, &usages);
    assert_eq!(name.unwrap_err(), "subject common name does not begin with system:node:");
    let group = check(&Order { group: "dev", ..NODE }, &usages);
    assert_eq!(group.unwrap_err(), "subject organization is not system:nodes");
}

#[test]
fn a_node_s_serving_certificate_names_a_host() {
    let check = |order: &Order<'_>, usages: &[&str]| node_serving(&request(order), usages);
    let usages = ["server auth", "digital signature"];
    assert_eq!(check(&Order { host: "a.example", ..NODE }, &usages), Ok(()));
    assert_eq!(check(&NODE, &usages).unwrap_err(), "DNS or IP subjectAltName is required");
    assert_eq!(
        check(&Order { host: "a.example", ..NODE }, &["client auth"]).unwrap_err(),
        "usages did not match [digital signature key encipherment server auth]"
    );
}
