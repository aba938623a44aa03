//! Jobs from start to end against a pretended cluster: what the plans ask for is done to a job and
//! pods in memory, as a server would.

use k8s_openapi::api::batch::v1::Job;

use super::{Work, is_finished};
use crate::api::meta::{Key, Meta};
use crate::api::time;
use crate::api::tree::Value;
use crate::client::{Call, JOBS, Verb};
use crate::controllers::runner::Plan;
use crate::util::clock::Wall;

struct World {
    job: Value,
    pods: Vec<Value>,
    made: usize,
    now: Wall,
    again: Option<std::time::Duration>,
    events: Vec<String>,
}

impl World {
    fn new(spec: &str) -> Self {
        let text = r#"{"metadata":{"name":"j","namespace":"n","uid":"u","generation":1},"spec":{
            "parallelism":1,"completions":1,"backoffLimit":6,"suspend":false,
            "completionMode":"NonIndexed","podReplacementPolicy":"TerminatingOrFailed",
            "template":{"spec":{"restartPolicy":"Never",
            "containers":[{"name":"c","image":"i"}]}}}}"#;
        let mut job = Value::parse(text.as_bytes()).unwrap();
        for (field, value) in Value::parse(spec.as_bytes()).unwrap().fields() {
            job.entry("spec").set(field, value.clone());
        }
        let now = time::parse("2026-11-20T12:00:00Z").unwrap();
        let mut world =
            Self { job, pods: Vec::new(), made: 0, now, again: None, events: Vec::new() };
        world.settle();
        world
    }

    /// Does what is planned until nothing more is.
    fn settle(&mut self) {
        for _ in 0..50 {
            let job: Job = self.job.to().unwrap();
            if is_finished(&job) {
                return;
            }
            let spec = job.spec.clone().unwrap();
            let pods = self.pods.iter().map(|pod| pod.to().unwrap()).collect();
            let key = Key::new(&JOBS.group_resource(), "n", "j");
            let plan = Work { job: &job, spec: &spec, pods, now: self.now }.plan(&key);
            self.again = plan.again;
            if !self.apply(plan) {
                return;
            }
        }
        panic!("the job does not settle: {}", self.job);
    }

    fn apply(&mut self, plan: Plan) -> bool {
        let steps = plan.calls.into_iter().chain(plan.then).map(|step| step.call);
        let calls: Vec<Call> = steps.chain(plan.always).collect();
        self.events.extend(plan.events.iter().map(|event| event.2.to_owned()));
        let some = !calls.is_empty();
        calls.into_iter().for_each(|call| self.call(call));
        some
    }

    fn call(&mut self, call: Call) {
        let at = self.pods.iter().position(|pod| pod.name() == call.name);
        match (call.verb, at) {
            (Verb::Create, _) => {
                self.made += 1;
                let mut pod = call.body;
                pod.entry("metadata").set("name", format!("p{}", self.made));
                pod.entry("metadata").set("uid", format!("u{}", self.made));
                pod.entry_at(&["status"]).set("phase", "Running");
                self.pods.push(pod);
            }
            (Verb::Update, _) => self.job = call.body,
            (Verb::Patch(_), Some(at)) => {
                let metadata = self.pods[at].entry("metadata");
                match call.body.metadata().get("finalizers") {
                    Value::Null => drop(metadata.remove("finalizers")),
                    finalizers => metadata.set("finalizers", finalizers.clone()),
                }
                if self.pods[at].is_deleting() && self.pods[at].finalizers().is_empty() {
                    self.pods.remove(at);
                }
            }
            (Verb::Delete, Some(at)) if self.pods[at].finalizers().is_empty() => {
                self.pods.remove(at);
            }
            (Verb::Delete, Some(at)) => {
                let now = time::format(self.now);
                self.pods[at].entry("metadata").set("deletionTimestamp", now);
                self.pods[at].entry("status").set("phase", "Failed");
            }
            (verb, None) => panic!("{verb:?} of a pod that is not there"),
            _ => {}
        }
    }

    fn running(&self) -> Vec<&str> {
        let running = self.pods.iter().filter(|p| p.at(&["status", "phase"]).str() == "Running");
        running.map(Meta::name).collect()
    }

    /// Ends a pod with an exit code.
    fn end(&mut self, name: &str, code: i64) {
        let now = time::format(self.now);
        let pod = self.pods.iter_mut().find(|pod| pod.name() == name).unwrap();
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let text = format!(
            r#"{{"phase":"{phase}","containerStatuses":[{{"name":"c","image":"","imageID":"",
            "ready":false,"restartCount":0,"state":{{"terminated":{{"exitCode":{code},
            "finishedAt":"{now}"}}}}}}]}}"#
        );
        pod.set("status", Value::parse(text.as_bytes()).unwrap());
        self.settle();
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(std::time::Duration::from_secs(seconds));
        self.settle();
    }

    fn status(&self, field: &str) -> &Value {
        self.job.at(&["status", field])
    }

    /// The conditions that are true.
    fn conditions(&self) -> Vec<String> {
        let conditions = self.status("conditions").items().iter();
        let holds = conditions.filter(|c| c.get("status").str() == "True");
        holds.map(|c| format!("{} {}", c.get("type").str(), c.get("reason").str())).collect()
    }
}

