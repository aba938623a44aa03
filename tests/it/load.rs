//! Requests at a steady rate, each on a connection of its own, and every one that fails.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rk::sys::netns;
use rk::util::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long an answer may take before it counts as none: on a machine that tests keep busy, packets
/// that are dropped at a full queue are sent again after one second, then two, four and eight.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream of requests, from one network namespace to one address.
pub struct Load {
    name: &'static str,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
    sent: Arc<AtomicUsize>,
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    answers: usize,
    failures: Vec<String>,
    slowest: Duration,
}

impl Load {
    /// Asks `to` for its page `rate` times a second, whatever becomes of the answers, each of which
    /// must satisfy `good`.
    pub fn start(
        name: &'static str,
        from: impl AsFd,
        to: SocketAddr,
        rate: u32,
        good: fn(&str) -> bool,
    ) -> Self {
        let netns = from.as_fd().try_clone_to_owned().unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let work = move || {
            // One thread: its sockets are opened where the thread is.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(keep_asking(to, rate, good, &until, &count))
        };
        let thread = std::thread::spawn(move || netns::within(netns.as_fd(), work).unwrap());
        Self { name, stop, thread, sent }
    }

    /// Ends the requests; says how many there were, all of which must have been answered well.
    #[track_caller]
    pub fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let Self { name, thread, sent, .. } = self;
        let tally = thread.join().unwrap();
        println!("{name}: {} answers, the slowest in {:?}", tally.answers, tally.slowest);
        let (sent, failed) = (sent.load(Ordering::Relaxed), tally.failures.len());
        let first = tally.failures[..failed.min(20)].join("\n");
        assert!(failed == 0, "{name}: {failed} of {sent} failed:\n{first}");
        tally.answers
    }
}

async fn keep_asking(
    to: SocketAddr,
    rate: u32,
    good: fn(&str) -> bool,
    stop: &AtomicBool,
    sent: &AtomicUsize,
) -> Tally {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut tally = Tally::default();
    let mut requests = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        sent.fetch_add(1, Ordering::Relaxed);
        requests.spawn(request(to, good));
        while let Some(ended) = requests.try_join_next() {
            tally.count(ended.unwrap());
        }
    }
    while let Some(ended) = requests.join_next().await {
        tally.count(ended.unwrap());
    }
    tally
}

impl Tally {
    fn count(&mut self, (took, outcome): (Duration, Result<(), String>)) {
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(()) => self.answers += 1,
            Err(why) => self.failures.push(format!("at {:?} after {took:?}: {why}", clock::now())),
        }
    }
}

async fn request(to: SocketAddr, good: fn(&str) -> bool) -> (Duration, Result<(), String>) {
    let begun = clock::instant();
    let mut stage = "connecting".to_owned();
    let answer = tokio::time::timeout(PATIENCE, ask(to, &mut stage)).await;
    let outcome = match answer {
        Err(_) => Err(format!("{stage}: too long")),
        Ok(Err(error)) => Err(format!("{stage}: {error}")),
        Ok(Ok(page)) if good(&page) => Ok(()),
        Ok(Ok(page)) => Err(format!("a wrong answer: {page:?}")),
    };
    (begun.elapsed(), outcome)
}

/// Asks for the page; `stage` says how far it has come.
async fn ask(to: SocketAddr, stage: &mut String) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    *stage = format!("asking from {}", stream.local_addr()?);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
