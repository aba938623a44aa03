//! Small tools with no Kubernetes in them: clock, backoff, ids, networks, what certificates say.

pub mod backoff;
pub mod clock;
pub mod id;
pub mod nets;
pub mod x509;
