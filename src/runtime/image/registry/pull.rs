//! A pull from beginning to end: resolve, choose, download, unpack, enter into the index.
//!
//! Downloads run beside each other and beside the unpacking, which goes from the lowest layer up.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::super::blob;
use super::super::catalog::Image;
use super::super::config::{ConfigFile, chain_ids};
use super::super::digest::Digest;
use super::super::error::{Error, Result, blocking, io_error};
use super::super::layer::Source;
use super::super::lease::{self, Lease};
use super::super::manifest::{Descriptor, Document, Manifest};
use super::super::reference::Reference;
use super::super::store::{Arrival, Store};
use super::credentials::Credentials;
use super::endpoint::endpoints;
use super::http::Http;
use super::remote::{Fetched, Remote, Wanted, in_order, is_silence};
use super::settings::{Deadlines, Registries};
use super::tls::TlsConfigs;
use super::transfer::{RETRY_FIRST, RETRY_LAST, Transfer};
use crate::limits;
use crate::util::backoff::Backoff;
use crate::util::clock;

impl Store {
    /// Brings an image from its registry, or finds that what is here is still the newest.
    ///
    /// `credentials` are those of the puller; the machine's own are in `registries`. Safe to be
    /// dropped at any point; what was downloaded by then may be used by the next attempt.
    ///
    /// # Errors
    /// By [`Error::class`]: not found, unauthorized, transport, digest mismatch, no matching
    /// platform, disk full, malformed.
    pub async fn pull(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: &Credentials,
        registries: &Registries,
    ) -> Result<Arc<Image>> {
        let (store, what) = (Arc::clone(self), reference.to_string());
        let (http, tls) = (Http::new(registries.deadlines), Arc::new(TlsConfigs::default()));
        let registries = Arc::new(registries.clone());
        let remotes: Vec<Remote> = endpoints(reference, &registries, credentials)
            .into_iter()
            .map(|endpoint| Remote::new(endpoint, &http, &tls, &registries, &what))
            .collect();
        let lease = Arc::clone(self);
        let lease = Arc::new(blocking(move || Lease::begin(&lease.layout)).await?);
        let reference = reference.clone();
        let deadlines = registries.deadlines;
        let pull = Pull { store, reference, what, remotes, deadlines, lease };
        let result = pull.run().await;
        if let Err(e) = &result {
            pull.clean_up(is_silence(e)).await;
        }
        result
    }
}

/// One pull.
struct Pull {
    store: Arc<Store>,
    reference: Reference,
    /// The reference, for messages.
    what: String,
    /// In the order in which they are asked; at least one.
    remotes: Vec<Remote>,
    deadlines: Deadlines,
    /// Shared with work on blocking threads, which cannot be cancelled.
    lease: Arc<Lease>,
}

/// An image as its registry describes it.
struct Found {
    /// What the tag points to.
    target: Digest,
    manifest_text: Vec<u8>,
    manifest: Manifest,
    /// Digest of `manifest_text`.
    digest: Digest,
}

/// Indexes within indexes: one level is usual, more are a game.
const INDEX_DEPTH_MAX: u32 = 4;

impl Pull {
    async fn run(&self) -> Result<Arc<Image>> {
        let known = self.store.resolve(&self.what).await?;
        let Some(found) = self.resolve(known.as_deref()).await? else {
            return known.ok_or_else(|| self.missing("what was known is gone"));
        };
        let id = found.manifest.config.digest.clone();
        let config_text = self.config(&id).await?;
        let config = ConfigFile::parse(&self.what, &config_text)?;
        config.check_platform(&self.what, &self.store.host)?;
        if config.diff_ids.len() != found.manifest.layers.len() {
            let (layers, ids) = (found.manifest.layers.len(), config.diff_ids.len());
            let reason = format!("{layers} layers, but {ids} in the configuration");
            return Err(Error::malformed(format!("manifest of {}", self.what), reason));
        }
        let chains: Arc<[Digest]> = chain_ids(&config.diff_ids).into();
        self.pin(&found, &chains).await?;
        self.fetch_layers(&found.manifest.layers, &config.diff_ids, &chains).await?;
        self.enter(found, id, config_text).await
    }

