//! Controllers that run pods, seen through kubectl, with real containers.

mod batch;
mod budgets;
mod replication;
mod sets;

use crate::guestbook;
use crate::harness::Cluster;

/// An image with a shell that every node of these tests has.
const IMAGE: &str = "guestbook/web:1";

/// A cluster whose node runs pods of [`IMAGE`].
fn cluster() -> Cluster {
    guestbook::cluster(&[])
}

/// One field of an object.
fn field(cluster: &Cluster, what: &str, path: &str) -> String {
    cluster.kubectl(&format!("get {what} -o jsonpath={path}")).ok()
}

/// Waits until a field of an object has a value.
#[track_caller]
fn wait_for(cluster: &Cluster, what: &str, path: &str, wanted: &str) {
    guestbook::eventually(&format!("{what} {path}"), || {
        let ran = cluster.kubectl(&format!("get {what} -o jsonpath={path}"));
        if ran.out == wanted { Ok(()) } else { Err(format!("{:?} {}", ran.out, ran.err)) }
    });
}
