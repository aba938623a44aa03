//! A server's life: start, service, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::dialer::Dialer;
use super::join::Joining;
use super::kubeconfig::{self, Kubeconfig};
use super::notify::notify;
use super::tasks::Tasks;
use super::{Base, Error, Settings};
use crate::apiserver::bootstrap;
use crate::apiserver::custom::Definitions;
use crate::apiserver::engine::Engine;
use crate::apiserver::http::{Check, Front, FrontParts, Health, Page, Register, serve};
use crate::apiserver::near::Near;
use crate::auth::{Authentication, MASTERS, UserInfo};
use crate::client::Client;
use crate::controllers::Signer;
use crate::pki::{Pki, tls};
use crate::{controllers, scheduler};

/// Runs a server until it is told to stop (SIGTERM or SIGINT). Containers go on.
///
/// # Errors
/// When it cannot start; what is wrong and what to do stands in the text.
pub async fn run(settings: Settings) -> Result<(), Error> {
    // First of all, so that a signal during the start is not lost.
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let base = Base::open(settings)?;
    let (stop, stopping) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(false));
    let tokens = Arc::new(base.tokens());
    let issuer = base.issuer()?;
    let parts = PartMeters::default();
    let mut meters = parts.shown();
    let engine = base.engine(&tokens, issuer.clone(), &mut meters);
    let own = near(&engine, "system:apiserver", &[MASTERS]);
    let definitions = Arc::new(Definitions::open(Arc::clone(&engine), own));
    let authenticator = Authentication::new(&base.pki, Arc::clone(&tokens), base.token.clone())?;
    let authenticator = authenticator.trusting(issuer);
    let api = start_api(&base, &engine, authenticator, (stopping, &ready), meters).await?;
    let store = base.store.clone();
    let mut tasks = start_parts(&base, &engine, parts).await?;
    tasks.run("custom resources", move || Arc::clone(&definitions).keep());
    let node = start_node(&base, &engine).await?;
    ready.store(true, Ordering::Release);
    notify("READY=1");
    tracing::info!("ready");
    let signal = signals.wait().await;
    tracing::info!(signal, "stopping; containers go on");
    notify("STOPPING=1");
    ready.store(false, Ordering::Release);
    if let Some(node) = node {
        node.stop().await;
    }
    tasks.stop().await;
    stop.send_replace(true);
    if let Err(error) = api.await {
        tracing::error!(%error, "the API server failed");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// What the parts beside the API server count.
#[derive(Default)]
struct PartMeters {
    queues: controllers::Meters,
    attempts: scheduler::Meters,
}

impl PartMeters {
    /// Has them shown by the API server.
    fn shown(&self) -> Vec<Register> {
        let (queues, attempts) = (self.queues.clone(), self.attempts.clone());
        vec![
            Box::new(move |registry| queues.register(registry)),
            Box::new(move |registry| attempts.register(registry)),
        ]
    }
}

/// What asks the program to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> std::io::Result<Self> {
        let listen = signal;
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first.
    pub(crate) async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Starts the API server; it answers from now on, if not yet with everything.
async fn start_api(
    base: &Base,
    engine: &Arc<Engine>,
    authenticator: Authentication,
    (stopping, ready): (watch::Receiver<bool>, &Arc<AtomicBool>),
    meters: Vec<Register>,
) -> Result<JoinHandle<()>, Error> {
    let settings = &base.settings;
    let tokens = Arc::clone(&authenticator.tokens);
    let front = Front::new(FrontParts {
        engine: Arc::clone(engine),
        authenticator: Arc::new(authenticator),
        dialer: Some(Arc::new(Dialer::new(base.store.history(), &base.pki)?)),
        door: Some(Arc::new(Joining::new(
            settings,
            &base.pki,
            near(engine, "system:apiserver", &[MASTERS]),
        ))),
        tokens: Some(tokens),
        address: format!("{}:{}", settings.advertise, settings.listen.port()),
        health: health(ready),
        pages: vec![Page {
            path: "/cacerts".to_owned(),
            media_type: "application/x-pem-file",
            body: base.pki.server.certificate_pem().to_owned().into(),
        }],
        stop: stopping.clone(),
        meters,
    });
    let authorities =
        [base.pki.client.certificate_pem(), base.pki.request_header.certificate_pem()];
    let tls = tls::server(Arc::new(base.serving()?), &authorities, &[b"h2", b"http/1.1"])?;
    let address = settings.listen;
    let failed = |error| Error::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!(%address, url = %kubeconfig::url(settings), "API server listens");
    Ok(tokio::spawn(serve(front, listener, Arc::new(tls), stopping)))
}

fn health(ready: &Arc<AtomicBool>) -> Health {
    let ready = Arc::clone(ready);
    let started = move || match ready.load(Ordering::Acquire) {
        true => Ok(()),
        false => Err("the server is starting or stopping".to_owned()),
    };
    let name = "poststarthook/start";
    Health::new(vec![Check { name, readiness_only: true, run: Box::new(started) }])
}

/// A client in this process, acting as `name`.
fn near(engine: &Arc<Engine>, name: &str, groups: &[&str]) -> Arc<dyn Client> {
    Arc::new(Near::new(Arc::clone(engine), UserInfo::system(name, groups)))
}

/// Makes what every cluster has, then starts everything that runs beside the API server.
async fn start_parts(
    base: &Base,
    engine: &Arc<Engine>,
    meters: PartMeters,
) -> Result<Tasks, Error> {
    let near = |name: &str, groups: &[&str]| near(engine, name, groups);
    let (settings, pki) = (&base.settings, &base.pki);
    let own = near("system:apiserver", &[MASTERS]);
    let objects = bootstrap::Settings {
        advertise_address: settings.advertise,
        port: settings.listen.port(),
        service_address: settings.api_service(),
        dns_addresses: settings.network.dns(),
        service_cidrs: settings.network.service_cidr,
        served: engine.registry().versions(),
        client_authority: pki.client.certificate_pem().to_owned(),
        request_header_authority: pki.request_header.certificate_pem().to_owned(),
    };
    bootstrap::ensure(&*own, &objects).await.map_err(Error::Bootstrap)?;
    let kubeconfig = Arc::new(Kubeconfig::new(settings, pki));
    let identity = kubeconfig.write()?;
    let mut tasks = Tasks::default();
    if settings.runs_pods {
        let (client, name) = (Arc::clone(&own), settings.node.name.clone());
        tasks.run("role", move || super::node::label(Arc::clone(&client), name.clone()));
    }
    tasks.run("bootstrap", move || bootstrap::keep(Arc::clone(&own), objects.clone()));
    tasks.run("kubeconfig", move || Arc::clone(&kubeconfig).keep(identity.clone()));
    let client = near("system:kube-controller-manager", &[]);
    let known = controllers::Settings {
        server_authority: pki.server.certificate_pem().to_owned(),
        cluster_cidr: settings.network.cluster_cidr,
        signer: signer(pki),
        meters: meters.queues,
    };
    tasks.run("controllers", move || control(Arc::clone(&client), known.clone()));
    let client = near("system:kube-scheduler", &[]);
    let attempts = meters.attempts;
    tasks.run("scheduler", move || scheduler::run(Arc::clone(&client), attempts.clone()));
    tracing::info!("controllers and scheduler run");
    Ok(tasks)
}

/// Signs what clients ask for with the clients' authority, and the rest with the servers'.
fn signer(pki: &Pki) -> Signer {
    let (client, server) = (Arc::clone(&pki.client), Arc::clone(&pki.server));
    Signer::new(move |order| {
        let authority = if order.for_client { &client } else { &server };
        authority.sign(order.request, &order.usages, order.lifetime).map_err(|e| e.to_string())
    })
}

/// Starts the node of this machine, if pods shall run on it.
async fn start_node(
    base: &Base,
    engine: &Arc<Engine>,
) -> Result<Option<crate::node::Running>, Error> {
    if !base.settings.runs_pods {
        return Ok(None);
    }
    let user = UserInfo::node(&base.settings.node.name);
    let client = Arc::new(Near::new(Arc::clone(engine), user));
    let node = super::node::start(base, client).await?;
    tracing::info!(node = %base.settings.node.name, "this machine is a node");
    Ok(Some(node))
}

async fn control(client: Arc<dyn Client>, settings: controllers::Settings) {
    if let Err(error) = controllers::run(client, settings).await {
        tracing::error!(%error, "controllers cannot start");
    }
}