    /// What all attempts at the same reference have in common.
    fn attempt(&self) -> Digest {
        Digest::of(self.what.as_bytes())
    }

    /// After a failure: what came whole stays for another attempt if there is hope, and goes
    /// otherwise.
    async fn clean_up(&self, hope: bool) {
        let (store, lease, attempt) =
            (Arc::clone(&self.store), Arc::clone(&self.lease), self.attempt());
        let cleaned = blocking(move || match hope {
            true => lease.leave(&store.layout, &attempt),
            false => {
                lease::clear_left(&store.layout, &attempt);
                store.abandon(&lease);
                Ok(())
            }
        });
        if let Err(e) = cleaned.await {
            tracing::warn!(image = %self.what, error = %e, "cannot clean up after a failed pull");
        }
    }

    fn missing(&self, detail: &str) -> Error {
        Error::NotFound { what: self.what.clone(), detail: detail.to_string() }
    }

    /// Asks all endpoints in turn.
    async fn ask(&self, wanted: Wanted<'_>) -> Result<Fetched> {
        let mut worst: Option<Error> = None;
        for remote in in_order(&self.remotes) {
            match self.persist(wanted, remote).await {
                Ok(found) => return Ok(found),
                Err(e) => worst = Some(remote.weigh(worst, e)),
            }
        }
        Err(worst.unwrap_or_else(|| self.missing("no endpoint to ask")))
    }

    /// Asks one endpoint, again after faults that pass quickly.
    async fn persist(&self, wanted: Wanted<'_>, remote: &Remote) -> Result<Fetched> {
        let started = clock::instant();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            let error = match remote.fetch(wanted).await {
                Err(e) if is_silence(&e) => e,
                result => return result,
            };
            let delay = backoff.fail();
            // One that was silent for a deadline will be so again.
            let patience = self.deadlines.response.min(self.deadlines.connect) / 2;
            if started.elapsed() > patience || backoff.failures() >= limits::REGISTRY_ATTEMPTS_MAX {
                return Err(error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// The manifest for this machine; nothing if the image that is here is still the right one.
    async fn resolve(&self, known: Option<&Image>) -> Result<Option<Found>> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.unwrap_or("latest"),
        };
        let known: Vec<Digest> = known
            .map(|image| vec![image.target.clone(), image.manifest.clone()])
            .unwrap_or_default();
        let (mut target, mut next) = (None, None::<Digest>);
        for _ in 0..INDEX_DEPTH_MAX {
            let wanted = match &next {
                Some(digest) => Wanted::Manifest(digest),
                None => Wanted::Tag { name, known: &known },
            };
            let Fetched::New { text, digest } = self.ask(wanted).await? else { return Ok(None) };
            let target = target.get_or_insert_with(|| digest.clone()).clone();
            match Document::parse(&self.what, &text)? {
                Document::Manifest(manifest) => {
                    return Ok(Some(Found { target, manifest_text: text, manifest, digest }));
                }
                Document::Index(index) => {
                    next = Some(index.choose(&self.what, &self.store.host)?.digest.clone());
                }
            }
        }
        Err(Error::malformed(format!("manifest of {}", self.what), "indexes within indexes"))
    }

    /// The configuration, from the disk if it is there.
    async fn config(&self, id: &Digest) -> Result<Vec<u8>> {
        if let Ok(text) = tokio::fs::read(self.store.layout.blob(id)).await
            && Digest::of(&text) == *id
        {
            return Ok(text);
        }
        match self.ask(Wanted::Config(id)).await? {
            Fetched::New { text, .. } => Ok(text),
            Fetched::Known => Err(self.missing("its configuration")),
        }
    }

    /// Protects everything of the image, there or yet to come, from collection.
    async fn pin(&self, found: &Found, chains: &[Digest]) -> Result<()> {
        let layers = found.manifest.layers.iter().map(|layer| &layer.digest);
        let all = layers.chain(chains).chain([&found.digest, &found.manifest.config.digest]);
        let all: Vec<Digest> = all.cloned().collect();
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        blocking(move || lease.pin(&store.layout, &all)).await
    }

    /// Downloads and unpacks all layers that are not there.
    async fn fetch_layers(
        &self,
        layers: &[Descriptor],
        diff_ids: &[Digest],
        chains: &Arc<[Digest]>,
    ) -> Result<()> {
        let missing: Vec<usize> =
            (0..layers.len()).filter(|n| !self.store.has_layer(&chains[*n])).collect();
        self.check_room(missing.iter().map(|n| layers[*n].size).sum())?;
        let (done, mut ready) = mpsc::channel(limits::IMAGE_LAYERS_MAX);
        let download = async move {
            stream::iter(missing)
                .map(|n| async move { self.ensure_blob(&layers[n]).await.map(|()| n) })
                .buffered(limits::IMAGE_DOWNLOADS_MAX)
                .try_for_each(|n| {
                    let done = done.clone();
                    async move {
                        // The other side ends early only with an error, which then is the result.
                        let _ = done.send(n).await;
                        Ok(())
                    }
                })
                .await
        };
        let unpack = async {
            while let Some(n) = ready.recv().await {
                self.unpack(n, &layers[n], &diff_ids[n], chains).await?;
            }
            Ok(())
        };
        tokio::try_join!(download, unpack).map(drop)
    }

    fn check_room(&self, needed: u64) -> Result<()> {
        if self.store.room()?.available_bytes < needed {
            return Err(Error::DiskFull { dir: self.store.layout.dir().to_path_buf() });
        }
        Ok(())
    }

    /// Unpacks one layer, whose lower ones are there.
    async fn unpack(
        &self,
        n: usize,
        layer: &Descriptor,
        diff_id: &Digest,
        chains: &Arc<[Digest]>,
    ) -> Result<()> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let (digest, diff_id, chains) = (layer.digest.clone(), diff_id.clone(), Arc::clone(chains));
        blocking(move || {
            let path = store.layout.blob(&digest);
            store.ensure_layer(&lease, &chains, &diff_id, n, || {
                let file = std::fs::File::open(&path).map_err(io_error("open", &path))?;
                Ok(Source { reader: Box::new(file), digest: Some(digest.clone()) })
            })
        })
        .await
    }

