//! `rk uninstall`: everything that rk made on this machine, gone.
//!
//! Contract: what has to go is looked for and not remembered, so that this may be repeated, stopped
//! half-way, and run on what was half-installed or half-removed. Only what rk is known to make is
//! removed: a folder with files of others in it stays, with them. With `--data-dir` given, only the
//! cluster there goes, and the installation stays unless that is its folder.

mod files;
mod processes;
mod receipt;
mod scope;
mod things;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Failure;
use super::raw::Raw;
use scope::Scope;
use things::Thing;

/// How often what is left is looked for again: what was being started when its server ended may
/// appear after the first look.
const ROUNDS_MAX: usize = 3;

pub(super) fn arguments(command: Command) -> Command {
    let yes = Arg::new("yes").long("yes").action(ArgAction::SetTrue);
    command.arg(yes.help("Do it; without, only say what would be removed"))
}

pub(super) fn run(raw: &Raw, matches: &ArgMatches) -> Result<(), Failure> {
    if !is_root() {
        return Err(Failure::Because("this needs root".to_owned()));
    }
    let scope = Scope::of(raw, matches)?;
    let found = things::find(&scope)?;
    if found.is_empty() {
        println!("nothing of rk is here");
        return Ok(());
    }
    if !matches.get_flag("yes") {
        println!("this would be removed:");
        found.iter().for_each(|thing| println!("  {thing}"));
        return Err(Failure::Because("nothing was removed: add --yes to remove it all".to_owned()));
    }
    remove(&scope, found)
}

fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self");
    own.is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Removes what was found, then what has come to light by that.
fn remove(scope: &Scope, mut found: Vec<Thing>) -> Result<(), Failure> {
    let mut why = Vec::new();
    for _ in 0..ROUNDS_MAX {
        why.clear();
        for thing in &found {
            match thing.remove() {
                Ok(()) => println!("removed {thing}"),
                Err(failure) => why.push(format!("cannot remove {thing}: {failure}")),
            }
        }
        found = things::find(scope)?;
        if found.is_empty() {
            return things::forget_units(scope);
        }
    }
    why.extend(found.iter().map(|thing| format!("still there: {thing}")));
    Err(Failure::Because(why.join("\n")))
}
