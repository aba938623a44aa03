//! The reviews by which clients ask who somebody is and what they may do.
//!
//! Each takes the object that was posted, and answers it with its status filled in.

use super::oidc::Oidc;
use super::service_account::{Tokens, Verified};
use super::{Attributes, Authorization, Authorizer, Decision, Rule, UserInfo};
use crate::api::selector::FieldSelector;
use crate::api::status::Status;
use crate::api::tree::Value;

fn texts(value: &Value) -> Vec<String> {
    value.items().iter().map(|item| item.str().to_owned()).collect()
}

fn list(items: &[String]) -> Value {
    items.iter().map(|item| item.as_str().into()).collect::<Vec<Value>>().into()
}

/// A user as `UserInfo` has it; what is empty is left out.
fn user_value(user: &UserInfo) -> Value {
    let mut value = Value::from([("username", user.name.as_str().into())]);
    if !user.uid.is_empty() {
        value.set("uid", user.uid.as_str());
    }
    if !user.groups.is_empty() {
        value.set("groups", list(&user.groups));
    }
    for (key, values) in &user.extra {
        value.entry("extra").set(key, list(values));
    }
    value
}

fn answered(review: &Value, status: Value) -> Value {
    let mut answer = review.clone();
    answer.set("status", status);
    answer
}

/// `SelfSubjectReview`: who am I.
pub fn self_subject(review: &Value, user: &UserInfo) -> Value {
    answered(review, Value::from([("userInfo", user_value(user))]))
}

/// `TokenReview`: whose token is this. Tokens of service accounts and of an outside issuer are
/// known here.
///
/// # Errors
/// 400 without a token.
pub async fn token(
    review: &Value,
    tokens: &Tokens,
    issuer: Option<&Oidc>,
) -> Result<Value, Status> {
    let spec = review.get("spec");
    let token = spec.get("token").str();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = texts(spec.get("audiences"));
    let audiences = if asked.is_empty() { tokens.audiences() } else { asked.as_slice() };
    let verified = match issuer.filter(|issuer| issuer.claims_issuer(token)) {
        None => tokens.verify(token, audiences).map_err(|refused| refused.to_string()),
        Some(issuer) => of_issuer(issuer, token, tokens.audiences(), audiences).await,
    };
    let status = match verified {
        Ok(verified) => Value::from([
            ("authenticated", true.into()),
            ("user", user_value(&verified.user)),
            ("audiences", list(&verified.audiences)),
        ]),
        Err(refused) => Value::from([
            ("user", Value::object()),
            ("error", format!("[invalid bearer token, {refused}]").into()),
        ]),
    };
    Ok(answered(review, status))
}

/// A token of an outside issuer: it is for the API server, whose audiences are then those that it
/// is for.
async fn of_issuer(
    issuer: &Oidc,
    token: &str,
    own: &[String],
    asked: &[String],
) -> Result<Verified, String> {
    let audiences: Vec<String> = asked.iter().filter(|one| own.contains(one)).cloned().collect();
    if audiences.is_empty() {
        return Err(format!(
            "token audiences {own:?} is invalid for the target audiences {asked:?}"
        ));
    }
    let user = issuer.verify(token).await.map_err(|refused| refused.to_string())?;
    Ok(Verified { user, audiences })
}

/// `SelfSubjectAccessReview`: may I. The kind's rules have passed it.
pub fn self_access(review: &Value, user: &UserInfo, authorizer: &dyn Authorizer) -> Value {
    answered(review, access(review.get("spec"), user, authorizer))
}

/// `SubjectAccessReview` and `LocalSubjectAccessReview`: may they. The kind's rules have passed it.
pub fn access_of(review: &Value, authorizer: &dyn Authorizer) -> Value {
    let spec = review.get("spec");
    let extra = spec.get("extra").fields();
    let user = UserInfo {
        name: spec.get("user").str().to_owned(),
        uid: spec.get("uid").str().to_owned(),
        groups: texts(spec.get("groups")),
        extra: extra.map(|(key, values)| (key.to_owned(), texts(values))).collect(),
    };
    answered(review, access(spec, &user, authorizer))
}

/// The status of an access review.
fn access(spec: &Value, user: &UserInfo, authorizer: &dyn Authorizer) -> Value {
    let (resource, path) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    let fields = required_fields(resource.get("fieldSelector"));
    let request = match resource.is_null() {
        true => Attributes::path(user, path.get("verb").str(), path.get("path").str()),
        false => {
            let text = |key: &str| resource.get(key).str();
            Attributes {
                version: text("version"),
                subresource: text("subresource"),
                namespace: text("namespace"),
                name: text("name"),
                fields: fields.as_ref(),
                ..Attributes::resource(user, text("verb"), text("group"), text("resource"))
            }
        }
    };
    let decision = authorizer.authorize(&request);
    let mut status = Value::from([("allowed", decision.allowed().into())]);
    if matches!(decision, Decision::Deny(_)) {
        status.set("denied", true);
    }
    if !decision.reason().is_empty() {
        status.set("reason", decision.reason());
    }
    status
}

