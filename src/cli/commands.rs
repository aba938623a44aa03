//! The small commands.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

use super::flags::ADMIN;
use super::raw::Raw;
use super::resolve::{self, Machine, Resolver};
use super::{Failure, logging};
use crate::api::schema;
use crate::pki::files;
use crate::{agent, server};

/// A folder or file that a flag names.
pub(super) fn path(raw: &Raw, name: &str) -> Result<PathBuf, Failure> {
    let mut read = Resolver::new(raw);
    let path = read.path(name);
    read.done(path).map_err(Failure::Faults)
}

/// `rk server`.
pub(super) fn server(raw: &Raw, _: &ArgMatches) -> Result<(), Failure> {
    let settings = resolve::server(raw, &Machine::this()?).map_err(Failure::Faults)?;
    logging::start(raw.is_on("debug"));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = %settings.node.name, "rk starts");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().map_err(Failure::of)?;
    runtime.block_on(server::run(settings)).map_err(Failure::of)
}

/// `rk agent join` says the same as `rk agent`.
pub(super) fn agent_arguments(command: Command) -> Command {
    let join = Arg::new("join").value_parser(["join"]).help("May be left out");
    command.arg(join)
}

/// `rk agent`.
pub(super) fn agent(raw: &Raw, _: &ArgMatches) -> Result<(), Failure> {
    let settings = resolve::agent(raw, &Machine::this()?).map_err(Failure::Faults)?;
    logging::start(raw.is_on("debug"));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = %settings.node.name, "rk starts");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().map_err(Failure::of)?;
    runtime.block_on(agent::run(settings)).map_err(Failure::of)
}

/// `rk token`.
pub(super) fn token(raw: &Raw, _: &ArgMatches) -> Result<(), Failure> {
    let path = path(raw, "data-dir")?.join("server/token");
    match files::read_text(&path).map_err(Failure::of)? {
        Some(text) => {
            print!("{text}");
            Ok(())
        }
        None => Err(Failure::Because(format!(
            "there is no server here: {} does not exist (use --data-dir if it is elsewhere)",
            path.display()
        ))),
    }
}

/// `rk version`.
pub(super) fn version(_: &Raw, _: &ArgMatches) -> Result<(), Failure> {
    println!("rk {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), schema::builtin().release());
    Ok(())
}

/// Everything after `kubectl` is kubectl's.
pub(super) fn kubectl_arguments(command: Command) -> Command {
    let rest = Arg::new("arguments")
        .num_args(0..)
        .allow_hyphen_values(true)
        .trailing_var_arg(true)
        .value_parser(clap::value_parser!(std::ffi::OsString))
        .help("What kubectl is to do");
    command.disable_help_flag(true).arg(rest)
}

/// `rk kubectl`: the kubectl of this machine becomes this process.
pub(super) fn kubectl(_: &Raw, matches: &ArgMatches) -> Result<(), Failure> {
    let mut kubectl = std::process::Command::new("kubectl");
    if let Some(rest) = matches.get_many::<std::ffi::OsString>("arguments") {
        kubectl.args(rest);
    }
    if std::env::var_os("KUBECONFIG").is_none() {
        // kubectl's own flags may be called like ours: ours come from file and environment only.
        let raw = super::gather(ADMIN, None).map_err(Failure::Faults)?;
        kubectl.env("KUBECONFIG", path(&raw, "write-kubeconfig")?);
    }
    let error = kubectl.exec();
    Err(Failure::Because(match error.kind() {
        std::io::ErrorKind::NotFound => "kubectl is not installed: rk brings none of its own. \
            See https://kubernetes.io/docs/tasks/tools/"
            .to_owned(),
        _ => format!("cannot run kubectl: {error}"),
    }))
}
