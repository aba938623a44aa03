//! Pods to nodes: a pure decision over an incremental view.
