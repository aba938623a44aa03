//! Defaulting, validation and status rules, one file per API group.
