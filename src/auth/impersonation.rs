//! Acting as somebody else, by `Impersonate-*` headers, for those whom a role allows it.
//!
//! Roles allow it in two ways. A constrained one grants to act as some kind of user
//! (`impersonate:user-info`, `:serviceaccount`, `:arbitrary-node`, `:associated-node`) and, apart
//! from that, what may be done so (`impersonate-on:user-info:list`). The older `impersonate` grants
//! everything that the other may do. The constrained ones are tried first.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use http::HeaderMap;

use super::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, MASTERS, NODE_PREFIX, NODES,
    SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS, UNAUTHENTICATED, UserInfo,
};
use crate::api::kinds::text;
use crate::api::status::Status;

/// The group of users, groups and the rest, as constrained rights name it.
const GROUP: &str = "authentication.k8s.io";
/// From so many groups or values on, a right to all is asked for first.
const MANY: usize = 4;
/// The extra field that says on which node a token's pod is.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// A constrained way of acting as others.
struct Mode {
    /// Its name in verbs.
    name: &'static str,
    /// Whether it is for acting as that one; the second is who wants to.
    fits: fn(&UserInfo, &UserInfo) -> bool,
}

/// All of them, in the order in which they are tried.
const MODES: [Mode; 4] = [
    Mode {
        name: "associated-node",
        fits: |wanted, user| {
            let own = user.extra.get(NODE_NAME).map(Vec::as_slice);
            let named = own.and_then(|names| if let [name] = names { Some(name) } else { None });
            let node = node_name(&wanted.name).filter(|_| only_named(wanted));
            account_name(&user.name).is_some()
                && node.is_some_and(|node| named.is_some_and(|name| name == node))
        },
    },
    Mode {
        name: "arbitrary-node",
        fits: |wanted, _| only_named(wanted) && node_name(&wanted.name).is_some(),
    },
    Mode {
        name: "serviceaccount",
        fits: |wanted, _| only_named(wanted) && account_name(&wanted.name).is_some(),
    },
    Mode {
        name: "user-info",
        fits: |wanted, _| node_name(&wanted.name).is_none() && account_name(&wanted.name).is_none(),
    },
];

/// The user that a request is to be made as; `None` where it asks for no other. `request` is what
/// the user asks for himself.
///
/// # Errors
/// 403 when the user may not act as that one; 400 for headers without a user.
pub fn impersonate(
    headers: &HeaderMap,
    request: &Attributes<'_>,
    authorizer: &dyn Authorizer,
) -> Result<Option<Arc<UserInfo>>, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut refused = None;
    for mode in MODES.iter().filter(|mode| (mode.fits)(&wanted, request.user)) {
        match constrained(mode, &wanted, request, authorizer) {
            Ok(user) => return Ok(Some(Arc::new(user))),
            Err(why) => drop(refused.get_or_insert(why)),
        }
    }
    let rights = Rights { user: request.user, authorizer, verb: "impersonate", constrained: false };
    match rights.check(&wanted) {
        Ok(user) => Ok(Some(Arc::new(user))),
        Err(why) => Err(refused.unwrap_or(why)),
    }
}

/// Whom the headers name, as they stand.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let one = |name: &str| texts(headers, name).into_iter().next().unwrap_or_default();
    let wanted = UserInfo {
        name: one("impersonate-user"),
        uid: one("impersonate-uid"),
        groups: texts(headers, "impersonate-group"),
        extra: extra(headers, "impersonate-extra-"),
    };
    match wanted.name.is_empty() {
        false => Ok(Some(wanted)),
        true if only_named(&wanted) => Ok(None),
        true => {
            let shown = shown(&wanted);
            Err(Status::bad_request(format!("requested {shown} without impersonating a user name")))
        }
    }
}

