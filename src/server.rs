//! Wiring of a server process: what runs, start and stop order.
//!
//! Start: store, keys, API server, the objects that every cluster has, then scheduler, controllers
//! and node. Stop is the other way round: who writes goes first, then who answers, the store last.
//! Containers stay.

use std::sync::Arc;

use crate::admission::Plugins;
use crate::api::registry;
use crate::api::status::Status;
use crate::apiserver::allocate::{Allocator, Ranges};
use crate::apiserver::engine::{Engine, Identity, Parts};
use crate::apiserver::http::Register;
use crate::auth::Authorization;
use crate::auth::oidc::Oidc;
use crate::auth::service_account::Tokens;
use crate::pki::token::Token;
use crate::pki::{self, Pki, Profile, Rotating, files};
use crate::store::{OpenError, Store};

mod dialer;
pub(crate) mod floor;
pub mod join;
mod kubeconfig;
mod node;
pub(crate) mod notify;
mod run;
pub mod settings;
pub(crate) mod tasks;

pub(crate) use run::Signals;
pub use run::run;
pub use settings::{ClusterNetwork, NodeSettings, Places, Settings};

/// Why a server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Keys and certificates.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// The port.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// The objects that every cluster has.
    #[error("cannot make the objects of the system: {0}")]
    Bootstrap(Status),
    /// The node of this machine.
    #[error("cannot start this machine's node: {0}")]
    Node(#[source] crate::node::StartError),
    /// Signals.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// What a server stands on.
struct Base {
    settings: Settings,
    store: Store,
    pki: Pki,
    token: Token,
}

impl Base {
    /// Opens the store and the keys. Keys are made for a new cluster only.
    fn open(settings: Settings) -> Result<Self, Error> {
        let server = settings.data_dir.join("server");
        files::make_dir(&server, 0o700)?;
        floor::raise(&server.join("db"));
        let registry = registry::builtin();
        let store = Store::open(&server.join("db"), &move |storage, tree| {
            registry.by_storage(storage).map_or_else(Vec::new, |kind| kind.rules.fields(tree))
        })?;
        let is_new = store.history().resources().is_empty();
        let pki = Pki::open(&server.join("tls"), is_new)?;
        let authority = pki.server.certificate_pem();
        let given = settings.token.as_deref();
        let token = Token::open(&server.join("token"), authority, given, is_new)?;
        tracing::info!(
            dir = %settings.data_dir.display(),
            new = is_new,
            revision = store.history().revision(),
            "opened the store"
        );
        Ok(Self { settings, store, pki, token })
    }

    fn tokens(&self) -> Tokens {
        let issuer = self.settings.issuer();
        let (signer, history) = (Arc::clone(&self.pki.signer), Arc::clone(self.store.history()));
        Tokens::new(signer, history, &issuer, vec![issuer.clone(), "rk".to_owned()])
    }

    /// The outside issuer of tokens, where there is one.
    fn issuer(&self) -> Result<Option<Arc<Oidc>>, pki::Error> {
        self.settings.oidc.clone().map(|settings| Oidc::new(settings).map(Arc::new)).transpose()
    }

    fn engine(
        &self,
        tokens: &Arc<Tokens>,
        issuer: Option<Arc<Oidc>>,
        meters: &mut Vec<Register>,
    ) -> Arc<Engine> {
        let history = self.store.history();
        let authorization = Arc::new(Authorization::new(history));
        let admission = Plugins::new(Arc::clone(history), Arc::clone(&authorization));
        let (counted, decided) = (admission.meters(), Arc::clone(&authorization));
        meters.push(Box::new(move |registry| counted.register(registry)));
        meters.push(Box::new(move |registry| decided.register(registry)));
        let ranges = Ranges {
            services: self.settings.network.service_cidr,
            node_ports: self.settings.node_ports.clone(),
        };
        let authorizer: Arc<Authorization> = Arc::clone(&authorization);
        Arc::new(Engine::new(Parts {
            history: Arc::clone(history),
            store: self.store.clone(),
            registry: registry::builtin(),
            authorizer,
            admission: Arc::new(admission),
            allocator: Allocator::new(Arc::clone(history), ranges),
            identity: Some(Identity { tokens: Arc::clone(tokens), issuer, authorization }),
        }))
    }

    /// What the API server shows, signed anew before it expires.
    fn serving(&self) -> Result<Rotating, pki::Error> {
        let (authority, hosts) = (Arc::clone(&self.pki.server), self.settings.hosts());
        Rotating::renewed_by(move || authority.issue(&Profile::server("rk", &hosts)))
    }
}
