//! batch: work that ends.

use std::sync::Arc;

use super::row::{Group, Row, STATUS};
use crate::api::kinds::batch::{CronJob, Job};

/// The group's resources.
pub(super) const GROUP: Group = ("batch", ROWS);

const ROWS: &[Row] = &[
    Row {
        kind: "CronJob",
        plural: "cronjobs",
        short: &["cj"],
        categories: &["all"],
        subresources: &[STATUS],
        rules: || Arc::new(CronJob),
        ..Row::NAMESPACED
    },
    Row {
        kind: "Job",
        plural: "jobs",
        categories: &["all"],
        subresources: &[STATUS],
        rules: || Arc::new(Job),
        ..Row::NAMESPACED
    },
];
