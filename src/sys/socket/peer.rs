//! Who has connected, as the kernel knows it.
//!
//! The credentials are those at the time of connect(2): who was given the connection later has not changed
//! them. The pid is for the log alone: it may belong to another by now.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Pid, Uid};

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its pid; `None` when it is in a pid namespace that we cannot see.
    pub pid: Option<Pid>,
    /// Its effective user.
    pub uid: Uid,
    /// Its effective group.
    pub gid: Gid,
    /// Its supplementary groups.
    pub groups: Vec<Gid>,
}

impl Peer {
    /// Whether it is in `group`, by whichever of its groups.
    #[must_use]
    pub fn is_in(&self, group: Gid) -> bool {
        self.gid == group || self.groups.contains(&group)
    }
}

/// Who is at the other end of a Unix stream socket (unix(7), `SO_PEERCRED`).
///
/// # Errors
///
/// `ENODATA` and the like if it is not a connected Unix socket.
pub fn peer(socket: &impl AsFd) -> io::Result<Peer> {
    let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
    Ok(Peer {
        pid: Some(credentials.pid())
            .filter(|&pid| pid > 0)
            .map(Pid::from_raw),
        uid: Uid::from_raw(credentials.uid()),
        gid: Gid::from_raw(credentials.gid()),
        groups: peer_groups(socket)?,
    })
}

fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<Gid>> {
    // Most users are in few groups; the kernel says how many there are when these are too few.
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut bytes = libc::socklen_t::try_from(groups.len() * size_of::<libc::gid_t>())
            .expect("the kernel allows 65536 groups");
        // SAFETY: the kernel writes at most `bytes` to the list, which is as large, and the size it has or would
        // have needed to `bytes`.
        let r = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if r == 0 {
            groups.truncate(count);
            return Ok(groups.into_iter().map(Gid::from_raw).collect());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}
