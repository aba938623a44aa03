//! Fields that an applied configuration would take from other managers.

use super::element::Element;
use super::managers::Manager;
use super::set::{Set, show};
use crate::api::status::Cause;

/// One field that somebody else owns and has another value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conflict {
    pub(super) manager: Manager,
    pub(super) path: Vec<Element>,
}

/// All such fields: by manager, in the order of their paths.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conflicts(Vec<Conflict>);

impl Conflicts {
    /// The conflicts with managers over what they own.
    pub(super) fn of<'s>(taken: impl Iterator<Item = (&'s Manager, &'s Set)>) -> Self {
        let mut taken: Vec<_> = taken.collect();
        taken.sort_by_key(|(manager, _)| manager.identifier());
        let conflicts = taken.into_iter().flat_map(|(manager, set)| {
            let conflict = |path| Conflict { manager: manager.clone(), path };
            set.paths().into_iter().map(conflict)
        });
        Self(conflicts.collect())
    }

    /// Those that are not over one of these paths.
    pub(super) fn without(&self, allowed: &Set) -> Self {
        let left = self.0.iter().filter(|conflict| !allowed.has(&conflict.path));
        Self(left.cloned().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the client reads.
    pub fn message(&self) -> String {
        if let [one] = &*self.0 {
            let (manager, path) = (one.manager.shown(), show(&one.path));
            return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
        }
        let mut lines = Vec::new();
        let mut last = None;
        for conflict in &self.0 {
            if last != Some(&conflict.manager) {
                lines.push(format!("conflicts with {}:", conflict.manager.shown()));
                last = Some(&conflict.manager);
            }
            lines.push(format!("- {}", show(&conflict.path)));
        }
        format!("Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }

    /// One cause per field.
    pub fn causes(&self) -> Vec<Cause> {
        let cause = |conflict: &Conflict| Cause {
            reason: "FieldManagerConflict",
            message: format!("conflict with {}", conflict.manager.shown()),
            field: show(&conflict.path),
        };
        self.0.iter().map(cause).collect()
    }
}
