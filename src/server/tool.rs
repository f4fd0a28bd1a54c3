//! A program that the daemon itself needs an answer from, once in its life: run to its end, with a
//! limit, off the loop.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;

use super::program::OURS_ALONE;
use super::wakeups::wait_for;
use crate::sys::pidfd::ExitStatus;
use crate::sys::spawn::{self, Command};

/// Past this it is killed, and has not answered.
const LIMIT: Duration = Duration::from_secs(10);

/// No answer is longer; the rest is not read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Runs it, with standard output and standard error together as its answer.
///
/// # Errors
///
/// A sentence: it cannot be started, ended otherwise than with 0, or not in time.
pub(super) async fn ask(
    argv: Vec<OsString>,
    known: Rc<RefCell<HashSet<Pid>>>,
) -> Result<String, String> {
    let name = argv
        .first()
        .map(|program| program.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let told = |what: &str, error: io::Error| format!("{name}: {what}: {error}");
    let (output, theirs) = pipe().map_err(|error| told("failed to make a pipe", error))?;
    let null = std::fs::File::open("/dev/null");
    let null = null.map_err(|error| told("failed to open /dev/null", error))?;
    let fds = [(null.as_fd(), 0), (theirs.as_fd(), 1), (theirs.as_fd(), 2)];
    let child = spawn::spawn(&command(argv), &fds, None);
    let child = child.map_err(|error| format!("{name}: {error}: {}", error.source))?;
    drop(theirs);
    // Whoever waits for orphans leaves it alone.
    known.borrow_mut().insert(child.pid);
    let process = wait_for(child.pidfd, Interest::READABLE);
    let process = process.map_err(|(_, error)| told("failed to wait for it", error))?;
    let mut answer = Vec::new();
    let read = async {
        let output = pipe::Receiver::from_owned_fd(output)?;
        output
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .await?;
        process.readable().await.map(drop)
    };
    let in_time = tokio::time::timeout(LIMIT, read).await;
    if !matches!(in_time, Ok(Ok(()))) {
        // It is waited for all the same; the kernel ends it in no time.
        let _ = process.get_ref().signal(nix::libc::SIGKILL);
        let _ = process.readable().await;
    }
    let status = process.get_ref().try_wait();
    known.borrow_mut().remove(&child.pid);
    let answer = String::from_utf8_lossy(&answer).trim().to_owned();
    match (in_time, status) {
        (Err(_), _) => Err(format!("{name}: no answer within {} s", LIMIT.as_secs())),
        (Ok(Err(error)), _) => Err(told("failed to read its answer", error)),
        (Ok(Ok(())), Ok(Some(ExitStatus::Exited(0)))) => Ok(answer),
        (Ok(Ok(())), Ok(Some(ExitStatus::Exited(code)))) => {
            Err(format!("{name} ended with exit code {code}: {answer}"))
        }
        (Ok(Ok(())), Ok(Some(ExitStatus::Signaled { signal, .. }))) => {
            let signal = super::convert::signal_name(signal);
            Err(format!("{name} was ended by {signal}: {answer}"))
        }
        (Ok(Ok(())), Ok(None) | Err(_)) => Err(format!("{name}: nobody knows how it ended")),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

/// As ourselves, but it does not speak to the manager in our name.
fn command(argv: Vec<OsString>) -> Command {
    let program = argv.first().map(PathBuf::from).unwrap_or_default();
    let ours = |name: &OsString| OURS_ALONE.iter().any(|ours| name == ours);
    Command {
        env: std::env::vars_os()
            .filter(|(name, _)| !ours(name))
            .collect(),
        argv,
        ..Command::new(program)
    }
}
