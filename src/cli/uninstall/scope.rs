//! What is to go: which services, and the files of which clusters.

use std::path::{Path, PathBuf};

use clap::ArgMatches;

use super::receipt::{self, Receipt};
use crate::cli::raw::Raw;
use crate::cli::{COMMANDS, Failure, commands, gather_from, parser, typed};
use crate::server::Places;

/// What belongs to one data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// What outlives a restart.
    pub data_dir: PathBuf,
    /// What does not.
    pub run_dir: PathBuf,
    /// Where the administrator's kubeconfig is, if it is this cluster's.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    fn of(raw: &Raw) -> Result<Self, Failure> {
        let path = |name| commands::path(raw, name);
        Ok(Self {
            data_dir: path("data-dir")?,
            run_dir: path("run-dir")?,
            kubeconfig: path("write-kubeconfig")?,
        })
    }

    /// What is outside of the folders.
    pub fn places(&self) -> Places {
        Places::new(&self.data_dir)
    }

    /// Files that a server or an agent holds as long as it runs.
    pub fn locks(&self) -> Vec<PathBuf> {
        vec![self.data_dir.join("server/db/lock"), self.data_dir.join("agent/lock")]
    }

    /// The runtime's folder, by which shims know it.
    pub fn runtime(&self) -> PathBuf {
        self.run_dir.join("runtime")
    }

    /// The folders that are rk's alone, those in memory first.
    pub fn folders(&self) -> Vec<PathBuf> {
        let run = ["runtime", "volumes"].map(|name| self.run_dir.join(name));
        let data = ["agent", "server"].map(|name| self.data_dir.join(name));
        run.into_iter().chain(data).collect()
    }
}

/// All that is to go.
#[derive(Debug)]
pub struct Scope {
    /// Clusters, or halves of them.
    pub clusters: Vec<Cluster>,
    /// Services with what belongs to them.
    pub services: Vec<Receipt>,
    /// Whether nothing of an installation stays.
    pub whole: bool,
}

impl Scope {
    /// Without a data directory given: everything that is installed, and what lies at the usual
    /// places. With one: the cluster there.
    pub fn of(raw: &Raw, matches: &ArgMatches) -> Result<Self, Failure> {
        let whole = matches.get_one::<String>("data-dir").is_none();
        let own = Cluster::of(raw)?;
        let mut scope = Self { clusters: vec![], services: vec![], whole };
        for receipt in Receipt::all(Path::new(receipt::FOLDER))? {
            let cluster = installed(&receipt)?;
            if whole || cluster.data_dir == own.data_dir {
                scope.services.push(receipt);
                scope.add(cluster);
            }
        }
        scope.add(own);
        Ok(scope)
    }

    fn add(&mut self, cluster: Cluster) {
        if !self.clusters.contains(&cluster) {
            self.clusters.push(cluster);
        }
    }
}

/// The cluster of an installed service, read from its words as the service itself reads them.
fn installed(receipt: &Receipt) -> Result<Cluster, Failure> {
    let at = receipt.path.display();
    let unreadable = |why: &dyn std::fmt::Display| Failure::Because(format!("{at}: {why}"));
    let words = std::iter::once("rk").chain(receipt.arguments.iter().map(String::as_str));
    let matches = parser().try_get_matches_from(words).map_err(|error| unreadable(&error))?;
    let (name, matches) = matches.subcommand().ok_or_else(|| unreadable(&"no command"))?;
    let row = COMMANDS.iter().find(|row| row.name == name);
    let flags = row.map_or(0, |row| row.flags);
    // A configuration that is gone or broken must not keep anything else from going.
    let raw = gather_from(flags, Some(matches), |name| receipt.variable(name));
    Cluster::of(&raw.unwrap_or_else(|_| typed(flags, matches)))
}
