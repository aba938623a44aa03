//! Numbers: how they are summed up, told, and put into a table.

use std::fmt::Write;
use std::time::Duration;

use rk::util::clock;

/// One number with its name.
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The number with its unit.
    pub told: String,
    /// The number itself, to set another beside it.
    pub value: f64,
}

impl Figure {
    /// With as many digits as mean something.
    pub fn new(what: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { what: what.into(), told: format!("{}{unit}", significant(value)), value }
    }

    /// Bytes in MB, as `df -H` counts.
    pub fn mb(what: impl Into<String>, bytes: u64) -> Self {
        Self::new(what, real(bytes) / 1e6, " MB")
    }

    /// Median and 99th percentile of durations; the median is what counts.
    pub fn spread(what: impl Into<String>, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let median = ms(times[times.len() / 2]);
        let p99 = ms(times[(times.len() * 99).div_ceil(100) - 1]);
        let told = format!("{} / {} ms", significant(median), significant(p99));
        Self { what: what.into(), told, value: median }
    }
}

/// A duration in milliseconds.
pub const fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "figures to be read")]
pub const fn real(count: u64) -> f64 {
    count as f64
}

/// Three digits, or all before the point.
pub fn significant(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// How long something takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = clock::instant();
    let done = work();
    (done, clock::instant() - start)
}

/// The table, row by row: rk's figure, and a peer's beside it.
#[derive(Default)]
pub struct Report {
    rows: Vec<(Figure, Option<Figure>)>,
}

impl Report {
    /// Adds figures; each is printed as soon as it is known.
    pub fn add(&mut self, figures: impl IntoIterator<Item = Figure>) {
        for figure in figures {
            println!("{:70} {}", figure.what, figure.told);
            self.rows.push((figure, None));
        }
    }

    /// Sets a peer's figures beside those of the same name.
    pub fn set_beside(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            println!("peer: {:64} {}", figure.what, figure.told);
            let row = self.rows.iter_mut().find(|(own, _)| own.what == figure.what);
            row.expect("rk was measured first").1 = Some(figure);
        }
    }

    /// The whole as Markdown.
    pub fn markdown(&self, machine: &str) -> String {
        let mut text = format!("On {machine}:\n\n| what | rk |\n|---|---|\n");
        for (own, _) in &self.rows {
            let _ = writeln!(text, "| {} | {} |", own.what, own.told);
        }
        let beside = self.rows.iter().filter_map(|(own, peer)| Some((own, peer.as_ref()?)));
        let mut beside = beside.peekable();
        if beside.peek().is_some() {
            text.push_str("\nThe same run against kube-apiserver with etcd (no controllers):\n\n");
            text.push_str("| what | rk | kube-apiserver, etcd | ratio |\n|---|---|---|---|\n");
        }
        for (own, peer) in beside {
            let ratio = match peer.value {
                0.0 => "–".to_owned(),
                value => significant(own.value / value),
            };
            let _ = writeln!(text, "| {} | {} | {} | {ratio} |", own.what, own.told, peer.told);
        }
        text
    }
}
