//! What every controller shares: it follows views, queues keys, and runs a pure reconcile.
//!
//! A reconcile reads the views and returns what is to be done; the runner does it. What a
//! controller wrote is in its views before it looks at that key again, so none keeps expectations.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::meters::Meters;
use super::queue::{Outcome, Queue};
use crate::api::meta::{Key, Meta};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::events::{Recorder, Regarding, Severity};
use crate::client::{Call, Client, Gvr, Verb, View};
use crate::history::{Event, Object};
use crate::limits;
use crate::util::clock::{self, Wall};

/// A call, and what users are told of it.
#[derive(Debug)]
pub struct Step {
    /// What is done.
    pub call: Call,
    /// The event of its success or failure.
    pub told: Option<Told>,
}

impl From<Call> for Step {
    fn from(call: Call) -> Self {
        Self { call, told: None }
    }
}

/// The event of a call: about what, and in which words.
#[derive(Debug, Clone)]
pub struct Told {
    /// The object whose event it is.
    pub regarding: Regarding,
    /// The reason when it succeeds.
    pub success: &'static str,
    /// The message when it succeeds; `{}` stands for the name of the object that was written.
    pub message: String,
    /// The reason when it fails; empty where that is not told.
    pub failure: &'static str,
    /// What the error is put behind, as `Error creating: `.
    pub failure_prefix: &'static str,
}

/// A call, and what follows from what it is answered.
pub struct Sequel {
    first: Call,
    then: Box<dyn FnOnce(&Value) -> Next + Send>,
}

/// What follows an answer.
#[derive(Debug)]
pub enum Next {
    /// Nothing.
    Done,
    /// A last call.
    Call(Call),
    /// A call whose answer tells how to go on.
    Sequel(Sequel),
}

impl Sequel {
    /// A call, and what makes the next one from its answer.
    pub fn new(first: Call, then: impl FnOnce(&Value) -> Next + Send + 'static) -> Self {
        Self { first, then: Box::new(then) }
    }

    /// The call, and what follows where it is answered so.
    #[cfg(test)]
    pub fn answered(self, answer: &Value) -> (Call, Next) {
        (self.first, (self.then)(answer))
    }
}

impl fmt::Debug for Sequel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequel").field("first", &self.first).finish_non_exhaustive()
    }
}

/// What is to be done for one key.
#[derive(Debug, Default)]
pub struct Plan {
    /// Calls in any order; the first failure ends the plan.
    pub calls: Vec<Step>,
    /// Calls that follow from answers, one sequel after the other, once `calls` have succeeded.
    pub sequels: Vec<Sequel>,
    /// Calls in this order, after the others succeeded.
    pub then: Vec<Step>,
    /// Calls that are made though others failed, such as the status that tells of it.
    pub always: Vec<Call>,
    /// What users are told once `calls` and `then` have succeeded.
    pub events: Vec<(Regarding, Severity, &'static str, String)>,
    /// Look again after this, though nothing happens.
    pub again: Option<Duration>,
}

/// What a reconcile may know besides the objects.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time.
    pub now: Wall,
    /// Why the last try for this key failed, if it did.
    pub failure: Option<&'a Status>,
}

/// The views of one controller, by resource.
#[derive(Clone)]
pub struct Views {
    views: HashMap<Gvr, View>,
}

impl Views {
    /// Views of the given resources.
    pub fn new(views: impl IntoIterator<Item = (Gvr, View)>) -> Self {
        Self { views: views.into_iter().collect() }
    }

    /// The view of a resource.
    ///
    /// # Panics
    /// When the controller did not declare the resource: a fault in its table entry.
    #[allow(clippy::expect_used, reason = "a controller reads only what its table entry declares")]
    pub fn of(&self, resource: &Gvr) -> &View {
        self.views.get(resource).expect("invariant: a controller declares what it reads")
    }

