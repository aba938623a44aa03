//! Image archives that an administrator puts on the node: imported at start, once each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::images::Images;

/// What was imported: file name to size and time of change.
type Known = BTreeMap<String, (u64, i64)>;

/// Where archives are looked for.
pub fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("images")
}

/// Imports the archives that are new or have changed since the last start.
pub async fn import(images: &Images, data_dir: &Path) {
    let directory = directory(data_dir);
    let list = data_dir.join("images.json");
    let mut known: Known = fs::read(&list)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let present = present(&directory);
    let mut changed = false;
    for (name, stamp) in &present {
        if known.get(name) == Some(stamp) {
            continue;
        }
        let path = directory.join(name);
        match images.store.import(path.clone()).await {
            Ok(imported) => {
                tracing::info!(archive = %path.display(), images = imported.len(), "imported");
                known.insert(name.clone(), *stamp);
                changed = true;
            }
            Err(error) => {
                tracing::error!(archive = %path.display(), %error, "cannot import an archive");
            }
        }
    }
    known.retain(|name, _| present.contains_key(name));
    if changed {
        images.changed();
        let written = serde_json::to_vec(&known).map(|bytes| fs::write(&list, bytes));
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "cannot note which archives were imported");
        }
    }
}

fn present(directory: &Path) -> Known {
    let Ok(entries) = fs::read_dir(directory) else { return Known::new() };
    let archive = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let is_archive =
            [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"].iter().any(|end| name.ends_with(end));
        let meta = entry.metadata().ok().filter(|meta| is_archive && meta.is_file())?;
        Some((name, (meta.len(), meta.mtime())))
    };
    entries.flatten().filter_map(archive).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_archives_count() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.tar", "b.tar.zst", "notes.txt"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("d.tar")).unwrap();
        let names: Vec<String> = present(dir.path()).into_keys().collect();
        assert_eq!(names, ["a.tar", "b.tar.zst"]);
        assert!(present(&dir.path().join("none")).is_empty());
    }
}
