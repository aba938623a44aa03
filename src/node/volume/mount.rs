//! Sets a pod's volumes up on the host, and takes them down.
//!
//! Contract: both may be called at any time, again and again. Files that come from the API are in
//! memory, but for ConfigMaps; nothing secret reaches a disk. Blocking.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

use super::payload::{self, Context, PayloadError};
use super::{atomic, host_path};
use crate::node::dirs::PodDirs;
use crate::node::qos;
use crate::sys::mount;
use crate::util::clock::Wall;

/// Why a volume cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Something that it is made from is missing.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Its files cannot be written.
    #[error(transparent)]
    Write(#[from] atomic::WriteError),
    /// The path on the host is not what the pod says.
    #[error("{0}")]
    HostPath(String),
    /// This node does not know such volumes.
    #[error("volume {0} has a source that this node does not support")]
    Unsupported(String),
    /// The file system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// `make`, `mount`, ...
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MountError {
    move |source| MountError::Io { what, path: path.to_owned(), source }
}

/// Where a volume is on the host.
pub fn path(dirs: &PodDirs, volume: &Volume) -> PathBuf {
    if let Some(host) = &volume.host_path {
        return PathBuf::from(&host.path);
    }
    let on_disk = volume.config_map.is_some()
        || volume.empty_dir.as_ref().is_some_and(|source| !is_memory(source));
    if on_disk { dirs.volume(&volume.name) } else { dirs.memory_volume(&volume.name) }
}

fn is_memory(source: &EmptyDirVolumeSource) -> bool {
    source.medium.as_deref() == Some("Memory")
}

/// Sets one volume up.
///
/// # Errors
/// Why it cannot be; what was set up stays for the next try.
pub fn set_up(
    dirs: &PodDirs,
    volume: &Volume,
    context: &Context<'_>,
    now: Wall,
) -> Result<(), MountError> {
    let path = path(dirs, volume);
    let group = payload::fs_group(context.pod);
    if let Some(source) = &volume.host_path {
        let kind = source.type_.as_deref().unwrap_or_default();
        return host_path::prepare(&path, kind).map_err(MountError::HostPath);
    }
    if volume.image.is_some() {
        // Each attempt of a container mounts its own, as it may be another image by then.
        return Ok(());
    }
    if let Some(source) = &volume.empty_dir {
        return empty_dir(&path, source, context.pod, group);
    }
    if payload::is_served(volume) {
        // Made first, so that a missing object leaves an empty folder and nothing half-written.
        let files = payload::payload(volume, context)?;
        make_directory(&path, 0o755)?;
        if let Some(group) = group {
            own(&path, group, 0o2755)?;
        }
        return Ok(atomic::write(&path, &files, group, now).map(drop)?);
    }
    Err(MountError::Unsupported(volume.name.clone()))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), MountError> {
    let made = fs::DirBuilder::new().mode(0o755).recursive(true).create(path);
    made.map_err(at("make", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("change", path))
}

fn own(path: &Path, group: u32, mode: u32) -> Result<(), MountError> {
    chown(path, None, Some(group)).map_err(at("change", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("change", path))
}

fn empty_dir(
    path: &Path,
    source: &EmptyDirVolumeSource,
    pod: &Pod,
    group: Option<u32>,
) -> Result<(), MountError> {
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => mount_tmpfs(path, source, pod)?,
        other => return Err(MountError::Unsupported(format!("with medium {other}"))),
    }
    if path.is_dir() && source.medium.as_deref() != Some("Memory") {
        return Ok(());
    }
    make_directory(path, 0o777)?;
    group.map_or(Ok(()), |group| own(path, group, 0o2777))
}

fn mount_tmpfs(path: &Path, source: &EmptyDirVolumeSource, pod: &Pod) -> Result<(), MountError> {
    if mount::is_mounted(path).map_err(at("look at", path))? {
        return Ok(());
    }
    make_directory(path, 0o777)?;
    let limit = source.size_limit.as_ref().and_then(|text| text.0.parse().ok());
    let limit = limit.map(crate::api::quantity::Quantity::value).filter(|bytes| *bytes > 0);
    // Files in memory count against the pod's limit, so a larger size would promise too much.
    let of_pod = qos::pod_resources(pod).memory_bytes;
    let size = limit.into_iter().chain(of_pod).min();
    let options = match size {
        Some(bytes) => format!("mode=0777,size={bytes}"),
        None => "mode=0777".to_owned(),
    };
    mount::tmpfs(path, &options).map_err(at("mount", path))
}

/// Gives what is in a volume to a group, so that its members can use it: for volumes that are not
/// new. Links are not followed.
///
/// # Errors
/// When the file system refuses.
pub fn give_to_group(path: &Path, group: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let extra = if meta.is_dir() { 0o2770 } else { 0o660 };
    let mode = meta.permissions().mode() & 0o7777 | extra;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to_group(&entry?.path(), group)?;
        }
    }
    Ok(())
}

