//! A daemon of a test: started, asked, stopped, and held to account for what it leaves running.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::client::{CallError, Connection, Events};
use super::home::Home;
use super::{DEADLINE, output};

/// What the harness tells itself when the daemon has ended; sd_notify(3) knows no such message.
const ENDED: &str = "X_HARNESS_ENDED=1";

/// A running `circusd`. When it goes out of scope it is stopped, and must leave nothing behind.
pub(crate) struct Daemon {
    home: Arc<Home>,
    child: Child,
    notify: UnixDatagram,
    /// How it ended, once it was waited for.
    status: Option<ExitStatus>,
}

impl Daemon {
    /// A daemon with this configuration in a fresh directory, ready.
    pub(crate) fn start(config: &str) -> Self {
        Home::new(config).start()
    }

    /// Takes over a daemon that was just started and tells on `notify`; returns when it is ready.
    pub(crate) fn watch(home: Arc<Home>, child: Child, notify: UnixDatagram) -> Self {
        tell_when_ended(&child, home.notify_socket());
        let mut daemon = Self {
            home,
            child,
            notify,
            status: None,
        };
        daemon.wait_ready();
        daemon
    }

    /// The directory it lives in.
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Its process id; good until it was waited for.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to its socket.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.home.socket())
    }

    /// Calls `method` (of `io.circusd` if it names no interface) over a connection of its own.
    pub(crate) fn call(&self, method: &str, parameters: Value) -> Result<Value, CallError> {
        self.connect().call(method, parameters)
    }

    /// All events from now on.
    pub(crate) fn subscribe(&self) -> Events {
        Events::subscribe(self.connect(), json!({}))
    }

    /// The events that `parameters` of `Subscribe` ask for.
    pub(crate) fn subscribe_with(&self, parameters: Value) -> Events {
        Events::subscribe(self.connect(), parameters)
    }

    /// `Status` of one watcher.
    pub(crate) fn status(&self, watcher: &str) -> Value {
        let reply = self
            .call("Status", json!({"watchers": watcher}))
            .expect("the watcher is known");
        reply["watchers"][0].clone()
    }

    /// Returns the first status of `watcher` that is as `wanted`, asking again after each event.
    pub(crate) fn wait_until(&self, watcher: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        // Before the first look, so that no change can fall between the look and the waiting.
        let mut events = self.subscribe();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status(watcher);
            if wanted(&status) {
                return status;
            }
            events.next_before(deadline, &format!("'{watcher}' is not as wanted: {status}"));
        }
    }

    /// Runs `circusctl` with `arguments` to its end.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Output {
        output(self.home.circusctl(arguments))
    }

    /// Sends a signal to the daemon itself.
    pub(crate) fn signal(&self, signal: Signal) {
        assert!(
            self.status.is_none(),
            "the daemon has been waited for: its pid may be another's"
        );
        // It cannot have been reaped by anyone else, so the pid is still its own.
        kill(self.nix_pid(), signal).expect("our own child can be signalled");
    }

    /// Asks it to end (SIGTERM) and returns how it did.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        if self.status.is_none() {
            self.signal(Signal::SIGTERM);
        }
        self.wait_end()
    }

    /// Ends it as a crash would (SIGKILL); its workers live on.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        if self.status.is_none() {
            self.signal(Signal::SIGKILL);
        }
        self.wait_end()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        if !self.wait_notified(ENDED) {
            self.signal(Signal::SIGKILL);
            self.reap();
            panic!("circusd did not end within {DEADLINE:?}");
        }
        self.reap()
    }

    /// What it has logged so far, and its workers where they inherit its output.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.home.path("circusd.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid fits"))
    }

    fn reap(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("our own child can be waited for");
        self.status = Some(status);
        status
    }

    fn wait_ready(&mut self) {
        if !self.wait_notified("READY=1") {
            panic!("circusd did not say READY=1");
        }
    }

    /// Waits for a line on the notify socket; false when the daemon ended or the deadline passed.
    fn wait_notified(&mut self, wanted: &str) -> bool {
        let deadline = Instant::now() + DEADLINE;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.notify
                .set_read_timeout(Some(left))
                .expect("a time-out can be set");
            let text = match self.notify.recv(&mut buffer) {
                Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => panic!("the notify socket failed: {error}"),
            };
            if text.lines().any(|line| line == wanted) {
                return true;
            }
            if text == ENDED {
                self.reap();
                return false;
            }
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that failed shows what the daemon saw"
)]
impl Drop for Daemon {
    fn drop(&mut self) {
        let failed_already = thread::panicking();
        if self.status.is_none() {
            self.signal(if failed_already {
                Signal::SIGKILL
            } else {
                Signal::SIGTERM
            });
            if !self.wait_notified(ENDED) {
                self.signal(Signal::SIGKILL);
            }
            self.reap();
        }
        let left = end_processes_of(self.home.root());
        if failed_already {
            eprintln!("---- the log of circusd\n{}----", self.log());
        } else if !left.is_empty() {
            panic!(
                "circusd left processes behind: {left:#?}\nits log:\n{}",
                self.log()
            );
        }
    }
}

/// Has the end of the daemon told on its notify socket, so that one wait hears of both.
fn tell_when_ended(child: &Child, notify_path: PathBuf) {
    let pid = Pid::from_raw(child.id().try_into().expect("a pid fits"));
    thread::spawn(move || {
        // WNOWAIT leaves it a zombie: until the harness reaps it the pid is nobody else's.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        // If the harness has gone already, nobody wants to know.
        let _ = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(ENDED.as_bytes(), notify_path));
    });
}

/// Kills what still runs with HOME=`directory`; returns what it was.
///
/// Only processes of our own tests can be met here: the directory's name is theirs alone.
fn end_processes_of(directory: &Path) -> Vec<String> {
    let mark = [b"HOME=", directory.as_os_str().as_encoded_bytes()].concat();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // What ends meanwhile, or belongs to others, is not ours to report.
        let Ok(environment) = fs::read(entry.path().join("environ")) else {
            continue;
        };
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark)
        {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!(
                "{pid}: {}",
                String::from_utf8_lossy(&command).replace('\0', " ")
            ));
            // ESRCH: it has ended since, as it should.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    found
}
