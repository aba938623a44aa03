//! Grants, their removal, aggregation and reasons, over a history that changes.

use super::*;
use crate::auth::testing::World;

fn world() -> (World, Rbac) {
    let world = World::default();
    let rbac = Rbac::new(Arc::clone(&world.history));
    (world, rbac)
}

fn can(rbac: &Rbac, user: &UserInfo, verb: &str, namespace: &str) -> bool {
    let request = Attributes { namespace, ..Attributes::resource(user, verb, "", "pods") };
    rbac.authorize(&request).allowed()
}

const READER: &str = r#"{"metadata":{"name":"reader"},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}"#;

#[test]
fn a_grant_and_its_removal_are_in_force_at_once() {
    let (world, rbac) = world();
    let jane = UserInfo::system("jane", &[]);
    assert!(!can(&rbac, &jane, "get", "a"));
    world.put(GROUP, "clusterroles", READER);
    world.put(
        GROUP,
        "rolebindings",
        r#"{"metadata":{"name":"b","namespace":"a"},"subjects":[{"kind":"User","name":"jane"}],
            "roleRef":{"kind":"ClusterRole","name":"reader"}}"#,
    );
    assert!(can(&rbac, &jane, "get", "a"));
    assert!(!can(&rbac, &jane, "get", "b") && !can(&rbac, &jane, "get", ""));
    assert!(!can(&rbac, &jane, "list", "a"));
    let request = Attributes { namespace: "a", ..Attributes::resource(&jane, "get", "", "pods") };
    assert_eq!(
        rbac.authorize(&request).reason(),
        r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "reader" to User "jane""#
    );
    world.delete(GROUP, "rolebindings", "a", "b");
    assert!(!can(&rbac, &jane, "get", "a"));
}

#[test]
fn a_changed_binding_forgets_its_former_subjects() {
    let (world, rbac) = world();
    world.put(GROUP, "clusterroles", READER);
    let binding = |name: &str| {
        format!(
            r#"{{"metadata":{{"name":"b"}},"subjects":[{{"kind":"Group","name":"{name}"}}],
                "roleRef":{{"kind":"ClusterRole","name":"reader"}}}}"#
        )
    };
    let (one, two) = (UserInfo::system("x", &["one"]), UserInfo::system("x", &["two"]));
    world.put(GROUP, "clusterrolebindings", &binding("one"));
    assert!(can(&rbac, &one, "get", "") && !can(&rbac, &two, "get", ""));
    world.put(GROUP, "clusterrolebindings", &binding("two"));
    assert!(!can(&rbac, &one, "get", "") && can(&rbac, &two, "get", "any"));
}

#[test]
fn service_accounts_are_bound_by_namespace_and_name() {
    let (world, rbac) = world();
    world.put(
        GROUP,
        "roles",
        r#"{"metadata":{"name":"r","namespace":"a"},
            "rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}"#,
    );
    world.put(
        GROUP,
        "rolebindings",
        r#"{"metadata":{"name":"b","namespace":"a"},
            "subjects":[{"kind":"ServiceAccount","name":"sa","namespace":"other"}],
            "roleRef":{"kind":"Role","name":"r"}}"#,
    );
    assert!(can(&rbac, &UserInfo::service_account("other", "sa", ""), "delete", "a"));
    assert!(!can(&rbac, &UserInfo::service_account("a", "sa", ""), "delete", "a"));
}

#[test]
fn a_binding_without_its_role_says_so() {
    let (world, rbac) = world();
    world.put(
        GROUP,
        "clusterrolebindings",
        r#"{"metadata":{"name":"b"},"subjects":[{"kind":"User","name":"jane"}],
            "roleRef":{"kind":"ClusterRole","name":"gone"}}"#,
    );
    let jane = UserInfo::system("jane", &[]);
    assert_eq!(
        rbac.authorize(&Attributes::resource(&jane, "get", "", "pods")).reason(),
        r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#
    );
}

#[test]
fn aggregation_follows_labels_and_survives_circles() {
    let (world, rbac) = world();
    let aggregate = |name: &str, takes: &str, label: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"to":"{label}"}}}},
                "aggregationRule":{{"clusterRoleSelectors":[{{"matchLabels":{{"to":"{takes}"}}}}]}}}}"#
        )
    };
    world.put(GROUP, "clusterroles", &aggregate("edit", "edit", "admin"));
    world.put(GROUP, "clusterroles", &aggregate("admin", "admin", "edit"));
    assert_eq!(rbac.aggregated("admin").unwrap().len(), 0);
    let labelled = READER.replace(r#""name""#, r#""labels":{"to":"edit"},"name""#);
    world.put(GROUP, "clusterroles", &labelled);
    assert_eq!(rbac.aggregated("admin").unwrap().len(), 1);
    assert_eq!(rbac.aggregated("edit").unwrap().len(), 1);
    assert!(rbac.aggregated("reader").is_none());
    world.delete(GROUP, "clusterroles", "", "reader");
    assert_eq!(rbac.aggregated("admin").unwrap().len(), 0);
}

#[test]
fn falling_off_the_ring_changes_no_answer() {
    let (world, rbac) = world();
    let jane = UserInfo::system("jane", &[]);
    world.put(GROUP, "clusterroles", READER);
    let binding = r#"{"metadata":{"name":"b"},"subjects":[{"kind":"User","name":"jane"}],
        "roleRef":{"kind":"ClusterRole","name":"reader"}}"#;
    world.put(GROUP, "clusterrolebindings", binding);
    assert!(can(&rbac, &jane, "get", ""));
    world.delete(GROUP, "clusterrolebindings", "", "b");
    world.overflow(GROUP, "clusterrolebindings");
    assert!(!can(&rbac, &jane, "get", ""));
}