#[test]
fn pods_are_counted_once_and_complete_the_job() {
    let mut world = World::new(r#"{"completions":3,"parallelism":2}"#);
    assert_eq!(world.running(), ["p1", "p2"]);
    assert_eq!(
        (world.status("active").as_int(), world.status("ready").as_int()),
        (Some(2), Some(0))
    );
    world.end("p1", 0);
    assert_eq!(world.running(), ["p2", "p3"]);
    assert_eq!(world.status("succeeded").as_int(), Some(1));
    world.end("p3", 0);
    assert_eq!(world.running(), ["p2"], "no more than are needed");
    world.end("p2", 0);
    assert_eq!(
        world.conditions(),
        ["SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"]
    );
    assert_eq!(world.status("succeeded").as_int(), Some(3));
    assert_eq!(world.events, ["Completed"]);
    assert!(world.pods.iter().all(|pod| pod.finalizers().is_empty()));
}

#[test]
fn failures_are_retried_ever_later_until_the_limit() {
    let mut world = World::new(r#"{"backoffLimit":1}"#);
    world.end("p1", 1);
    assert!(world.running().is_empty());
    assert_eq!(world.again.unwrap().as_secs(), 10);
    world.wait(10);
    assert_eq!(world.running(), ["p2"]);
    world.end("p2", 1);
    assert_eq!(
        world.conditions(),
        ["FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded"]
    );
    assert_eq!(world.status("failed").as_int(), Some(2));
}

#[test]
fn a_success_ends_the_wait_after_failures() {
    let mut world = World::new(r#"{"completions":3,"parallelism":2}"#);
    world.end("p1", 1);
    world.wait(1);
    world.end("p2", 0);
    assert_eq!(world.running(), ["p3", "p4"]);
}

#[test]
fn indexes_are_done_once_each() {
    let mut world = World::new(r#"{"completions":3,"parallelism":3,"completionMode":"Indexed"}"#);
    let index = |pod: &Value| {
        let annotations = pod.metadata().get("annotations");
        annotations.get("batch.kubernetes.io/job-completion-index").str().to_owned()
    };
    assert_eq!(world.pods.iter().map(index).collect::<String>(), "012");
    assert_eq!(world.pods[1].at(&["spec", "hostname"]).str(), "j-1");
    assert_eq!(world.pods[1].metadata().get("generateName").str(), "j-1-");
    world.end("p2", 0);
    assert_eq!(world.status("completedIndexes").str(), "1");
    world.end("p1", 1);
    world.wait(10);
    assert_eq!(world.running(), ["p3", "p4"]);
    assert_eq!(index(&world.pods[3]), "0");
    world.end("p3", 0);
    world.end("p4", 0);
    assert_eq!(world.status("completedIndexes").str(), "0-2");
    assert_eq!(world.status("succeeded").as_int(), Some(3));
    assert_eq!(world.conditions()[1], "Complete CompletionsReached");
}

#[test]
fn each_index_may_have_a_limit_of_its_own() {
    let mut world = World::new(
        r#"{"completions":2,"parallelism":2,"completionMode":"Indexed","backoffLimitPerIndex":1,
        "backoffLimit":2147483647}"#,
    );
    world.end("p1", 1);
    world.wait(10);
    let retry = &world.pods[2];
    let failures = "batch.kubernetes.io/job-index-failure-count";
    assert_eq!(retry.metadata().get("annotations").get(failures).str(), "1");
    world.end("p3", 1);
    assert_eq!(world.status("failedIndexes").str(), "0");
    world.end("p2", 0);
    assert_eq!(world.conditions()[1], "Failed FailedIndexes");
    assert_eq!(world.status("failed").as_int(), Some(2));
}

#[test]
fn a_policy_says_what_a_failure_means() {
    let policy = r#"{"podFailurePolicy":{"rules":[
        {"action":"Ignore","onExitCodes":{"operator":"In","values":[7]}},
        {"action":"FailJob","onExitCodes":{"operator":"NotIn","values":[1,7]}}]},
        "backoffLimit":0,"podReplacementPolicy":"Failed"}"#;
    let mut world = World::new(policy);
    world.end("p1", 7);
    assert_eq!(world.running(), ["p2"], "an ignored failure is retried at once");
    assert_eq!(world.status("failed").as_int(), None);
    world.end("p2", 9);
    assert_eq!(world.conditions(), ["FailureTarget PodFailurePolicy", "Failed PodFailurePolicy"]);
    let message = world.status("conditions").items()[0].get("message").str();
    let expected = "Container c for pod n/p2 failed with exit code 9 matching FailJob rule at \
                    index 1";
    // The pretended pods have no namespace.
    assert_eq!(message, expected.replace("n/p2", "/p2"));
}

