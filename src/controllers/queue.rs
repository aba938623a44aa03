//! A work queue of object keys: each key at most once, never worked on twice at a time.
//!
//! Its size is bounded by the number of objects. A key that fails comes back after a back-off of
//! its own; a key that is added while it is worked on comes back at once afterwards.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::meters::{Meter, Meters};
use crate::api::meta::Key;
use crate::api::status::Status;
use crate::limits;
use crate::util::backoff::Backoff;
use crate::util::clock;

/// What is known of one key.
struct Entry {
    /// In `ready`.
    queued: bool,
    /// A worker has it.
    working: bool,
    /// Added again while a worker had it.
    again: bool,
    /// When it last came in, and when work on it last began.
    added: Instant,
    begun: Instant,
    /// When it is due without anything else happening.
    due: Option<Instant>,
    backoff: Backoff,
    /// Why the last try failed.
    failure: Option<Status>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Key>,
    entries: HashMap<Key, Entry>,
    timers: BinaryHeap<Reverse<(Instant, Key)>>,
    meter: Meter,
}

/// The queue of one controller.
#[derive(Default)]
pub(super) struct Queue {
    /// Held for look-ups only, never over an await.
    state: Mutex<State>,
    wake: Notify,
}

/// How a try ended.
pub(super) enum Outcome {
    /// As it should be; look again after the duration, if any, though nothing happens.
    Done(Option<Duration>),
    /// Try again after a back-off.
    Failed(Status),
}

impl Entry {
    const fn new(now: Instant) -> Self {
        let backoff = Backoff::new(limits::RECONCILE_BACKOFF_FIRST, limits::RECONCILE_BACKOFF_MAX);
        Self {
            queued: false,
            working: false,
            again: false,
            added: now,
            begun: now,
            due: None,
            backoff,
            failure: None,
        }
    }
}

impl State {
    fn add(&mut self, key: Key) {
        let now = clock::instant();
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::new(now));
        if entry.queued || entry.again {
            return;
        }
        self.meter.adds.inc();
        entry.added = now;
        if entry.working {
            entry.again = true;
        } else {
            self.ready(key);
        }
    }

    /// Puts a key that came in where workers take it.
    fn ready(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.queued = true;
            self.meter.depth.inc();
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: Key, due: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = Some(due);
            self.timers.push(Reverse((due, key)));
        }
    }

    /// Moves what is due to the ready list; returns when the next timer is due.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((due, key))) = self.timers.peek().cloned() {
            let current = self.entries.get(&key).is_some_and(|entry| entry.due == Some(due));
            if current && due > now {
                return Some(due);
            }
            self.timers.pop();
            if current {
                self.entries.get_mut(&key).into_iter().for_each(|entry| entry.due = None);
                self.add(key);
            }
        }
        None
    }

    fn take(&mut self) -> Option<(Key, Option<Status>)> {
        let key = self.ready.pop_front()?;
        self.meter.depth.dec();
        let entry = self.entries.get_mut(&key)?;
        (entry.queued, entry.working) = (false, true);
        entry.begun = clock::instant();
        self.meter.waited(entry.begun.saturating_duration_since(entry.added));
        Some((key, entry.failure.clone()))
    }
}

impl Queue {
    /// An empty queue that is counted under a name.
    pub(super) fn named(name: &'static str, meters: &Meters) -> Self {
        let state = State { meter: meters.of(name), ..State::default() };
        Self { state: Mutex::new(state), wake: Notify::new() }
    }

    /// Asks for a key to be looked at.
    pub(super) fn add(&self, key: Key) {
        self.state.lock().add(key);
        self.wake.notify_one();
    }

    /// The next key and why its last try failed; waits for one.
    pub(super) async fn take(&self) -> (Key, Option<Status>) {
        loop {
            let (next, timer) = {
                let mut state = self.state.lock();
                let timer = state.advance(clock::instant());
                (state.take(), timer)
            };
            if let Some(next) = next {
                return next;
            }
            match timer {
                None => self.wake.notified().await,
                Some(due) => {
                    // Either the timer or something new.
                    let _ = tokio::time::timeout_at(due.into(), self.wake.notified()).await;
                }
            }
        }
    }

    /// Gives a key back.
    pub(super) fn done(&self, key: &Key, outcome: Outcome) {
        {
            let mut state = self.state.lock();
            let State { entries, meter, .. } = &mut *state;
            let Some(entry) = entries.get_mut(key) else { return };
            entry.working = false;
            meter.worked(clock::instant().saturating_duration_since(entry.begun));
            let again = std::mem::take(&mut entry.again);
            let delay = match outcome {
                Outcome::Done(delay) => {
                    entry.backoff.reset();
                    entry.failure = None;
                    delay
                }
                Outcome::Failed(status) => {
                    entry.failure = Some(status);
                    Some(entry.backoff.fail())
                }
            };
            let idle = delay.is_none() && !again;
            if idle {
                state.entries.remove(key);
            }
            if let Some(delay) = delay {
                state.meter.retries.inc();
                state.add_at(key.clone(), clock::instant() + delay);
            }
            if again {
                state.ready(key.clone());
            }
        }
        // The worker that waits must see the new timer or key.
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::GroupResource;

    fn key(name: &str) -> Key {
        Key::new(&GroupResource::new("", "pods"), "n", name)
    }

    #[tokio::test]
    async fn a_key_is_queued_once_and_comes_back_if_added_while_worked_on() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.take().await.0, key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        assert_eq!(queue.take().await.0, key("b"), "a is still worked on");
        queue.done(&key("a"), Outcome::Done(None));
        assert_eq!(queue.take().await.0, key("a"));
        queue.done(&key("a"), Outcome::Done(None));
        queue.done(&key("b"), Outcome::Done(None));
        assert!(queue.state.lock().entries.is_empty(), "nothing is remembered of idle keys");
    }

    #[tokio::test]
    async fn what_comes_and_goes_is_counted() {
        let meters = Meters::default();
        let queue = Queue::named("test", &meters);
        queue.add(key("a"));
        queue.add(key("a"));
        queue.add(key("b"));
        queue.take().await;
        queue.add(key("a"));
        queue.done(&key("a"), Outcome::Failed(Status::unavailable("no")));
        let mut registry = prometheus_client::registry::Registry::default();
        meters.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"workqueue_adds_total{name="test"} 3"#,
            r#"workqueue_depth{name="test"} 2"#,
            r#"workqueue_retries_total{name="test"} 1"#,
            r#"workqueue_queue_duration_seconds_count{name="test"} 1"#,
            r#"workqueue_work_duration_seconds_count{name="test"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[tokio::test]
    async fn a_failed_key_comes_back_with_its_failure() {
        let queue = Queue::default();
        queue.add(key("a"));
        queue.take().await;
        queue.done(&key("a"), Outcome::Failed(Status::unavailable("no")));
        let (again, failure) = queue.take().await;
        assert_eq!((again, failure.unwrap().code), (key("a"), 503));
    }
}
