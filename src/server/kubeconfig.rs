//! The administrator's kubeconfig: written at start, and again long before its certificate expires.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use crate::auth::MASTERS;
use crate::limits;
use crate::pki::{Authority, Error, Identity, Pki, Profile, files, kubeconfig};
use crate::util::clock;

/// The administrator's user name.
const ADMIN: &str = "system:admin";

/// Keeps the file.
pub(super) struct Kubeconfig {
    settings: Settings,
    authority_pem: String,
    client: Arc<Authority>,
}

impl Kubeconfig {
    pub(super) fn new(settings: &Settings, pki: &Pki) -> Self {
        Self {
            settings: settings.clone(),
            authority_pem: pki.server.certificate_pem().to_owned(),
            client: Arc::clone(&pki.client),
        }
    }

    /// Writes the file.
    pub(super) fn write(&self) -> Result<Identity, Error> {
        let identity = self.client.issue(&Profile::client(ADMIN, MASTERS))?;
        let server = url(&self.settings);
        let text = kubeconfig::render(&server, &self.authority_pem, &identity, "default");
        let path = &self.settings.kubeconfig;
        files::make_dir(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        files::write(path, text.as_bytes(), self.settings.kubeconfig_mode)?;
        tracing::info!(path = %path.display(), %server, "wrote the kubeconfig");
        Ok(identity)
    }

    /// Writes the file again whenever two thirds of its certificate's life are over.
    pub(super) async fn keep(self: Arc<Self>, mut identity: Identity) {
        loop {
            let renew_in = identity.validity().map_or(Duration::ZERO, |(from, to)| {
                to.before(to.since(from) / 3).since(clock::now())
            });
            // In pieces: a sleep does not notice that the clock was set.
            let wait = renew_in.clamp(limits::RENEWAL_INTERVAL / 24, limits::RENEWAL_INTERVAL);
            tokio::time::sleep(wait).await;
            if renew_in > wait {
                continue;
            }
            match self.write() {
                Ok(next) => identity = next,
                Err(error) => tracing::warn!(%error, "cannot renew the kubeconfig"),
            }
        }
    }
}

/// The server as this machine reaches it.
pub(super) fn url(settings: &Settings) -> String {
    let listen = settings.listen;
    let address = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("https://{}", std::net::SocketAddr::new(address, listen.port()))
}
