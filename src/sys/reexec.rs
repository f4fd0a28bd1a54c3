//! Another program in this very process: the pid, the children and what is passed on stay.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::manager::FIRST;

/// Executes `program` with these arguments (`argv[0]` included) and our environment. `fds` are passed on as
/// a service manager would (sd_listen_fds(3)): [`super::manager::take`] finds them. All other descriptors
/// that are closed on exec are closed.
///
/// # Errors
///
/// Those of execve(2), and of making room for the descriptors; some of these may be open under other
/// numbers then, which does no harm.
pub fn execute(
    program: &Path,
    argv: impl IntoIterator<Item = OsString>,
    fds: Vec<(String, OwnedFd)>,
) -> io::Result<Infallible> {
    let count = fds.len();
    let end = FIRST + RawFd::try_from(count).map_err(|_| Errno::EMFILE)?;
    let (names, fds): (Vec<String>, Vec<OwnedFd>) = fds.into_iter().unzip();
    // First out of the way of each other, then each to its place.
    let mut moved = Vec::with_capacity(count);
    for fd in &fds {
        let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(end))?;
        // SAFETY: it was just made, and is nobody else's.
        moved.push(unsafe { OwnedFd::from_raw_fd(copy) });
    }
    for (fd, place) in moved.iter().zip(FIRST..) {
        // SAFETY: numbers only. Whatever has had the number of that place is closed, which is what happens to
        // it a moment later in any case; nobody can use it before.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), place) })?;
    }
    let text = |text: OsString| CString::new(text.into_vec()).map_err(|_| Errno::EINVAL);
    let argv: Vec<CString> = argv.into_iter().map(text).collect::<Result<_, _>>()?;
    let listening = [
        ("LISTEN_FDS", count.to_string()),
        ("LISTEN_FDNAMES", names.join(":")),
        ("LISTEN_PID", std::process::id().to_string()),
    ];
    let is_ours = |name: &OsString| listening.iter().any(|(ours, _)| name == ours);
    let mut env: Vec<OsString> = std::env::vars_os()
        .filter(|(name, _)| !is_ours(name))
        .map(|(name, value)| [name, value].join("=".as_ref()))
        .collect();
    env.extend(listening.map(|(name, value)| format!("{name}={value}").into()));
    let env: Vec<CString> = env.into_iter().map(text).collect::<Result<_, _>>()?;
    let program = text(program.into())?;
    Ok(nix::unistd::execve(&program, &argv, &env)?)
}
