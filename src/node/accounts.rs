//! What the pods of a node take of it, and who of those that want more may have it. Pure.
//!
//! A pod that is in stays in. One that wants more than it has gets it if it fits beside what all
//! others have; where several wait, it must also fit beside the wishes of those that go before it.

use std::cmp::Reverse;
use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;

use super::admit::{self, Taken};
use super::pod::Verdict;
use super::qos;
use crate::api::quantity::Quantity;
use crate::api::tree::Value;
use crate::util::clock::Wall;

/// Who goes first: the important, then the guaranteed, then who has waited longest.
type Rank = (Reverse<i32>, bool, Wall, String);

/// Why a pod does not get what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `Deferred`, or `Infeasible` where the node could never give it.
    pub reason: &'static str,
    /// What is missing.
    pub message: String,
}

/// The pods of a node by uid.
#[derive(Debug, Default)]
pub struct Accounts {
    taken: HashMap<String, Taken>,
    waiting: HashMap<String, (Rank, Taken)>,
}

impl Accounts {
    /// Lets a pod in, or says why not. Where the node's object is not known yet, the scheduler's
    /// word is good enough.
    pub fn admit(&mut self, uid: &str, pod: &Pod, node: Option<&Value>) -> Option<Verdict> {
        if self.taken.contains_key(uid) {
            return None;
        }
        let refusal = node.and_then(|node| admit::refusal(pod, node, &self.of_others(uid)));
        if refusal.is_none() {
            self.set(uid, pod);
        }
        refusal
    }

    /// What a pod takes from now on; returns whether it is less than before.
    pub fn set(&mut self, uid: &str, pod: &Pod) -> bool {
        let taken = Taken::by(pod);
        let before = self.taken.insert(uid.to_owned(), taken.clone());
        before.is_some_and(|before| before.exceeds(&taken))
    }

    /// A pod takes nothing any more; returns whether it did.
    pub fn let_go(&mut self, uid: &str) -> bool {
        self.waiting.remove(uid);
        self.taken.remove(uid).is_some()
    }

    /// A pod wants nothing else any more; returns whether it did.
    pub fn content(&mut self, uid: &str) -> bool {
        self.waiting.remove(uid).is_some()
    }

    /// Gives a pod what it wants besides what it has, or says why not; it has wanted it since
    /// `since`.
    ///
    /// # Errors
    /// The reason and what is missing.
    pub fn resize(
        &mut self,
        uid: &str,
        pod: &Pod,
        node: Option<&Value>,
        since: Wall,
    ) -> Result<(), Refusal> {
        let wanted = Taken::by(pod);
        let has = self.taken.get(uid).cloned().unwrap_or_default();
        if let Some(node) = node.filter(|_| wanted.exceeds(&has)) {
            let rank = rank(uid, pod, since);
            let refusal = match too_large(&wanted, node) {
                Some(message) => Some(Refusal { reason: "Infeasible", message }),
                None => {
                    let used = self.beside(uid, &rank, node);
                    let short = admit::short_of(&wanted, node, &used);
                    short.map(|(_, message)| Refusal { reason: "Deferred", message })
                }
            };
            if let Some(refusal) = refusal {
                self.waiting.remove(uid);
                if refusal.reason == "Deferred" {
                    self.waiting.insert(uid.to_owned(), (rank, wanted));
                }
                return Err(refusal);
            }
        }
        self.waiting.remove(uid);
        // Until it has given it up, it has what it had.
        self.taken.insert(uid.to_owned(), wanted.or_more(&has));
        Ok(())
    }

    fn of_others(&self, uid: &str) -> Taken {
        let mut sum = Taken::default();
        self.taken.iter().filter(|(other, _)| *other != uid).for_each(|(_, other)| sum.add(other));
        sum
    }

    /// What others have, and what those that go before `rank` will have.
    fn beside(&self, uid: &str, rank: &Rank, node: &Value) -> Taken {
        let (mut sum, own) = (self.of_others(uid), self.taken.get(uid));
        let mut before: Vec<_> =
            self.waiting.iter().filter(|(other, (r, _))| *other != uid && r < rank).collect();
        before.sort_by(|(_, a), (_, b)| a.0.cmp(&b.0));
        for (other, (_, wanted)) in before {
            let has = self.taken.get(other).cloned().unwrap_or_default();
            let more = wanted.beyond(&has);
            let mut there = sum.clone();
            own.iter().for_each(|own| there.add(own));
            if admit::short_of(&more, node, &there).is_none() {
                sum.add(&more);
            }
        }
        sum
    }
}

