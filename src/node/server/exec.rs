//! Commands in containers, and the containers' own streams.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;

use super::Answer;
use super::find::{self, Place};
use super::query::Query;
use super::upgrade::{self, Wish};
use crate::api::status::Status;
use crate::node::shared::Shared;
use crate::node::stream::{
    Outcome, Output, Process, Wanted, Wire, join, remote, session, websocket,
};
use crate::runtime::{ExecSession, ExecSpec, PodHandle, TerminalSize};

/// `/exec/{namespace}/{pod}/{container}`.
pub(super) async fn exec(
    shared: &Arc<Shared>,
    place: Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Answer {
    let wanted = wanted(query)?;
    let args = query.all("command");
    if args.is_empty() {
        return Err(Status::bad_request("you must specify at least one command"));
    }
    let (handle, container) = find::running(shared, place)?;
    let spec = ExecSpec {
        args,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
        ..ExecSpec::default()
    };
    answer(request, wanted, move || async move {
        match handle.exec(&container.id, &spec).await {
            Ok(session) => Ok(of_exec(session)),
            Err(error) => Err(format!(
                "error executing command in container: failed to exec in container: {error}"
            )),
        }
    })
}

/// `/attach/{namespace}/{pod}/{container}`.
pub(super) async fn attach(
    shared: &Arc<Shared>,
    place: Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Answer {
    let wanted = wanted(query)?;
    let (handle, container) = find::running(shared, place)?;
    answer(request, wanted, move || async move { of_container(handle, container.id, wanted).await })
}

fn wanted(query: &Query) -> Result<Wanted, Status> {
    let wanted = Wanted {
        stdin: query.is_set(&["input", "stdin"]),
        stdout: query.is_set(&["output", "stdout"]),
        stderr: query.is_set(&["error", "stderr"]),
        tty: query.is_set(&["tty"]),
    };
    match (wanted.stdin || wanted.stdout || wanted.stderr, wanted.tty && wanted.stderr) {
        (false, _) => {
            Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
        }
        // A terminal has one output; some clients ask for both all the same.
        (true, true) => Ok(Wanted { stderr: false, ..wanted }),
        (true, false) => Ok(wanted),
    }
}

/// Upgrades, makes the process, and carries its streams.
fn answer<F>(
    request: Request<Incoming>,
    wanted: Wanted,
    process: impl FnOnce() -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = Result<Process, String>> + Send,
{
    let headers = request.headers();
    match upgrade::wish(headers)? {
        Wish::WebSocket => {
            let protocol = websocket::negotiate(&upgrade::sub_protocols(headers))
                .ok_or_else(|| Status::bad_request("no sub-protocol of yours is spoken here"))?;
            upgrade::websocket(request, protocol.name, move |io| async move {
                let wire = begin(process);
                if let Err(error) = websocket::serve(io, protocol, wanted, wire).await {
                    tracing::debug!(%error, "a WebSocket session broke off");
                }
            })
        }
        Wish::Spdy => {
            let protocol = remote::negotiate(upgrade::stream_protocols(headers).into_iter())
                .ok_or_else(|| Status::forbidden("", "", "", "no protocol of yours is spoken"))?;
            upgrade::spdy(request, protocol.name, move |io| async move {
                let wire = begin(process);
                if let Err(error) = remote::serve(io, protocol, wanted, wire).await {
                    tracing::debug!(%error, "a SPDY session broke off");
                }
            })
        }
    }
}

/// Makes the process and joins it with a session, of which this is the client's side.
fn begin<F>(process: impl FnOnce() -> F + Send + 'static) -> Wire
where
    F: Future<Output = Result<Process, String>> + Send,
{
    let (session, wire) = session();
    tokio::spawn(async move {
        match process().await {
            Ok(process) => join(process, session).await,
            // An error means that the client has gone.
            Err(why) => drop(session.out.send(Output::End(Outcome::Failed(why))).await),
        }
    });
    wire
}

fn of_exec(mut session: ExecSession) -> Process {
    let (stdin, stdout, stderr) =
        (session.stdin.take(), session.stdout.take(), session.stderr.take());
    let session = Arc::new(session);
    let resized = Arc::clone(&session);
    Process {
        stdin: stdin.map(|stdin| Box::new(stdin) as _),
        stdout: stdout.map(|stdout| Box::new(stdout) as _),
        stderr: stderr.map(|stderr| Box::new(stderr) as _),
        resize: Some(Box::new(move |size| {
            if let Err(error) = resized.resize(size) {
                tracing::debug!(%error, "cannot resize a terminal");
            }
        })),
        end: Box::pin(async move { Outcome::Exit(session.wait().await.code) }),
    }
}

/// Resizes a container's terminal, one size after the other: kubectl sends two in a row, of which
/// the last counts.
fn resizer(handle: PodHandle, id: String) -> impl FnMut(TerminalSize) + Send {
    let (tell, mut sizes) = tokio::sync::watch::channel(TerminalSize::default());
    tokio::spawn(async move {
        while sizes.changed().await.is_ok() {
            let size = *sizes.borrow_and_update();
            // The size is of no use to a container that has ended meanwhile.
            drop(handle.resize(&id, size).await);
        }
    });
    move |size| {
        tell.send_replace(size);
    }
}

/// The streams of the container itself. Its exit code is not told: clients read it in its status.
async fn of_container(handle: PodHandle, id: String, wanted: Wanted) -> Result<Process, String> {
    let attached = handle.attach(&id, wanted.stdin, wanted.stdout, wanted.stderr).await;
    let attached = attached.map_err(|error| format!("error attaching to container: {error}"))?;
    let (ending, ending_id) = (handle.clone(), id.clone());
    Ok(Process {
        stdin: attached.stdin.map(|stdin| Box::new(stdin) as _),
        stdout: attached.stdout.map(|stdout| Box::new(stdout) as _),
        stderr: attached.stderr.map(|stderr| Box::new(stderr) as _),
        resize: wanted.tty.then(|| Box::new(resizer(handle, id)) as _),
        end: Box::pin(async move {
            ending.over(&ending_id).await;
            Outcome::Exit(0)
        }),
    })
}