/// What a review's field selector asks for. What does not parse is left out, which asks for more.
fn required_fields(selector: &Value) -> Option<FieldSelector> {
    let raw = selector.get("rawSelector").str();
    if !raw.is_empty() {
        return FieldSelector::parse(raw).ok();
    }
    let mut terms = Vec::new();
    for term in selector.get("requirements").items() {
        let equals = match term.get("operator").str() {
            "In" => true,
            "NotIn" => false,
            _ => continue,
        };
        if let [value] = term.get("values").items() {
            terms.push((term.get("key").str().to_owned(), equals, value.str().to_owned()));
        }
    }
    (!terms.is_empty()).then_some(FieldSelector { terms })
}

/// `SelfSubjectRulesReview`: what all may I do in a namespace.
///
/// # Errors
/// 400 without a namespace.
pub fn self_rules(
    review: &Value,
    user: &UserInfo,
    authorization: &Authorization,
) -> Result<Value, Status> {
    let namespace = review.at(&["spec", "namespace"]).str();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, error) = authorization.rules_for(user, namespace);
    let (paths, resources): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| !rule.urls.is_empty());
    let values =
        |rules: &[&Rule]| -> Vec<Value> { rules.iter().map(|rule| rule.to_value()).collect() };
    let mut status = Value::from([
        ("resourceRules", values(&resources).into()),
        ("nonResourceRules", values(&paths).into()),
        // What a node may do depends on its pods, which rules cannot say.
        ("incomplete", user.as_node().is_some().into()),
    ]);
    if !error.is_empty() {
        status.set("evaluationError", error);
    }
    Ok(answered(review, status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::World;

    fn review(spec: &str) -> Value {
        Value::parse(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap()
    }

    fn world() -> (World, Authorization) {
        let world = World::default();
        let group = super::super::rbac::GROUP;
        world.put(
            group,
            "roles",
            r#"{"metadata":{"name":"r","namespace":"a"},
                "rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods/log"]}]}"#,
        );
        world.put(
            group,
            "rolebindings",
            r#"{"metadata":{"name":"b","namespace":"a"},"subjects":[{"kind":"User","name":"jane"}],
                "roleRef":{"kind":"Role","name":"r"}}"#,
        );
        let all = Authorization::new(&world.history);
        (world, all)
    }

    const LOG: &str = r#"{"resourceAttributes":
        {"namespace":"a","verb":"get","resource":"pods","subresource":"log","name":"x"}}"#;

    #[test]
    fn access_reviews_answer_with_the_reason() {
        let (_world, all) = world();
        let jane = UserInfo::system("jane", &[]);
        let answer = self_access(&review(LOG), &jane, &all);
        assert!(answer.at(&["status", "allowed"]).is_true());
        assert!(answer.at(&["status", "reason"]).str().starts_with("RBAC: allowed by RoleBinding"));
        let joe = UserInfo::system("joe", &[]);
        let answer = self_access(&review(LOG), &joe, &all);
        assert_eq!(answer.get("status").to_string(), r#"{"allowed":false}"#);
    }

    #[test]
    fn others_are_asked_about_by_name_or_group() {
        let (_world, all) = world();
        let spec = LOG.replacen('{', r#"{"user":"jane","#, 1);
        let answer = access_of(&review(&spec), &all);
        assert!(answer.at(&["status", "allowed"]).is_true());
        let spec = LOG.replacen('{', r#"{"groups":["jane"],"#, 1);
        let answer = access_of(&review(&spec), &all);
        assert!(!answer.at(&["status", "allowed"]).is_true());
    }

    #[test]
    fn rules_reviews_list_what_holds() {
        let (_world, all) = world();
        let jane = UserInfo::system("jane", &[]);
        let answer = self_rules(&review(r#"{"namespace":"a"}"#), &jane, &all).unwrap();
        assert_eq!(
            answer.at(&["status", "resourceRules"]).to_string(),
            r#"[{"apiGroups":[""],"resources":["pods/log"],"verbs":["get"]}]"#
        );
        assert!(!answer.at(&["status", "incomplete"]).is_true());
        assert!(self_rules(&review("{}"), &jane, &all).is_err());
    }

    #[test]
    fn self_reviews_show_groups_and_extra() {
        let mut user = UserInfo::system("jane", &["dev"]);
        user.extra.insert("k".into(), vec!["v".into()]);
        let answer = self_subject(&Value::object(), &user);
        assert_eq!(
            answer.to_string(),
            r#"{"status":{"userInfo":{"extra":{"k":["v"]},"groups":["dev","system:authenticated"],"username":"jane"}}}"#
        );
    }
}