    /// Enters the image into the index.
    async fn enter(&self, found: Found, id: Digest, config: Vec<u8>) -> Result<Arc<Image>> {
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let (reference, attempt) = (&self.reference, self.attempt());
        let layers: u64 = found.manifest.layers.iter().map(|layer| layer.size).sum();
        let documents = (found.manifest_text.len() + config.len()) as u64;
        let mut names = vec![reference.at(&found.target).to_string()];
        if reference.digest().is_none() {
            names.push(reference.to_string());
        }
        let arrival = Arrival {
            names,
            id: id.clone(),
            manifest: found.digest.clone(),
            target: found.target,
            size_bytes: documents + layers,
            pinned: false,
        };
        blocking(move || {
            blob::put(&store.layout, lease.dir(), &id, &config)?;
            blob::put(&store.layout, lease.dir(), &found.digest, &found.manifest_text)?;
            lease::clear_left(&store.layout, &attempt);
            let mut images = store.admit(&lease, vec![arrival])?;
            Ok(images.remove(0))
        })
        .await
    }

    /// Has a blob on the disk, whoever downloads it.
    async fn ensure_blob(&self, layer: &Descriptor) -> Result<()> {
        let lock = self.store.downloading.get(&layer.digest);
        let _downloading = lock.lock().await;
        let path = self.store.layout.blob(&layer.digest);
        if tokio::fs::metadata(&path).await.is_ok_and(|meta| meta.len() == layer.size) {
            return Ok(());
        }
        let transfer = Transfer::begin(&self.store, &self.lease, layer, &self.what).await?;
        transfer.run(&self.remotes).await
    }
}
