//! Which objects remove themselves, and when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::api::meta::Key;

/// Times of expiry in seconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    /// The time that counts for each key; an entry in `order` that differs is stale.
    times: HashMap<Key, i64>,
    order: BinaryHeap<Reverse<(i64, Key)>>,
}

impl Expiries {
    /// Sets or, with `None`, clears when a key expires.
    pub(super) fn set(&mut self, key: &Key, expires: Option<i64>) {
        match expires {
            None => drop(self.times.remove(key)),
            Some(time) => {
                self.times.insert(key.clone(), time);
                self.order.push(Reverse((time, key.clone())));
            }
        }
    }

    /// How many keys expire.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Takes the keys that have expired by `now`, and the next ones where more than `kept` are
    /// left; at most `max`.
    pub(super) fn take(&mut self, now: i64, kept: usize, max: usize) -> Vec<Key> {
        let mut due = Vec::new();
        while due.len() < max
            && self.next().is_some_and(|time| time <= now || self.times.len() > kept)
        {
            if let Some(Reverse((_, key))) = self.order.pop() {
                self.times.remove(&key);
                due.push(key);
            }
        }
        due
    }

    /// When the next key expires.
    pub(super) fn next(&mut self) -> Option<i64> {
        while let Some(Reverse((time, key))) = self.order.peek() {
            if self.times.get(key) == Some(time) {
                return Some(*time);
            }
            self.order.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::GroupResource;

    #[test]
    fn the_last_time_set_counts() {
        let key = |name: &str| Key::new(&GroupResource::new("", "events"), "n", name);
        let mut expiries = Expiries::default();
        expiries.set(&key("a"), Some(10));
        expiries.set(&key("b"), Some(20));
        expiries.set(&key("a"), Some(30));
        assert_eq!(expiries.take(25, 9, 9), [key("b")]);
        assert_eq!(expiries.next(), Some(30));
        expiries.set(&key("a"), None);
        assert_eq!(expiries.next(), None);
    }

    #[test]
    fn beyond_what_is_kept_the_oldest_go_early() {
        let key = |name: &str| Key::new(&GroupResource::new("", "events"), "n", name);
        let mut expiries = Expiries::default();
        for (name, time) in [("a", 10), ("b", 30), ("c", 20)] {
            expiries.set(&key(name), Some(time));
        }
        assert_eq!(expiries.take(0, 3, 9), []);
        assert_eq!(expiries.take(0, 1, 9), [key("a"), key("c")]);
        assert_eq!(expiries.len(), 1);
    }
}