fn rank(uid: &str, pod: &Pod, since: Wall) -> Rank {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    (Reverse(priority), qos::class(pod) != "Guaranteed", since, uid.to_owned())
}

/// What of it the node does not have even when it is empty.
fn too_large(wanted: &Taken, node: &Value) -> Option<String> {
    let short = |name: &str, unit: fn(Quantity) -> i64| {
        let wanted = wanted.amounts.get(name).copied()?;
        let has = Quantity::of(node.at(&["status", "allocatable", name])).unwrap_or_default();
        let told = || format!("{name}, requested: {}, capacity: {}", unit(wanted), unit(has));
        (wanted > has).then(told)
    };
    let all = [short("cpu", Quantity::milli_value), short("memory", Quantity::value)];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| format!("Node didn't have enough capacity: {}", all.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(cpu: &str, priority: i32) -> Pod {
        let json = format!(
            r#"{{"metadata":{{}},"spec":{{"priority":{priority},"tolerations":[{{"operator":
            "Exists"}}],"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]
            }}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn node() -> Value {
        Value::parse(br#"{"status":{"allocatable":{"cpu":"4","memory":"1Gi","pods":"9"}}}"#)
            .unwrap()
    }

    fn asked(accounts: &mut Accounts, uid: &str, cpu: &str, priority: i32, since: i64) -> String {
        let result = accounts.resize(uid, &pod(cpu, priority), Some(&node()), Wall(since));
        result.map_or_else(|r| format!("{}: {}", r.reason, r.message), |()| "ok".into())
    }

    #[test]
    fn what_does_not_fit_waits_and_what_never_can_is_told() {
        let mut accounts = Accounts::default();
        for uid in ["a", "b"] {
            assert_eq!(accounts.admit(uid, &pod("1500m", 0), Some(&node())), None);
        }
        assert_eq!(asked(&mut accounts, "a", "2", 0, 1), "ok");
        assert_eq!(
            asked(&mut accounts, "b", "3", 0, 1),
            "Deferred: Node didn't have enough resource: cpu, requested: 3000, used: 2000, \
             capacity: 4000"
        );
        assert_eq!(
            asked(&mut accounts, "b", "5", 0, 1),
            "Infeasible: Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
        );
        assert_eq!(asked(&mut accounts, "a", "1", 0, 1), "ok", "less always fits");
        assert!(asked(&mut accounts, "b", "3", 0, 1).starts_with("Deferred"), "it is in use still");
        assert!(accounts.set("a", &pod("1", 0)));
        assert_eq!(asked(&mut accounts, "b", "3", 0, 1), "ok");
        let verdict = accounts.admit("c", &pod("1", 0), Some(&node())).unwrap();
        assert_eq!(verdict.reason, "OutOfcpu");
        accounts.let_go("b");
        assert_eq!(accounts.admit("c", &pod("1", 0), Some(&node())), None);
    }

    #[test]
    fn those_that_wait_go_by_rank() {
        let mut accounts = Accounts::default();
        for uid in ["a", "b", "c", "d"] {
            accounts.set(uid, &pod("1", 0));
        }
        for (uid, priority, since) in [("a", 0, 1), ("b", 5, 3), ("c", 0, 2)] {
            assert!(asked(&mut accounts, uid, "2", priority, since).starts_with("Deferred"));
        }
        accounts.let_go("d");
        assert!(asked(&mut accounts, "a", "2", 0, 1).starts_with("Deferred"), "b goes first");
        assert_eq!(asked(&mut accounts, "b", "2", 5, 3), "ok");
        accounts.let_go("b");
        assert!(asked(&mut accounts, "c", "3", 0, 2).starts_with("Deferred"), "a goes first");
        assert_eq!(asked(&mut accounts, "a", "2", 0, 1), "ok");
        assert!(!accounts.content("a") && accounts.content("c"));
        accounts.set("e", &pod("500m", 0));
        assert!(asked(&mut accounts, "c", "2", 9, 1).starts_with("Deferred"));
        assert_eq!(asked(&mut accounts, "e", "1", 0, 2), "ok", "it would not help c to wait");
    }
}
