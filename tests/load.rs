//! Replacing a pool under load: four HTTP servers behind one inherited socket, clients that never
//! pause for long, and not one request that fails for it.
//!
//! Bounded: a few connections at a time, over the loopback, paced by the clients; a slow machine
//! makes it take longer, and nothing else.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::facts::{http_worker, pids, port_of};
use common::{DEADLINE, Daemon, eventually};
use serde_json::json;

/// How many clients ask at the same time.
const CLIENTS: usize = 4;

/// How long a client waits between an answer and its next request: some 400 requests per second
/// in all, which leaves a slow machine time for its processes.
const PAUSE: Duration = Duration::from_millis(10);

const RELOADS: usize = 10;

/// What the clients have seen.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// Clients that ask until they are told to stop.
struct Load {
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(port: u16) -> Self {
        let counts = Arc::new(Counts::default());
        let client = |_| {
            let counts = Arc::clone(&counts);
            thread::spawn(move || {
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

    fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    fn failed(&self) -> Vec<String> {
        self.counts
            .failures
            .lock()
            .expect("no client panics")
            .clone()
    }

    /// Waits until as many more requests have been answered, so that every step meets some.
    fn more(&self, requests: u64) {
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

fn pool() -> Daemon {
    let worker = http_worker();
    Daemon::start(&format!(
        "[socket.http]\nhost = '127.0.0.1'\nport = 0\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = ['http']\nnumprocesses = 4\n",
        worker.display()
    ))
}

#[test]
fn no_request_fails_in_ten_reloads_and_in_scaling() {
    let daemon = pool();
    let load = Load::on(port_of(&daemon, "http"));
    load.more(50);
    for round in 1..=RELOADS {
        let before = pids(&daemon.status("web"));
        let reload = daemon.ctl(&["reload", "web"]);
        assert!(reload.status.success(), "reload {round}: {reload:?}");
        let after = daemon.wait_until("web", |status| pids(status).len() == 4);
        assert!(pids(&after).is_disjoint(&before), "{after}");
        load.more(50);
    }
    assert!(
        daemon
            .ctl(&["reload", "--sequential", "web"])
            .status
            .success()
    );
    for number in ["8", "1", "4"] {
        let scaled = daemon.ctl(&["numprocesses", "web", number]);
        assert!(scaled.status.success(), "{scaled:?}");
        load.more(50);
    }
    let (answered, failed) = (load.answered(), load.failed());
    println!(
        "{RELOADS} reloads, 1 sequential, scaled to 8, 1 and 4: {answered} requests answered, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_killed_worker_costs_no_more_than_the_request_it_had() {
    let daemon = pool();
    let load = Load::on(port_of(&daemon, "http"));
    load.more(50);
    let mut events = daemon.subscribe();
    let kill = json!({"watcher": "web", "signal": "SIGKILL", "wid": 2});
    daemon.call("Signal", kill).expect("it runs");
    events.wait_where("watcher.web.spawn", |data| data["wid"] == 2);
    load.more(50);
    let (answered, failed) = (load.answered(), load.failed());
    println!(
        "1 of 4 killed: {answered} requests answered, {} failed",
        failed.len()
    );
    // It answers one client at a time.
    assert!(failed.len() <= 1, "{failed:#?}");
}