/// Takes down everything of a pod that is mounted or in memory.
///
/// # Errors
/// When the kernel refuses; what is left is tried again.
pub fn take_down(dirs: &PodDirs) -> Result<(), MountError> {
    mount::detach_below(&dirs.run).map_err(at("unmount", &dirs.run))?;
    remove(&dirs.run)?;
    remove(&dirs.root.join("volumes"))
}

/// Removes a directory and all in it, if it is there.
///
/// # Errors
/// When the file system refuses.
pub fn remove(path: &Path) -> Result<(), MountError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::node::container::fields::Addresses;
    use crate::node::source::Sources;

    fn set_up_all(root: &Path, volumes: &str, spec: &str) -> (PodDirs, Vec<Result<(), String>>) {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u","labels":{{"a":"b"}}}},
                "spec":{{"containers":[],"volumes":[{volumes}]{spec}}}}}"#
        );
        let pod: Pod = serde_json::from_str(&text).unwrap();
        let dirs =
            PodDirs { root: root.join("root"), run: root.join("run"), logs: root.join("logs") };
        let context = Context {
            pod: &pod,
            addresses: &Addresses::default(),
            allocatable: &BTreeMap::new(),
            sources: &Sources::default(),
            tokens: &HashMap::new(),
            certificates: &HashMap::new(),
        };
        let volumes = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap();
        let set_up =
            |volume| set_up(&dirs, volume, &context, Wall(1)).map_err(|error| error.to_string());
        let results = volumes.iter().map(set_up).collect();
        (dirs, results)
    }

    #[test]
    fn volumes_are_set_up_and_taken_down() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = r#"{"name":"e","emptyDir":{}},
            {"name":"d","downwardAPI":{"items":[{"path":"l","fieldRef":{"fieldPath":"metadata.labels"}}]}},
            {"name":"c","configMap":{"name":"none"}},
            {"name":"n","nfs":{"server":"x","path":"/"}}"#;
        let (dirs, results) =
            set_up_all(dir.path(), volumes, r#","securityContext":{"fsGroup":7}"#);
        assert_eq!(results[..2], [Ok(()), Ok(())]);
        assert_eq!(results[2], Err("configmap \"none\" not found".into()));
        assert!(results[3].as_ref().unwrap_err().contains("does not support"));
        let meta = fs::metadata(dirs.volume("e")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o2777, 7));
        assert_eq!(fs::read_to_string(dirs.memory_volume("d").join("l")).unwrap(), "a=\"b\"");
        fs::write(dirs.volume("e").join("kept"), "x").unwrap();
        set_up_all(dir.path(), volumes, "");
        assert!(dirs.volume("e").join("kept").exists(), "setting up again keeps what is there");
        take_down(&dirs).unwrap();
        take_down(&dirs).unwrap();
        assert!(!dirs.run.exists() && !dirs.root.join("volumes").exists());
    }

    #[test]
    fn memory_volumes_have_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = r#"{"name":"m","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}}"#;
        let (dirs, results) = set_up_all(dir.path(), volumes, "");
        let path = dirs.memory_volume("m");
        match &results[0] {
            // Without the right to mount there is nothing to look at.
            Err(error) => assert!(error.contains("Operation not permitted"), "{error}"),
            Ok(()) => {
                assert!(mount::is_mounted(&path).unwrap());
                assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
                assert!(fs::write(path.join("big"), vec![0; 2 << 20]).is_err(), "too large");
                take_down(&dirs).unwrap();
                assert!(!mount::is_mounted(&path).unwrap());
            }
        }
    }

    #[test]
    fn a_group_gets_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/f"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("d/l")).unwrap();
        give_to_group(dir.path(), 9).unwrap();
        let meta = fs::metadata(dir.path().join("d/f")).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o664, 9));
        assert_eq!(fs::metadata(dir.path().join("d")).unwrap().mode() & 0o7777, 0o2775);
    }
}
