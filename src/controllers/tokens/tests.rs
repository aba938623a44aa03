//! Plans for Secrets that are credentials, from views that are given as JSON.

use super::*;
use crate::api::meta::Key;
use crate::client::Verb;
use crate::controllers::runner::testing;

const NOW: &str = "2026-11-20T12:00:00Z";

/// Views of secrets and accounts, given as JSON.
fn views(secrets: &[&str], accounts: &[&str]) -> Views {
    let kind = |text: &str| Value::parse(text.as_bytes()).unwrap().get("type").str().into();
    let secrets = secrets.iter().map(|text| (&SECRETS, *text, vec![("type", kind(text))]));
    let accounts = accounts.iter().map(|text| (&SERVICEACCOUNTS, *text, Vec::new()));
    testing::views(&[SECRETS, SERVICEACCOUNTS], secrets.chain(accounts))
}

fn key(name: &str) -> Key {
    Key::new(&SECRETS.group_resource(), "n", name)
}

const ACCOUNT: &str = r#"{"metadata":{"name":"robot","namespace":"n","uid":"r1"}}"#;

/// A Secret for the account `robot`.
fn token_secret(annotations: &str, data: &str) -> String {
    format!(
        r#"{{"type":"kubernetes.io/service-account-token","metadata":{{"name":"s","namespace":"n",
        "uid":"s1","annotations":{{"kubernetes.io/service-account.name":"robot"{annotations}}}}},
        "data":{{{data}}}}}"#
    )
}

#[test]
fn a_secret_gets_a_token_that_is_bound_to_it() {
    let mut plan = fill("PEM", &views(&[&token_secret("", "")], &[ACCOUNT]), &key("s"));
    let answer = Value::parse(br#"{"status":{"token":"t"}}"#).unwrap();
    let (first, Next::Call(second)) = plan.sequels.remove(0).answered(&answer) else {
        panic!("nothing follows the token");
    };
    assert_eq!(
        (first.verb, first.subresource, first.name.as_str()),
        (Verb::Create, "token", "robot")
    );
    assert_eq!(first.body.at(&["spec", "boundObjectRef", "uid"]).str(), "s1");
    assert_eq!(second.verb, Verb::Update);
    let data = r#"{"ca.crt":"UEVN","namespace":"bg==","token":"dA=="}"#;
    assert_eq!(second.body.get("data").to_string(), data);
    assert_eq!(second.body.annotation(ACCOUNT_UID), Some("r1"));
}

#[test]
fn a_complete_secret_is_left_alone_and_a_changed_one_mended() {
    let whole = r#""ca.crt":"UEVN","namespace":"bg==","token":"dA==""#;
    let uid = r#","kubernetes.io/service-account.uid":"r1""#;
    let views_of =
        |authority| fill(authority, &views(&[&token_secret(uid, whole)], &[ACCOUNT]), &key("s"));
    let plan = views_of("PEM");
    assert!(plan.calls.is_empty() && plan.sequels.is_empty());
    let plan = views_of("OTHER");
    assert_eq!(plan.calls[0].call.body.at(&["data", "token"]).str(), "dA==");
}

#[test]
fn a_secret_goes_with_its_account() {
    let uid = r#","kubernetes.io/service-account.uid":"r0""#;
    let verbs = |secret: &str, accounts: &[&str]| -> Vec<Verb> {
        let plan = fill("PEM", &views(&[secret], accounts), &key("s"));
        assert!(plan.sequels.is_empty());
        plan.calls.iter().map(|step| step.call.verb).collect()
    };
    assert_eq!(verbs(&token_secret(uid, ""), &[]), [Verb::Delete]);
    assert_eq!(verbs(&token_secret(uid, ""), &[ACCOUNT]), [Verb::Delete]);
    // The account may come after its Secret.
    assert_eq!(verbs(&token_secret("", ""), &[]), []);
}

#[test]
fn bootstrap_tokens_go_when_their_time_is_over() {
    let plan = |expiration: &str| {
        let secret = format!(
            r#"{{"type":"bootstrap.kubernetes.io/token","metadata":{{"name":"b","namespace":"n",
            "uid":"b1"}},"data":{{"expiration":"{}"}}}}"#,
            STANDARD.encode(expiration)
        );
        let now = time::parse(NOW).unwrap();
        clean(&views(&[&secret], &[]), &key("b"), Moment { now, failure: None })
    };
    assert_eq!(plan(NOW).calls[0].call.verb, Verb::Delete);
    let later = plan("2026-11-20T12:00:30Z");
    assert!(later.calls.is_empty());
    assert_eq!(later.again, Some(Duration::from_secs(30)));
    let never = plan("soon");
    assert!(never.calls.is_empty() && never.again.is_none());
}
