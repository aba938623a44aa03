//! Where the log goes: standard error, in plain lines; systemd and `rk` in a terminal both show it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `RK_LOG` (such as `info,rk::node=debug`) wins over `debug`.
pub(super) fn start(debug: bool) {
    let level = if debug { "info,rk=debug" } else { "info" };
    let filter = match std::env::var("RK_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::new(text),
        _ => EnvFilter::new(level),
    };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(debug)
        .try_init();
    if started.is_err() {
        eprintln!("rk: logging had been started already");
    }
}
