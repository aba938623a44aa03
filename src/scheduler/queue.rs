//! The pods that wait: those that are due, and those that fit nowhere for now.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::limits;
use crate::util::backoff::Backoff;

/// By priority, the highest first, then by age.
type Rank = (Reverse<i64>, String, Key);

struct Waiting {
    pod: Value,
    backoff: Backoff,
    /// Not before this; `None` when it has not failed yet.
    not_before: Option<Instant>,
    /// Fits nowhere until something happens.
    parked: bool,
}

/// The scheduling queue.
#[derive(Default)]
pub(super) struct Queue {
    waiting: HashMap<Key, Waiting>,
    /// Those that are not parked.
    ready: BTreeMap<Rank, ()>,
}

fn rank(key: &Key, pod: &Value) -> Rank {
    let priority = pod.at(&["spec", "priority"]).as_int().unwrap_or(0);
    let age = pod.metadata().get("creationTimestamp").str().to_owned();
    (Reverse(priority), age, key.clone())
}

impl Queue {
    /// A pod waits, or has changed while it does: what changed may help it.
    pub(super) fn add(&mut self, key: Key, pod: Value) {
        let spec_changed = |old: &Waiting| old.pod.get("spec") != pod.get("spec");
        match self.waiting.get_mut(&key) {
            Some(old) if old.parked && !spec_changed(old) => old.pod = pod,
            _ => {
                self.remove_ready(&key);
                self.ready.insert(rank(&key, &pod), ());
                let old = self.waiting.remove(&key);
                let backoff = old.as_ref().map_or_else(fresh, |old| old.backoff);
                let not_before = old.and_then(|old| old.not_before);
                self.waiting.insert(key, Waiting { pod, backoff, not_before, parked: false });
            }
        }
    }

    fn remove_ready(&mut self, key: &Key) {
        if let Some(old) = self.waiting.get(key) {
            self.ready.remove(&rank(key, &old.pod));
        }
    }

    /// How many pods are to be tried, and how many there are in all, those being bound included.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.ready.len(), self.waiting.len())
    }

    /// A pod waits no more.
    pub(super) fn remove(&mut self, key: &Key) {
        self.remove_ready(key);
        self.waiting.remove(key);
    }

    /// The next pod that is due at `now`. It is the caller's until it is added or parked again.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Key, Value)> {
        let due = self.ready.keys().find(|(_, _, key)| {
            self.waiting.get(key).is_some_and(|w| w.not_before.is_none_or(|at| at <= now))
        });
        let rank = due.cloned()?;
        self.ready.remove(&rank);
        let key = rank.2;
        let waiting = self.waiting.get_mut(&key)?;
        waiting.parked = true;
        Some((key, waiting.pod.clone()))
    }

    /// A pod fits nowhere: it waits for something to happen, and then for its back-off.
    pub(super) fn wait(&mut self, key: Key, pod: Value, now: Instant) {
        let waiting = self.waiting.entry(key).or_insert_with(|| Waiting {
            pod,
            backoff: fresh(),
            not_before: None,
            parked: true,
        });
        waiting.parked = true;
        waiting.not_before = Some(now + waiting.backoff.fail());
    }

    /// A pod could not be bound: it is tried again after a back-off.
    pub(super) fn back_off(&mut self, key: &Key, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.not_before = Some(now + waiting.backoff.fail());
            waiting.parked = false;
            self.ready.insert(rank(key, &waiting.pod), ());
        }
    }

    /// Something happened that may make room.
    pub(super) fn retry_all(&mut self) {
        for (key, waiting) in &mut self.waiting {
            if waiting.parked && waiting.not_before.is_some() {
                waiting.parked = false;
                self.ready.insert(rank(key, &waiting.pod), ());
            }
        }
    }

    /// Waits until the next back-off ends; for ever when there is none.
    pub(super) async fn due(&self) {
        let times = self.ready.keys().filter_map(|(_, _, key)| self.waiting.get(key)?.not_before);
        match times.min() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}

const fn fresh() -> Backoff {
    Backoff::new(limits::POD_BACKOFF_FIRST, limits::POD_BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::meta::GroupResource;
    use crate::util::clock;

    fn key(name: &str) -> Key {
        Key::new(&GroupResource::new("", "pods"), "n", name)
    }

    fn pod(priority: i64) -> Value {
        Value::from([("spec", Value::from([("priority", priority.into())]))])
    }

    #[test]
    fn the_important_come_first_and_the_hopeless_wait_for_a_change() {
        let now = clock::instant();
        let mut queue = Queue::default();
        queue.add(key("low"), pod(0));
        queue.add(key("high"), pod(9));
        let (first, high) = queue.take(now).unwrap();
        assert_eq!(first, key("high"));
        queue.wait(first, high, now);
        assert_eq!(queue.take(now).unwrap().0, key("low"));
        assert!(queue.take(now).is_none());
        queue.retry_all();
        assert!(queue.take(now).is_none(), "its back-off has not passed");
        assert_eq!(queue.take(now + Duration::from_secs(2)).unwrap().0, key("high"));
    }
}
