//! Descriptors of our own that the runtime waits for.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::cgroup::Events;
use crate::sys::epoll::Watch;
use crate::sys::inotify::{Directories, Lookout};
use crate::sys::pidfd::Pidfd;

/// What has one descriptor, and the same for as long as it lives.
pub(super) trait Steady: AsRawFd {}

impl Steady for Directories {}
impl Steady for Events {}
impl Steady for Lookout {}
impl Steady for Pidfd {}
impl Steady for Watch {}

/// Has the runtime wait for `fd`, which comes back with the error if that fails.
///
/// # Errors
///
/// `EPERM` for what cannot be waited for; `ENOSPC` past `max_user_watches` (epoll(7)).
#[expect(
    deprecated,
    reason = "what replaces it is unsafe for types whose descriptor could change, which ours cannot"
)]
pub(super) fn wait_for<T: Steady>(fd: T, interest: Interest) -> Result<AsyncFd<T>, (T, io::Error)> {
    AsyncFd::try_with_interest(fd, interest).map_err(|error| error.into_parts())
}
