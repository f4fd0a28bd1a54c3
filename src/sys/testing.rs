//! What the tests of this room share: small real programs, and a group to put them into.
//!
//! What the machine lacks is said aloud, counted and skipped; nothing is imitated.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::Resource;
use std::os::fd::AsFd;

use super::cgroup::{self, Cgroup};
use super::pidfd::{ExitStatus, Pidfd};
use super::spawn::{Child, Command, spawn};

/// How long anything may take that must happen: a slow machine is no reason to fail.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Says aloud that a test does not test here.
pub(super) use crate::skip::skip as skipped;

/// Whether we are root; says so aloud if not.
pub(super) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped("needs root");
    }
    root
}

/// A fresh group below ours, or `None`, said aloud.
pub(super) fn group(name: &str) -> Option<Cgroup> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let base = match cgroup::delegated() {
        Ok(base) => Cgroup::open(base).unwrap(),
        Err(why) => {
            skipped(why);
            return None;
        }
    };
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("circusd-test-{}-{n}-{name}", std::process::id());
    Some(Cgroup::create(&base, name).unwrap())
}

/// A shell script as a command, with a `PATH`.
pub(super) fn script(text: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.argv.extend(["-c".into(), text.into()]);
    command
        .env
        .push(("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()));
    command
}

/// For a test that changes or asks what belongs to the whole process: runs the test `name` again in a process of
/// its own, with `rlimits`. True in there; false, once that has passed, outside.
pub(super) fn alone(name: &str, rlimits: Vec<(Resource, u64, u64)>) -> bool {
    const MARK: &str = "CIRCUSD_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.argv.extend([name.into(), "--exact".into()]);
    command.env.push((MARK.into(), "1".into()));
    command.rlimits = rlimits;
    let stderr = std::io::stderr();
    let child = spawn(&command, &[(stderr.as_fd(), 1), (stderr.as_fd(), 2)], None).unwrap();
    assert_eq!(
        wait(&child),
        ExitStatus::Exited(0),
        "{name} failed in a process of its own"
    );
    false
}

/// Waits for the end of a child and takes it.
pub(super) fn wait(child: &Child) -> ExitStatus {
    wait_pidfd(&child.pidfd);
    child
        .pidfd
        .try_wait()
        .unwrap()
        .expect("a readable pidfd has ended")
}

/// Waits until the process has ended, without taking its status.
pub(super) fn wait_pidfd(pidfd: &Pidfd) {
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    let n = poll(
        &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
        timeout,
    )
    .unwrap();
    assert_eq!(n, 1, "still running after {PATIENCE:?}: {pidfd:?}");
}
