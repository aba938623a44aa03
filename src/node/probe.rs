//! Asking containers how they are: http, tcp, exec and grpc probes.
//!
//! Contract: [`tally`] decides, as kubelet does, when answers become a verdict; [`http`], [`tcp`]
//! and [`grpc`] ask once and say in kubelet's words what went wrong. When to ask and what follows
//! from the verdict is the worker's business.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub mod grpc;
pub mod http;
pub mod tally;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Whether the container has come up; the others wait for it.
    Startup,
    /// Whether it must be restarted.
    Liveness,
    /// Whether it takes requests.
    Readiness,
}

impl Purpose {
    /// All, in the order in which kubelet has them.
    pub const ALL: [Self; 3] = [Self::Readiness, Self::Liveness, Self::Startup];

    /// As events name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The probe of a container for this purpose.
    pub const fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All is well.
    Success,
    /// All is well, but the user should know this.
    Warning(String),
    /// Something is wrong: what.
    Failure(String),
}

impl Answer {
    /// Whether all is well.
    pub const fn is_success(&self) -> bool {
        !matches!(self, Self::Failure(_))
    }
}

/// A probe's timing with the API's defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the container's start to the first question.
    pub initial: Duration,
    /// Between questions.
    pub period: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Successes in a row for a good verdict.
    pub successes: u32,
    /// Failures in a row for a bad one.
    pub failures: u32,
}

impl Timing {
    /// The timing of a probe.
    pub fn of(probe: &Probe) -> Self {
        let number = |field: Option<i32>, default: u32| {
            field.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        let seconds = |field, default| Duration::from_secs(number(field, default).into());
        Self {
            initial: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            successes: number(probe.success_threshold, 1),
            failures: number(probe.failure_threshold, 3),
        }
    }
}

/// A port by number, or by its name in the container.
pub fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())?
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}

/// Whether a port takes a TCP connection.
pub async fn tcp(host: &str, port: u16, timeout: Duration) -> Answer {
    let address = join(host, port);
    let connect = tokio::net::TcpStream::connect(&address);
    match tokio::time::timeout(timeout, connect).await {
        Ok(Ok(_)) => Answer::Success,
        Ok(Err(error)) => Answer::Failure(dial_error(&address, &error)),
        Err(_) => Answer::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

/// `host:port`, with brackets where the host is an IPv6 address.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A failed connection in the words that users of kubelet know.
pub(super) fn dial_error(address: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let why = match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_has_the_documented_defaults() {
        let timing = Timing::of(&Probe::default());
        assert_eq!((timing.initial, timing.period), (Duration::ZERO, Duration::from_secs(10)));
        assert_eq!((timing.successes, timing.failures), (1, 3));
        assert_eq!(timing.timeout, Duration::from_secs(1));
    }

    #[test]
    fn ports_have_names() {
        let json = r#"{"name":"c","ports":[{"name":"http","containerPort":8080}]}"#;
        let container: Container = serde_json::from_str(json).unwrap();
        assert_eq!(port(&container, &IntOrString::String("http".into())), Some(8080));
        assert_eq!(port(&container, &IntOrString::String("none".into())), None);
        assert_eq!(port(&container, &IntOrString::Int(80)), Some(80));
        assert_eq!(port(&container, &IntOrString::Int(0)), None);
    }

    #[tokio::test]
    async fn tcp_says_why_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().port();
        assert_eq!(tcp("127.0.0.1", open, Duration::from_secs(5)).await, Answer::Success);
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{open}: connect: connection refused");
        assert_eq!(tcp("127.0.0.1", open, Duration::from_secs(5)).await, Answer::Failure(refused));
    }
}