    /// One object, decoded.
    pub fn object<T: serde::de::DeserializeOwned>(
        &self,
        resource: &Gvr,
        namespace: &str,
        name: &str,
    ) -> Option<T> {
        decode(&*self.of(resource).get(namespace, name)?)
    }
}

/// Decodes an object; one that does not fit its type is told of and skipped, so that a single bad
/// object never stops a controller.
pub fn decode<T: serde::de::DeserializeOwned>(object: &Object) -> Option<T> {
    object
        .to()
        .inspect_err(|error| tracing::error!(object = %object.header.key, %error, "cannot decode"))
        .ok()
}

/// Turns an event on a watched resource into the keys of the objects that it concerns.
pub type Concerns = fn(&Event, &Views) -> Vec<Key>;

/// What is to be done for a key.
pub type Reconcile = Box<dyn Fn(&Views, &Key, Moment<'_>) -> Plan + Send + Sync>;

/// One controller: what it watches and what it does.
pub struct Controller {
    /// Its name, as upstream calls it.
    pub name: &'static str,
    /// What it reads, and which keys an event there concerns.
    pub watches: Vec<(Gvr, Concerns)>,
    /// What is to be done for a key. Pure; what it captures is configuration.
    pub reconcile: Reconcile,
}

/// The key of the object itself.
pub fn itself(event: &Event, _: &Views) -> Vec<Key> {
    vec![event.object.header.key.clone()]
}

/// No key: the resource is read but does not wake.
pub fn nothing(_: &Event, _: &Views) -> Vec<Key> {
    Vec::new()
}

/// Runs a controller until the future is dropped.
pub async fn run(controller: Arc<Controller>, client: Arc<dyn Client>, meters: Meters) {
    let views =
        Views::new(controller.watches.iter().map(|(gvr, _)| (gvr.clone(), client.view(gvr, ""))));
    for view in views.views.values() {
        view.synced().await;
    }
    let recorder = Recorder::start(Arc::clone(&client), controller.name, "");
    // Upstream's queues are called after what they are of.
    let name = controller.name.strip_suffix("-controller").unwrap_or(controller.name);
    let queue = Queue::named(name, &meters);
    let shell = Shell { controller: &controller, client: &client, views, recorder, queue: &queue };
    let follow = controller
        .watches
        .iter()
        .map(|(gvr, concerns)| follow(shell.views.of(gvr), *concerns, &shell.views, &queue));
    let work = (0..limits::RECONCILE_WORKERS).map(|_| shell.work());
    tokio::join!(join_all(follow), join_all(work));
}

/// Feeds the queue from one view, for ever: first with all that is there, then with what happens.
async fn follow(view: &View, concerns: Concerns, views: &Views, queue: &Queue) {
    let add = |event: &Event| concerns(event, views).into_iter().for_each(|key| queue.add(key));
    loop {
        let (snapshot, mut cursor) = view.follow();
        snapshot.iter().for_each(|object| add(&appeared(object)));
        // Gone: this controller lagged behind the ring; look at everything anew.
        while let Ok(events) = cursor.next(limits::EVENTS_PER_READ).await {
            events.iter().for_each(|event| add(event));
        }
    }
}

/// An object that is there as the event that it came.
fn appeared(object: &Arc<Object>) -> Event {
    Event {
        revision: object.header.revision,
        object: Arc::clone(object),
        previous: None,
        deleted: false,
    }
}

/// The effects around a controller's pure part.
struct Shell<'a> {
    controller: &'a Controller,
    client: &'a Arc<dyn Client>,
    views: Views,
    recorder: Recorder,
    queue: &'a Queue,
}