/// A user as upstream's error shows it.
fn shown(user: &UserInfo) -> String {
    let list = |items: &[String]| {
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let groups = if user.groups.is_empty() { "[]string(nil)".into() } else { list(&user.groups) };
    let mut extra = String::from("map[string][]string");
    match user.extra.is_empty() {
        true => extra.push_str("(nil)"),
        false => {
            let pairs = user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values)));
            let _ = write!(extra, "{{{}}}", pairs.collect::<Vec<_>>().join(", "));
        }
    }
    let (name, uid) = (&user.name, &user.uid);
    format!("&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:{groups}, Extra:{extra}}}")
}

/// Whether nothing but a name is asked for.
fn only_named(user: &UserInfo) -> bool {
    user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty()
}

/// The node that a user name is of.
fn node_name(name: &str) -> Option<&str> {
    name.strip_prefix(NODE_PREFIX).filter(|node| text::dns_subdomain(node).is_empty())
}

/// Namespace and name of the account that a user name is of.
fn account_name(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    let valid = text::dns_label(namespace).is_empty() && text::dns_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}

/// The user, where one way lets him be acted as for this request.
fn constrained(
    mode: &Mode,
    wanted: &UserInfo,
    request: &Attributes<'_>,
    authorizer: &dyn Authorizer,
) -> Result<UserInfo, Status> {
    let verb = format!("impersonate-on:{}:{}", mode.name, request.verb);
    authorizer.check(&Attributes { verb: &verb, ..*request })?;
    let verb = format!("impersonate:{}", mode.name);
    let rights = Rights { user: request.user, authorizer, verb: &verb, constrained: true };
    rights.check(wanted)
}

/// Asks for the rights to each thing that a user is to be.
struct Rights<'a> {
    user: &'a UserInfo,
    authorizer: &'a dyn Authorizer,
    verb: &'a str,
    constrained: bool,
}

impl Rights<'_> {
    fn attributes<'b>(&'b self, group: &'b str, resource: &'b str) -> Attributes<'b> {
        Attributes::resource(self.user, self.verb, group, resource)
    }

    /// The group of users and groups.
    const fn group(&self) -> &'static str {
        if self.constrained { GROUP } else { "" }
    }

    /// The whole user, if all of him is allowed.
    fn check(&self, wanted: &UserInfo) -> Result<UserInfo, Status> {
        let mut user = wanted.clone();
        self.name(wanted, &mut user)?;
        if !wanted.uid.is_empty() {
            let uid = self.attributes(GROUP, "uids");
            self.authorizer.check(&Attributes { name: &wanted.uid, ..uid })?;
        }
        self.groups(&wanted.groups)?;
        self.extra(&wanted.extra)?;
        let known = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !user.is_in(known) && !user.is_in(UNAUTHENTICATED) {
            user.groups.push(known.to_owned());
        }
        Ok(user)
    }

    /// The name, and the groups that follow from it.
    fn name(&self, wanted: &UserInfo, user: &mut UserInfo) -> Result<(), Status> {
        let name = wanted.name.as_str();
        if let Some((namespace, account)) = account_name(name) {
            if wanted.groups.is_empty() {
                let own = format!("{SERVICE_ACCOUNTS}:{namespace}");
                user.groups = vec![SERVICE_ACCOUNTS.to_owned(), own];
            }
            let asked = self.attributes(self.group(), "serviceaccounts");
            return self.authorizer.check(&Attributes { namespace, name: account, ..asked });
        }
        if let Some(node) = node_name(name).filter(|_| self.constrained) {
            user.groups = vec![NODES.to_owned()];
            // Of the node that one's own token names, no other is meant.
            let own = self.verb == "impersonate:associated-node";
            let name = if own { "*" } else { node };
            let asked = self.attributes(self.group(), "nodes");
            return self.authorizer.check(&Attributes { name, ..asked });
        }
        self.authorizer.check(&Attributes { name, ..self.attributes(self.group(), "users") })
    }

    fn groups(&self, groups: &[String]) -> Result<(), Status> {
        let asked = self.attributes(self.group(), "groups");
        if self.constrained && groups.iter().any(String::is_empty) {
            return Err(asked.forbidden("impersonating the empty string group is not allowed"));
        }
        if self.constrained && groups.iter().any(|group| group == MASTERS) {
            let why = "impersonating the system:masters group is not allowed";
            return Err(Attributes { name: MASTERS, ..asked }.forbidden(why));
        }
        let all = Attributes { name: "*", ..asked };
        if self.constrained && groups.len() >= MANY && self.authorizer.authorize(&all).allowed() {
            return Ok(());
        }
        groups.iter().try_for_each(|name| self.authorizer.check(&Attributes { name, ..asked }))
    }

    fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<(), Status> {
        let asked = self.attributes(GROUP, "userextras");
        if self.constrained {
            extra_fault(extra).map_or(Ok(()), |why| Err(asked.forbidden(&why)))?;
        }
        let all = Attributes { subresource: "*", name: "*", ..asked };
        if self.constrained
            && extra.values().map(Vec::len).sum::<usize>() >= MANY
            && self.authorizer.authorize(&all).allowed()
        {
            return Ok(());
        }
        for (subresource, values) in extra {
            for name in values {
                self.authorizer.check(&Attributes { subresource, name, ..asked })?;
            }
        }
        Ok(())
    }
}

