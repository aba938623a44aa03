//! Defaulting, validation, status rules and Table rows, one file or folder per API group.
//!
//! Everything here is a pure function over trees: the clock comes in a `Context`, and no rule
//! assumes that a tree has the right shape. What a rule needs over and over is a table of small
//! rules: [`check`] for validation, [`fallback`] for defaults, [`not_yet`] for what is refused.

pub mod address;
pub mod check;
pub mod fallback;
pub mod metadata;
pub mod not_yet;
pub mod selector;
pub mod table;
pub mod text;
pub mod workload;

pub mod apps;
pub mod authorization;
pub mod batch;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod definition;
pub mod discovery;
pub mod policy;
pub mod rbac;
pub mod runtime;
pub mod scheduling;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod shapes;
