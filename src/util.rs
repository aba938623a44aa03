//! Small tools with no Kubernetes in them: clock, backoff, ids.
