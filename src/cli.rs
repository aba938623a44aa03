//! Words to configuration, and configuration to what runs.
//!
//! One table of flags ([`flags`]) and one of commands (here) make the parser, the help, the keys of
//! the configuration file and the completions. Flags are first gathered as text ([`raw`]), then
//! checked all together ([`resolve`]).

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

mod commands;
mod completion;
pub mod flags;
mod images;
mod issuer;
mod logging;
mod machine;
mod nearest;
mod raw;
mod resolve;
mod uninstall;

use flags::{AGENT, Flag, LOCAL, SERVER, Takes};
use raw::{Fault, Raw};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Flags or configuration that cannot be used.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
    /// Anything else, in words for the user.
    #[error("{0}")]
    Because(String),
}

fn listed(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| fault.0.clone()).collect();
    lines.join("\n")
}

impl Failure {
    /// A failure with the words of an error.
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Because(error.to_string())
    }
}

/// One command.
struct Row {
    name: &'static str,
    about: &'static str,
    /// Which flags of the table it takes: bits of `flags`.
    flags: u8,
    /// Adds arguments of its own.
    arguments: fn(Command) -> Command,
    run: fn(&Raw, &ArgMatches) -> Result<(), Failure>,
}

/// Every command there is.
const COMMANDS: &[Row] = &[
    Row {
        name: "server",
        about: "Run a server: the API, its controllers, and this machine as a node",
        flags: SERVER,
        arguments: |command| command,
        run: commands::server,
    },
    Row {
        name: "agent",
        about: "Join a server: this machine as a node of its cluster",
        flags: AGENT,
        arguments: commands::agent_arguments,
        run: commands::agent,
    },
    Row {
        name: "token",
        about: "Print the secret by which nodes join this server",
        flags: LOCAL,
        arguments: |command| command,
        run: commands::token,
    },
    Row {
        name: "images",
        about: "Import, list, pull, remove and prune the images of this machine",
        flags: LOCAL | flags::IMAGES,
        arguments: images::arguments,
        run: images::run,
    },
    Row {
        name: "kubectl",
        about: "Run kubectl with the administrator's kubeconfig",
        flags: 0,
        arguments: commands::kubectl_arguments,
        run: commands::kubectl,
    },
    Row {
        name: "uninstall",
        about: "Stop rk and remove everything that it made on this machine",
        flags: LOCAL | flags::ADMIN,
        arguments: uninstall::arguments,
        run: uninstall::run,
    },
    Row {
        name: "completion",
        about: "Print a completion script for a shell",
        flags: 0,
        arguments: completion::arguments,
        run: completion::run,
    },
    Row {
        name: "version",
        about: "Print the version",
        flags: 0,
        arguments: |command| command,
        run: commands::version,
    },
];