impl Shell<'_> {
    async fn work(&self) {
        loop {
            let (key, failure) = self.queue.take().await;
            let moment = Moment { now: clock::now(), failure: failure.as_ref() };
            let plan = (self.controller.reconcile)(&self.views, &key, moment);
            let outcome = self.perform(plan).await.unwrap_or_else(|error| {
                let name = self.controller.name;
                tracing::debug!(controller = name, %key, %error, "reconcile failed; will retry");
                Outcome::Failed(error)
            });
            self.queue.done(&key, outcome);
        }
    }

    async fn perform(&self, plan: Plan) -> Result<Outcome, Status> {
        let done = self.perform_calls(plan.calls, plan.sequels, plan.then).await;
        for call in plan.always {
            self.step(call.into()).await?;
        }
        done?;
        for (regarding, severity, reason, message) in plan.events {
            self.recorder.record(regarding, severity, reason, message);
        }
        Ok(Outcome::Done(plan.again))
    }

    /// Makes the calls, those of a batch together. A batch doubles with each success, so that a
    /// full quota is met by one failed create and not by hundreds.
    async fn perform_calls(
        &self,
        calls: Vec<Step>,
        sequels: Vec<Sequel>,
        then: Vec<Step>,
    ) -> Result<(), Status> {
        let mut rest = calls.into_iter().peekable();
        let mut batch = 1;
        while rest.peek().is_some() {
            let steps: Vec<Step> = rest.by_ref().take(batch).collect();
            let results = join_all(steps.into_iter().map(|step| self.step(step))).await;
            results.into_iter().collect::<Result<Vec<Value>, Status>>()?;
            batch = (batch * 2).min(limits::RECONCILE_CALLS_MAX);
        }
        for sequel in sequels {
            let mut next = Next::Sequel(sequel);
            while let Next::Sequel(Sequel { first, then }) = next {
                next = then(&self.step(first.into()).await?);
            }
            if let Next::Call(last) = next {
                self.step(last.into()).await?;
            }
        }
        for step in then {
            self.step(step).await?;
        }
        Ok(())
    }

    /// Makes a call and waits until the view shows it; yields the answer. What is already so counts
    /// as done.
    async fn step(&self, Step { call, told }: Step) -> Result<Value, Status> {
        let view = self.views.views.get(&call.resource);
        let deleting = call.verb == Verb::Delete;
        let done = self.client.call(call).await;
        if let Some(told) = told {
            self.tell(told, &done);
        }
        match done {
            Ok(object) => {
                if let Some(view) = view {
                    view.reached(object.resource_version().parse().unwrap_or(0)).await;
                }
                Ok(object)
            }
            Err(error) if deleting && (error.is_not_found() || error.is_conflict()) => {
                Ok(Value::Null)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&self, told: Told, done: &Result<Value, Status>) {
        match done {
            Ok(object) => {
                let message = told.message.replace("{}", object.name());
                self.recorder.record(told.regarding, Severity::Normal, told.success, message);
            }
            Err(error) if !told.failure.is_empty() => {
                let message = format!("{}{error}", told.failure_prefix);
                self.recorder.record(told.regarding, Severity::Warning, told.failure, message);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
pub mod testing {
    //! Views for tests, of objects that are given as JSON.

    use super::*;
    use crate::history::{Change, Fields, History};

    /// Views of `resources` that hold objects, each with its resource and indexed fields.
    pub fn views<'o>(
        resources: &[Gvr],
        objects: impl IntoIterator<Item = (&'o Gvr, &'o str, Fields)>,
    ) -> Views {
        let history = History::new(1, 1 << 20);
        for (revision, (resource, text, fields)) in (2..).zip(objects) {
            let tree = Value::parse(text.as_bytes()).unwrap();
            let key = Key::new(&resource.group_resource(), tree.namespace(), tree.name());
            let object = Arc::new(Object::new(key, tree, revision, fields));
            history.publish(vec![Change::Put(object)], revision);
        }
        let (_, synced) = tokio::sync::watch::channel(true);
        Views::new(resources.iter().map(|resource| {
            let group = resource.group_resource();
            (resource.clone(), View::new(Arc::clone(&history), group, synced.clone()))
        }))
    }
}
