//! What rk and a shim say to each other: JSON, one message per frame.
//!
//! rk asks with a number and gets one reply with it; events come unasked. A connection begins with
//! `hello`, upon which the shim tells where each container stands, then replies, then goes on
//! telling changes. A connection that cannot keep up is closed; its owner connects and says hello
//! again.
//!
//! rk speaks the last two versions of a shim's protocol; a shim speaks its own. A field may be
//! added with a default; anything else is a new version.

use crate::runtime::container::{ContainerStatus, Exit};
use crate::runtime::spec::{LogTarget, TerminalSize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that this program's shims speak.
pub const VERSION: u32 = 1;
/// The oldest that this program's rk understands.
pub const VERSION_OLDEST: u32 = 1;

/// An upgrade, and the way back from it, keep what runs: one step, but not any number of them.
const _: () = assert!(VERSION <= VERSION_OLDEST + 1);

/// Whether a shim of this version can be looked after.
pub fn is_spoken(version: u32) -> bool {
    (VERSION_OLDEST..=VERSION).contains(&version)
}

/// From rk to the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back with the reply.
    pub number: u64,
    /// What is asked.
    pub call: Call,
}

/// What rk may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The version of the shim's protocol, and the state of everything.
    Hello,
    /// Makes the container whose spec is in its file.
    Create(Create),
    /// Lets a created container run its program.
    Start {
        /// Which.
        container: String,
    },
    /// Sends a signal.
    Kill {
        /// To which container.
        container: String,
        /// Which signal.
        signal: i32,
        /// To all of its processes instead of the first.
        all: bool,
    },
    /// Runs another process in a container. Descriptors: a file with the
    /// [`crate::runtime::ExecSpec`], then (without a terminal) its stdin, stdout and stderr.
    Exec {
        /// Where.
        container: String,
        /// With a terminal, whose master comes with the reply.
        tty: bool,
    },
    /// Sends a signal to the process of an exec.
    KillExec {
        /// Which exec.
        exec: u64,
        /// Which signal.
        signal: i32,
    },
    /// Taps the streams of a running container. Descriptors of the reply: one per true, in order.
    Attach {
        /// Which.
        container: String,
        /// To write to.
        stdin: bool,
        /// To read from; all output of a terminal.
        stdout: bool,
        /// To read from.
        stderr: bool,
    },
    /// Sets the size of a container's terminal.
    Resize {
        /// Which.
        container: String,
        /// How large.
        size: TerminalSize,
    },
    /// Opens the log file anew.
    ReopenLog {
        /// Of which container.
        container: String,
    },
    /// Drops all knowledge of an ended container.
    Forget {
        /// Which.
        container: String,
    },
    /// Kills what is left and ends the shim; the end of the connection is the reply.
    Shutdown,
}

/// The part of a container's spec that the shim itself needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Which.
    pub container: String,
    /// Has a terminal.
    pub tty: bool,
    /// Keeps stdin open.
    pub stdin: bool,
    /// Closes it with the first attachment.
    pub stdin_once: bool,
    /// Where output goes.
    pub log: Option<LogTarget>,
    /// Come back with the status.
    pub labels: BTreeMap<String, String>,
}

/// From the shim to rk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// To a request.
    Reply {
        /// The request's number.
        number: u64,
        /// How it went.
        outcome: Result<Answer, Fault>,
    },
    /// Where a container stands now.
    Container(ContainerStatus),
    /// The process of an exec has ended.
    ExecEnded {
        /// Which exec.
        exec: u64,
        /// How.
        exit: Exit,
    },
}

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// To hello.
    Hello {
        /// The shim's version.
        version: u32,
        /// The shim's process id.
        pid: i32,
        /// The execs that run.
        execs: Vec<u64>,
    },
    /// To exec: what its end will be told by.
    Exec {
        /// Unique in this shim's life.
        exec: u64,
    },
}

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of reason.
    pub kind: FaultKind,
    /// The reason in words.
    pub message: String,
}

/// Kinds of reasons, as far as they lead to different actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// There is no such container or exec.
    NotFound,
    /// It is not in the state for that.
    State,
    /// What was asked for is wrong and stays wrong.
    Invalid,
    /// The program cannot be executed.
    Program,
    /// The system refused; it may work later.
    Failed,
    /// A kind that a newer shim knows.
    #[serde(other)]
    Other,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::new(FaultKind::Failed, error.to_string())
    }
}

/// From a worker or a container's first process to its shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The process exists; its terminal's master comes along, if it has one.
    Made {
        /// On the host.
        pid: i32,
    },
    /// It does not.
    Fault(Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_versions_are_spoken_and_no_others() {
        assert!(is_spoken(VERSION) && is_spoken(VERSION_OLDEST));
        assert!(!is_spoken(VERSION + 1) && !is_spoken(VERSION_OLDEST - 1));
    }

    /// What a shim of version 1 sends and understands; these lines never change.
    #[test]
    fn version_1_is_spelled_like_this() {
        let request = Request {
            number: 7,
            call: Call::Kill { container: "c".into(), signal: 15, all: false },
        };
        let text = r#"{"number":7,"call":{"kill":{"container":"c","signal":15,"all":false}}}"#;
        assert_eq!(serde_json::to_string(&request).unwrap(), text);
        let hello: Request = serde_json::from_str(r#"{"number":1,"call":"hello"}"#).unwrap();
        assert_eq!(hello.call, Call::Hello);
        let fault = Fault::new(FaultKind::Program, "x");
        let reply = Message::Reply { number: 7, outcome: Err(fault) };
        let text = r#"{"reply":{"number":7,"outcome":{"Err":{"kind":"program","message":"x"}}}}"#;
        assert_eq!(serde_json::to_string(&reply).unwrap(), text);
        let newer: Fault = serde_json::from_str(r#"{"kind":"unheard_of","message":""}"#).unwrap();
        assert_eq!(newer.kind, FaultKind::Other);
    }
}
