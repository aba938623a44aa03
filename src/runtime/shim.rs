//! The pod shim: the process that stands between rk and a pod's containers.
//!
//! One per pod, the same executable, started with descriptor 0 as its first connection to rk. It
//! outlives rk; it has one thread, no async runtime, and holds little: for each container its
//! pipes, its log and how it stands. It makes containers by forking workers ([`worker`]) which call
//! libcontainer and end, so that the containers' first processes fall to it. See [`protocol`] for
//! what it can be asked.
//!
//! Invariant: [`is_shim`] is asked, and [`main`] called, before this process has a second thread.

mod boot;
mod connection;
mod container;
mod diagnosis;
mod executor;
mod namespaces;
/// What rk and a shim say to each other.
pub mod protocol;
mod server;
mod streams;
pub(super) mod worker;

use crate::sys::process;
use std::path::Path;

/// The hidden command's name.
pub(super) const COMMAND: &str = "shim";
/// The last argument of a shim that runs from a read-only view of its executable.
const SEALED: &str = "sealed";

/// Whether these arguments of the process ask for a shim.
pub fn is_shim(args: &[String]) -> bool {
    args.get(1).is_some_and(|command| command == COMMAND) && args.len() >= 4
}

/// Runs the shim to its end; returns the exit code.
pub fn main(args: &[String]) -> u8 {
    let [_, _, run, pod, ..] = args else { return 2 };
    process::reexec_sealed(args, SEALED);
    let served = boot::boot(Path::new(run), pod).and_then(|mut shim| shim.serve());
    match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("shim of pod {pod}: {error}");
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hidden_command_is_a_shim() {
        let args = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_shim(&args("rk shim /run/rk uid")));
        for other in ["rk", "rk server", "rk shim", "rk shim --help", "rk server shim a b"] {
            assert!(!is_shim(&args(other)), "{other}");
        }
    }
}
