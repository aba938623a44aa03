//! A table of what Services say and what becomes of it, on clusters of one family and of both.

use super::*;

const ONE: &[&str] = &[FOUR];
const BOTH: &[&str] = &[FOUR, SIX];

/// Policy, families and addresses; or what is wrong.
fn chosen(cluster: &[&'static str], spec: &str, old: Option<&str>) -> String {
    let parse = |spec: &str| Value::parse(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap();
    let (mut service, old) = (parse(spec), old.map(parse));
    let mut errors = Errors::default();
    choose(cluster, &mut service, old.as_ref(), &mut errors);
    if !errors.is_empty() {
        let causes = errors.into_causes().into_iter();
        let causes: Vec<String> = causes.map(|c| format!("{}: {}", c.field, c.message)).collect();
        return causes.join("; ");
    }
    let spec = service.get("spec");
    let list = |name: &str| -> String {
        spec.get(name).items().iter().map(Value::str).collect::<Vec<_>>().join(",")
    };
    let policy = spec.get("ipFamilyPolicy").str();
    format!("{policy} {} [{}]", list("ipFamilies"), list("clusterIPs"))
}

fn check(cluster: &[&'static str], cases: &[(&str, &str)]) {
    for (spec, want) in cases {
        assert_eq!(chosen(cluster, spec, None), *want, "{spec}");
    }
}

#[test]
fn new_services_on_a_cluster_of_one_family() {
    let not = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not \
               configured for dual-stack services";
    check(
        ONE,
        &[
            ("{}", "SingleStack IPv4 []"),
            (r#"{"clusterIP":"None","clusterIPs":["None"],"selector":{"a":"b"}}"#, {
                "SingleStack IPv4 [None]"
            }),
            (r#"{"ipFamilyPolicy":"PreferDualStack"}"#, "PreferDualStack IPv4 []"),
            (r#"{"ipFamilyPolicy":"RequireDualStack"}"#, not),
            (r#"{"clusterIP":"None","clusterIPs":["None"]}"#, {
                "RequireDualStack IPv4,IPv6 [None]"
            }),
            (r#"{"clusterIP":"None","clusterIPs":["None"],"ipFamilyPolicy":"SingleStack"}"#, {
                "SingleStack IPv4 [None]"
            }),
            (r#"{"clusterIP":"None","clusterIPs":["None"],"ipFamilies":["IPv6"]}"#, {
                "RequireDualStack IPv6,IPv4 [None]"
            }),
            (r#"{"type":"ExternalName"}"#, "  []"),
            (r#"{"ipFamilies":["IPv6"]}"#, {
                "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"
            }),
            (r#"{"ipFamilyPolicy":"PreferDualStack","ipFamilies":["IPv4","IPv6"]}"#, {
                "spec.ipFamilies[1]: Invalid value: \"IPv6\": not configured on this cluster"
            }),
            (r#"{"clusterIP":"fd00::1","clusterIPs":["fd00::1"]}"#, {
                "spec.clusterIPs[0]: Invalid value: [\"fd00::1\"]: IPv6 is not configured on this \
                 cluster"
            }),
        ],
    );
}

#[test]
fn new_services_on_a_cluster_of_both_families() {
    let many = "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or \
                'PreferDualStack' when multiple";
    let ips = format!("{many} cluster IPs are specified");
    let families = format!("{many} IP families are specified");
    check(
        BOTH,
        &[
            ("{}", "SingleStack IPv4 []"),
            (r#"{"ipFamilies":["IPv6"]}"#, "SingleStack IPv6 []"),
            (r#"{"ipFamilyPolicy":"PreferDualStack"}"#, "PreferDualStack IPv4,IPv6 []"),
            (r#"{"ipFamilyPolicy":"RequireDualStack"}"#, "RequireDualStack IPv4,IPv6 []"),
            (r#"{"ipFamilyPolicy":"PreferDualStack","ipFamilies":["IPv6"]}"#, {
                "PreferDualStack IPv6,IPv4 []"
            }),
            (r#"{"ipFamilyPolicy":"RequireDualStack","ipFamilies":["IPv6","IPv4"]}"#, {
                "RequireDualStack IPv6,IPv4 []"
            }),
            (r#"{"clusterIP":"fd00::1","clusterIPs":["fd00::1"]}"#, "SingleStack IPv6 [fd00::1]"),
            (
                r#"{"ipFamilyPolicy":"PreferDualStack","clusterIP":"fd00::1",
                    "clusterIPs":["fd00::1"]}"#,
                "PreferDualStack IPv6,IPv4 [fd00::1]",
            ),
            (
                r#"{"ipFamilyPolicy":"RequireDualStack","clusterIP":"10.0.0.1",
                    "clusterIPs":["10.0.0.1","fd00::1"]}"#,
                "RequireDualStack IPv4,IPv6 [10.0.0.1,fd00::1]",
            ),
            (r#"{"clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1","fd00::1"]}"#, &ips),
            (r#"{"ipFamilies":["IPv4","IPv6"]}"#, &families),
            (r#"{"clusterIP":"None","clusterIPs":["None"],"selector":{"a":"b"}}"#, {
                "SingleStack IPv4 [None]"
            }),
            (
                r#"{"clusterIP":"None","clusterIPs":["None"],"selector":{"a":"b"},
                    "ipFamilyPolicy":"PreferDualStack"}"#,
                "PreferDualStack IPv4,IPv6 [None]",
            ),
            // What makes no sense anywhere is told by the rules of Services.
            (r#"{"clusterIP":"x","clusterIPs":["x"]}"#, "SingleStack  [x]"),
            (r#"{"ipFamilies":["IPv4","IPv4"]}"#, "SingleStack IPv4,IPv4 []"),
        ],
    );
}

const SINGLE_FOUR: &str = r#"{"type":"ClusterIP","clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],
    "ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4"]}"#;
