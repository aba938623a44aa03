//! What was acknowledged is there, whenever rk is killed: writers over HTTPS, SIGKILL at random
//! moments, and a look at everything after each start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error, ResourceExt};
use rk::util::id;

use crate::harness::Cluster;

/// How often the server is killed.
const KILLS: usize = 100;
/// Who writes at the same time.
const WRITERS: usize = 6;
/// Objects of each writer.
const OBJECTS: usize = 4;

/// What a writer knows of one of its objects: the number in it, `None` where it is deleted.
type State = Option<u64>;

/// What one writer may find after a crash.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What was acknowledged last, by object.
    acknowledged: BTreeMap<String, State>,
    /// What was asked for and never answered: it may have happened or not.
    doubtful: Option<(String, State)>,
    /// The newest revision that was seen.
    revision: u64,
    /// How many writes were acknowledged.
    count: usize,
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn object(name: &str, number: u64, revision: Option<String>) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object.metadata.resource_version = revision;
    object.data = Some(BTreeMap::from([("n".to_owned(), number.to_string())]));
    object
}

fn number(object: &ConfigMap) -> u64 {
    object.data.as_ref().unwrap()["n"].parse().unwrap()
}

/// Creates, replaces and deletes a writer's objects until the server is gone.
async fn write(kubeconfig: &Path, writer: usize, known: &Mutex<Known>, stop: &AtomicBool) {
    let api: Api<ConfigMap> = Api::namespaced(client(kubeconfig).await, "default");
    let mut turn = 0u64;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let name = format!("w{writer}-{}", turn as usize % OBJECTS);
        let before = known.lock().unwrap().acknowledged.get(&name).copied().flatten();
        let next = match before {
            Some(_) if turn.is_multiple_of(5) => None,
            Some(number) => Some(number + 1),
            None => Some(turn),
        };
        known.lock().unwrap().doubtful = Some((name.clone(), next));
        match one_write(&api, &name, before, next).await {
            Ok(revision) => {
                let mut known = known.lock().unwrap();
                known.acknowledged.insert(name, next);
                known.count += 1;
                known.revision = known.revision.max(revision);
                known.doubtful = None;
            }
            Err(Error::Api(status)) => panic!("the server refused a good write: {status:?}"),
            Err(_) => return,
        }
    }
}

async fn one_write(
    api: &Api<ConfigMap>,
    name: &str,
    before: State,
    next: State,
) -> Result<u64, Error> {
    let revision = |object: ConfigMap| object.resource_version().unwrap().parse().unwrap();
    match (before, next) {
        (None, Some(number)) => {
            api.create(&PostParams::default(), &object(name, number, None)).await.map(revision)
        }
        (_, Some(number)) => {
            let wanted = object(name, number, None);
            api.replace(name, &PostParams::default(), &wanted).await.map(revision)
        }
        (_, None) => api.delete(name, &DeleteParams::default()).await.map(|_| 0),
    }
}

/// Holds what is there against what the writers know, and tells them what became of their doubts.
async fn compare(kubeconfig: &Path, all: &[Arc<Mutex<Known>>]) {
    let api: Api<ConfigMap> = Api::namespaced(client(kubeconfig).await, "default");
    let list = api.list(&ListParams::default()).await.unwrap();
    let newest: u64 = list.metadata.resource_version.clone().unwrap().parse().unwrap();
    let found: BTreeMap<String, u64> = list
        .items
        .iter()
        .filter(|object| object.name_any().starts_with('w'))
        .map(|object| (object.name_any(), number(object)))
        .collect();
    for known in all {
        let mut known = known.lock().unwrap();
        assert!(newest >= known.revision, "revisions went back: {newest} < {}", known.revision);
        if let Some((name, state)) = known.doubtful.take() {
            let now = found.get(&name).copied();
            let before = known.acknowledged.get(&name).copied().flatten();
            assert!(
                now == state || now == before,
                "{name} is {now:?}, not {before:?} or {state:?}"
            );
            known.acknowledged.insert(name, now);
        }
        for (name, state) in &known.acknowledged {
            assert_eq!(found.get(name), state.as_ref(), "{name} is not as acknowledged");
        }
    }
}

fn start_writers(
    cluster: &Cluster,
    all: &[Arc<Mutex<Known>>],
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let kubeconfig = cluster.kubeconfig();
    let start = |(writer, known): (usize, &Arc<Mutex<Known>>)| {
        let (known, stop, kubeconfig) = (Arc::clone(known), Arc::clone(stop), kubeconfig.clone());
        std::thread::spawn(move || block_on(write(&kubeconfig, writer, &known, &stop)))
    };
    // Threads that are made on the machine stay on it.
    cluster.machine.run(|| all.iter().enumerate().map(start).collect())
}

#[test]
fn every_acknowledged_write_survives_a_hundred_kills() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    let all: Vec<Arc<Mutex<Known>>> = (0..WRITERS).map(|_| Arc::default()).collect();
    for _ in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = start_writers(&cluster, &all, &stop);
        let moment = u64::from(id::random::<1>()[0]);
        let (_never, timer) = std::sync::mpsc::channel::<()>();
        let _ = timer.recv_timeout(Duration::from_millis(20 + moment));
        cluster.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        cluster.go();
        let kubeconfig = cluster.kubeconfig();
        cluster.machine.run(|| block_on(compare(&kubeconfig, &all)));
    }
    let written: usize = all.iter().map(|known| known.lock().unwrap().count).sum();
    println!("{written} writes were acknowledged over {KILLS} kills");
    assert!(written > 10 * KILLS, "only {written} writes: the kills came too early");
}

/// A watch from before a crash is told to list again: it would miss what the crash cut off.
#[test]
fn a_watch_from_before_a_crash_is_gone() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("create configmap before").ok();
    let list = cluster.kubectl("get --raw /api/v1/namespaces/default/configmaps").ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.kill();
    cluster.go();
    let watch = format!(
        "get --raw /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=5&resourceVersion={revision}"
    );
    let answer = cluster.kubectl(&watch);
    let told = format!("{}{}", answer.out, answer.err);
    assert!(told.contains("too old resource version") || told.contains("Expired"), "{told}");
}
