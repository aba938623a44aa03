//! Small tools with no Kubernetes in them: clock, backoff, ids, what certificates say.

pub mod backoff;
pub mod clock;
pub mod id;
pub mod x509;
