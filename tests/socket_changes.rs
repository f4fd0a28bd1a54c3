//! What becomes of sockets and of those who use them when something changes.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::facts::{in_each_mode, pids, port_of, runs, socket_of};
use common::{Daemon, Home, eventually};
use serde_json::{Value, json};

const USER: &str = "[watcher.user]\ncmd = 'sleep 1000'\nuse_sockets = ['s']\nnumprocesses = 2\n";
const OTHER: &str = "[watcher.other]\ncmd = 'sleep 1000'\n";

fn config(socket: &str) -> String {
    format!("[socket.s]\n{socket}\n{USER}{OTHER}")
}

/// What the reload of a configuration did to whom.
fn reload(daemon: &Daemon, config: &str) -> Vec<Value> {
    daemon.home().configure(config);
    let reply = daemon.call("ReloadConfig", json!({})).expect("it is taken");
    let changes = reply["changes"].as_array().expect("a list").clone();
    changes
        .into_iter()
        .filter(|change| change["change"] != "unchanged")
        .collect()
}

/// The sentence with which the reload of a configuration is refused.
fn refused(daemon: &Daemon, config: &str) -> String {
    daemon.home().configure(config);
    let refused = daemon.call("ReloadConfig", json!({}));
    let refused = refused.expect_err("it is not taken");
    assert_eq!(refused.error, "io.circusd.InvalidConfig");
    refused.parameters.to_string()
}

/// Which socket the daemon has: `socket:[INODE]`.
fn open_socket(daemon: &Daemon) -> PathBuf {
    let fd = socket_of(daemon, "s")["fd"].to_string();
    fs::read_link(format!("/proc/{}/fd/{fd}", daemon.pid())).expect("it is open")
}

/// Waits until the daemon has closed it.
fn wait_closed(daemon: &Daemon, socket: &Path) {
    eventually("the socket is closed", || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs");
        let mut open = open
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok());
        (!open.any(|found| found == socket)).then_some(())
    });
}

fn wait_gone(users: &BTreeSet<u64>) {
    eventually("the old users have gone", || {
        (!users.iter().any(|pid| runs(*pid))).then_some(())
    });
}

#[test]
fn a_socket_stays_open_over_reloads_restarts_and_other_changes() {
    let keys = "host = 'localhost'\nport = 0";
    in_each_mode(&config(keys), |daemon| {
        let before = socket_of(daemon, "s");
        for verb in ["Reload", "Restart", "Stop", "Start"] {
            daemon.call(verb, json!({})).expect("it is done");
            assert_eq!(socket_of(daemon, "s"), before, "{verb}");
        }
        let changed = config(keys).replace("numprocesses = 2", "numprocesses = 3");
        let changes = reload(daemon, &changed);
        assert_eq!(changes[0]["change"], "live", "{changes:?}");
        assert_eq!(socket_of(daemon, "s"), before);
        let changes = reload(daemon, &config(&format!("{keys}\nbacklog = 7")));
        assert_eq!(changes[0]["keys"], json!(["numprocesses"]), "{changes:?}");
        assert_eq!(socket_of(daemon, "s"), before);
        TcpStream::connect(("127.0.0.1", port_of(daemon, "s"))).expect("it is open");
    });
}

#[test]
fn a_changed_socket_replaces_its_users_and_nothing_else() {
    let first = config("host = '127.0.0.1'\nport = 0");
    in_each_mode(&first, |daemon| {
        let users = pids(&daemon.status("user"));
        let others = pids(&daemon.status("other"));
        let old = open_socket(daemon);
        let changes = reload(daemon, &config("host = '127.0.0.2'\nport = 0"));
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0]["watcher"], "user");
        assert_eq!(changes[0]["change"], "reload");
        assert_eq!(changes[0]["keys"], json!(["use_sockets"]));
        daemon.wait_until("user", |status| {
            let now = pids(status);
            now.len() == 2 && now.is_disjoint(&users) && status["state"] == "active"
        });
        assert_eq!(pids(&daemon.status("other")), others);
        TcpStream::connect(("127.0.0.2", port_of(daemon, "s"))).expect("the new one is open");
        wait_gone(&users);
        wait_closed(daemon, &old);
    });
}

