//! Jobs and CronJobs.

use super::{IMAGE, cluster, field, wait_for};
use crate::guestbook::eventually;
use crate::harness::Cluster;

/// A job of one container that runs a script; `spec` is further lines of its spec.
fn job(cluster: &Cluster, name: &str, script: &str, restart: &str, spec: &str) {
    let manifest = format!(
        "\
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
{spec}
  template:
    spec:
      restartPolicy: {restart}
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: {IMAGE}
        command: [sh, -c, '{script}']
"
    );
    cluster.apply(&manifest).ok();
}

fn wait(cluster: &Cluster, name: &str, condition: &str) {
    cluster.kubectl(&format!("wait job/{name} --for=condition={condition} --timeout=60s")).ok();
}

/// The reason of a condition.
fn reason(cluster: &Cluster, name: &str, condition: &str) -> String {
    let path = format!("{{.status.conditions[?(@.type==\"{condition}\")].reason}}");
    field(cluster, &format!("job/{name}"), &path)
}

#[test]
fn jobs_run_to_their_end() {
    let cluster = cluster();
    // All at once: they wait for containers, not for each other.
    cluster.kubectl(&format!("create job hello --image={IMAGE} -- echo hello world")).ok();
    job(&cluster, "parallel", "true", "Never", "  completions: 4\n  parallelism: 2");
    let indexed = "  completions: 3\n  parallelism: 3\n  completionMode: Indexed";
    job(&cluster, "indexed", "echo index $JOB_COMPLETION_INDEX on $(hostname)", "Never", indexed);
    job(&cluster, "failing", "exit 3", "Never", "  backoffLimit: 0");
    job(&cluster, "slow", "sleep 600", "Never", "  activeDeadlineSeconds: 2");
    job(&cluster, "brief", "true", "Never", "  ttlSecondsAfterFinished: 0");
    let policy = "  backoffLimit: 5\n  podFailurePolicy:\n    rules:\n    - action: FailJob\n      \
                  onExitCodes: {operator: In, values: [42]}";
    job(&cluster, "policy", "exit 42", "Never", policy);
    let first = "  completions: 2\n  parallelism: 2\n  completionMode: Indexed\n  successPolicy: \
                 {rules: [{succeededIndexes: \"0\"}]}";
    job(&cluster, "first", "test $JOB_COMPLETION_INDEX = 0 || sleep 600", "Never", first);

    wait(&cluster, "hello", "complete");
    assert_eq!(cluster.kubectl("logs job/hello").ok(), "hello world\n");
    wait(&cluster, "parallel", "complete");
    wait(&cluster, "indexed", "complete");
    assert_eq!(field(&cluster, "job/parallel", "{.status.succeeded}"), "4");
    assert_eq!(field(&cluster, "job/indexed", "{.status.completedIndexes}"), "0-2");
    let logs = cluster.kubectl("logs -l batch.kubernetes.io/job-name=indexed --tail=-1").ok();
    for index in 0..3 {
        assert!(logs.contains(&format!("index {index} on indexed-{index}")), "{logs}");
    }
    wait(&cluster, "failing", "failed");
    assert_eq!(reason(&cluster, "failing", "Failed"), "BackoffLimitExceeded");
    wait(&cluster, "slow", "failed");
    assert_eq!(reason(&cluster, "slow", "Failed"), "DeadlineExceeded");
    wait(&cluster, "policy", "failed");
    assert_eq!(reason(&cluster, "policy", "Failed"), "PodFailurePolicy");
    wait(&cluster, "first", "complete");
    assert_eq!(reason(&cluster, "first", "Complete"), "SuccessPolicy");
    eventually("the brief job goes", || {
        let ran = cluster.kubectl("get job/brief");
        if ran.err.contains("NotFound") { Ok(()) } else { Err(ran.out) }
    });
    // The pods of finished jobs are held by nothing, and go with their job.
    cluster.kubectl("delete job --all --timeout=60s").ok();
    eventually("all pods go", || {
        let pods = cluster.kubectl("get pods -o name").ok();
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    });
}

#[test]
fn a_suspended_job_has_no_pods_and_an_elastic_one_changes_its_size() {
    let cluster = cluster();
    let indexed = "  completions: 2\n  parallelism: 2\n  completionMode: Indexed\n  suspend: true";
    job(&cluster, "held", "sleep 600", "Never", indexed);
    wait(&cluster, "held", "suspended");
    assert_eq!(cluster.kubectl("get pods -o name").ok(), "");
    let patch = |patch: &str| cluster.kubectl_with(&["patch", "job/held", "-p", patch], "");
    patch(r#"{"spec":{"suspend":false}}"#).ok();
    wait_for(&cluster, "job/held", "{.status.ready}", "2");
    let refused = patch(r#"{"spec":{"completions":3}}"#);
    assert!(refused.err.contains("can only be modified in tandem with"), "{}", refused.err);
    patch(r#"{"spec":{"completions":3,"parallelism":3}}"#).ok();
    wait_for(&cluster, "job/held", "{.status.ready}", "3");
    patch(r#"{"spec":{"completions":1,"parallelism":1}}"#).ok();
    wait_for(&cluster, "job/held", "{.status.active}", "1");
    assert_eq!(field(&cluster, "job/held", "{.status.failed}"), "");
}

#[test]
fn a_cron_job_makes_jobs_when_they_are_due() {
    let cluster = cluster();
    let create = format!("create cronjob tick --image={IMAGE} --schedule=@every_2s -- true");
    let words: Vec<String> = create.split(' ').map(|word| word.replace('_', " ")).collect();
    cluster.kubectl_with(&words.iter().map(String::as_str).collect::<Vec<_>>(), "").ok();
    // One by hand, whatever the schedule.
    cluster.kubectl("create job --from=cronjob/tick by-hand").ok();
    wait(&cluster, "by-hand", "complete");
    eventually("a job was made and ran", || {
        let last = field(&cluster, "cronjob/tick", "{.status.lastSuccessfulTime}");
        if last.is_empty() { Err(cluster.kubectl("describe cronjob/tick").ok()) } else { Ok(()) }
    });
    let owners = field(&cluster, "jobs", "{.items[*].metadata.ownerReferences[0].name}");
    assert!(owners.starts_with("tick"), "{owners}");
    let path = "{.items[?(@.metadata.name!=\"by-hand\")].metadata.annotations}";
    eventually("a job was made by the schedule", || {
        let annotations = field(&cluster, "jobs", path);
        let made = annotations.contains("cronjob-scheduled-timestamp");
        if made { Ok(()) } else { Err(cluster.kubectl("get jobs,cronjobs -o yaml").ok()) }
    });
    let patch = r#"{"spec":{"suspend":true}}"#;
    cluster.kubectl_with(&["patch", "cronjob/tick", "-p", patch], "").ok();
    let table = cluster.kubectl("get cronjob tick").ok();
    assert!(table.contains("@every 2s") && table.contains("True"), "{table}");
    cluster.kubectl("delete cronjob tick --timeout=60s").ok();
}
