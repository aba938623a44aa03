//! hostPath volumes: what must be there, and what is made where it is missing.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Checks a path by the type that the pod says it has; makes it where the type says so.
///
/// # Errors
/// Why the volume cannot be mounted, in kubelet's words.
pub fn prepare(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    let failed = |what: &str| format!("hostPath type check failed: {shown} is not {what}");
    let found = fs::metadata(path);
    let is = |test: fn(&fs::Metadata) -> bool| found.as_ref().is_ok_and(test);
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if missing(&found) => make_directory(path),
        "FileOrCreate" if missing(&found) => make_file(path),
        "Directory" | "DirectoryOrCreate" if is(fs::Metadata::is_dir) => Ok(()),
        "Directory" | "DirectoryOrCreate" => Err(failed("a directory")),
        "File" | "FileOrCreate" if is(fs::Metadata::is_file) => Ok(()),
        "File" | "FileOrCreate" => Err(failed("a file")),
        "Socket" if is(|meta| meta.file_type().is_socket()) => Ok(()),
        "Socket" => Err(failed("a socket file")),
        "CharDevice" if is(|meta| meta.file_type().is_char_device()) => Ok(()),
        "CharDevice" => Err(failed("a character device")),
        "BlockDevice" if is(|meta| meta.file_type().is_block_device()) => Ok(()),
        "BlockDevice" => Err(failed("a block device")),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

fn missing(found: &io::Result<fs::Metadata>) -> bool {
    matches!(found, Err(error) if error.kind() == ErrorKind::NotFound)
}

fn make_directory(path: &Path) -> Result<(), String> {
    let made = DirBuilder::new().mode(0o755).recursive(true).create(path);
    made.map_err(|error| format!("cannot make {}: {error}", path.display()))
}

/// The file alone: its directory must be there, as the API says.
fn make_file(path: &Path) -> Result<(), String> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
    made.map(drop).map_err(|error| format!("cannot make {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "x").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let good = [
            ("missing", ""),
            ("a/b", "DirectoryOrCreate"),
            ("a/b", "Directory"),
            ("a/f", "FileOrCreate"),
            ("a/f", "File"),
            ("socket", "Socket"),
        ];
        for (name, kind) in good {
            assert_eq!(prepare(&at(name), kind), Ok(()), "{name} {kind}");
        }
        assert_eq!(prepare(Path::new("/dev/null"), "CharDevice"), Ok(()));
        let bad = [
            ("file", "Directory"),
            ("a", "File"),
            ("none", "Directory"),
            ("no/file", "FileOrCreate"),
            ("file", "Socket"),
            ("file", "CharDevice"),
            ("file", "BlockDevice"),
            ("file", "Other"),
        ];
        for (name, kind) in bad {
            assert!(prepare(&at(name), kind).is_err(), "{name} {kind}");
        }
        let text = prepare(&at("file"), "Directory").unwrap_err();
        assert!(
            text.starts_with("hostPath type check failed: ")
                && text.ends_with("is not a directory")
        );
    }
}
