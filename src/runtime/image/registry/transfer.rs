//! One blob from a registry to the disk: verified, resumed where it broke off.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::super::blob::BlobWriter;
use super::super::error::{Error, Result, blocking, io_error};
use super::super::lease::Lease;
use super::super::manifest::Descriptor;
use super::super::store::Store;
use super::http::Answer;
use super::remote::{Remote, in_order, is_silence};
use crate::limits;
use crate::util::backoff::Backoff;

/// The first pause before another attempt.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(250);
/// The longest.
pub(super) const RETRY_LAST: Duration = Duration::from_secs(4);

/// A blob on its way.
pub(super) struct Transfer {
    store: Arc<Store>,
    lease: Arc<Lease>,
    layer: Descriptor,
    what: String,
    /// Away only while a blocking thread writes.
    writer: Option<BlobWriter>,
    /// It was put together from several answers, one of which may have been wrong.
    pieced: bool,
}

impl Transfer {
    /// Begins where an earlier attempt, maybe of an earlier process, broke off.
    pub(super) async fn begin(
        store: &Arc<Store>,
        lease: &Arc<Lease>,
        layer: &Descriptor,
        image: &str,
    ) -> Result<Transfer> {
        let (scratch, digest) = (Arc::clone(lease), layer.digest.clone());
        let partial = store.layout.partial().join(digest.hex());
        let writer = blocking(move || {
            let path = scratch.dir().join(digest.hex());
            // Moving it is what makes it ours alone.
            let _ = std::fs::rename(partial, &path);
            BlobWriter::open(path, &digest)
        });
        let writer = writer.await?;
        Ok(Transfer {
            store: Arc::clone(store),
            lease: Arc::clone(lease),
            layer: layer.clone(),
            what: format!("layer {} of {image}", layer.digest),
            pieced: writer.bytes() > 0,
            writer: Some(writer),
        })
    }

    /// Downloads from the first endpoint that has it, verifies and publishes.
    pub(super) async fn run(mut self, remotes: &[Remote]) -> Result<()> {
        let result = self.download(remotes).await;
        let result = match result {
            // A piece of somewhere else's may have been wrong: once more, as a whole.
            Err(Error::DigestMismatch { .. }) if self.pieced => {
                self.reopen().await?;
                self.pieced = false;
                self.download(remotes).await
            }
            result => result,
        };
        // On a full disk, or after a lie, nothing of it is worth keeping.
        if result.as_ref().is_err_and(is_silence) {
            self.keep().await;
        }
        result
    }

    async fn download(&mut self, remotes: &[Remote]) -> Result<()> {
        let mut worst: Option<Error> = None;
        for remote in in_order(remotes) {
            match self.download_from(remote).await {
                Ok(()) => return self.finish().await,
                // The disk is the same for all endpoints.
                Err(e @ (Error::DiskFull { .. } | Error::Io { .. })) => return Err(e),
                Err(e) => worst = Some(remote.weigh(worst, e)),
            }
        }
        let detail = "no endpoint to ask".to_string();
        Err(worst.unwrap_or(Error::NotFound { what: self.what.clone(), detail }))
    }

    /// Attempts until it is whole, or some in a row brought nothing.
    async fn download_from(&mut self, remote: &Remote) -> Result<()> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            let before = self.bytes();
            let error = match self.attempt(remote).await {
                Err(e) if is_silence(&e) => e,
                result => return result,
            };
            if self.bytes() > before {
                backoff.reset();
            }
            let delay = backoff.fail();
            if backoff.failures() >= limits::REGISTRY_ATTEMPTS_MAX {
                return Err(error);
            }
            tracing::debug!(what = %self.what, error = %error, "resuming a download");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&mut self, remote: &Remote) -> Result<()> {
        let size = self.layer.size;
        if self.bytes() > size {
            self.writer()?.restart()?;
        }
        if self.bytes() == size && size > 0 {
            return Ok(());
        }
        let from = self.bytes();
        let mut blob = remote.blob(&self.layer.digest, from).await?;
        if blob.from != from {
            self.writer()?.restart()?;
        }
        self.pieced |= blob.from > 0;
        self.receive(&mut blob.answer).await?;
        if self.bytes() == size {
            return Ok(());
        }
        Err(Error::Transport {
            action: "read from",
            url: blob.answer.url.to_string(),
            reason: format!("it ended after {} of {size} bytes", self.bytes()),
        })
    }

    /// Writes a body on a blocking thread while it comes in.
    async fn receive(&mut self, answer: &mut Answer) -> Result<()> {
        let mut writer = self.take_writer()?;
        let mut total = writer.bytes();
        let (parts, mut queue) = mpsc::channel::<Bytes>(limits::IMAGE_DOWNLOAD_QUEUE_MAX);
        let lease = Arc::clone(&self.lease);
        let writing = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let mut written = Ok(());
            while let Some(part) = queue.blocking_recv()
                && written.is_ok()
            {
                written = writer.write(&part);
            }
            (writer, written)
        });
        let received = async {
            while let Some(part) = answer.chunk().await? {
                total += part.len() as u64;
                if total > self.layer.size {
                    let reason = format!("more than the {} bytes announced", self.layer.size);
                    return Err(Error::malformed(self.what.clone(), reason));
                }
                // A writer that has given up says why below.
                if parts.send(part).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let received = received.await;
        drop(parts);
        let (writer, written) = writing.await.map_err(|e| Error::Crashed(e.to_string()))?;
        self.writer = Some(writer);
        written.and(received)
    }

    async fn finish(&mut self) -> Result<()> {
        let writer = self.take_writer()?;
        let (store, lease) = (Arc::clone(&self.store), Arc::clone(&self.lease));
        let what = self.what.clone();
        blocking(move || {
            let _lease = lease;
            writer.finish(&store.layout, &what)
        })
        .await
    }

    async fn reopen(&mut self) -> Result<()> {
        let (lease, digest) = (Arc::clone(&self.lease), self.layer.digest.clone());
        let open = move || BlobWriter::open(lease.dir().join(digest.hex()), &digest);
        self.writer = Some(blocking(open).await?);
        Ok(())
    }

    /// Puts what has come so far aside for the next pull, if it is worth it.
    async fn keep(&mut self) {
        let Ok(writer) = self.take_writer() else { return };
        if writer.bytes() < limits::IMAGE_PARTIAL_BYTES_MIN || writer.bytes() > self.layer.size {
            return;
        }
        let (lease, hex) = (Arc::clone(&self.lease), self.layer.digest.hex().to_string());
        let target = self.store.layout.partial().join(&hex);
        let kept = blocking(move || {
            drop(writer);
            std::fs::rename(lease.dir().join(hex), &target).map_err(io_error("keep", &target))
        });
        if let Err(e) = kept.await {
            tracing::debug!(what = %self.what, error = %e, "cannot keep a partial download");
        }
    }

    fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::bytes)
    }

    fn writer(&mut self) -> Result<&mut BlobWriter> {
        self.writer.as_mut().ok_or_else(|| Error::Crashed("no file to write to".to_string()))
    }

    fn take_writer(&mut self) -> Result<BlobWriter> {
        self.writer.take().ok_or_else(|| Error::Crashed("no file to write to".to_string()))
    }
}
