//! Nobody may hand out more than they hold: checks on writes of roles and bindings.

use super::rbac::GROUP;
use super::rule::{self, Rule};
use super::{Attributes, Authorization, Authorizer, MASTERS, UserInfo, policy};
use crate::api::status::Status;
use crate::api::tree::Value;

/// Whether the user may write this Role or ClusterRole: they hold what it allows, or may
/// `escalate` it. `old` is the stored one, on an update.
///
/// # Errors
/// 403 that lists what is not held.
pub fn check_role(
    authorization: &Authorization,
    user: &UserInfo,
    (plural, namespace, name): (&str, &str, &str),
    role: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let same = |field: &str| old.is_some_and(|old| old.get(field) == role.get(field));
    if same("rules") && same("aggregationRule") {
        return Ok(());
    }
    let special = Attributes { namespace, name, ..asking(user, "escalate", plural) };
    if user.is_in(MASTERS) || authorization.authorize(&special).allowed() {
        return Ok(());
    }
    let mut wanted = Rule::all(role);
    if !role.get("aggregationRule").is_null() && !same("aggregationRule") {
        // Whoever labels a role later decides what this one allows: that may be anything.
        wanted.extend(policy::everything());
    }
    check_held(authorization, user, (plural, namespace, name), &wanted)
}

/// Whether the user may write this RoleBinding or ClusterRoleBinding: they hold what its role
/// allows, or may `bind` it.
///
/// # Errors
/// 404 when there is no such role, 403 that lists what is not held.
pub fn check_binding(
    authorization: &Authorization,
    user: &UserInfo,
    (plural, namespace, name): (&str, &str, &str),
    binding: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let same = |field: &str| old.is_some_and(|old| old.get(field) == binding.get(field));
    if same("roleRef") && same("subjects") {
        return Ok(());
    }
    let role = binding.get("roleRef");
    let roles = if role.get("kind").str() == "ClusterRole" { "clusterroles" } else { "roles" };
    let special =
        Attributes { namespace, name: role.get("name").str(), ..asking(user, "bind", roles) };
    if user.is_in(MASTERS) || authorization.authorize(&special).allowed() {
        return Ok(());
    }
    let wanted = authorization.rbac.rules_of(role, namespace)?;
    check_held(authorization, user, (plural, namespace, name), &wanted)
}

const fn asking<'a>(user: &'a UserInfo, verb: &'a str, plural: &'a str) -> Attributes<'a> {
    Attributes::resource(user, verb, GROUP, plural)
}

fn check_held(
    authorization: &Authorization,
    user: &UserInfo,
    (plural, namespace, name): (&str, &str, &str),
    wanted: &[Rule],
) -> Result<(), Status> {
    let (held, errors) = authorization.rules_for(user, namespace);
    let missing = rule::missing(&held, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let errors =
        if errors.is_empty() { errors } else { format!("; resolution errors: [{errors}]") };
    let why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}{errors}",
        user.name,
        rule::quoted(&user.groups),
        missing.join("\n")
    );
    Err(Status::forbidden(GROUP, plural, name, &why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::World;

    fn value(json: &str) -> Value {
        Value::parse(json.as_bytes()).unwrap()
    }

    /// Jane may read pods, bind the role `binder` and escalate the role `own`.
    fn world() -> (World, Authorization, UserInfo) {
        let world = World::default();
        world.put(
            GROUP,
            "clusterroles",
            r#"{"metadata":{"name":"jane"},"rules":[
                {"verbs":["get"],"apiGroups":[""],"resources":["pods"]},
                {"verbs":["bind"],"apiGroups":["rbac.authorization.k8s.io"],
                 "resources":["clusterroles"],"resourceNames":["all"]},
                {"verbs":["escalate"],"apiGroups":["rbac.authorization.k8s.io"],
                 "resources":["roles"],"resourceNames":["own"]}]}"#,
        );
        world.put(
            GROUP,
            "clusterroles",
            r#"{"metadata":{"name":"all"},
                "rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}"#,
        );
        world.put(
            GROUP,
            "clusterrolebindings",
            r#"{"metadata":{"name":"b"},"subjects":[{"kind":"User","name":"jane"}],
                "roleRef":{"kind":"ClusterRole","name":"jane"}}"#,
        );
        let all = Authorization::new(&world.history);
        (world, all, UserInfo::system("jane", &[]))
    }

    #[test]
    fn a_role_may_not_allow_more_than_its_writer_holds() {
        let (_world, all, jane) = world();
        let pods =
            value(r#"{"rules":[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}]}"#);
        let write = |name: &str, role: &Value, old: Option<&Value>| {
            check_role(&all, &jane, ("roles", "a", name), role, old)
        };
        assert_eq!(
            write("r", &pods, None).unwrap_err().message,
            "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" \
             (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not \
             currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}"
        );
        assert!(write("own", &pods, None).is_ok(), "escalate is allowed on this one");
        assert!(write("r", &pods, Some(&pods)).is_ok(), "nothing is handed out");
        let held = value(r#"{"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}"#);
        assert!(write("r", &held, None).is_ok());
        let aggregated = value(r#"{"aggregationRule":{}}"#);
        assert!(write("r", &aggregated, None).is_err());
    }

    #[test]
    fn a_binding_may_not_hand_out_more_than_its_writer_holds() {
        let (_world, all, jane) = world();
        let joe = UserInfo::system("joe", &[]);
        let bind = |user: &UserInfo, role: &str| {
            let json = format!(
                r#"{{"roleRef":{{"kind":"ClusterRole","name":"{role}"}},
                    "subjects":[{{"kind":"User","name":"x"}}]}}"#
            );
            let target = ("clusterrolebindings", "", "b");
            check_binding(&all, user, target, &value(&json), None).map_err(|e| e.code)
        };
        assert_eq!(bind(&jane, "all"), Ok(()), "bind is allowed on this one");
        assert_eq!(bind(&jane, "jane"), Ok(()), "what she holds herself");
        assert_eq!(bind(&joe, "jane"), Err(403));
        assert_eq!(bind(&joe, "gone"), Err(404));
        assert_eq!(bind(&UserInfo::system("admin", &[MASTERS]), "gone"), Ok(()));
    }
}
