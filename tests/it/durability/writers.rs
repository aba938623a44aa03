//! Writers over HTTPS that remember what was acknowledged, and a look at everything after a crash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::harness::Machine;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error, ResourceExt};

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

/// All writers of a test, over all crashes.
pub struct Writers {
    all: Vec<Arc<Mutex<Known>>>,
}

/// Writers at work, until the server is gone.
pub struct Working {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    pub fn new() -> Self {
        Self { all: (0..WRITERS).map(|_| Arc::default()).collect() }
    }

    /// Starts to write, as clients on `machine`.
    pub fn start(&self, machine: &Machine, kubeconfig: PathBuf) -> Working {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(writer, known): (usize, &Arc<Mutex<Known>>)| {
            let (known, stop, kubeconfig) =
                (Arc::clone(known), Arc::clone(&stop), kubeconfig.clone());
            std::thread::spawn(move || block_on(write(&kubeconfig, writer, &known, &stop)))
        };
        // Threads that are made on the machine stay on it.
        let threads = machine.run(|| self.all.iter().enumerate().map(start).collect());
        Working { threads, stop }
    }

    /// Holds what the server has against what was acknowledged.
    #[track_caller]
    pub fn compare(&self, machine: &Machine, kubeconfig: &Path) {
        machine.run(|| block_on(compare(kubeconfig, &self.all)));
    }

    /// How many writes were acknowledged.
    pub fn count(&self) -> usize {
        self.all.iter().map(|known| known.lock().unwrap().count).sum()
    }
}

impl Working {
    /// Waits until all have seen that the server is gone.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
