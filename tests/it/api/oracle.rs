//! Kubernetes' own encoders and patches, asked by pipe: the Go program in `oracle/`.
//!
//! It is built once per run from the published Go modules. Where there is no Go toolchain or no
//! module proxy the tests that need it say so and pass.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk::api::tree::Value;

use crate::go;

/// The built program, or why there is none.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("oracle");
    go::Program::of("tests/it/api/oracle").build(&program).map(|()| program)
});

/// A running oracle.
pub struct Oracle {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What it answers.
pub struct Answer(Value);

/// A group, a version and a kind.
pub type Gvk = (String, String, String);

impl Oracle {
    /// Starts one, or says why the test is skipped. In CI nothing is skipped: the reason is a
    /// failure there.
    pub fn start() -> Option<Self> {
        let program = go::or_skip(PROGRAM.as_ref())?;
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the oracle");
        let requests = child.stdin.take().expect("stdin");
        let answers = BufReader::new(child.stdout.take().expect("stdout"));
        Some(Self { child, requests, answers })
    }

    /// Asks for an operation with its arguments.
    pub fn ask<const N: usize>(&mut self, op: &str, arguments: [(&str, Value); N]) -> Answer {
        self.send(op, Value::from(arguments))
    }

    /// As [`Self::ask`], about a kind.
    pub fn ask_kind<const N: usize>(
        &mut self,
        op: &str,
        (group, version, kind): &Gvk,
        arguments: [(&str, Value); N],
    ) -> Answer {
        let mut request = Value::from(arguments);
        request.set("group", group.as_str());
        request.set("version", version.as_str());
        request.set("kind", kind.as_str());
        self.send(op, request)
    }

    fn send(&mut self, op: &str, mut request: Value) -> Answer {
        request.set("op", op);
        let mut line = request.encode();
        line.push(b'\n');
        self.requests.write_all(&line).expect("ask the oracle");
        let mut answer = Vec::new();
        self.answers.read_until(b'\n', &mut answer).expect("hear the oracle");
        Answer(Value::parse(&answer).expect("an answer in JSON"))
    }

    /// All kinds that it knows.
    pub fn kinds(&mut self) -> Vec<Gvk> {
        let answer = self.ask("kinds", []);
        let kind = |item: &Value| match item.items() {
            [group, version, kind] => {
                (group.str().to_owned(), version.str().to_owned(), kind.str().to_owned())
            }
            _ => panic!("a kind has three parts"),
        };
        answer.0.get("kinds").items().iter().map(kind).collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// The object, or the error's text.
    pub fn object(&self) -> Result<&Value, &str> {
        match self.error() {
            Some(error) => Err(error),
            None => Ok(self.0.get("json")),
        }
    }

    /// The error's text.
    pub fn error(&self) -> Option<&str> {
        self.0.get("error").as_str()
    }

    /// The protobuf form.
    pub fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(self.0.get("bytes").str()).expect("base64")
    }

    /// What strict decoding found.
    pub fn strict(&self) -> Vec<&str> {
        self.0.get("strict").items().iter().map(Value::str).collect()
    }
}
