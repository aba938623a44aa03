//! What becomes of nodes and of the pods on them: health from leases, taints from conditions, the
//! eviction of pods that do not tolerate a taint, pod addresses for new nodes, and the removal of
//! pods whose node is gone.

mod address;
mod evict;
mod health;

pub use address::controller as ipam;
pub use evict::{collector as pod_collector, controller as taint_eviction};
pub use health::controller as lifecycle;
