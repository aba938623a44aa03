//! Brings the images that containers need, by pull policy and with the pod's credentials.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::source::{Content, Kind, Sources};
use super::voice::Voice;
use crate::limits::IMAGE_PULLS_MAX;
use crate::runtime::image::{
    Class, Credentials, Digest, Error, Image, Keyring, Reference, Registries, Store,
};
use crate::util::clock;

/// Why a container has no image: what its status waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// The images of this node.
pub struct Images {
    /// Where they are kept.
    pub store: Arc<Store>,
    /// How to talk to registries; read for each pull, so that changes need no restart.
    registries: PathBuf,
    pulls: Semaphore,
    /// Counts arrivals and removals.
    changes: watch::Sender<u64>,
}

/// An image as a container's status names it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The image.
    pub image: Arc<Image>,
    /// Its full name.
    pub name: String,
    /// Its name by digest; its id where no registry has given it one.
    pub id: String,
}

impl Images {
    /// Images in `store`, pulled as the file `registries` says.
    pub fn new(store: Arc<Store>, registries: PathBuf) -> Self {
        let changes = watch::Sender::new(0);
        Self { store, registries, pulls: Semaphore::new(IMAGE_PULLS_MAX), changes }
    }

    /// Tells of arrivals and removals.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells that images came or went by another way.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Mounts an image that is a volume of a container, which has several by number.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub async fn mount(
        &self,
        container: &str,
        number: usize,
        image: &Digest,
    ) -> Result<PathBuf, Error> {
        let id = volume_id(container, number);
        self.store.prepare(&id, image).await?;
        self.store.mount(&id).await
    }

    /// Removes a container's root file system, and the images that are its volumes.
    ///
    /// # Errors
    /// When something is left.
    pub async fn release(&self, container: &str) -> Result<(), Error> {
        let mut count = 0;
        while self.store.prepared(&volume_id(container, count)).await?.is_some() {
            count += 1;
        }
        for number in (0..count).rev() {
            self.store.release(&volume_id(container, number)).await?;
        }
        self.store.release(container).await
    }

    /// The image of a container, pulled if the policy says so.
    ///
    /// # Errors
    /// Why it cannot be had now.
    pub async fn ensure(
        &self,
        asked: &str,
        policy: &str,
        keyring: &Keyring,
        voice: &Voice,
    ) -> Result<Found, Refusal> {
        let reference = Reference::parse(asked).map_err(|error| {
            let message = format!("Failed to apply default image tag {asked:?}: {error}");
            voice.warn("InspectFailed", &*message);
            Refusal { reason: "InvalidImageName", message }
        })?;
        let present = self.store.resolve(asked).await.map_err(|error| failed(asked, &error))?;
        match (present, policy) {
            (Some(image), policy) if policy != "Always" => {
                let told = format!(
                    "Container image {asked:?} already present on machine and can be accessed by \
                     the pod"
                );
                voice.normal("Pulled", told);
                Ok(found(image, &reference))
            }
            (None, "Never") => {
                let message =
                    format!("Container image {asked:?} is not present with pull policy of Never");
                voice.warn("ErrImageNeverPull", &*message);
                Err(Refusal { reason: "ErrImageNeverPull", message })
            }
            (present, _) => self.pull(asked, &reference, keyring, present, voice).await,
        }
    }

    async fn pull(
        &self,
        asked: &str,
        reference: &Reference,
        keyring: &Keyring,
        present: Option<Arc<Image>>,
        voice: &Voice,
    ) -> Result<Found, Refusal> {
        let began = clock::now();
        // The semaphore is never closed.
        let _turn = self.pulls.acquire().await;
        voice.normal("Pulling", format!("Pulling image {asked:?}"));
        let pulling = clock::now();
        match self.pull_with(reference, keyring).await {
            Ok(image) => {
                let now = clock::now();
                voice.normal(
                    "Pulled",
                    format!(
                        "Successfully pulled image {asked:?} in {} ({} including waiting). Image \
                         size: {} bytes.",
                        shown(now.since(pulling)),
                        shown(now.since(began)),
                        image.size_bytes
                    ),
                );
                self.changed();
                Ok(found(image, reference))
            }
            // An image that was given to this node, and that no registry knows, is as good as its
            // name says.
            Err(error) if present.is_some() && is_local(reference, &error) => {
                let told = format!("Container image {asked:?} already present on machine");
                voice.normal("Pulled", told);
                present.map(|image| found(image, reference)).ok_or_else(|| failed(asked, &error))
            }
            Err(error) => {
                voice.warn("Failed", format!("Failed to pull image {asked:?}: {error}"));
                voice.warn("Failed", "Error: ErrImagePull");
                Err(failed(asked, &error))
            }
        }
    }

    /// Tries the credentials that fit, then none.
    async fn pull_with(
        &self,
        reference: &Reference,
        keyring: &Keyring,
    ) -> Result<Arc<Image>, Error> {
        let registries = Registries::load(&self.registries)?;
        let mut tries = keyring.lookup(reference);
        if tries.is_empty() {
            tries.push(Credentials::Anonymous);
        }
        let mut last = None;
        for credentials in tries {
            match self.store.pull(reference, &credentials, &registries).await {
                Err(error) if error.class() == Class::Unauthorized => last = Some(error),
                other => return other,
            }
        }
        last.map_or_else(|| Err(Error::Crashed("no credentials to try".into())), Err)
    }
}

