//! Acting as somebody else, by `Impersonate-*` headers, for those whom a role allows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;

use super::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS,
    UNAUTHENTICATED, UserInfo,
};
use crate::api::status::Status;

/// The user that a request is to be made as; `None` where it asks for no other.
///
/// # Errors
/// 403 when the user may not act as that one; 400 for headers without a user.
pub fn impersonate(
    headers: &HeaderMap,
    user: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Option<Arc<UserInfo>>, Status> {
    let one = |name: &str| text(headers, name).into_iter().next().unwrap_or_default();
    let name = one("impersonate-user");
    let uid = one("impersonate-uid");
    let mut groups = text(headers, "impersonate-group");
    let extra = extra(headers, "impersonate-extra-");
    if name.is_empty() {
        if groups.is_empty() && extra.is_empty() && uid.is_empty() {
            return Ok(None);
        }
        let why =
            format!("requested groups {groups:?}, uid {uid:?} without impersonating a user name");
        return Err(Status::bad_request(why));
    }
    let ask = |group, resource, subresource, namespace, name| {
        let request = Attributes::resource(user, "impersonate", group, resource);
        authorizer.check(&Attributes { subresource, namespace, name, ..request })
    };
    let account = name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, account)) => ask("", "serviceaccounts", "", namespace, account)?,
        None => ask("", "users", "", "", &name)?,
    }
    groups.iter().try_for_each(|group| ask("", "groups", "", "", group))?;
    for (key, values) in &extra {
        for value in values {
            ask("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    if !uid.is_empty() {
        ask("authentication.k8s.io", "uids", "", "", &uid)?;
    }
    if let (Some((namespace, _)), true) = (account, groups.is_empty()) {
        groups.extend([SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")]);
    }
    let implied = if name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
        groups.push(implied.to_owned());
    }
    Ok(Some(Arc::new(UserInfo { name, uid, groups, extra })))
}

fn text(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
}

/// The extra fields that headers carry; keys are percent-encoded, since header names know no case
/// and no slash.
pub(super) fn extra(headers: &HeaderMap, prefix: &str) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(prefix) else { continue };
        let Ok(value) = value.to_str() else { continue };
        extra.entry(percent_decoded(key)).or_default().push(value.to_owned());
    }
    extra
}

/// Text with its `%2f` resolved; what is no valid escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::World;
    use crate::auth::{Authorization, MASTERS};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_master_becomes_whom_it_names() {
        let world = World::default();
        let all = Authorization::new(&world.history);
        let admin = UserInfo::system("admin", &[MASTERS]);
        let become_ = |pairs: &[(&'static str, &str)]| impersonate(&headers(pairs), &admin, &all);
        assert_eq!(become_(&[]), Ok(None));
        let jane = become_(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-extra-a%2fb", "x"),
        ]);
        let jane = jane.unwrap().unwrap();
        assert_eq!(jane.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(jane.extra["a/b"], ["x"]);
        let account = become_(&[("impersonate-user", "system:serviceaccount:a:b")]).unwrap();
        assert!(account.unwrap().is_in("system:serviceaccounts:a"));
        let nobody = become_(&[("impersonate-user", "system:anonymous")]).unwrap().unwrap();
        assert_eq!(nobody.groups, ["system:unauthenticated"]);
        assert_eq!(become_(&[("impersonate-group", "x")]).unwrap_err().code, 400);
    }

    #[test]
    fn others_need_a_role_for_each_thing_they_claim() {
        let world = World::default();
        let all = Authorization::new(&world.history);
        world.put(
            super::super::rbac::GROUP,
            "clusterroles",
            r#"{"metadata":{"name":"r"},"rules":[{"verbs":["impersonate"],"apiGroups":[""],
                "resources":["users"],"resourceNames":["jane"]}]}"#,
        );
        world.put(
            super::super::rbac::GROUP,
            "clusterrolebindings",
            r#"{"metadata":{"name":"b"},"subjects":[{"kind":"User","name":"joe"}],
                "roleRef":{"kind":"ClusterRole","name":"r"}}"#,
        );
        let joe = UserInfo::system("joe", &[]);
        let jane = [("impersonate-user", "jane")];
        assert!(impersonate(&headers(&jane), &joe, &all).is_ok());
        let masters = [("impersonate-user", "jane"), ("impersonate-group", MASTERS)];
        assert_eq!(
            impersonate(&headers(&masters), &joe, &all).unwrap_err().message,
            "groups \"system:masters\" is forbidden: User \"joe\" cannot impersonate resource \
             \"groups\" in API group \"\" at the cluster scope"
        );
    }
}
