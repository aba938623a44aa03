//! The ordered history of the cluster, in memory.
