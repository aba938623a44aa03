//! What objects come to, as upstream's evaluators measure it.

use super::*;

fn parse(json: &str) -> Value {
    Value::parse(json.as_bytes()).unwrap()
}

fn now() -> Wall {
    Wall::from_seconds(1_795_168_080)
}

fn of(plural: &str, json: &str) -> String {
    usage(&GroupResource::new("", plural), &parse(json), now()).to_text()
}

const POD: &str = r#"{"containers":[{"name":"c","resources":{"requests":{"cpu":"500m",
    "memory":"1Gi","x.io/gpu":"2","hugepages-2Mi":"4Mi"},"limits":{"cpu":"1","x.io/gpu":"2",
    "hugepages-2Mi":"4Mi"}}},{"name":"d"}],"overhead":{"cpu":"100m","memory":"1Mi"}}"#;

#[test]
fn a_pod_comes_to_its_needs_under_each_of_their_names() {
    assert_eq!(
        of("pods", &format!(r#"{{"spec":{POD}}}"#)),
        "count/pods=1,cpu=600m,hugepages-2Mi=4Mi,limits.cpu=1100m,memory=1025Mi,pods=1,\
         requests.cpu=600m,requests.hugepages-2Mi=4Mi,requests.memory=1025Mi,requests.x.io/gpu=2"
    );
    let ended = format!(r#"{{"spec":{POD},"status":{{"phase":"Failed"}}}}"#);
    assert_eq!(of("pods", &ended), "count/pods=1");
    let stuck = r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z",
        "deletionGracePeriodSeconds":30}}"#;
    assert_eq!(of("pods", stuck), "count/pods=1");
    let going = stuck.replace("2026-01", "2027-01");
    assert_eq!(of("pods", &going), "count/pods=1,pods=1");
}

#[test]
fn services_come_to_ports_and_balancers() {
    let ports = r#""ports":[{"nodePort":30000},{}]"#;
    let cases = [
        ("ClusterIP", "", "0", "0"),
        ("NodePort", "", "0", "2"),
        ("LoadBalancer", "", "1", "2"),
        ("LoadBalancer", r#""allocateLoadBalancerNodePorts":false,"#, "1", "1"),
    ];
    for (kind, more, balancers, node_ports) in cases {
        assert_eq!(
            of("services", &format!(r#"{{"spec":{{"type":"{kind}",{more}{ports}}}}}"#)),
            format!(
                "count/services=1,services=1,services.loadbalancers={balancers},\
                 services.nodeports={node_ports}"
            )
        );
    }
}

#[test]
fn claims_come_to_storage_of_their_class() {
    let claim = r#"{"spec":{"storageClassName":"gold","resources":{"requests":{"storage":"1Gi"}}},
        "status":{"allocatedResources":{"storage":"2Gi"}}}"#;
    assert_eq!(
        of("persistentvolumeclaims", claim),
        "count/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,\
         requests.storage=2Gi"
    );
    assert_eq!(of("secrets", "{}"), "count/secrets=1,secrets=1");
}

#[test]
fn names_fall_to_the_resources_that_they_count() {
    let cases = [
        ("count/jobs.batch", "jobs.batch"),
        ("count/pods", "pods"),
        ("requests.cpu", "pods"),
        ("hugepages-2Mi", "pods"),
        ("requests.x.io/gpu", "pods"),
        ("services.nodeports", "services"),
        ("requests.storage", "persistentvolumeclaims"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
        ("replicationcontrollers", "replicationcontrollers"),
        ("x.io/gpu", ""),
        ("storage", ""),
    ];
    for (name, resource) in cases {
        let found = counted_by(name);
        assert_eq!(found.as_ref().map_or("", GroupResource::as_str), resource, "{name}");
    }
}

#[test]
fn a_quota_on_needs_demands_that_they_are_said() {
    let pod = parse(&format!(r#"{{"spec":{POD}}}"#));
    let names = ["cpu", "limits.memory", "pods", "limits.ephemeral-storage"];
    assert_eq!(
        unsaid(&pod, names.into_iter()).unwrap(),
        "must specify cpu for: d; limits.memory for: c,d"
    );
    assert_eq!(unsaid(&pod, ["pods"].into_iter()), None);
}

#[test]
fn scopes_hold_pods_by_how_they_are() {
    let pods = GroupResource::new("", "pods");
    let holds = |quota: &str, pod: &str| in_scope(&parse(quota), &pods, &parse(pod));
    let ending = r#"{"spec":{"activeDeadlineSeconds":5,"priorityClassName":"high"}}"#;
    let lasting = r#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"1"}}}]}}"#;
    let cases = [
        ("Terminating", true, false),
        ("NotTerminating", false, true),
        ("BestEffort", true, false),
        ("NotBestEffort", false, true),
        ("PriorityClass", true, false),
        ("CrossNamespacePodAffinity", false, false),
    ];
    for (scope, first, second) in cases {
        let quota = format!(r#"{{"scopes":["{scope}"]}}"#);
        assert_eq!((holds(&quota, ending), holds(&quota, lasting)), (first, second), "{scope}");
    }
    let selector = |operator: &str, values: &str| {
        format!(
            r#"{{"scopeSelector":{{"matchExpressions":[{{"scopeName":"PriorityClass",
            "operator":"{operator}","values":{values}}}]}}}}"#
        )
    };
    assert!(holds(&selector("In", r#"["high"]"#), ending));
    assert!(!holds(&selector("In", r#"["low"]"#), ending));
    assert!(holds(&selector("NotIn", r#"["high"]"#), lasting));
    assert!(holds(&selector("DoesNotExist", "[]"), lasting));
    let far = r#"{"spec":{"affinity":{"podAntiAffinity":{
        "preferredDuringSchedulingIgnoredDuringExecution":[
        {"podAffinityTerm":{"namespaceSelector":{}}}]}}}}"#;
    assert!(holds(r#"{"scopes":["CrossNamespacePodAffinity"]}"#, far));
    let services = GroupResource::new("", "services");
    assert!(!in_scope(&parse(r#"{"scopes":["Terminating"]}"#), &services, &parse("{}")));
    assert!(in_scope(&parse("{}"), &services, &parse("{}")));
}
