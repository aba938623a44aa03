//! What is held of pods that are there.

use super::*;

#[test]
fn a_bound_pod_is_resized_to_what_its_node_can_give() {
    let world = world();
    let node = |name: &str, system: &str| {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"kubernetes.io/os":"{system}"}}}},
            "status":{{"allocatable":{{"cpu":"2","memory":"1Gi"}}}}}}"#
        );
        world.put("nodes", &json);
    };
    node("n", "linux");
    node("w", "windows");
    let resized = |node: &str, generation: i64, cpu: &str, memory: &str| {
        let pod = |generation: i64| {
            format!(
                r#"{{"metadata":{{"name":"p","generation":{generation}}},"spec":{{"nodeName":
                "{node}","containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}",
                "memory":"{memory}"}}}}}}]}}}}"#
            )
        };
        let old = Value::parse(pod(1).as_bytes()).unwrap();
        let what = ("", "pods", "resize");
        let ask = Ask { operation: Operation::Update, what, name: "p", ..Ask::create("", "a") };
        world.validate(&Ask { old: Some(&old), ..ask }, &pod(generation))
    };
    let said = |result: Result<_, Status>| {
        let status = result.unwrap_err();
        (status.message, status.details.unwrap().causes[0].reason)
    };
    assert_eq!(resized("n", 2, "2", "1Gi"), Ok(()));
    let short = "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, \
                 requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: \
                 1073741824";
    assert_eq!(said(resized("n", 2, "3", "2Gi")), (short.into(), "NodeCapacity"));
    assert_eq!(resized("n", 1, "3", "2Gi"), Ok(()), "this asks for nothing new");
    assert_eq!(resized("", 2, "3", "2Gi"), Ok(()), "its node is yet to be chosen");
    let other = "pods \"p\" is forbidden: pod resize is only supported on linux nodes, node \"w\" \
                 is \"windows\"";
    assert_eq!(said(resized("w", 2, "1", "1Gi")), (other.into(), "UnsupportedPlatform"));
    let gone = resized("gone", 2, "1", "1Gi").unwrap_err().message;
    assert_eq!(gone, "pods \"p\" is forbidden: node \"gone\" not found");
}
