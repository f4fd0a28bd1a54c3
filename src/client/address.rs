//! Where the socket is, and how to connect to it.
//!
//! A client looks; it never makes a socket or a directory.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The socket of the system's own daemon.
const SYSTEM_SOCKET: &str = "/run/circusd/circusd.sock";

/// Where this user's daemon, or else the system's, has its socket.
///
/// `CIRCUSD_SOCKET` if it is set; else `CIRCUS_SOCKET`, in which circusd tells its workers and hooks
/// where it answers, so that they talk to the daemon that has started them. For root, `/run/circusd/circusd.sock`. For others the first that
/// exists of `$XDG_RUNTIME_DIR/circusd/circusd.sock` and, where there is no runtime directory,
/// `/tmp/circusd-<uid>/circusd.sock` in a directory that nobody else can write; else the system's.
#[must_use]
pub fn default_socket() -> PathBuf {
    choose(|name| std::env::var_os(name), own_uid(), Path::new("/tmp"))
}

fn choose(env: impl Fn(&str) -> Option<OsString>, uid: Option<u32>, tmp: &Path) -> PathBuf {
    let named = |variable| env(variable).filter(|socket| !socket.is_empty());
    if let Some(socket) = named("CIRCUSD_SOCKET").or_else(|| named("CIRCUS_SOCKET")) {
        return socket.into();
    }
    let own = match uid {
        None | Some(0) => None,
        Some(uid) => own_socket(env("XDG_RUNTIME_DIR").map(PathBuf::from), uid, tmp),
    };
    own.unwrap_or_else(|| SYSTEM_SOCKET.into())
}

/// The socket of a daemon that the user `uid` runs, if there is one.
fn own_socket(runtime: Option<PathBuf>, uid: u32, tmp: &Path) -> Option<PathBuf> {
    // The XDG base directory specification: a path that is not absolute is to be ignored.
    let directory = match runtime.filter(|runtime| runtime.is_absolute()) {
        Some(runtime) => runtime.join("circusd"),
        None => Some(tmp.join(format!("circusd-{uid}"))).filter(|path| is_private(path, uid))?,
    };
    Some(directory.join("circusd.sock")).filter(|socket| socket.exists())
}

/// Whether `path` is a directory of `uid` that nobody else may enter. Anybody can make a directory
/// in /tmp, and a socket in it that takes our commands and answers what it likes.
fn is_private(path: &Path, uid: u32) -> bool {
    // Not through a symbolic link, which could be turned elsewhere afterwards.
    fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o777 == 0o700)
}

/// Our effective uid, to which the kernel gives our directory in /proc (proc(5)); `None` without
/// /proc.
fn own_uid() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|meta| meta.uid())
}

/// Connects to `path`, or, if it begins with `@`, to the abstract socket of that name (unix(7)).
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => UnixStream::connect(path),
    }
}

/// As [`connect`]; `None` if it takes longer than `timeout`.
///
/// The standard library cannot limit a connect(2) on a Unix socket, so a thread waits for it.
pub(super) fn connect_timeout(path: &Path, timeout: Duration) -> io::Result<Option<UnixStream>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = path.to_owned();
    thread::Builder::new()
        .name("connect".to_owned())
        .spawn(move || {
            // Nobody receives if the time is over; then the connection is simply dropped.
            let _ = sender.send(connect(&path));
        })?;
    match receiver.recv_timeout(timeout) {
        Ok(stream) => stream.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the connecting thread died")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What is chosen in a world of `env`, as the user of `tmp` or as root.
    fn check(env: &[(&str, &Path)], uid: u32, tmp: &Path, expected: &Path) {
        let get = |wanted: &str| {
            let found = env.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.as_os_str().to_owned())
        };
        assert_eq!(choose(get, Some(uid), tmp), expected, "{env:?} for {uid}");
    }

    fn socket_in(directory: &Path, mode: u32) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
        let socket = directory.join("circusd.sock");
        fs::write(&socket, "").unwrap();
        socket
    }

    #[test]
    fn the_users_own_socket_comes_before_the_systems() {
        let root = tempfile::tempdir().unwrap();
        let (run, tmp) = (root.path().join("run"), root.path().join("tmp"));
        fs::create_dir_all(&tmp).unwrap();
        let system = Path::new(SYSTEM_SOCKET);
        let xdg = [("XDG_RUNTIME_DIR", run.as_path())];

        check(&xdg, 1000, &tmp, system);
        let own = socket_in(&run.join("circusd"), 0o755);
        check(&xdg, 1000, &tmp, &own);
        check(&xdg, 0, &tmp, system);
        let named = Path::new("@elsewhere");
        check(&[("CIRCUSD_SOCKET", named), xdg[0]], 0, &tmp, named);
        check(
            &[("CIRCUSD_SOCKET", Path::new("")), xdg[0]],
            1000,
            &tmp,
            &own,
        );
        let told = ("CIRCUS_SOCKET", Path::new("/run/other/circusd.sock"));
        check(&[told, xdg[0]], 1000, &tmp, told.1);
        check(&[told, ("CIRCUSD_SOCKET", named)], 0, &tmp, named);
        check(&[told, ("CIRCUSD_SOCKET", Path::new(""))], 0, &tmp, told.1);
        check(
            &[("CIRCUS_SOCKET", Path::new("")), xdg[0]],
            1000,
            &tmp,
            &own,
        );
        check(
            &[("XDG_RUNTIME_DIR", Path::new("relative"))],
            1000,
            &tmp,
            system,
        );
    }

    #[test]
    fn a_directory_in_tmp_counts_only_if_it_is_ours_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let tmp = tmp.path();
        let system = Path::new(SYSTEM_SOCKET);
        // Whoever runs the tests, root too, stands for the user.
        let uid = fs::metadata(tmp).unwrap().uid();
        let directory = tmp.join(format!("circusd-{uid}"));
        let socket = socket_in(&directory, 0o700);
        let found = |uid| own_socket(None, uid, tmp);

        assert_eq!(found(uid), Some(socket.clone()));
        assert_eq!(own_socket(Some(tmp.join("run")), uid, tmp), None);
        assert_eq!(found(uid + 1), None);
        for mode in [0o770, 0o755, 0o701] {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(found(uid), None, "{mode:o}");
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!is_private(&directory, uid + 1));

        fs::rename(&directory, tmp.join("moved")).unwrap();
        std::os::unix::fs::symlink(tmp.join("moved"), &directory).unwrap();
        assert_eq!(found(uid), None);
        check(&[], 1000 + uid, tmp, system);
    }

    #[test]
    fn our_uid_is_that_of_the_files_we_make() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(own_uid(), Some(file.metadata().unwrap().uid()));
    }
}
