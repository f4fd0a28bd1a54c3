//! Clients that ask a pool without long pauses, and count.
//!
//! Bounded: a few connections at a time, over the loopback, paced by the clients; a slow machine
//! makes it take longer, and nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::{DEADLINE, eventually};

/// How many clients ask at the same time.
const CLIENTS: usize = 4;

/// How long a client waits between an answer and its next request: some 400 requests per second
/// in all, which leaves a slow machine time for its processes.
const PAUSE: Duration = Duration::from_millis(10);

/// What the clients have seen.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// Clients that ask until they are told to stop.
pub(crate) struct Load {
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(port: u16) -> Self {
        Self::from(port, || {})
    }

    /// The same from within another network: that of the namespace in this file of `/proc`.
    pub(crate) fn in_network(namespace: &Path, port: u16) -> Self {
        let namespace = Arc::new(File::open(namespace).expect("whose network it is lives"));
        // Of the thread alone; it goes with it.
        let enter = move || setns(&*namespace, CloneFlags::CLONE_NEWNET).expect("root may");
        Self::from(port, enter)
    }

    /// Clients that do `before` once, each in its thread.
    fn from(port: u16, before: impl Fn() + Clone + Send + 'static) -> Self {
        let counts = Arc::new(Counts::default());
        let client = |_| {
            let (counts, before) = (Arc::clone(&counts), before.clone());
            thread::spawn(move || {
                before();
                while !counts.over.load(Ordering::Relaxed) {
                    match request(port) {
                        Ok(()) => {
                            counts.answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => counts.failures.lock().expect("no client panics").push(why),
                    }
                    thread::sleep(PAUSE);
                }
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { counts, clients }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self) -> Vec<String> {
        self.counts
            .failures
            .lock()
            .expect("no client panics")
            .clone()
    }

    /// Waits until as many more requests have been answered, so that every step meets some.
    pub(crate) fn more(&self, requests: u64) {
        let enough = self.answered() + requests;
        eventually("requests are answered", || {
            (self.answered() >= enough).then_some(())
        });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.counts.over.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // One that panicked has told so.
            let _ = client.join();
        }
    }
}

/// One request over a connection of its own, answered whole; or what went wrong.
fn request(port: u16) -> Result<(), String> {
    let told = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(told("connecting"))?;
    let patience = Some(DEADLINE);
    stream.set_read_timeout(patience).map_err(told("waiting"))?;
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    asked.map_err(told("asking"))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(told("reading"))?;
    let whole = answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with('\n');
    whole
        .then_some(())
        .ok_or_else(|| format!("not an answer: '{answer}'"))
}
