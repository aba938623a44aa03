//! One command in a running container, for probes and hooks: its exit code and the beginning of
//! what it said.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::limits::PROBE_BODY_BYTES_MAX;
use crate::runtime::{ExecSpec, Output, PodHandle};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Its output and errors, cut.
    pub output: String,
}

/// Runs a command; kills it when it takes longer than `timeout`.
///
/// # Errors
/// When it could not be run, or took too long.
pub async fn run(
    pod: &PodHandle,
    container: &str,
    args: &[String],
    timeout: Duration,
) -> Result<Ended, String> {
    let spec = ExecSpec { args: args.to_vec(), stdout: true, stderr: true, ..ExecSpec::default() };
    let mut session = pod.exec(container, &spec).await.map_err(|error| error.to_string())?;
    let (stdout, stderr) = (session.stdout.take(), session.stderr.take());
    let work = async {
        // What the command started may hold the pipes longer than it lives itself.
        let reading = async { tokio::join!(read(stdout), read(stderr)) };
        tokio::pin!(reading);
        tokio::select! {
            (out, err) = &mut reading => (session.wait().await, out + &err),
            exit = session.wait() => {
                let rest = tokio::time::timeout(Duration::from_secs(1), reading).await;
                (exit, rest.map_or_else(|_| String::new(), |(out, err)| out + &err))
            }
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok((exit, output)) => Ok(Ended { code: exit.code, output }),
        Err(_) => {
            // One that cannot be killed is the container's to bear, and ends with it.
            let _ = session.kill(libc::SIGKILL).await;
            Err(format!("command timed out: {args:?} timed out after {}s", timeout.as_secs()))
        }
    }
}

/// Reads to the end, but keeps only the beginning.
async fn read(from: Option<Output>) -> String {
    let Some(mut from) = from else { return String::new() };
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let room = PROBE_BODY_BYTES_MAX.saturating_sub(kept.len()).min(n);
        kept.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