/// The store's name for an image that is a volume of a container.
fn volume_id(container: &str, number: usize) -> String {
    format!("{container}.{number}")
}

/// The container to which a file system in the store belongs.
pub fn owner(id: &str) -> &str {
    id.split_once('.').map_or(id, |(container, _)| container)
}

fn is_local(reference: &Reference, error: &Error) -> bool {
    reference.registry() == "localhost" && error.class() == Class::Transport
}

fn found(image: Arc<Image>, reference: &Reference) -> Found {
    let own = |digest: &&String| digest.starts_with(&format!("{}@", reference.name()));
    let by_digest = image.repo_digests.iter().find(own).or(image.repo_digests.first());
    let id = by_digest.cloned().unwrap_or_else(|| image.id.to_string());
    Found { name: reference.to_string(), id, image }
}

fn failed(asked: &str, error: &Error) -> Refusal {
    Refusal {
        reason: "ErrImagePull",
        message: format!("failed to pull and unpack image {asked:?}: {error}"),
    }
}

/// A duration as Go prints it, in milliseconds.
fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        _ => {
            let text = format!("{}.{:03}", millis / 1000, millis % 1000);
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// The credentials in the secrets that a pod names for pulling; secrets that are missing or broken
/// are no error, as with kubelet.
pub fn keyring(pod: &k8s_openapi::api::core::v1::Pod, sources: &Sources) -> Keyring {
    let mut keyring = Keyring::default();
    let names = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    for name in names {
        if let Ok(Some(secret)) = sources.find(Kind::Secret, &name.name, true)
            && let Err(error) = add(&mut keyring, secret)
        {
            tracing::warn!(secret = %name.name, %error, "cannot read a pull secret");
        }
    }
    keyring
}

fn add(keyring: &mut Keyring, secret: &Content) -> Result<(), Error> {
    if let Some(json) = secret.data.get(".dockerconfigjson") {
        keyring.add_docker_config(json)?;
    }
    if let Some(json) = secret.data.get(".dockercfg") {
        keyring.add_docker_cfg(json)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tree::Value;

    #[test]
    fn durations_read_as_kubelets() {
        let text = |ms| shown(Duration::from_millis(ms));
        assert_eq!(
            [text(7), text(1000), text(1250), text(61_005)],
            ["7ms", "1s", "1.25s", "61.005s"]
        );
    }

    #[test]
    fn an_images_mount_belongs_to_its_container() {
        assert_eq!(owner(&volume_id("c0ffee", 12)), "c0ffee");
        assert_eq!(owner("c0ffee"), "c0ffee");
    }

    #[test]
    fn credentials_come_from_both_kinds_of_secrets() {
        let pod = r#"{"metadata":{},"spec":{"containers":[],
            "imagePullSecrets":[{"name":"new"},{"name":"old"},{"name":"none"},{"name":"bad"}]}}"#;
        let mut sources = Sources::default();
        let mut secret = |name: &str, key: &str, json: &str| {
            let mut content = Content::of(Kind::Secret, &Value::object());
            content.data.insert(key.into(), json.as_bytes().to_vec());
            sources.add((Kind::Secret, name.into()), Arc::new(content));
        };
        secret(
            "new",
            ".dockerconfigjson",
            r#"{"auths":{"a.example":{"username":"u","password":"p"}}}"#,
        );
        secret("old", ".dockercfg", r#"{"b.example":{"auth":"dTpw"}}"#);
        secret("bad", ".dockercfg", "{");
        let keyring = keyring(&serde_json::from_str(pod).unwrap(), &sources);
        for image in ["a.example/x", "b.example/x"] {
            assert_eq!(keyring.lookup(&Reference::parse(image).unwrap()).len(), 1, "{image}");
        }
    }
}
