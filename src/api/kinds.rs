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
pub mod tabled;
pub mod text;
pub mod workload;

pub mod admissionregistration;
pub mod apiregistration;
pub mod apps;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod custom;
pub mod definition;
pub mod discovery;
pub mod flowcontrol;
pub mod networking;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod runtime;
pub mod scheduling;
pub mod storage;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod shapes;