#[test]
fn a_file_is_there_at_every_moment_while_its_socket_is_changed() {
    let daemon = Daemon::start(&config("path = '../s'\nmode = '0600'"));
    let path = daemon.home().path("s");
    let of_old = UnixStream::connect(&path).expect("it is open");
    let inode = path.metadata().expect("it is there").ino();
    let users = pids(&daemon.status("user"));
    let over = Arc::new(AtomicBool::new(false));
    let looking = {
        let (path, over) = (path.clone(), Arc::clone(&over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                assert!(path.exists(), "there was a moment without it");
            }
        })
    };
    let changes = reload(&daemon, &config("path = '../s'\nmode = '0660'"));
    assert_eq!(changes[0]["keys"], json!(["use_sockets"]), "{changes:?}");
    let found = path.metadata().expect("it is there");
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert_ne!(found.ino(), inode);
    daemon.wait_until("user", |status| pids(status).is_disjoint(&users));
    wait_gone(&users);
    over.store(true, Ordering::Relaxed);
    looking.join().expect("it was always there");
    UnixStream::connect(&path).expect("the new one is open");
    let address = socket_of(&daemon, "s")["address"].to_string();
    assert!(address.ends_with("/s\""), "{address}");
    drop(of_old);
    let left: Vec<_> = fs::read_dir(daemon.home().root())
        .expect("it can be read")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("s."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_socket_that_has_only_another_name_stays_open() {
    let daemon = Daemon::start("[socket.a]\npath = '../s'\n");
    let inode = |daemon: &Daemon| {
        daemon
            .home()
            .path("s")
            .metadata()
            .expect("it is there")
            .ino()
    };
    let (before, fd) = (inode(&daemon), socket_of(&daemon, "a")["fd"].clone());
    reload(&daemon, "[socket.b]\npath = '../s'\n");
    assert_eq!(inode(&daemon), before);
    assert_eq!(socket_of(&daemon, "b")["fd"], fd);
}

#[test]
fn a_removed_socket_is_closed_when_its_users_are_gone() {
    let daemon = Daemon::start(&config("host = 'localhost'\nport = 0"));
    let socket = open_socket(&daemon);
    let users = pids(&daemon.status("user"));
    reload(&daemon, OTHER);
    wait_gone(&users);
    wait_closed(&daemon, &socket);
    let sockets = daemon.call("ListSockets", json!({}));
    assert_eq!(sockets.expect("all may look")["sockets"], json!([]));
}

#[test]
fn a_new_use_of_a_socket_by_hand_replaces_the_processes() {
    let daemon = Daemon::start(&format!(
        "[socket.s]\nhost = 'localhost'\nport = 0\n{OTHER}"
    ));
    let before = pids(&daemon.status("other"));
    let wrong = daemon.ctl(&["set", "other", "use_sockets=[\"t\"]"]);
    assert_eq!(wrong.status.code(), Some(3));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("there is no socket 't'"), "{told}");
    let set = daemon.ctl(&["set", "other", "use_sockets=true"]);
    assert!(set.status.success(), "{set:?}");
    let after = daemon.wait_until("other", |status| pids(status).len() == 1);
    let after = pids(&after);
    assert!(after.is_disjoint(&before));
    let pid = after.first().expect("one");
    let link = fs::read_link(format!("/proc/{pid}/fd/3")).expect("it has one more");
    assert!(link.to_string_lossy().starts_with("socket:"), "{link:?}");
    assert_eq!(socket_of(&daemon, "s")["watchers"], json!(["other"]));
}

#[test]
fn a_socket_that_cannot_be_opened_at_start_is_a_wrong_configuration() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = taken.local_addr().expect("it is bound").port();
    let home = Home::new(&format!(
        "[socket.fine]\npath = '../fine'\n{}",
        config(&format!("host = '127.0.0.1'\nport = {port}"))
    ));
    let end = home.run_to_end(&[]);
    assert_eq!(end.status.code(), Some(78));
    let told = String::from_utf8_lossy(&end.stderr).into_owned();
    let expected = format!(
        "circusd.toml:3:9: socket.s: failed to open '127.0.0.1:{port}': binding: Address already in use"
    );
    assert!(told.contains(&expected), "{told}");
    assert!(!home.path("fine").exists(), "the others are closed again");
}

#[test]
fn a_socket_that_cannot_be_opened_at_a_reload_changes_nothing() {
    let first = config("host = 'localhost'\nport = 0");
    let daemon = Daemon::start(&first);
    let before = (
        socket_of(&daemon, "s"),
        pids(&daemon.status("user")),
        pids(&daemon.status("other")),
    );
    let home = daemon.home();
    let wrong =
        config("path = '../etc/circusd.toml'").replace("numprocesses = 2", "numprocesses = 1");
    let told = refused(
        &daemon,
        &format!("[socket.fine]\npath = '../fine'\n{wrong}"),
    );
    assert!(told.contains("socket.s: failed to open"), "{told}");
    assert!(told.contains("something that is not a socket"), "{told}");
    assert!(!home.path("fine").exists(), "the others are closed again");

    // Its own socket is in its way too, and it says whose it is.
    let port = port_of(&daemon, "s");
    let told = refused(
        &daemon,
        &config(&format!(
            "host = '127.0.0.1'\nport = {port}\nreuseport = true"
        )),
    );
    assert!(told.contains("circusd itself has it open"), "{told}");
    assert_eq!(before.0["address"], socket_of(&daemon, "s")["address"]);
    assert_eq!(before.1, pids(&daemon.status("user")));
    assert_eq!(before.2, pids(&daemon.status("other")));
}