#[test]
fn some_indexes_may_be_enough() {
    let mut world = World::new(
        r#"{"completions":3,"parallelism":3,"completionMode":"Indexed",
        "successPolicy":{"rules":[{"succeededIndexes":"0-1","succeededCount":1}]}}"#,
    );
    world.end("p3", 0);
    assert_eq!(world.running().len(), 2);
    world.end("p2", 0);
    assert_eq!(world.conditions(), ["SuccessCriteriaMet SuccessPolicy", "Complete SuccessPolicy"]);
    assert!(world.running().is_empty(), "the others are ended");
}

#[test]
fn a_job_that_is_held_back_has_no_pods_and_goes_on_later() {
    let mut world = World::new(r#"{"parallelism":2,"completions":2}"#);
    world.job.entry("spec").set("suspend", true);
    world.settle();
    assert!(world.pods.is_empty(), "{:?}", world.pods);
    assert_eq!(world.conditions(), ["Suspended JobSuspended"]);
    assert!(world.status("startTime").is_null() && world.status("failed").is_null());
    world.job.entry("spec").set("suspend", false);
    world.settle();
    assert_eq!(world.running().len(), 2);
    assert_eq!(world.events, ["Suspended", "Resumed"]);
}

#[test]
fn a_job_may_not_be_active_for_too_long() {
    let mut world = World::new(r#"{"activeDeadlineSeconds":30}"#);
    assert_eq!(world.again.unwrap().as_secs(), 30);
    world.wait(30);
    assert_eq!(world.conditions(), ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]);
    assert!(world.pods.is_empty(), "its pods are deleted");
}

#[test]
fn fewer_pods_at_a_time_are_no_failures() {
    let mut world = World::new(r#"{"parallelism":3,"completions":9}"#);
    world.job.entry("spec").set("parallelism", 1);
    world.settle();
    assert_eq!((world.running().len(), world.pods.len()), (1, 1));
    assert!(world.status("failed").is_null());
}
