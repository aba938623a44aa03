//! What was acknowledged is there, and what runs goes on, whenever rk is killed or the power cut.

mod containers;
mod kills;
mod power;
mod upgrade;
mod writers;

use std::time::Duration;

use rk::util::id;

/// Waits for a moment that nobody has chosen: up to `longest`.
fn random_moment(longest: Duration) {
    let (_never, timer) = std::sync::mpsc::channel::<()>();
    let share = f64::from(u16::from_be_bytes(id::random())) / f64::from(u16::MAX);
    let _ = timer.recv_timeout(longest.mul_f64(share));
}
