//! What went wrong inside libcontainer.
//!
//! Its errors say which step failed and leave out why ("failed to prepare rootfs"); the why is in
//! what it traces, some of that in another process. So the first error that is traced, by whichever
//! process, is kept in a file that all of them share.

use super::protocol::{Fault, FaultKind};
use crate::sys::fd;
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use tracing::field::{Field, Visit};
use tracing::span;

/// A worker's ear for libcontainer.
pub(super) struct Diagnosis(File);

impl Diagnosis {
    /// From now on, errors traced by this process and its children are kept. Once per process.
    pub(super) fn begin() -> io::Result<Self> {
        let file = fd::memory_file("diagnosis", b"")?;
        let listener = Listener(file.try_clone()?);
        let installed = tracing::subscriber::set_global_default(listener);
        installed.map_err(io::Error::other)?;
        Ok(Self(file))
    }

    /// The fault that an error of libcontainer stands for.
    pub(super) fn fault(&self, error: &dyn std::error::Error) -> Fault {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = inner.source();
        }
        let mut traced = String::new();
        let mut file = &self.0;
        if file.rewind().is_ok() && file.read_to_string(&mut traced).is_ok() {
            let first = traced.lines().next().unwrap_or_default();
            if !first.is_empty() && !message.contains(first) {
                let _ = write!(message, ": {first}");
            }
        }
        Fault::new(FaultKind::Failed, message)
    }
}

struct Listener(File);

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        // One write, since several processes may write; nobody is there to hear of a failure.
        let _ = (&self.0).write_all(format!("{}{}\n", line.message, line.fields).as_bytes());
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}
    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}
    fn enter(&self, _span: &span::Id) {}
    fn exit(&self, _span: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
}
