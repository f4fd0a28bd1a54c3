//! Sockets that workers inherit: what is opened, and what a worker finds.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use common::facts::{http_worker, in_each_mode, line_of, pids, port_of, socket_of};
use common::{Daemon, Home, eventually, skip};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};
use serde_json::{Value, json};

/// What `http_worker` answers there.
fn get(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// Which socket a descriptor of a process is: `socket:[INODE]`.
fn socket_at(pid: u64, fd: i64) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let link = link.to_string_lossy().into_owned();
    link.starts_with("socket:").then_some(link)
}

/// The same for what `ListSockets` tells.
fn socket_of_daemon(daemon: &Daemon, name: &str) -> String {
    let fd = socket_of(daemon, name)["fd"].as_i64().expect("a number");
    socket_at(daemon.pid().into(), fd).expect("the daemon has it open")
}

fn only_pid(daemon: &Daemon, watcher: &str) -> u64 {
    let pids = pids(&daemon.status(watcher));
    assert_eq!(pids.len(), 1, "{pids:?}");
    pids.into_iter().next().expect("one")
}

/// A socket with these keys, which nobody uses.
fn with_socket(keys: &str) -> String {
    format!("[socket.s]\n{keys}\n")
}

#[test]
fn a_worker_finds_its_sockets_as_systemd_would_pass_them() {
    let config = r#"
        [socket.one]
        path = "@circusd-test-$(circus.env.HOME)-one"
        [socket.two]
        path = "../two.sock"
        [watcher.web]
        cmd = ["sh", "-c", 'echo "$LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$ $0 $TWO" > "$HOME/told"; exec sleep 1000', "$(circus.sockets.one)"]
        use_sockets = ["two", "one"]
        env = { TWO = "$(circus.sockets.two)", LISTEN_PID = "1" }
        stdout = { file = "../out.$(circus.sockets.one)" }
        [watcher.other]
        cmd = ["sh", "-c", 'echo "${LISTEN_FDS-none} ${LISTEN_PID-none}" > "$HOME/other"; exec sleep 1000']"#;
    in_each_mode(config, |daemon| {
        let pid = only_pid(daemon, "web");
        let home = daemon.home();
        let told = line_of(&home.path("told"));
        assert_eq!(told, format!("2 two:one {pid} {pid} 4 3"));
        assert!(home.path("out.4").exists());
        assert_eq!(socket_at(pid, 3), Some(socket_of_daemon(daemon, "two")));
        assert_eq!(socket_at(pid, 4), Some(socket_of_daemon(daemon, "one")));
        assert_eq!(socket_at(pid, 5), None);
        assert_eq!(line_of(&home.path("other")), "none none");
        assert_eq!(socket_at(only_pid(daemon, "other"), 3), None);
    });
}

#[test]
fn more_sockets_than_there_are_places_are_passed_as_well() {
    let sockets: String = (0..20)
        .map(|n| format!("[socket.s{n}]\nhost = 'localhost'\nport = 0\n"))
        .collect();
    let daemon = Daemon::start(&format!(
        "{sockets}[watcher.web]\ncmd = 'sleep 1000'\nuse_sockets = true"
    ));
    let pid = only_pid(&daemon, "web");
    for n in 0..20 {
        let expected = socket_of_daemon(&daemon, &format!("s{n}"));
        assert_eq!(socket_at(pid, 3 + n), Some(expected));
    }
}

