//! What a namespace lets its pods do, as clients are told of it.

use crate::harness::Cluster;
use crate::wire::Wire;

const PRIVILEGED: &str = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i",
    "securityContext":{"privileged":true}}]}}"#;

#[test]
fn a_namespace_refuses_pods_and_warns_of_them() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    cluster.kubectl("create namespace s").ok();
    cluster.kubectl("wait -n s --for=create serviceaccount/default --timeout=30s").ok();
    let pods = "/api/v1/namespaces/s/pods";
    wire.post(pods, PRIVILEGED).ok();
    let label = |key: &str, value: &str| {
        let key = format!("pod-security.kubernetes.io/{key}");
        let body = format!(r#"{{"metadata":{{"labels":{{"{key}":"{value}"}}}}}}"#);
        wire.merge("/api/v1/namespaces/s", &body)
    };
    let message = label("enforce", "strict").refused(422, "Invalid");
    assert!(message.contains("must be one of privileged, baseline, restricted"), "{message}");
    let stricter = label("enforce", "baseline");
    assert_eq!(
        stricter.headers("warning"),
        [
            r#"299 - "existing pods in namespace \"s\" violate the new PodSecurity enforce level \"baseline:latest\"""#,
            r#"299 - "p: privileged""#
        ]
    );
    let another = PRIVILEGED.replace(r#""name":"p""#, r#""generateName":"q-""#);
    let message = wire.post(pods, &another).refused(403, "Forbidden");
    let why = "violates PodSecurity \"baseline:latest\": privileged (container \"c\" must not set \
               securityContext.privileged=true)";
    assert!(message.starts_with("pods \"q-") && message.ends_with(why), "{message}");
    let deployment = format!(
        r#"{{"metadata":{{"name":"d"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},
        "template":{}}}}}"#,
        PRIVILEGED.replace(r#""name":"p""#, r#""labels":{"a":"b"}"#)
    );
    let made = wire.post("/apis/apps/v1/namespaces/s/deployments", &deployment);
    let warning = made.header("warning");
    assert!(warning.contains("would violate PodSecurity"), "{warning}");
    made.ok();
    cluster.kubectl("wait -n s --for=condition=ReplicaFailure deployment/d --timeout=30s").ok();
    let failure = "get -n s deployment/d -o jsonpath={.status.conditions[*].message}";
    let told = cluster.kubectl(failure).ok();
    assert!(told.contains(why), "{told}");
}
