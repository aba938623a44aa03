//! The store against a model of it: random writes, stops and crashes, and a follower that sees
//! only events.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Commit, CommitError, Expect, Store, Write};
use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;
use crate::history::{Cursor, Draft};

/// One step of a run; names are numbers.
#[derive(Debug, Clone)]
enum Step {
    /// A write that expects what is there, or what is not.
    Put {
        name: u8,
        number: i64,
        right: bool,
    },
    /// Two puts that happen together or not at all; the second may expect wrongly.
    Pair {
        first: u8,
        second: u8,
        number: i64,
        right: bool,
    },
    Delete {
        name: u8,
        right: bool,
    },
    /// An orderly stop and a start.
    Restart,
    /// A copy of the files at this moment is all that is left.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let (name, number) = (0u8..6, 0i64..1000);
    prop_oneof![
        6 => (name.clone(), number.clone(), prop::bool::weighted(0.8))
            .prop_map(|(name, number, right)| Step::Put { name, number, right }),
        2 => (0u8..3, 3u8..6, number, any::<bool>()).prop_map(|(first, second, number, right)| {
            Step::Pair { first, second, number, right }
        }),
        3 => (name, prop::bool::weighted(0.8))
            .prop_map(|(name, right)| Step::Delete { name, right }),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// What must be stored: number and revision by name.
type Model = BTreeMap<String, (i64, u64)>;

fn resource() -> GroupResource {
    GroupResource::new("example.com", "things")
}

fn key(name: u8) -> Key {
    Key::new(&resource(), "n", &name.to_string())
}

struct Run {
    directory: tempfile::TempDir,
    store: Store,
    model: Model,
    /// What a follower made of the events since the last start.
    followed: Model,
    cursor: Cursor,
    newest: u64,
}

fn open(path: &Path) -> Store {
    Store::open(path, &|_, _| Vec::new()).unwrap()
}

fn contents(store: &Store) -> Model {
    let snapshot = store.history().snapshot(&resource());
    let entry = |object: &Arc<crate::history::Object>| {
        let number = object.tree().unwrap().get("number").as_int().unwrap();
        (object.header.key.name.to_string(), (number, object.header.revision))
    };
    snapshot.iter().map(entry).collect()
}

impl Run {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::on(directory, Model::new(), 0)
    }

    fn on(directory: tempfile::TempDir, model: Model, newest: u64) -> Self {
        let store = open(directory.path());
        let revision = store.history().revision();
        assert!(revision >= newest, "a revision was used twice");
        let cursor = store.history().cursor(&resource(), revision).unwrap();
        let followed = contents(&store);
        Self { directory, store, model, followed, cursor, newest: revision }
    }

    fn put(&self, name: u8, number: i64, right: bool) -> Write {
        let stored = self.model.get(&name.to_string()).map(|(_, revision)| *revision);
        let expect = match (stored, right) {
            (Some(revision), true) => Expect::Revision(revision),
            (None, true) => Expect::Absent,
            (Some(_), false) => Expect::Absent,
            (None, false) => Expect::Revision(self.newest),
        };
        let tree = Value::from([("number", number.into())]);
        Write::Put { draft: Draft::new(key(name), tree, Vec::new()), expect, ttl: None }
    }

    async fn commit(&mut self, writes: Vec<Write>, right: bool) {
        let made = match self.store.commit(Commit { writes, lazy: false }).await {
            Ok(made) => made,
            Err(CommitError::Conflict { .. }) if !right => return,
            Err(error) => panic!("a good commit was refused: {error}"),
        };
        assert!(right, "a wrong expectation was taken");
        for object in made {
            let revision = object.header.revision;
            assert!(revision > self.newest, "revisions grow");
            self.newest = revision;
            let name = object.header.key.name.to_string();
            match self.store.history().get(&object.header.key) {
                Some(now) => {
                    let number = now.tree().unwrap().get("number").as_int().unwrap();
                    self.model.insert(name, (number, revision));
                }
                None => drop(self.model.remove(&name)),
            }
        }
    }

    async fn take(mut self, step: Step) -> Self {
        match step {
            Step::Put { name, number, right } => {
                let write = self.put(name, number, right);
                self.commit(vec![write], right).await;
            }
            Step::Pair { first, second, number, right } => {
                let writes = vec![self.put(first, number, true), self.put(second, number, right)];
                self.commit(writes, right).await;
            }
            Step::Delete { name, right } => {
                let stored = self.model.get(&name.to_string()).map(|(_, revision)| *revision);
                let (revision, right) = match stored {
                    Some(revision) if right => (revision, true),
                    _ => (self.newest + 1, false),
                };
                self.commit(vec![Write::Delete { key: key(name), revision }], right).await;
            }
            Step::Restart => {
                self.store.close().await;
                return Self::on(self.directory, self.model, self.newest);
            }
            Step::Crash => {
                let copy = tempfile::tempdir().unwrap();
                for entry in std::fs::read_dir(self.directory.path()).unwrap() {
                    let from = entry.unwrap().path();
                    std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
                }
                self.store.close().await;
                return Self::on(copy, self.model, self.newest + 1);
            }
        }
        self
    }

    /// The store, and what a follower made of its events, are as the model says.
    fn check(&mut self) {
        for event in self.cursor.poll(1000).unwrap() {
            let name = event.object.header.key.name.to_string();
            let number = event.object.tree().unwrap().get("number").as_int().unwrap();
            let before = event.previous.as_ref().map(|previous| previous.header.revision);
            assert_eq!(before, self.followed.get(&name).map(|(_, revision)| *revision));
            if event.deleted {
                self.followed.remove(&name);
            } else {
                self.followed.insert(name, (number, event.revision));
            }
        }
        assert_eq!(contents(&self.store), self.model);
        assert_eq!(self.followed, self.model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(48)
    })]

    #[test]
    fn the_store_does_what_its_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for step in steps {
                run = run.take(step).await;
                run.check();
            }
            run.store.close().await;
        });
    }
}
