//! A certificate that is replaced while it is in use.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Error, Identity};
use crate::util::clock::{self, Wall};

/// Makes a new certificate for the same subject.
type Renew = Box<dyn Fn() -> Result<Identity, Error> + Send + Sync>;

/// The certificate that a server or client shows. Where it can sign its own successor, it does so
/// on the first handshake after a third of the lifetime is left: no timer, no restart, no file.
pub struct Rotating {
    current: RwLock<Current>,
    renew: Option<Renew>,
}

struct Current {
    key: Arc<CertifiedKey>,
    renew_at: Wall,
    not_after: Wall,
}

impl Current {
    fn new(identity: &Identity) -> Result<Self, Error> {
        let (not_before, not_after) = identity.validity()?;
        let third = not_after.since(not_before) / 3;
        let key = Arc::new(identity.certified_key()?);
        Ok(Self { key, renew_at: not_after.before(third), not_after })
    }
}

impl Rotating {
    /// Shows a certificate until [`Rotating::replace`] gives another.
    ///
    /// # Errors
    /// When certificate and key do not parse or fit.
    pub fn new(identity: &Identity) -> Result<Self, Error> {
        Ok(Self { current: RwLock::new(Current::new(identity)?), renew: None })
    }

    /// Shows what `renew` makes, and calls it again when that grows old.
    ///
    /// # Errors
    /// When `renew` fails, or makes what does not fit.
    pub fn renewed_by(
        renew: impl Fn() -> Result<Identity, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let first = Self::new(&renew()?)?;
        Ok(Self { renew: Some(Box::new(renew)), ..first })
    }

    /// Shows another certificate from the next handshake on.
    ///
    /// # Errors
    /// When certificate and key do not parse or fit; the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), Error> {
        let next = Current::new(identity)?;
        *self.current.write() = next;
        Ok(())
    }

    /// From when on the certificate should be replaced.
    pub fn renew_at(&self) -> Wall {
        self.current.read().renew_at
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> Wall {
        self.current.read().not_after
    }

    fn key(&self) -> Arc<CertifiedKey> {
        let (key, renew_at) = {
            let current = self.current.read();
            (Arc::clone(&current.key), current.renew_at)
        };
        let Some(renew) = self.renew.as_ref().filter(|_| clock::now() >= renew_at) else {
            return key;
        };
        match renew().and_then(|identity| self.replace(&identity)) {
            Ok(()) => Arc::clone(&self.current.read().key),
            Err(error) => {
                tracing::warn!(%error, "cannot renew a certificate, the old one stays in use");
                key
            }
        }
    }
}

impl fmt::Debug for Rotating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotating").field("not_after", &self.not_after()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Rotating {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl ResolvesClientCert for Rotating {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pki, Profile};
    use super::*;

    #[test]
    fn an_old_certificate_signs_its_successor_on_the_next_handshake() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), true).unwrap();
        let server = Arc::clone(&pki.server);
        let rotating = Rotating::renewed_by(move || {
            server.issue(&Profile::server("rk", &["localhost".to_owned()]))
        })
        .unwrap();
        let first = rotating.renew_at();
        assert!(first > clock::now());
        let key = rotating.key();
        assert!(Arc::ptr_eq(&key, &rotating.key()), "a young one stays");
        rotating.current.write().renew_at = clock::now();
        assert!(!Arc::ptr_eq(&key, &rotating.key()), "an old one is replaced");
        assert!(rotating.renew_at() >= first);
    }
}
