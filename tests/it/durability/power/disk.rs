//! A disk with a volatile cache, served over the NBD protocol.
//!
//! A write is kept apart until the guest flushes, or says with the write that it must be on the
//! medium. At a power cut each sector that was kept apart is lost or not, as chance has it: disks
//! write in the order that suits them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rk::util::id;

use super::machine::Parts;

const SECTOR: usize = 512;
const BYTES: usize = 64 << 20;

/// See the module.
pub struct Disk {
    /// Where it is served.
    pub socket: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    medium: Vec<u8>,
    /// What was written and not flushed, by sector.
    cache: BTreeMap<usize, [u8; SECTOR]>,
    /// Counts the cuts: requests from before one come too late.
    life: usize,
    /// The disk is no longer served.
    over: bool,
}

impl Disk {
    /// A disk with an empty ext4, served from now on.
    pub fn new(parts: &Parts) -> Self {
        let socket = parts.path("disk.sock");
        let medium = formatted(&parts.path("disk"));
        let state = State { medium, cache: BTreeMap::new(), life: 0, over: false };
        let state = Arc::new(Mutex::new(state));
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                if state.lock().unwrap().over {
                    return;
                }
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { socket, state }
    }

    /// Loses what a power cut may; returns how many sectors it was.
    pub fn cut(&mut self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.life += 1;
        let cache = std::mem::take(&mut state.cache);
        // Some cuts lose everything that they may, others next to nothing.
        let [odds] = id::random();
        let mut lost = 0;
        for (sector, bytes) in cache {
            let [chance] = id::random();
            if chance < odds {
                lost += 1;
            } else {
                state.put(sector, &bytes);
            }
        }
        lost
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.state.lock().unwrap().over = true;
        drop(UnixStream::connect(&self.socket));
    }
}

fn formatted(image: &Path) -> Vec<u8> {
    std::fs::File::create(image).unwrap().set_len(BYTES as u64).unwrap();
    // A cut can tear the superblock, whose checksum then is wrong; a machine's own start would let
    // e2fsck put that right, which the guest does not have. The journal keeps its checksums.
    let words = ["-q", "-O", "^metadata_csum"];
    let made = Command::new("/sbin/mkfs.ext4").args(words).arg(image).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::read(image).unwrap()
}

impl State {
    fn put(&mut self, sector: usize, bytes: &[u8]) {
        self.medium[sector * SECTOR..][..SECTOR].copy_from_slice(bytes);
    }

    fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = self.medium[offset..][..length].to_vec();
        let sectors = offset / SECTOR..(offset + length) / SECTOR;
        for (sector, kept) in self.cache.range(sectors) {
            bytes[sector * SECTOR - offset..][..SECTOR].copy_from_slice(kept);
        }
        bytes
    }

    fn write(&mut self, offset: usize, bytes: &[u8], at_once: bool) {
        for (number, bytes) in (offset / SECTOR..).zip(bytes.chunks_exact(SECTOR)) {
            if at_once {
                self.cache.remove(&number);
                self.put(number, bytes);
            } else {
                self.cache.insert(number, bytes.try_into().unwrap());
            }
        }
    }

    fn flush(&mut self) {
        for (sector, bytes) in std::mem::take(&mut self.cache) {
            self.put(sector, &bytes);
        }
    }
}

/// Magic numbers and names of the protocol (`doc/proto.md` of the nbd project).
mod nbd {
    pub const GREETING: &[u8] = b"NBDMAGICIHAVEOPT";
    /// Fixed newstyle, and no padding in answers of old.
    pub const HANDSHAKE: u16 = 3;
    pub const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
    pub const OPTION_GO: u32 = 7;
    pub const REPLY_ACK: u32 = 1;
    pub const REPLY_INFO: u32 = 3;
    pub const REPLY_UNSUPPORTED: u32 = 0x8000_0001;
    /// Flags are there; flush and write-through are supported.
    pub const EXPORT: u16 = 1 | 4 | 8;
    pub const SIMPLE_REPLY: u32 = 0x6744_6698;
    pub const READ: u16 = 0;
    pub const WRITE: u16 = 1;
    pub const DISCONNECT: u16 = 2;
    pub const FLUSH: u16 = 3;
    pub const WRITE_THROUGH: u16 = 1;
    pub const EINVAL: u32 = 22;
}

/// Serves one connection to its end, which is that of a machine.
fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    let life = state.lock().unwrap().life;
    // An error is the end of the machine.
    let _ = negotiate(&mut stream).and_then(|()| transmit(&mut stream, state, life));
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_long(stream: &mut UnixStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn negotiate(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(nbd::GREETING)?;
    stream.write_all(&nbd::HANDSHAKE.to_be_bytes())?;
    take::<4>(stream)?;
    loop {
        take::<8>(stream)?;
        let option = u32::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        take_long(stream, length as usize)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let mut bytes = nbd::OPTION_REPLY.to_be_bytes().to_vec();
            bytes.extend(option.to_be_bytes());
            bytes.extend(kind.to_be_bytes());
            bytes.extend((data.len() as u32).to_be_bytes());
            bytes.extend(data);
            stream.write_all(&bytes)
        };
        if option != nbd::OPTION_GO {
            reply(nbd::REPLY_UNSUPPORTED, &[])?;
            continue;
        }
        let size = (BYTES as u64).to_be_bytes();
        let export = [&[0, 0], &size[..], &nbd::EXPORT.to_be_bytes()].concat();
        reply(nbd::REPLY_INFO, &export)?;
        return reply(nbd::REPLY_ACK, &[]);
    }
}

fn transmit(stream: &mut UnixStream, state: &Mutex<State>, life: usize) -> io::Result<()> {
    loop {
        take::<4>(stream)?;
        let flags = u16::from_be_bytes(take(stream)?);
        let kind = u16::from_be_bytes(take(stream)?);
        let cookie = take::<8>(stream)?;
        let offset = u64::from_be_bytes(take(stream)?) as usize;
        let length = u32::from_be_bytes(take(stream)?) as usize;
        let written = if kind == nbd::WRITE { take_long(stream, length)? } else { Vec::new() };
        let mut state = state.lock().unwrap();
        if kind == nbd::DISCONNECT || state.life != life {
            return Ok(());
        }
        let (mut error, mut read) = (0, Vec::new());
        match kind {
            nbd::READ => read = state.read(offset, length),
            nbd::WRITE => state.write(offset, &written, flags & nbd::WRITE_THROUGH != 0),
            nbd::FLUSH => state.flush(),
            _ => error = nbd::EINVAL,
        }
        drop(state);
        let head = [&nbd::SIMPLE_REPLY.to_be_bytes(), &u32::to_be_bytes(error), &cookie[..]];
        stream.write_all(&[head.concat(), read].concat())?;
    }
}
