//! Real sockets in a fresh directory and on ports that the kernel chooses.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};

fn at(place: Place) -> Wanted {
    Wanted {
        place,
        kind: SockType::Stream,
        backlog: 16,
        reuseport: false,
        ipv6_only: false,
        interface: None,
        mode: None,
        umask: None,
        owner: None,
        group: None,
        replace: true,
    }
}

fn at_path(path: &Path) -> Wanted {
    at(Place::Unix(Address::Path(path.to_owned())))
}

fn on_port(port: u16) -> Wanted {
    at(Place::Inet(([127, 0, 0, 1], port).into()))
}

fn port(serving: &Serving) -> u16 {
    match serving.place().unwrap() {
        Place::Inet(address) => address.port(),
        Place::Unix(address) => panic!("{address}"),
    }
}

#[test]
fn a_file_has_its_mode_and_goes_with_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/sock");
    let mode = |wanted: Wanted| {
        let _serving = wanted.open().unwrap();
        UnixStream::connect(&path).unwrap();
        path.metadata().unwrap().mode() & 0o7777
    };
    let bits = |bits| Some(Mode::from_bits_truncate(bits));
    let umask = bits(0o037);
    assert_eq!(
        mode(Wanted {
            umask,
            ..at_path(&path)
        }),
        0o740
    );
    let given = bits(0o622);
    assert_eq!(
        mode(Wanted {
            umask,
            mode: given,
            ..at_path(&path)
        }),
        0o622
    );
    assert!(!path.exists());
}

#[test]
fn only_the_dead_are_replaced_and_only_if_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    for kind in [SockType::Stream, SockType::Datagram, SockType::SeqPacket] {
        let wanted = Wanted {
            kind,
            ..at_path(&path)
        };
        let living = wanted.open().unwrap();
        assert!(
            matches!(wanted.open(), Err(ServingError::InUse)),
            "{kind:?}"
        );
        drop(living);
        drop(UnixDatagram::bind(&path).unwrap());
        let replace = false;
        let careful = Wanted {
            replace,
            ..wanted.clone()
        };
        assert!(
            matches!(careful.open(), Err(ServingError::Dead)),
            "{kind:?}"
        );
        wanted.open().unwrap();
    }
    std::fs::write(&path, "").unwrap();
    assert!(matches!(
        at_path(&path).open(),
        Err(ServingError::NotASocket)
    ));
    assert!(path.exists());
}

#[test]
fn a_successor_is_made_beside_and_put_in_place_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let old = at_path(&path).open().unwrap();
    let inode = path.metadata().unwrap().ino();
    let new = at_path(&path).open_beside().unwrap();
    assert_eq!(path.metadata().unwrap().ino(), inode);
    new.land().unwrap();
    assert_ne!(path.metadata().unwrap().ino(), inode);
    drop(old);
    UnixStream::connect(&path).unwrap();
    drop(new);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn the_port_that_the_kernel_chose_is_told_and_is_taken() {
    let serving = on_port(0).open().unwrap();
    let port = port(&serving);
    assert_ne!(port, 0);
    let refused = on_port(port).open().unwrap_err().to_string();
    assert!(
        refused.starts_with("binding: Address already in use"),
        "{refused}"
    );
}

#[test]
fn of_those_that_share_a_port_only_who_listens_gets_connections() {
    let shared = |port| Wanted {
        reuseport: true,
        ..on_port(port)
    };
    let anchor = shared(0).reserve().unwrap();
    let one = shared(port(&anchor)).open().unwrap();
    let address = ("127.0.0.1", port(&anchor));
    for _ in 0..16 {
        std::net::TcpStream::connect(address).unwrap();
    }
    drop(one);
    std::net::TcpStream::connect(address).unwrap_err();
}

#[test]
fn an_interface_that_is_not_there_is_told() {
    let interface = Some("nosuchif0".to_owned());
    let refused = Wanted {
        interface,
        ..on_port(0)
    }
    .open()
    .unwrap_err();
    let told = refused.to_string();
    assert!(told.starts_with("finding its interface: "), "{told}");
}

#[test]
fn a_file_with_a_mode_of_its_own_is_what_it_is_whatever_our_umask() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let mode = Some(Mode::from_bits_truncate(0o666));
    let _serving = Wanted {
        mode,
        ..at_path(&path)
    }
    .open()
    .unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o666);
}

#[test]
fn no_more_callers_wait_than_were_asked_for_until_that_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sock");
    let backlog = 1;
    let serving = Wanted {
        backlog,
        ..at_path(&path)
    }
    .open()
    .unwrap();
    let mut callers = Vec::new();
    let mut call = || {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let caller = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        let called = connect(caller.as_raw_fd(), &UnixAddr::new(&path).unwrap());
        callers.push(caller);
        called
    };
    // The kernel takes one more than it is told.
    call().unwrap();
    call().unwrap();
    assert_eq!(call(), Err(Errno::EAGAIN));
    serving.listen(SockType::Stream, 16).unwrap();
    call().unwrap();
}
