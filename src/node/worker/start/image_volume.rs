//! The images that a container mounts as volumes: brought like its own, and mounted for as long as
//! the attempt is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ImageVolumeSource;

use super::{Job, StartError};
use crate::node::container::build;
use crate::node::images::Found;
use crate::node::pod::Plan;
use crate::node::source::Sources;
use crate::node::voice::Voice;

/// Images by the names of the volumes that they are.
pub(super) type Brought = BTreeMap<String, Found>;

impl Job {
    /// Brings the images that the container mounts.
    pub(super) async fn bring_volumes(
        &self,
        plan: &Plan<'_>,
        sources: &Sources,
        voice: &Voice,
    ) -> Result<Brought, StartError> {
        let mut brought = Brought::new();
        for wish in plan.spec.volume_mounts.iter().flatten() {
            let source = self.image_source(&wish.name);
            let Some(source) = source.filter(|_| !brought.contains_key(&wish.name)) else {
                continue;
            };
            let asked = source.reference.as_deref().unwrap_or_default();
            let policy = source.pull_policy.as_deref().unwrap_or("IfNotPresent");
            brought.insert(wish.name.clone(), self.bring(asked, policy, sources, voice).await?);
        }
        Ok(brought)
    }

    fn image_source(&self, volume: &str) -> Option<&ImageVolumeSource> {
        let mut volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.find(|own| own.name == volume)?.image.as_ref()
    }

    /// Mounts them; returns what to show in the container by index of the volume mount.
    pub(super) async fn mount_volumes(
        &self,
        plan: &Plan<'_>,
        env: &[(String, String)],
        id: &str,
        brought: &Brought,
    ) -> Result<BTreeMap<usize, PathBuf>, String> {
        let mut roots = BTreeMap::new();
        for (number, (name, found)) in brought.iter().enumerate() {
            let mounted = self.context.shared.images.mount(id, number, &found.image.id).await;
            let told = |error| format!("failed to mount image volume {name:?}: {error}");
            roots.insert(name, mounted.map_err(told)?);
        }
        let (mut whole, mut parts) = (BTreeMap::new(), Vec::new());
        for (index, wish) in plan.spec.volume_mounts.iter().flatten().enumerate() {
            let Some(root) = roots.get(&wish.name) else { continue };
            match build::subpath(wish, env)? {
                None => drop(whole.insert(index, root.clone())),
                Some(sub) => parts.push((index, root.clone(), sub, wish.name.clone())),
            }
        }
        // An image is as it is: what it does not have is not made.
        whole.extend(self.bind(plan, id, parts, false).await?);
        Ok(whole)
    }
}