const DUAL: &str = r#"{"type":"ClusterIP","clusterIP":"10.0.0.1",
    "clusterIPs":["10.0.0.1","fd00::1"],"ipFamilyPolicy":"RequireDualStack",
    "ipFamilies":["IPv4","IPv6"]}"#;
const PREFERS: &str = r#"{"type":"ClusterIP","clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],
    "ipFamilyPolicy":"PreferDualStack","ipFamilies":["IPv4"]}"#;

#[test]
fn a_second_family_comes_and_goes_by_the_policy() {
    let of = |old: &str, from: &str, to: &str| {
        assert!(old.contains(from), "{from}");
        chosen(BOTH, &old.replace(from, to), Some(old))
    };
    assert_eq!(
        of(SINGLE_FOUR, "SingleStack", "PreferDualStack"),
        "PreferDualStack IPv4,IPv6 [10.0.0.1]"
    );
    assert_eq!(
        of(SINGLE_FOUR, "SingleStack", "RequireDualStack"),
        "RequireDualStack IPv4,IPv6 [10.0.0.1]"
    );
    assert_eq!(of(DUAL, "RequireDualStack", "SingleStack"), "SingleStack IPv4 [10.0.0.1]");
    assert_eq!(
        of(DUAL, "RequireDualStack", "PreferDualStack"),
        "PreferDualStack IPv4,IPv6 [10.0.0.1,fd00::1]"
    );
    let must = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' \
                to release the secondary";
    assert_eq!(of(DUAL, r#","fd00::1""#, ""), format!("{must} cluster IP"));
    assert_eq!(of(DUAL, r#","IPv6""#, ""), format!("{must} IP family"));
    assert_eq!(
        of(DUAL, r#""ipFamilyPolicy":"RequireDualStack","#, ""),
        "RequireDualStack IPv4,IPv6 [10.0.0.1,fd00::1]",
        "what is not said stays"
    );
    let other = of(DUAL, r#""RequireDualStack""#, r#""SingleStack","x":1"#);
    assert_eq!(other, "SingleStack IPv4 [10.0.0.1]");
}

#[test]
fn who_prefers_both_keeps_what_he_has() {
    assert_eq!(chosen(BOTH, PREFERS, Some(PREFERS)), "PreferDualStack IPv4 [10.0.0.1]");
    let asks = PREFERS.replace(r#"["IPv4"]"#, r#"["IPv4","IPv6"]"#);
    let grown = "PreferDualStack IPv4,IPv6 [10.0.0.1]";
    assert_eq!(chosen(BOTH, &asks, Some(PREFERS)), grown);
    let dual = DUAL.replace("Require", "Prefer");
    assert_eq!(
        chosen(ONE, &dual, Some(&dual)),
        "PreferDualStack IPv4,IPv6 [10.0.0.1,fd00::1]",
        "though the cluster has no second family any more"
    );
    let node_port = PREFERS.replace(r#""ClusterIP""#, r#""NodePort""#);
    assert_eq!(chosen(BOTH, &node_port, Some(PREFERS)), grown, "another type asks anew");
}

#[test]
fn a_name_for_another_host_has_no_family_and_may_get_some() {
    let external = r#"{"type":"ExternalName","externalName":"a.example"}"#;
    let cases = [
        (r#"{"type":"ClusterIP"}"#, "SingleStack IPv4 []"),
        (r#"{"type":"ClusterIP","ipFamilyPolicy":"RequireDualStack"}"#, {
            "RequireDualStack IPv4,IPv6 []"
        }),
        (r#"{"type":"ClusterIP","ipFamilies":["IPv6"]}"#, "SingleStack IPv6 []"),
    ];
    for (spec, want) in cases {
        assert_eq!(chosen(BOTH, spec, Some(external)), want, "{spec}");
    }
    assert_eq!(chosen(BOTH, external, Some(DUAL)), "  []");
}