/// Parses and runs a command line, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match parser().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are errors to clap, too, but go to standard output.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let Some((name, matches)) = matches.subcommand() else { return ExitCode::from(2) };
    let Some(row) = COMMANDS.iter().find(|row| row.name == name) else { return ExitCode::from(2) };
    let done = gather(row.flags, Some(matches)).map_err(Failure::Faults);
    match done.and_then(|raw| (row.run)(&raw, matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rk {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The parser of the whole command line.
fn parser() -> Command {
    let program = Command::new("rk")
        .about("Kubernetes as one small executable")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true);
    COMMANDS.iter().fold(program, |program, row| {
        let command = Command::new(row.name).about(row.about);
        let command = flags::of(row.flags).fold(command, |command, flag| command.arg(arg(flag)));
        program.subcommand((row.arguments)(command))
    })
}

fn arg(flag: &'static Flag) -> Arg {
    let help = match flag.default {
        "" => flag.help.to_owned(),
        default => format!("{} [default: {default}]", flag.help),
    };
    // Global, so that it may stand before or behind a command's own commands.
    let arg = Arg::new(flag.name).long(flag.name).global(true);
    let arg = arg.help(help).help_heading(flag.heading);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.takes {
        Takes::Nothing => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Takes::One(value) => arg.value_name(value),
        Takes::Many(value) => arg.value_name(value).value_delimiter(',').action(ArgAction::Append),
    }
}

/// The flags of a command from files, environment and, where given, the command line.
fn gather(command: u8, matches: Option<&ArgMatches>) -> Result<Raw, Vec<Fault>> {
    gather_from(command, matches, |name| std::env::var(name).ok())
}

/// The same with another environment.
fn gather_from(
    command: u8,
    matches: Option<&ArgMatches>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Raw, Vec<Fault>> {
    if command == 0 {
        return Ok(Raw::default());
    }
    let typed = matches.map_or_else(Raw::default, |matches| typed(command, matches));
    let mut asked = Raw::default();
    let mut faults = asked.environment(command, variable);
    let config = typed.one("config").or(asked.one("config"));
    let explicit = config.is_some();
    let default = flags::find("config").map_or("", |flag| flag.default);
    let config = Path::new(config.unwrap_or(default)).to_owned();
    let mut raw = Raw::default();
    faults.extend(read_files(&mut raw, command, &config, explicit));
    raw.over(asked);
    raw.over(typed);
    if let Some(fault) = bad_switch(&raw, command) {
        faults.push(fault);
    }
    if faults.is_empty() { Ok(raw) } else { Err(faults) }
}

/// The flags of a command from its command line alone.
fn typed(command: u8, matches: &ArgMatches) -> Raw {
    let mut typed = Raw::default();
    for flag in flags::of(command) {
        if let Some(values) = matches.get_many::<String>(flag.name) {
            typed.typed(flag, values.cloned().collect());
        }
    }
    typed
}

/// `--debug=maybe`: clap takes any word.
fn bad_switch(raw: &Raw, command: u8) -> Option<Fault> {
    let mut switches = flags::of(command).filter(|flag| flag.takes == Takes::Nothing);
    switches.find_map(|flag| {
        let value = raw.one(flag.name)?;
        let why = format!("{}: {value:?} is neither true nor false", raw.origin(flag.name));
        (!matches!(value, "true" | "false")).then_some(Fault(why))
    })
}

fn read_files(raw: &mut Raw, command: u8, config: &Path, explicit: bool) -> Vec<Fault> {
    let unreadable =
        |path: &Path, e: std::io::Error| Fault(format!("cannot read {}: {e}", path.display()));
    let files = match raw::files(config) {
        Ok(files) => files,
        Err(e) => return vec![unreadable(config, e)],
    };
    let mut faults = Vec::new();
    for path in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => faults.extend(raw.file(command, &path, &text)),
            // The file at the usual place need not be there.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !explicit => {}
            Err(e) => faults.push(unreadable(&path, e)),
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        parser().debug_assert();
    }

    #[test]
    fn an_unknown_flag_is_named_with_the_nearest_known_one() {
        let words = ["rk", "token", "--data-dirr", "/x"];
        let error = parser().try_get_matches_from(words).unwrap_err().to_string();
        assert!(error.contains("'--data-dirr'") && error.contains("'--data-dir'"), "{error}");
    }

    #[test]
    fn a_config_that_is_asked_for_must_be_there() {
        let words = ["rk", "token", "--config", "/nowhere/c.yaml"];
        let matches = parser().try_get_matches_from(words).unwrap();
        let faults = gather(LOCAL, Some(matches.subcommand().unwrap().1)).unwrap_err();
        assert!(faults[0].0.starts_with("cannot read /nowhere/c.yaml"), "{faults:?}");
    }

    #[test]
    fn every_flag_is_taken_by_some_command() {
        let taken = COMMANDS.iter().fold(flags::ADMIN, |all, row| all | row.flags);
        assert!(flags::FLAGS.iter().all(|flag| flag.on & taken != 0));
    }
}
