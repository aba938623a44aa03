//! Terminals: the size of a pseudo-terminal.

use super::fd::check;
use std::io;
use std::os::fd::AsRawFd;

/// Tells the programs on a pseudo-terminal (named by its master) how large it is.
pub fn set_size(master: &impl AsRawFd, width: u16, height: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call reads one winsize, which outlives it.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}
