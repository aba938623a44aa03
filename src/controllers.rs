//! Desired state to writes: one file or folder each, one shared runner.
//!
//! A controller is data: what it watches, and a pure function from views to what is to be done. The
//! runner does all I/O, so every controller can be tested without a server and stopped between any
//! two calls.

mod account;
mod addresses;
mod aggregation;
mod backends;
mod calls;
mod certificates;
mod conditions;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod everything;
mod flow;
mod garbage;
mod history;
mod job;
mod meters;
mod mirroring;
mod namespace;
mod node;
mod pods;
mod protection;
mod queue;
mod quota;
mod registration;
mod replicaset;
mod runner;
mod slices;
mod statefulset;
mod tokens;

use std::sync::Arc;

use futures_util::future::join_all;

use crate::api::status::Status;
use crate::client::Client;
use crate::limits;
use crate::util::backoff::Backoff;
use crate::util::clock;
use crate::util::nets::Nets;
pub use certificates::Signer;
use everything::Everything;
pub use meters::Meters;
use runner::Controller;

/// What controllers must know that is not in the cluster.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The authority of the server's certificate, as PEM.
    pub server_authority: String,
    /// Addresses of all pods.
    pub cluster_cidr: Nets,
    /// What signs requests for certificates.
    pub signer: Signer,
    /// What the work queues count.
    pub meters: Meters,
}

/// All controllers but those that look at every resource.
fn table(settings: &Settings) -> Vec<Controller> {
    vec![
        account::service_account(),
        account::root_ca(settings.server_authority.clone()),
        tokens::of_accounts(settings.server_authority.clone()),
        tokens::cleaner(),
        aggregation::controller(),
        certificates::approver(),
        certificates::signing(settings.signer.clone()),
        certificates::cleaner(),
        certificates::pod_cleaner(),
        certificates::publisher(settings.server_authority.clone()),
        addresses::addresses(),
        addresses::ranges(),
        protection::claims(),
        protection::volumes(),
        protection::attributes(),
        flow::controller(),
        registration::controller(),
        replicaset::controller(),
        replicaset::replication(),
        deployment::controller(),
        job::controller(),
        job::ttl::controller(),
        cronjob::controller(),
        daemonset::controller(),
        statefulset::controller(),
        disruption::controller(),
        endpoints::controller(),
        endpointslice::controller(),
        mirroring::controller(),
        node::lifecycle(clock::now()),
        node::ipam(settings.cluster_cidr),
        node::taint_eviction(),
        node::pod_collector(),
    ]
}

/// Runs all controllers until the future is dropped; dropping it may cut any of them off anywhere.
///
/// # Errors
/// When the server does not say what it serves.
pub async fn run(client: Arc<dyn Client>, settings: Settings) -> Result<(), Status> {
    let everything = Everything::discover(Arc::clone(&client)).await?;
    let meters = &settings.meters;
    let rows = table(&settings).into_iter().map(Arc::new).map(|row| {
        let client = &client;
        supervise(row.name, move || {
            runner::run(Arc::clone(&row), Arc::clone(client), meters.clone())
        })
    });
    let of_everything = || (Arc::clone(&client), Arc::clone(&everything), meters.clone());
    let namespaces = || {
        let (client, everything, meters) = of_everything();
        namespace::run(client, everything, meters)
    };
    let garbage = || {
        let (client, everything, meters) = of_everything();
        garbage::run(client, everything, meters)
    };
    let quotas = || {
        let (client, everything, meters) = of_everything();
        quota::run(client, everything, meters)
    };
    tokio::join!(
        join_all(rows),
        supervise("namespace-controller", namespaces),
        supervise("garbage-collector", garbage),
        supervise("resourcequota-controller", quotas),
    );
    Ok(())
}

/// Runs a controller in a task of its own, and anew should it panic: the others and the API go on.
/// The task ends when the returned future is dropped.
async fn supervise<F: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    start: impl Fn() -> F,
) {
    let mut backoff = Backoff::new(limits::PANIC_BACKOFF_FIRST, limits::PANIC_BACKOFF_MAX);
    loop {
        let task = tokio::spawn(start());
        let _end = AbortOnDrop(task.abort_handle());
        let Err(error) = task.await else { return };
        tracing::error!(controller = name, %error, "a controller ended; it starts again");
        tokio::time::sleep(backoff.fail()).await;
    }
}

/// Ends a task when its owner goes away.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
