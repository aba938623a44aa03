//! A cluster for tests: a history, and a client that writes whole objects to it.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::api::meta::{GroupResource, Key};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::{Call, Client, Gvr, Served, Verb, View};
use crate::history::{Change, History, Object};

/// A cluster without rules: what is put is there.
pub struct Cluster {
    history: Arc<History>,
    synced: watch::Sender<bool>,
    /// Every call that was made.
    pub calls: Mutex<Vec<Call>>,
    /// What the next calls are answered with, in order; after that, with what they sent.
    pub answers: Mutex<Vec<Result<Value, Status>>>,
}

impl Cluster {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            history: History::new(1, 1 << 20),
            synced: watch::Sender::new(true),
            calls: Mutex::default(),
            answers: Mutex::default(),
        })
    }

    /// A client of it.
    pub fn client(self: &Arc<Self>) -> Arc<dyn Client> {
        Arc::new(Handle(Arc::clone(self)))
    }

    /// Stores an object; name and namespace are filled in.
    pub fn put(&self, group: &str, plural: &str, namespace: &str, name: &str, json: &str) {
        let key = Key::new(&GroupResource::new(group, plural), namespace, name);
        let mut tree = Value::parse(json.as_bytes()).unwrap();
        tree.entry("metadata").set("name", name);
        tree.entry("metadata").set("namespace", namespace);
        let revision = self.history.revision() + 1;
        let field = |path, name| (path, tree.at(&["spec", name]).str().into());
        let fields = vec![field("spec.nodeName", "nodeName"), field("spec.podName", "podName")];
        let object = Arc::new(Object::new(key, tree, revision, fields));
        self.history.publish(vec![Change::Put(object)], revision);
    }
}

struct Handle(Arc<Cluster>);

#[async_trait]
impl Client for Handle {
    async fn call(&self, call: Call) -> Result<Value, Status> {
        self.0.calls.lock().push(call.clone());
        let mut answers = self.0.answers.lock();
        if !answers.is_empty() {
            return answers.remove(0);
        }
        match call.verb {
            Verb::Get => {
                Err(Status::not_found(&call.resource.group, &call.resource.plural, &call.name))
            }
            _ => Ok(call.body),
        }
    }

    fn view(&self, resource: &Gvr, _: &str) -> View {
        let history = Arc::clone(&self.0.history);
        View::new(history, resource.group_resource(), self.0.synced.subscribe())
    }

    async fn served(&self) -> Result<Vec<Served>, Status> {
        Ok(Vec::new())
    }
}