#[test]
fn a_port_that_the_kernel_chose_is_listed_and_answers() {
    let daemon = Daemon::start(&format!(
        "[socket.http]\nhost = 'localhost'\nport = 0\n[socket.unused]\npath = '../s'\ntype = 'seqpacket'\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = ['http']\n",
        http_worker().display()
    ));
    let port = port_of(&daemon, "http");
    assert_ne!(port, 0);
    let answer = get(&format!("127.0.0.1:{port}")).expect("a socket that is open answers");
    assert_eq!(answer, format!("pid {}, wid 1\n", only_pid(&daemon, "web")));

    let http = socket_of(&daemon, "http");
    assert_eq!(http["type"], "stream");
    assert_eq!(http["from_manager"], false);
    assert_eq!(http["watchers"], json!(["web"]));
    let unused = socket_of(&daemon, "unused");
    assert_eq!(unused["type"], "seqpacket");
    assert_eq!(unused["watchers"], json!([]));

    let listed = daemon.ctl(&["listsockets"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let lines: Vec<Vec<&str>> = (listed.lines())
        .map(|line| line.split_whitespace().collect())
        .collect();
    let (address, fd) = (format!("127.0.0.1:{port}"), http["fd"].to_string());
    assert_eq!(lines[0], ["SOCKET", "ADDRESS", "TYPE", "FD", "WATCHERS"]);
    assert_eq!(lines[1], ["http", &address, "stream", &fd, "web"]);
    assert_eq!(lines.len(), 3, "{listed}");
}

#[test]
fn who_connects_before_there_is_a_worker_is_served_by_the_first() {
    let daemon = Daemon::start(&format!(
        "[socket.http]\nhost = 'localhost'\nport = 0\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = true\nautostart = false\n",
        http_worker().display()
    ));
    let mut early = TcpStream::connect(("127.0.0.1", port_of(&daemon, "http")))
        .expect("the socket is open before any worker");
    early
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("it waits");
    daemon
        .call("Start", json!({"watchers": "web"}))
        .expect("it starts");
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("it is served");
    assert!(answer.contains("wid 1"), "{answer}");
}

#[test]
fn with_reuseport_each_process_has_a_socket_of_its_own() {
    let daemon = Daemon::start(&format!(
        "[socket.http]\nhost = 'localhost'\nport = 0\nreuseport = true\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = true\nnumprocesses = 3\n",
        http_worker().display()
    ));
    let address = format!("127.0.0.1:{}", port_of(&daemon, "http"));
    let mut sockets: Vec<_> = pids(&daemon.status("web"))
        .into_iter()
        .map(|pid| socket_at(pid, 3).expect("each has one"))
        .collect();
    sockets.push(socket_of_daemon(&daemon, "http"));
    sockets.sort();
    sockets.dedup();
    assert_eq!(sockets.len(), 4);
    for _ in 0..20 {
        assert!(get(&address).is_some(), "who connects is given to a worker");
    }
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    assert_eq!(get(&address), None, "nobody listens any more");
}

#[test]
fn datagrams_with_reuseport_are_the_workers_alone() {
    // Kept for as long as the test lasts, and shared.
    let flags = SockFlag::SOCK_CLOEXEC;
    let reserved = socket(AddressFamily::Inet, SockType::Datagram, flags, None);
    let reserved = reserved.expect("a socket can be made");
    setsockopt(&reserved, sockopt::ReusePort, &true).expect("a port can be shared");
    let reserved = UdpSocket::from(reserved);
    bind(reserved.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("some port is free");
    let port = reserved.local_addr().expect("it is bound").port();
    let config = format!(
        "[socket.dns]\nhost = '127.0.0.1'\nport = {port}\ntype = 'dgram'\nreuseport = true\n\
         [watcher.web]\ncmd = 'sleep 1000'\nuse_sockets = true\n"
    );
    let daemon = Daemon::start(&config);
    assert!(socket_at(only_pid(&daemon, "web"), 3).is_some());
    let listed = socket_of(&daemon, "dns");
    assert_eq!(
        (&listed["fd"], &listed["type"]),
        (&json!(-1), &json!("dgram"))
    );
}

#[test]
fn a_socket_file_has_the_owner_group_and_mode_that_were_asked_for() {
    let us = fs::metadata("/proc/self").expect("we are");
    let (owner, group) = match us.uid() {
        0 => (65534, 65534),
        uid => (uid, us.gid()),
    };
    let keys = format!("path = '../s'\nmode = '0620'\nowner = {owner}\ngroup = {group}");
    let mut daemon = Daemon::start(&with_socket(&keys));
    let path = daemon.home().path("s");
    let found = fs::metadata(&path).expect("the file is there");
    assert_eq!((found.uid(), found.gid()), (owner, group));
    assert_eq!(found.permissions().mode() & 0o7777, 0o620);
    daemon.stop();
    assert!(!path.exists(), "it goes with the daemon");
}

#[test]
fn a_socket_file_without_a_mode_has_what_the_umask_leaves() {
    for (keys, mode) in [("umask = '0077'", 0o700), ("", 0o750)] {
        let config = format!("[circusd]\numask = '0027'\n[socket.s]\npath = '../s'\n{keys}");
        let daemon = Daemon::start(&config);
        let found = fs::metadata(daemon.home().path("s")).expect("the file is there");
        assert_eq!(found.permissions().mode() & 0o777, mode, "{keys}");
    }
}

#[test]
fn a_socket_file_that_is_left_over_is_replaced_unless_that_is_forbidden() {
    let home = Home::new("[socket.s]\npath = '../s'\ntype = 'dgram'\n");
    let path = home.path("s");
    drop(UnixDatagram::bind(&path).expect("it can be bound"));
    let mut daemon = home.start();
    let client = UnixDatagram::unbound().expect("a socket can be made");
    client.connect(&path).expect("it is a new one");
    daemon.stop();

    drop(UnixDatagram::bind(&path).expect("it can be bound"));
    home.configure("[socket.s]\npath = '../s'\ntype = 'dgram'\nreplace = false\n");
    let refused = home.run_to_end(&[]);
    assert_eq!(refused.status.code(), Some(78));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("circusd.toml:1:9: socket.s: failed to open"),
        "{told}"
    );
    assert!(
        told.contains("nobody listens on, and it is not to be replaced"),
        "{told}"
    );
    assert!(path.exists());
}

#[test]
fn an_interface_and_an_address_family_are_kept_to() {
    let daemon =
        Daemon::start("[socket.s]\nhost = '0.0.0.0'\nport = 0\ninterface = 'lo'\nbacklog = 1\n");
    TcpStream::connect(("127.0.0.1", port_of(&daemon, "s"))).expect("it comes over lo");
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("no IPv6 here");
    }
    for (ipv6_only, reachable) in [(true, false), (false, true)] {
        let config = format!("[socket.s]\nhost = '::'\nport = 0\nipv6_only = {ipv6_only}\n");
        let daemon = Daemon::start(&config);
        let port = port_of(&daemon, "s");
        TcpStream::connect(("::1", port)).expect("IPv6 is what it is for");
        let over_ipv4 = TcpStream::connect(("127.0.0.1", port));
        assert_eq!(over_ipv4.is_ok(), reachable, "{over_ipv4:?}");
    }
}

/// A daemon whose only worker is a daemon, for which it is the service manager.
fn daemon_below(outer_socket: &str, inner: &str) -> (Daemon, std::path::PathBuf) {
    let home = Home::new("");
    let below = home.path("inner.sock");
    fs::write(home.path("etc/inner"), inner).expect("a file can be written");
    fs::set_permissions(home.path("etc/inner"), fs::Permissions::from_mode(0o600))
        .expect("its mode can be set");
    home.configure(&format!(
        "{outer_socket}\n[watcher.inner]\nuse_sockets = true\n\
         cmd = ['{}', '--config', '{}', '--socket', '{}']\n",
        env!("CARGO_BIN_EXE_circusd"),
        home.path("etc/inner").display(),
        below.display(),
    ));
    (home.start(), below)
}

fn call(socket: &Path, method: &str, parameters: Value) -> Value {
    let answers = || UnixStream::connect(socket).ok();
    eventually("the inner daemon answers", answers);
    let mut connection = common::Connection::open(socket);
    connection.call(method, parameters).expect("it is granted")
}

#[test]
fn a_socket_of_the_service_manager_is_taken_by_its_name() {
    let inner = format!(
        "[socket.http]\nfrom_manager = true\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = true\n",
        http_worker().display()
    );
    let outer = "[socket.other]\npath = '../other'\n[socket.http]\nhost = 'localhost'\nport = 0";
    let (daemon, below) = daemon_below(outer, &inner);
    let address = format!("127.0.0.1:{}", port_of(&daemon, "http"));
    let sockets = call(&below, "ListSockets", json!({}));
    let [socket] = sockets["sockets"].as_array().expect("a list").as_slice() else {
        panic!("{sockets}");
    };
    assert_eq!(socket["from_manager"], true);
    assert_eq!(socket["address"], json!(address));
    let status = call(&below, "Status", json!({"watchers": "web"}));
    let worker = pids(&status["watchers"][0])
        .into_iter()
        .next()
        .expect("one");
    let answer = get(&address).expect("it answers");
    assert_eq!(answer, format!("pid {worker}, wid 1\n"));
}

#[test]
fn a_socket_that_no_service_manager_has_passed_is_told() {
    let home = Home::new("[socket.http]\nfrom_manager = true\n");
    let refused = home.run_to_end(&[]);
    assert_eq!(refused.status.code(), Some(78));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    let expected =
        "1:9: socket.http: the service manager has passed no socket of this name, nor any other";
    assert!(told.contains(expected), "{told}");
    // Whether there is a manager is not known to who only looks at the file.
    assert!(home.run_to_end(&["--check"]).status.success());
}
