//! Small tools with no Kubernetes in them: clock, backoff, ids.

pub mod backoff;
pub mod clock;
pub mod id;
