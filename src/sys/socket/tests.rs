//! Real sockets in a fresh directory, and real processes that connect to them.

use super::*;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use nix::unistd::{Pid, Uid};

use crate::sys::spawn::spawn;
use crate::sys::testing::{is_root, script, wait};

fn at(path: &Path) -> Address {
    Address::Path(path.to_owned())
}

fn listen_at(path: &Path) -> Result<Listening, ListenError> {
    listen(&at(path), Some(Mode::from_bits_truncate(0o660)), None, 16)
}

#[test]
fn an_address_is_a_path_or_a_name() {
    assert_eq!(
        Address::parse("@x".as_ref()),
        Address::Abstract(b"x".to_vec())
    );
    assert_eq!(
        Address::parse("/a@b".as_ref()),
        Address::Path("/a@b".into())
    );
    assert_eq!(Address::parse("@x".as_ref()).to_string(), "@x");
}

#[test]
fn the_directory_is_made_and_the_mode_is_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/circusd/sock");
    let listening = listen_at(&path).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o660);
    let expected = if geteuid().is_root() { 0o755 } else { 0o700 };
    let umask = nix::sys::stat::umask(Mode::empty());
    nix::sys::stat::umask(umask);
    let made = path.parent().unwrap().metadata().unwrap().mode() & 0o7777;
    assert_eq!(made, expected & !umask.bits());
    UnixStream::connect(&path).unwrap();
    listening.file.unwrap().remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn the_group_is_set() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let mode = Mode::from_bits_truncate(0o620);
    let _listening = listen(&at(&path), Some(mode), Some(Gid::from_raw(4242)), 16).unwrap();
    let metadata = path.metadata().unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o7777), (4242, 0o620));
}

#[test]
fn a_live_daemon_is_not_pushed_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let first = listen_at(&path).unwrap();
    let error = listen_at(&path).unwrap_err();
    let expected = format!("a daemon is listening on '{}' already", path.display());
    assert_eq!(error.to_string(), expected);
    UnixStream::connect(&path).unwrap();
    drop(first);
}

#[test]
fn a_daemon_too_busy_to_answer_is_alive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let _first = listen(&at(&path), None, None, 0).unwrap();
    let unix = UnixAddr::new(&path).unwrap();
    let mut waiting = Vec::new();
    // Until its queue is full.
    loop {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        match connect(fd.as_raw_fd(), &unix) {
            Ok(()) => waiting.push(fd),
            Err(Errno::EAGAIN) => break,
            Err(errno) => panic!("{errno}"),
        }
    }
    assert!(matches!(listen_at(&path), Err(ListenError::InUse { .. })));
}

#[test]
fn a_dead_daemons_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let first = listen_at(&path).unwrap();
    drop(first.listener);
    let second = listen_at(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    // The first one's file is no longer there, and what is there is not the first one's.
    first.file.unwrap().remove().unwrap();
    assert!(path.exists());
    second.file.unwrap().remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link, &dir.path().to_owned()] {
        let error = listen_at(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("'{}' exists and is not a socket", path.display())
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn an_address_that_cannot_be_is_an_error() {
    let long = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
    for address in [
        at(&long),
        Address::Abstract(Vec::new()),
        Address::Abstract(vec![b'x'; 200]),
    ] {
        assert!(
            matches!(
                listen(&address, None, None, 16),
                Err(ListenError::Io { .. })
            ),
            "{address}"
        );
    }
    let named = Address::Abstract(b"circusd-test-mode".to_vec());
    assert!(listen(&named, Some(Mode::empty()), None, 16).is_err());
}

#[test]
fn an_abstract_name_belongs_to_one() {
    let address = Address::Abstract(format!("circusd-test-{}", Pid::this()).into_bytes());
    let first = listen(&address, None, None, 16).unwrap();
    assert!(first.file.is_none());
    assert!(matches!(
        listen(&address, None, None, 16),
        Err(ListenError::InUse { .. })
    ));
    drop(first);
    listen(&address, None, None, 16).unwrap();
}

#[test]
fn the_peer_is_known_with_all_its_groups() {
    let (ours, _other) = UnixStream::pair().unwrap();
    let peer = peer(&ours).unwrap();
    assert_eq!(
        (peer.pid, peer.uid),
        (Some(Pid::this()), nix::unistd::getuid())
    );
    assert!(peer.is_in(nix::unistd::getgid()));
    assert!(!peer.is_in(Gid::from_raw(4_000_000_000)));
}

#[test]
fn another_users_process_is_known_with_all_its_groups() {
    if !is_root() {
        return;
    }
    let mut command = script("command -v python3");
    if wait(&spawn(&command, &[], None).unwrap()) != crate::sys::pidfd::ExitStatus::Exited(0) {
        crate::sys::testing::skipped("no python3 to connect with");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("sock");
    let listening = listen(&at(&path), Some(Mode::from_bits_truncate(0o666)), None, 16).unwrap();
    let text =
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
    command.program = "python3".into();
    command.argv = vec![
        "python3".into(),
        "-c".into(),
        text.into(),
        path.clone().into(),
    ];
    command.uid = Some(Uid::from_raw(65534));
    command.gid = Some(Gid::from_raw(65534));
    let groups: Vec<Gid> = (5000..5100).map(Gid::from_raw).collect();
    command.groups = Some(groups.clone());
    let child = spawn(&command, &[], None).unwrap();
    let (mut stream, _) = listening.listener.accept().unwrap();
    let peer = peer(&stream).unwrap();
    assert_eq!(
        (peer.pid, peer.uid.as_raw(), peer.gid.as_raw()),
        (Some(child.pid), 65534, 65534)
    );
    assert_eq!(peer.groups, groups);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    wait(&child);
}
