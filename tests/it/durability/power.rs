//! Power cuts: rk in a virtual machine whose disk forgets what was not flushed.
//!
//! The machine is qemu without acceleration, with the kernel of a Debian package, a busybox for
//! everything else, and a disk that this test serves itself (see [`disk`]), so that a cut loses
//! what it may lose on a real one: any part of what was written since the last flush.

mod disk;
mod machine;

use std::time::Duration;

use super::random_moment;
use super::writers::Writers;
use disk::Disk;
use machine::{Guest, Parts};

/// How often the power is cut.
const CUTS: usize = 20;
/// Every so many cuts the next one comes while the machine starts.
const CUTS_PER_EARLY: usize = 5;

#[test]
fn every_acknowledged_write_survives_power_cuts() {
    let parts = match Parts::find() {
        Ok(parts) => parts,
        // Said at once, past the capture of a test that goes well.
        Err(why) => return say(&format!("SKIPPED the test of power cuts: {why}")),
    };
    let mut disk = Disk::new(&parts);
    let writers = Writers::new();
    let mut authority = None;
    let mut lost = 0;
    for cut in 0..CUTS {
        if cut.is_multiple_of(CUTS_PER_EARLY) {
            let guest = Guest::start(&parts, &disk);
            random_moment(Duration::from_secs(8));
            guest.cut();
            lost += disk.cut();
        }
        let guest = up(&parts, &disk, &writers, &mut authority);
        let working = writers.start(&parts.network, guest.kubeconfig());
        random_moment(Duration::from_secs(3));
        guest.cut();
        lost += disk.cut();
        working.end();
    }
    up(&parts, &disk, &writers, &mut authority).cut();
    let written = writers.count();
    say(&format!("{written} writes survived {CUTS} power cuts, which cost {lost} sectors"));
    assert!(written > 5 * CUTS, "only {written} writes: the cuts came too early");
    assert!(lost > 0, "the disk never lost anything: nothing was tested");
}

/// Turns the machine on, and looks at everything.
fn up<'a>(
    parts: &'a Parts,
    disk: &Disk,
    writers: &Writers,
    authority: &mut Option<String>,
) -> Guest<'a> {
    let guest = Guest::start(parts, disk);
    guest.is_ready();
    writers.compare(&parts.network, &guest.kubeconfig());
    let now = guest.authority();
    assert_eq!(*authority.get_or_insert_with(|| now.clone()), now, "the authority is another");
    guest
}

fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
