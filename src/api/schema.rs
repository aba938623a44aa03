//! The types of all built-in objects as one compact table, and those of custom resources.

/// The types of one kind.
#[derive(Debug, Clone, Default)]
pub struct Schema {}
