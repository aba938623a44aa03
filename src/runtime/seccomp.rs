//! System call filters: rk's default profile, docker's JSON profiles, and their translation.
//!
//! Pure: [`filter`] turns a profile and a container's capabilities into a program that
//! [`crate::sys::seccomp`] loads. Own code, since the crates compile for one architecture at a time
//! and a container may run 32-bit programs beside 64-bit ones.

mod compile;
mod profile;
mod table;

use crate::runtime::spec::Seccomp;
use crate::sys::capability;
use crate::sys::seccomp::Instruction;
use std::path::{Path, PathBuf};

pub use profile::{Arch, Decision, Profile};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of a Localhost profile.
    #[error("cannot read seccomp profile {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its content.
    #[error("seccomp profile {}: {error}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// Something in it that is not supported.
    #[error("seccomp profile: {0}")]
    Unsupported(String),
    /// The kernel takes 4096 instructions.
    #[error("seccomp profile: the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
}

/// The filter for a container with these capabilities; `None` when it shall have none.
pub fn filter(wanted: &Seccomp, held: capability::Set) -> Result<Option<Vec<Instruction>>, Error> {
    let profile = match wanted {
        Seccomp::Unconfined => return Ok(None),
        Seccomp::RuntimeDefault => Profile::default_for(held),
        Seccomp::Localhost(path) => read(path, held)?,
    };
    let program = compile::program(&profile);
    if program.len() > compile::PROGRAM_MAX {
        return Err(Error::TooLong(program.len()));
    }
    Ok(Some(program))
}

fn read(path: &Path, held: capability::Set) -> Result<Profile, Error> {
    let text = std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })?;
    let parsed = serde_json::from_slice(&text)
        .map_err(|error| Error::Parse { path: path.to_owned(), error })?;
    Profile::from_docker(&parsed, held)
}
