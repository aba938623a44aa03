//! The connection to one shim: requests out, replies and changes in.

use super::{Error, Pod, State, cleanup};
use crate::limits::{SHIM_FRAME_BYTES_MAX, SHIM_REPLY_MAX};
use crate::runtime::container::{Exit, ExitCause};
use crate::runtime::shim::protocol::{Answer, Call, Fault, FaultKind, Message, Request, is_spoken};
use crate::sys::channel::Channel;
use crate::sys::process::PidFd;
use crate::sys::reactor;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

type Outcome = Result<(Answer, Vec<OwnedFd>), Fault>;

/// See the module.
pub(super) struct Link {
    channel: AsyncFd<Channel>,
    /// Calls that wait for their reply; `None` once the connection has ended.
    pending: Mutex<Option<BTreeMap<u64, oneshot::Sender<Outcome>>>>,
    next: AtomicU64,
    /// The shim's process id, once it has said hello.
    shim: AtomicI32,
    /// Containers that the shim has told about since hello was said.
    told: Mutex<BTreeSet<String>>,
}

/// Says hello over a fresh connection and listens from then on. When this returns, the pod's state
/// is the shim's.
pub(super) async fn open(pod: &Arc<Pod>, channel: Channel) -> io::Result<()> {
    let link = Arc::new(Link {
        channel: reactor::register(channel)?,
        pending: Mutex::new(Some(BTreeMap::new())),
        next: AtomicU64::new(1),
        shim: AtomicI32::new(0),
        told: Mutex::default(),
    });
    let task = tokio::spawn(listen(Arc::downgrade(pod), link.clone()));
    if let Some(old) = pod.listener.lock().replace(task.abort_handle()) {
        old.abort();
    }
    let (answer, _) = link.call(Call::Hello, &[]).await.map_err(io::Error::other)?;
    let Answer::Hello { version, pid, execs } = answer else {
        return Err(io::Error::other("the shim does not answer hello"));
    };
    if !is_spoken(version) {
        let message = format!("the shim speaks version {version}, which this rk does not");
        return Err(io::Error::other(message));
    }
    let told = std::mem::take(&mut *link.told.lock());
    pod.update(|state| {
        state.containers.retain(|id, _| told.contains(id));
        end_execs(state, |exec| !execs.contains(&exec), ExitCause::Program);
    });
    link.shim.store(pid, Ordering::Relaxed);
    *pod.link.lock() = Some(link);
    Ok(())
}

/// Nobody will tell any more how these ended.
pub(super) fn end_execs(state: &mut State, which: impl Fn(u64) -> bool, cause: ExitCause) {
    let finished_ns = crate::util::clock::now().0;
    for (number, exit) in &mut state.execs {
        if exit.is_none() && which(*number) {
            *exit = Some(Exit { code: 255, signal: None, oom_killed: false, finished_ns, cause });
        }
    }
}

