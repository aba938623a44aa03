//! Claims become users, or not. Keys are fetched from a real server in `tests/it`.

use super::*;
use crate::util::clock::Wall;

fn settings() -> Settings {
    Settings {
        issuer: "https://issuer.example".to_owned(),
        client_id: "me".to_owned(),
        username_claim: "sub".to_owned(),
        username_prefix: "x:".to_owned(),
        groups_claim: "groups".to_owned(),
        groups_prefix: "g:".to_owned(),
        required: Vec::new(),
        algorithms: vec![Algorithm::RS256],
        authorities: None,
    }
}

/// The user of claims that are given besides issuer, audience and end.
fn user(settings: &Settings, more: &str) -> Result<UserInfo, String> {
    let claims = Value::parse(format!("{{{more}}}").as_bytes()).unwrap();
    Claims(&claims).user(settings)
}

#[test]
fn a_user_is_what_the_claims_say() {
    let jane = user(&settings(), r#""sub":"jane","groups":["dev","ops"],"jti":"7""#).unwrap();
    assert_eq!(jane.name, "x:jane");
    assert_eq!(jane.groups, ["g:dev", "g:ops", "system:authenticated"]);
    assert_eq!(jane.extra["authentication.kubernetes.io/credential-id"], ["JTI=7"]);
    let one = user(&settings(), r#""sub":"jane","groups":"dev""#).unwrap();
    assert_eq!(one.groups, ["g:dev", "system:authenticated"]);
    let none = user(&settings(), r#""sub":"jane""#).unwrap();
    assert_eq!(none.groups, ["system:authenticated"]);
}

#[test]
fn claims_of_another_form_are_refused() {
    let said = |more: &str| user(&settings(), more).unwrap_err();
    assert_eq!(said(""), "parse username claims \"sub\": claim not present");
    assert!(said(r#""sub":1"#).starts_with("parse username claims \"sub\""));
    assert!(said(r#""sub":"""#).contains("is empty"));
    assert!(said(r#""sub":"a","groups":[1]"#).contains("parse groups claim \"groups\""));
    let distributed = r#""sub":"a","_claim_names":{"groups":"src1"}"#;
    assert!(said(distributed).contains("could not expand distributed claims"));
}

#[test]
fn a_mail_address_must_be_verified_where_the_token_says() {
    let settings = Settings { username_claim: "email".to_owned(), ..settings() };
    let of = |more: &str| user(&settings, &format!(r#""email":"a@b"{more}"#)).map(|u| u.name);
    assert_eq!(of(""), Ok("x:a@b".to_owned()));
    assert_eq!(of(r#","email_verified":true"#), Ok("x:a@b".to_owned()));
    assert_eq!(of(r#","email_verified":false"#), Err("email not verified".to_owned()));
    assert!(of(r#","email_verified":"true""#).unwrap_err().contains("no boolean"));
}

#[test]
fn required_claims_must_be_there_as_they_should() {
    let required = vec![("team".to_owned(), "a".to_owned())];
    let settings = Settings { required, ..settings() };
    let of = |more: &str| user(&settings, &format!(r#""sub":"a"{more}"#)).map(|u| u.name);
    assert!(of(r#","team":"a""#).is_ok());
    assert_eq!(of("").unwrap_err(), "required claim team not present in ID token");
    assert_eq!(
        of(r#","team":"b""#).unwrap_err(),
        "required claim team value does not match. Got = b, want = a"
    );
}

#[test]
fn a_token_is_for_one_client_and_a_time() {
    let now = Wall::from_seconds(1000);
    let check = |claims: &str| {
        let claims = Value::parse(claims.as_bytes()).unwrap();
        Claims(&claims).check(&settings(), now)
    };
    let token = |aud: &str, rest: &str| {
        check(&format!(r#"{{"iss":"https://issuer.example","aud":{aud}{rest}}}"#))
    };
    assert_eq!(token(r#""me""#, r#","exp":1001"#), Ok(()));
    assert_eq!(token(r#"["other","me"]"#, r#","exp":1001.5"#), Ok(()));
    assert!(token(r#""other""#, r#","exp":1001"#).unwrap_err().contains("expected audience"));
    assert_eq!(token(r#""me""#, r#","exp":999"#).unwrap_err(), "token is expired");
    assert!(token(r#""me""#, "").unwrap_err().contains("does not say when it expires"));
    assert_eq!(token(r#""me""#, r#","exp":2000,"nbf":1299"#), Ok(()), "clocks differ");
    assert!(token(r#""me""#, r#","exp":2000,"nbf":1301"#).unwrap_err().contains("before the nbf"));
    let other = check(r#"{"iss":"https://other.example","aud":"me","exp":1001}"#);
    assert!(other.unwrap_err().contains("issued by a different provider"));
}
