//! The harness: the real `circusd` in a fresh directory, driven over its socket.
//!
//! It waits for events, never for time: [`DEADLINE`] only ends a wait that has already failed. It
//! speaks the protocol by itself, so that a mistake in our own client cannot hide one in the
//! server. It cleans up after every test, and fails the test whose daemon leaves processes behind.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses the part it needs"
)]

mod client;
pub(crate) mod counter;
mod daemon;
mod delegated;
pub(crate) mod facts;
mod home;
pub(crate) mod hooks;
pub(crate) mod journal;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod plugins;
mod program;
mod skip;
pub(crate) mod teller;
mod tool;

pub(crate) use client::{CallError, Connection, Events};
pub(crate) use daemon::Daemon;
pub(crate) use delegated::Delegated;
pub(crate) use home::Home;
pub(crate) use machine::{Container, in_vm};
pub(crate) use program::{copy_program, put_program};
pub(crate) use skip::skip;
pub(crate) use tool::tool;

use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Past this a wait has failed. Long, as it is paid only by a test that fails anyway.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer, for what tells nobody when it happens: a port
/// that a worker opens, a file that grows. Everything else is waited for by its event.
///
/// # Panics
///
/// If there is none in time.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs `command` to its end and returns all it wrote.
///
/// # Panics
///
/// If it does not end in time; it is killed then.
pub(crate) fn output(mut command: Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let pid = Pid::from_raw(child.id().try_into().expect("a pid fits"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The receiver has gone only when the test has failed already.
        let _ = sender.send(child.wait_with_output());
    });
    match receiver.recv_timeout(DEADLINE) {
        Ok(output) => output.expect("what a child writes can be read"),
        Err(_) => {
            // Not yet waited for, or it would have answered: the pid is its own.
            let _ = kill(pid, Signal::SIGKILL);
            panic!("{command:?} did not end within {DEADLINE:?}");
        }
    }
}
