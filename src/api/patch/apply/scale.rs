//! The owners of a number of replicas, seen through the `scale` subresource and back.

use std::collections::BTreeMap;

use super::managers::{Manager, Managers, Owned};
use super::set::Set;

const SCALE_VERSION: &str = "autoscaling/v1";
const IN_SCALE: [&str; 2] = ["spec", "replicas"];

/// Where the replicas stand in the object, and in which version of it.
#[derive(Debug, Clone, Copy)]
pub struct Replicas<'a> {
    /// The object's version.
    pub api_version: &'a str,
    /// The field.
    pub path: &'a [&'a str],
}

impl Replicas<'_> {
    /// The managers of the scale: those of the replicas.
    pub fn to_scale(self, managers: &Managers) -> Managers {
        let owners = managers.entries.iter().filter(|(_, owned)| self.is_in(owned));
        let in_scale = owners.map(|(manager, owned)| {
            let owned = Owned {
                set: Set::of_fields(&IN_SCALE),
                api_version: SCALE_VERSION.to_owned(),
                time: owned.time.clone(),
            };
            (manager.in_version(SCALE_VERSION), owned)
        });
        Managers { entries: in_scale.collect() }
    }

    /// The managers of the object, given what became of those of its scale.
    pub fn of_scale(self, managers: Managers, scale: Managers) -> Managers {
        let scale = scale.entries.into_iter();
        let mut scale: BTreeMap<Manager, Owned> = scale
            .filter(|(_, owned)| owned.set.has_fields(&IN_SCALE))
            .map(|(manager, owned)| (manager.in_version(self.api_version), owned))
            .collect();
        let mut entries = managers.entries;
        entries.retain(|manager, owned| {
            if owned.api_version != self.api_version {
                return false;
            }
            if self.is_in(owned) && scale.remove(manager).is_none() {
                owned.set = owned.set.difference(&Set::of_fields(self.path));
            }
            !owned.set.is_empty()
        });
        for (manager, taken) in scale {
            let owned = entries.entry(manager).or_default();
            owned.set = owned.set.union(&Set::of_fields(self.path));
            self.api_version.clone_into(&mut owned.api_version);
            owned.time = taken.time;
        }
        Managers { entries }
    }

    fn is_in(self, owned: &Owned) -> bool {
        owned.api_version == self.api_version && owned.set.has_fields(self.path)
    }
}
