//! Desired state to writes: one file or folder each, one shared runner.
