//! What processes cost that nobody asks for anything.

use std::path::Path;
use std::time::Duration;

use super::figures::{Figure, real};
use super::process::{Memory, Used, stored};

/// How long a server is left alone before it counts as idle: what its work held is given back.
const SETTLE: Duration = Duration::from_secs(12);

/// Looks at `processes`, whose database is in `database`, for `time`.
pub fn measure(when: &str, processes: &[i32], database: &Path, time: Duration) -> Vec<Figure> {
    pass(SETTLE);
    let used = || processes.iter().map(|&process| Used::by(process)).collect::<Vec<_>>();
    let (before, size) = (used(), stored(database));
    pass(time);
    let after = used();
    let grown = stored(database).saturating_sub(size);
    let used: Vec<Used> = after.iter().zip(&before).map(|(a, b)| a.since(b)).collect();
    let cpu: Duration = used.iter().map(|used| used.cpu).sum();
    let sleeps = used.iter().map(|used| used.sleeps).sum();
    let written: u64 = used.iter().map(|used| used.written).sum();
    let seconds = time.as_secs_f64();
    let kb_minutely = |bytes| real(bytes) / 1e3 * 60.0 / seconds;
    let named = |what: &str| format!("{when}: {what}");
    let mut figures = memory(when, processes);
    figures.extend([
        Figure::new(named("processor time"), cpu.as_secs_f64() * 1e3 / seconds, " ms per second"),
        Figure::new(named("wake-ups of all threads"), real(sleeps) / seconds, " per second"),
        Figure::new(named("written to disk"), kb_minutely(written), " kB per minute"),
        Figure::new(named("growth of the database"), kb_minutely(grown), " kB per minute"),
    ]);
    figures
}

/// Memory that is resident, and what of it is private and anonymous: the rest is the executable's,
/// which the kernel can drop at any time.
pub fn memory(when: &str, processes: &[i32]) -> Vec<Figure> {
    let memory: Vec<Memory> = processes.iter().map(|&process| Memory::of(process)).collect();
    vec![
        Figure::mb(format!("{when}: RSS"), memory.iter().map(|m| m.resident).sum()),
        Figure::mb(format!("{when}: anonymous memory"), memory.iter().map(|m| m.anonymous).sum()),
    ]
}

/// Lets time pass: idleness has no other end to wait for.
fn pass(time: Duration) {
    let (_never, timer) = std::sync::mpsc::channel::<()>();
    let _ = timer.recv_timeout(time);
}
