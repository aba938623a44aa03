//! Wiring of an agent process: join, connect, run this machine as a node.
//!
//! What a node got when it joined is kept, so that it comes up and adopts its containers also while
//! the server is away. Stop: the node first, then the connection. Containers stay.

mod files;
mod join;

use std::path::PathBuf;
use std::sync::Arc;

use crate::api::registry;
use crate::client::Client;
use crate::client::remote::{Endpoint, Http, Remote};
use crate::limits;
use crate::node;
use crate::pki::{self, Rotating, tls};
use crate::server::join::Grant;
use crate::server::notify::notify;
use crate::server::tasks::Tasks;
use crate::server::{NodeSettings, Signals, floor};
use crate::util::clock;
use files::{Files, Membership};
use join::Joiner;

/// An agent's configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of everything that must outlive a restart.
    pub data_dir: PathBuf,
    /// Folder of sockets and mounts.
    pub run_dir: PathBuf,
    /// The server.
    pub server: Endpoint,
    /// The join token.
    pub token: String,
    /// The node of this machine.
    pub node: NodeSettings,
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// Nothing answers there. Trying again may help.
    #[error("cannot reach {server}: {why}")]
    Away {
        /// The URL.
        server: String,
        /// Why not.
        why: String,
    },
    /// Somebody answers who is not the server that is looked for, or does not want to know us.
    #[error("{server} is not trusted: {why}")]
    Stranger {
        /// The URL.
        server: String,
        /// Why not.
        why: String,
    },
    /// The server at the URL is not that of the token.
    #[error(
        "the token is for another cluster than that of {server}: compare --server and --token with \
         what `rk token` prints there"
    )]
    OtherCluster {
        /// The URL.
        server: String,
    },
    /// The server does not know the token.
    #[error("{server} refuses the token: compare it with what `rk token` prints there")]
    WrongToken {
        /// The URL.
        server: String,
    },
    /// The server does not let the node in.
    #[error("{server} does not let this node in: {why}")]
    Refused {
        /// The URL.
        server: String,
        /// Why.
        why: String,
    },
    /// The server's answer is not what a server of rk says.
    #[error("{server} does not answer as a server of rk does: {why}")]
    NoServer {
        /// The URL.
        server: String,
        /// What it said.
        why: String,
    },
    /// Another agent has the data directory.
    #[error("{path} is in use by another rk agent")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The node.
    #[error("cannot run this machine as a node: {0}")]
    Node(#[source] node::StartError),
    /// Signals.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// Runs an agent until it is told to stop (SIGTERM or SIGINT). Containers go on.
///
/// # Errors
/// When it cannot start; what is wrong and what to do stands in the text.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let files = Files::open(&settings.data_dir)?;
    floor::raise(files.dir());
    let joiner = Joiner::new(&settings, files)?;
    let membership = tokio::select! {
        membership = joiner.enter() => membership?,
        signal = signals.wait() => {
            tracing::info!(signal, "stopped before the node has joined");
            return Ok(());
        }
    };
    let shown = Arc::new(Shown::new(&membership)?);
    let client = shown.client(&settings, &membership)?;
    tracing::info!(server = %settings.server, node = settings.node.name, "is a node of the cluster");
    let mut tasks = Tasks::default();
    let (joiner, kept) = (Arc::new(joiner), Arc::clone(&shown));
    tasks.run("certificates", move || renew(Arc::clone(&joiner), Arc::clone(&kept)));
    let node = start_node(&settings, &membership, &shown, client).await?;
    notify("READY=1");
    tracing::info!("ready");
    let signal = signals.wait().await;
    tracing::info!(signal, "stopping; containers go on");
    notify("STOPPING=1");
    node.stop().await;
    tasks.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// The node's certificates, replaced while they are in use.
struct Shown {
    client: Arc<Rotating>,
    serving: Arc<Rotating>,
}

impl Shown {
    fn new(membership: &Membership) -> Result<Self, pki::Error> {
        Ok(Self {
            client: Arc::new(Rotating::new(&membership.client())?),
            serving: Arc::new(Rotating::new(&membership.serving())?),
        })
    }

    fn replace(&self, membership: &Membership) -> Result<(), pki::Error> {
        self.client.replace(&membership.client())?;
        self.serving.replace(&membership.serving())
    }

    fn client(
        &self,
        settings: &Settings,
        membership: &Membership,
    ) -> Result<Arc<dyn Client>, Error> {
        let roots = tls::roots([membership.grant.server_authority.as_str()])?;
        let tls = tls::client(roots, Some(Arc::clone(&self.client)), &[])?;
        let http = Arc::new(Http::new(settings.server.clone(), tls));
        Ok(Arc::new(Remote::new(http, registry::builtin())))
    }
}

/// Asks for new certificates whenever two thirds of the old ones' life are over.
async fn renew(joiner: Arc<Joiner>, shown: Arc<Shown>) {
    loop {
        let due_in = shown.client.renew_at().min(shown.serving.renew_at()).since(clock::now());
        // In pieces: a sleep does not notice that the clock was set.
        let wait = due_in.clamp(limits::RENEWAL_INTERVAL / 24, limits::RENEWAL_INTERVAL);
        tokio::time::sleep(wait).await;
        if due_in > wait {
            continue;
        }
        match joiner.renew().await {
            Ok(membership) => match shown.replace(&membership) {
                Ok(()) => tracing::info!("renewed the node's certificates"),
                Err(error) => tracing::error!(%error, "the server's certificates are of no use"),
            },
            Err(error) => tracing::warn!(%error, "cannot renew the node's certificates yet"),
        }
    }
}

/// Runs this machine as a node.
async fn start_node(
    settings: &Settings,
    membership: &Membership,
    shown: &Shown,
    client: Arc<dyn Client>,
) -> Result<node::Running, Error> {
    let Grant { client_authority, network, .. } = &membership.grant;
    let tls = tls::server(Arc::clone(&shown.serving), &[client_authority], &[b"http/1.1"])?;
    let config = settings.node.config(&settings.data_dir, &settings.run_dir, network);
    node::start(config, client, Arc::new(tls)).await.map_err(Error::Node)
}
