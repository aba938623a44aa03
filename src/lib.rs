//! rk: Kubernetes as one small executable.
//!
//! One process per machine beside the pods' own shims. Read the module charters below from the
//! bottom up: each module may use only those that its row in `tests/it/tidy.rs` allows.
//!
//! Invariants:
//! - only `store` assigns revisions, and only `store` writes them to disk;
//! - only `apiserver` (near) and `client` (far) implement [`client::Client`], so no component can
//!   bypass authorisation, admission and validation;
//! - `api` and `history` do no I/O; nothing outside `util::clock` reads the time;
//! - nothing outside `sys` contains `unsafe`.

/// Every bound in the program, with its reason.
pub mod limits;
/// Small tools with no Kubernetes in them: clock, backoff, ids, networks, what certificates say.
pub mod util;

/// The only place that talks to the kernel by raw calls, and the only unsafe code.
pub mod sys;

/// Certificate authorities, leaf certificates, signing keys, tokens, kubeconfigs.
pub mod pki;

/// What an object is: its kinds, its encodings, its rules. Pure: no I/O, no async, no clock.
pub mod api;

/// The ordered history of the cluster, in memory.
pub mod history;

/// Makes that history durable; its only writer.
pub mod store;

/// How the rest of the program reads and writes the cluster, near or far.
pub mod client;

/// Who is asking, and may they.
pub mod auth;

/// What a write must satisfy or acquire before it is stored.
pub mod admission;

/// HTTP requests to history and store, and back.
pub mod apiserver;

/// Pods to nodes: a pure decision over an incremental view.
pub mod scheduler;

/// Desired state to writes: one file or folder each, one shared runner.
pub mod controllers;

/// Images to running containers. OCI only: knows no Kubernetes kinds.
pub mod runtime;

/// Packets between pods, services and the world: makes the kernel match plain structs.
pub mod net;

/// Assigned pods to containers, and their truth back: the kubelet's and kube-proxy's duties.
pub mod node;

/// Wiring of a server process: what runs, start and stop order.
pub mod server;

/// Wiring of an agent process: join, connect, adopt.
pub mod agent;

/// Words to configuration.
pub mod cli;