/// Why extra fields may not be claimed in a constrained way.
fn extra_fault(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    extra.iter().find_map(|(key, values)| {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        if let Some(why) = key_fault(key) {
            return Some(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \
                 {why}"
            ));
        }
        if *key != key.to_lowercase() {
            return Some(format!(
                "impersonating a non-lowercase key in extra is not allowed: {key:?}"
            ));
        }
        let empty = values.iter().any(String::is_empty);
        empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
    })
}

/// Why a key is no path below a domain.
fn key_fault(key: &str) -> Option<String> {
    let parts = key.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty());
    let Some((host, path)) = parts else {
        return Some(format!("{key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")"));
    };
    if let Some(fault) = text::dns_subdomain(host).first() {
        return Some(format!("{host:?}: {fault}"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
    (!path.chars().all(fits)).then(|| {
        let regex = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
        format!("{path:?}: {}", text::regex_error("Invalid path", regex, &[]))
    })
}

fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
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
    use crate::auth::Authorization;
    use crate::auth::testing::World;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    /// A world where one user has a role of these rules.
    fn world(user: &str, rules: &str) -> World {
        let world = World::default();
        let role = format!(r#"{{"metadata":{{"name":"r"}},"rules":[{rules}]}}"#);
        world.put(super::super::rbac::GROUP, "clusterroles", &role);
        let binding = format!(
            r#"{{"metadata":{{"name":"b"}},"subjects":[{{"kind":"User","name":"{user}"}}],
            "roleRef":{{"kind":"ClusterRole","name":"r"}}}}"#
        );
        world.put(super::super::rbac::GROUP, "clusterrolebindings", &binding);
        world
    }

    /// Whom a user becomes who wants to list pods, or what he is told.
    fn become_(
        world: &World,
        user: &UserInfo,
        pairs: &[(&'static str, &str)],
    ) -> Result<UserInfo, String> {
        let all = Authorization::new(&world.history);
        let list = Attributes { namespace: "a", ..Attributes::resource(user, "list", "", "pods") };
        let found = impersonate(&headers(pairs), &list, &all).map_err(|status| status.message)?;
        Ok(found.map(|user| (*user).clone()).unwrap_or_default())
    }

    #[test]
    fn a_master_becomes_whom_it_names() {
        let world = World::default();
        let admin = UserInfo::system("admin", &[MASTERS]);
        let be = |pairs: &[(&'static str, &str)]| become_(&world, &admin, pairs);
        assert_eq!(be(&[]), Ok(UserInfo::default()), "nobody else");
        let jane = be(&[
            ("impersonate-user", "jane"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-extra-a%2fb", "x"),
        ]);
        let jane = jane.unwrap();
        assert_eq!(jane.groups, ["dev", "ops", "system:authenticated"]);
        assert_eq!(jane.extra["a/b"], ["x"]);
        let master = be(&[("impersonate-user", "jane"), ("impersonate-group", MASTERS)]).unwrap();
        assert!(master.is_in(MASTERS), "by the older way");
        let account = be(&[("impersonate-user", "system:serviceaccount:a:b")]).unwrap();
        assert!(account.is_in("system:serviceaccounts:a"));
        let node = be(&[("impersonate-user", "system:node:n1")]).unwrap();
        assert_eq!(node.groups, ["system:nodes", "system:authenticated"]);
        let nobody = be(&[("impersonate-user", "system:anonymous")]).unwrap();
        assert_eq!(nobody.groups, ["system:unauthenticated"]);
        assert_eq!(
            be(&[("impersonate-group", "x")]).unwrap_err(),
            "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"x\"}, \
             Extra:map[string][]string(nil)} without impersonating a user name"
        );
    }

    #[test]
    fn the_older_right_needs_a_rule_for_each_thing_that_is_claimed() {
        let rule = r#"{"verbs":["impersonate"],"apiGroups":[""],"resources":["users"],
            "resourceNames":["jane"]}"#;
        let (world, joe) = (world("joe", rule), UserInfo::system("joe", &[]));
        assert!(become_(&world, &joe, &[("impersonate-user", "jane")]).is_ok());
        let dev = [("impersonate-user", "jane"), ("impersonate-group", "dev")];
        assert_eq!(
            become_(&world, &joe, &dev).unwrap_err(),
            "pods is forbidden: User \"joe\" cannot impersonate-on:user-info:list resource \
             \"pods\" in API group \"\" in the namespace \"a\"",
            "the first way is told of"
        );
    }

    const ON_PODS: &str = r#"{"verbs":["impersonate-on:user-info:list"],"apiGroups":[""],
        "resources":["pods"]}"#;

    #[test]
    fn a_constrained_right_is_for_some_users_and_some_requests() {
        let rules = format!(
            r#"{ON_PODS},{{"verbs":["impersonate:user-info"],
            "apiGroups":["authentication.k8s.io"],"resources":["users","groups"]}}"#
        );
        let (world, joe) = (world("joe", &rules), UserInfo::system("joe", &[]));
        let be = |pairs: &[(&'static str, &str)]| become_(&world, &joe, pairs);
        let dev = [("impersonate-user", "jane"), ("impersonate-group", "dev")];
        assert_eq!(be(&dev).unwrap().groups, ["dev", "system:authenticated"]);
        let masters = [("impersonate-user", "jane"), ("impersonate-group", MASTERS)];
        let said = be(&masters).unwrap_err();
        assert!(said.ends_with("impersonating the system:masters group is not allowed"), "{said}");
        let node = be(&[("impersonate-user", "system:node:n1")]).unwrap_err();
        assert!(node.contains("cannot impersonate-on:arbitrary-node:list"), "{node}");
        let extra = [("impersonate-user", "jane"), ("impersonate-extra-scope", "x")];
        let said = be(&extra).unwrap_err();
        assert!(said.contains("extra.key: Invalid value: \"scope\": must be a domain-"), "{said}");
        let all = Authorization::new(&world.history);
        let get = Attributes::resource(&joe, "get", "", "pods");
        assert!(impersonate(&headers(&dev), &get, &all).is_err(), "not that request");
    }

    #[test]
    fn an_account_becomes_the_node_that_its_pod_is_on() {
        let rules = r#"{"verbs":["impersonate-on:associated-node:list"],"apiGroups":[""],
            "resources":["pods"]},{"verbs":["impersonate:associated-node"],
            "apiGroups":["authentication.k8s.io"],"resources":["nodes"]}"#;
        let world = world("system:serviceaccount:a:agent", rules);
        let mut agent = UserInfo::service_account("a", "agent", "u");
        agent.extra.insert(NODE_NAME.to_owned(), vec!["n1".to_owned()]);
        let be = |node: &str| become_(&world, &agent, &[("impersonate-user", node)]);
        assert_eq!(be("system:node:n1").unwrap().as_node(), Some("n1"));
        assert!(be("system:node:n2").is_err());
    }
}
