//! Whether the machine labels its processes.

use std::path::Path;

/// Whether SELinux is on.
pub fn is_on() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
