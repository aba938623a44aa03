//! Who asked and what was decided, under upstream's names.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::registry::Called;
use crate::api::status::Status;
use crate::auth::UserInfo;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What is counted of users. Upstream calls some of these without the ending of counters, which
/// only gauges can be.
pub(super) struct Access {
    attempts: Family<Labels<1>, Gauge>,
    users: Family<Labels<1>, Gauge>,
    decisions: Family<Labels<1>, Counter>,
    deprecated: Family<Vec<(&'static str, String)>, Gauge>,
    certificates: Histogram,
}

/// How long certificates last, in seconds: from none over hours, days and weeks to a year.
const LIFETIMES: [f64; 14] = [
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

impl Access {
    pub(super) fn register(r: &mut Registry) -> Self {
        let access = Self {
            attempts: Family::default(),
            users: Family::default(),
            decisions: Family::default(),
            deprecated: Family::default(),
            certificates: Histogram::new(LIFETIMES),
        };
        let help = "Counter of authenticated attempts";
        r.register("authentication_attempts", help, access.attempts.clone());
        let help = "Counter of authenticated requests broken out by username";
        r.register("authenticated_user_requests", help, access.users.clone());
        let help = "Counter of authorization attempts broken down by result";
        r.register("authorization_attempts", help, access.decisions.clone());
        let help = "Gauge of deprecated APIs that have been requested";
        r.register("apiserver_requested_deprecated_apis", help, access.deprecated.clone());
        let help = "Distribution of the remaining lifetime on the certificate used to authenticate";
        let name = "apiserver_client_certificate_expiration_seconds";
        r.register(name, help, access.certificates.clone());
        access
    }

    /// Notes how long a certificate will still say who asks.
    pub(super) fn certified(&self, left: Duration) {
        self.certificates.observe(left.as_secs_f64());
    }

    /// Counts what became of the credentials of a request.
    pub(super) fn authenticated(&self, user: Result<Option<&UserInfo>, &Status>) {
        let result = match user {
            Ok(Some(_)) => "success",
            Ok(None) => "failure",
            Err(_) => "error",
        };
        self.attempts.get_or_create(&[("result", result)]).inc();
        if let Ok(Some(user)) = user {
            self.users.get_or_create(&[("username", username(&user.name))]).inc();
        }
    }

    /// Counts whether a request was allowed.
    pub(super) fn decided(&self, allowed: bool) {
        let result = if allowed { "allowed" } else { "no-opinion" };
        self.decisions.get_or_create(&[("result", result)]).inc();
    }

    /// Notes that somebody asked for what is on its way out.
    pub(super) fn deprecated(&self, called: &Called, subresource: &str) {
        let labels = vec![
            ("group", called.group.clone()),
            ("version", called.version.clone()),
            ("resource", called.plural.clone()),
            ("subresource", subresource.to_owned()),
            ("removed_release", String::new()),
        ];
        self.deprecated.get_or_create(&labels).set(1);
    }
}

/// The few names that are told apart; there may be any number of users.
fn username(name: &str) -> &'static str {
    const KNOWN: [&str; 5] =
        ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
    match KNOWN.into_iter().find(|known| *known == name) {
        Some(known) => known,
        None if name.contains('@') => "email_id",
        None => "other",
    }
}