impl Link {
    /// Asks and waits for the reply.
    pub(super) async fn call(&self, call: Call, fds: &[BorrowedFd<'_>]) -> Outcome {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match self.pending.lock().as_mut() {
            Some(pending) => pending.insert(number, sender),
            None => return Err(gone()),
        };
        if let Err(error) = self.send(&Request { number, call }, fds).await {
            if let Some(pending) = self.pending.lock().as_mut() {
                pending.remove(&number);
            }
            return Err(Fault::from(error));
        }
        match tokio::time::timeout(SHIM_REPLY_MAX, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Fault::new(FaultKind::Failed, "the shim did not answer in time")),
        }
    }

    async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let frame = serde_json::to_vec(request)?;
        if frame.len() > SHIM_FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the request is too long"));
        }
        loop {
            let mut ready = self.channel.writable().await?;
            match self.channel.get_ref().send(&frame, fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                other => return other,
            }
        }
    }

    async fn next(&self, buffer: &mut [u8]) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        loop {
            let mut ready = self.channel.readable().await?;
            match self.channel.get_ref().receive(buffer) {
                Ok(Some((length, fds))) => {
                    return Ok(Some((serde_json::from_slice(&buffer[..length])?, fds)));
                }
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }

    /// The shim's process.
    pub(super) fn process(&self) -> io::Result<Option<PidFd>> {
        PidFd::open(self.shim.load(Ordering::Relaxed))
    }

    fn close(&self) {
        // Dropping the senders tells every caller.
        drop(self.pending.lock().take());
    }

    fn reply(&self, pod: &Pod, number: u64, outcome: Outcome) {
        let waiting = self.pending.lock().as_mut().and_then(|pending| pending.remove(&number));
        let exec = match &outcome {
            Ok((Answer::Exec { exec }, _)) => Some(*exec),
            _ => None,
        };
        // Before anybody can hear of its end.
        if let Some(exec) = exec {
            pod.state.lock().execs.insert(exec, None);
        }
        let heard = waiting.is_some_and(|sender| sender.send(outcome).is_ok());
        if let (Some(exec), false) = (exec, heard) {
            pod.state.lock().execs.remove(&exec);
        }
    }

    fn handle(&self, pod: &Pod, message: Message, fds: Vec<OwnedFd>) {
        match message {
            Message::Reply { number, outcome } => {
                self.reply(pod, number, outcome.map(|answer| (answer, fds)));
            }
            Message::Container(status) => {
                self.told.lock().insert(status.id.clone());
                pod.update(|state| {
                    state.containers.insert(status.id.clone(), status);
                });
            }
            Message::ExecEnded { exec, exit } => {
                let known = pod.state.lock().execs.contains_key(&exec);
                if known {
                    pod.update(|state| {
                        state.execs.insert(exec, Some(exit));
                    });
                }
            }
        }
    }
}

fn gone() -> Fault {
    Fault::new(FaultKind::Failed, "the connection to the shim has ended")
}

/// Hears the shim until the connection ends; then finds out whether the shim lives.
async fn listen(pod: Weak<Pod>, link: Arc<Link>) {
    let mut buffer = vec![0; SHIM_FRAME_BYTES_MAX];
    let ended = loop {
        match link.next(&mut buffer).await {
            Ok(Some((message, fds))) => {
                let Some(pod) = pod.upgrade() else { return };
                link.handle(&pod, message, fds);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    link.close();
    drop(buffer);
    let Some(pod) = pod.upgrade() else { return };
    if let Some(error) = ended {
        tracing::warn!(pod = pod.id(), %error, "connection to shim broke");
    }
    // In a task of its own: this one is replaced when the pod gets a new link.
    tokio::spawn(reconnect(pod, link));
}

/// Boxed, since a new link's listener leads here again.
fn reconnect(pod: Arc<Pod>, ended: Arc<Link>) -> BoxFuture<'static, ()> {
    async move { find_out(&pod, &ended).await }.boxed()
}

async fn find_out(pod: &Arc<Pod>, ended: &Arc<Link>) {
    {
        let mut current = pod.link.lock();
        match &*current {
            // The first hello failed, or a newer link is in place: its owner knows.
            Some(link) if Arc::ptr_eq(link, ended) => *current = None,
            _ => return,
        }
    }
    let channel = Channel::connect(&pod.record.layout.socket(pod.id()));
    let again = match channel {
        Ok(channel) => open(pod, channel).await,
        Err(error) => Err(error),
    };
    if again.is_err()
        && let Err(error) = cleanup::bury(pod, ExitCause::ShimDied).await
    {
        tracing::error!(pod = pod.id(), %error, "cannot clear up after a dead shim");
    }
}

/// The pod's connection.
pub(super) fn of(pod: &Pod) -> Result<Arc<Link>, Error> {
    let dead = || Error::ShimDead(pod.id().to_owned());
    pod.link.lock().clone().ok_or_else(dead)
}
