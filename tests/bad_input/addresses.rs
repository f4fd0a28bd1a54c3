//! Places that are taken: by a daemon that lives, by one that does not, or by something else.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::common::{Daemon, Home};
use super::{SLEEPER, assert_alive, complaint};

/// One that leaves nothing behind when it is killed.
const EMPTY: &str = "[watcher.none]\ncmd = 'sleep infinity'\nnumprocesses = 0\n";

/// A start that fails with exit code 1, and what it complains of.
fn refused(home: &Home, arguments: &[&str]) -> String {
    let output = home.run_to_end(arguments);
    let complaint = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint
}

#[test]
fn the_socket_of_a_daemon_that_lives() {
    let daemon = Daemon::start(SLEEPER);
    let home = daemon.home();
    let elsewhere = format!("circusd.runtime_dir={}", home.path("elsewhere").display());
    let complaint = refused(home, &["--set", &elsewhere]);
    assert!(
        complaint.contains("a daemon is listening on") && complaint.contains("circusd.sock"),
        "{complaint}"
    );
    assert_alive(&daemon);
}

#[test]
fn the_state_of_a_daemon_that_lives() {
    let daemon = Daemon::start(SLEEPER);
    let home = daemon.home();
    let state = format!(
        "circusd.runtime_dir={}",
        home.path("circusd.sock.state").display()
    );
    let other = home.path("other.sock");
    let other = other.to_string_lossy();
    // On the same socket, and on another.
    for arguments in [&[][..], &["--socket", &other, "--set", &state]] {
        let complaint = refused(home, arguments);
        let holder = format!("is held by process {}", daemon.pid());
        assert!(complaint.contains(&holder), "{complaint}");
    }
    assert!(!home.path("other.sock").exists());
    assert_alive(&daemon);
}

#[test]
fn the_socket_and_state_of_a_daemon_that_was_killed() {
    let home = Home::new(EMPTY);
    for _ in 0..3 {
        let mut daemon = home.start();
        assert!(daemon.call("List", json!({})).is_ok());
        daemon.kill();
        assert!(home.socket().exists());
    }
    let mut daemon = home.start();
    assert!(daemon.stop().success());
    assert!(!home.socket().exists());
}

#[test]
fn a_socket_that_nobody_ever_served() {
    let home = Home::new(SLEEPER);
    drop(UnixListener::bind(home.socket()).expect("a socket can be bound"));
    assert_alive(&home.start());
}

#[test]
fn what_is_no_socket_stays_as_it_is() {
    let home = Home::new(SLEEPER);
    fs::write(home.socket(), "mine").expect("a file can be written");
    let complaint = refused(&home, &[]);
    assert!(
        complaint.contains("circusd.sock' exists and is not a socket"),
        "{complaint}"
    );
    assert_eq!(fs::read(home.socket()).expect("it is there"), b"mine");

    fs::remove_file(home.socket()).expect("it is ours");
    fs::create_dir(home.socket()).expect("a directory can be made");
    let complaint = refused(&home, &[]);
    assert!(complaint.contains("is not a socket"), "{complaint}");

    fs::remove_dir(home.socket()).expect("it is ours");
    std::os::unix::fs::symlink(home.path("nowhere"), home.socket()).expect("a link can be made");
    let complaint = refused(&home, &[]);
    assert!(complaint.contains("is not a socket"), "{complaint}");
    assert!(!home.path("nowhere").exists());
}

#[test]
fn a_socket_file_that_was_removed_under_us() {
    let mut daemon = Daemon::start(SLEEPER);
    let home = std::sync::Arc::clone(daemon.home());
    let mut connection = daemon.connect();
    fs::remove_file(home.socket()).expect("it can be removed");
    // Who was connected goes on, and a second daemon is kept out by the state of the first.
    assert!(connection.call("Status", json!({})).is_ok());
    let complaint = refused(&home, &[]);
    assert!(complaint.contains("is held by process"), "{complaint}");
    assert!(daemon.stop().success());
}

#[test]
fn a_place_where_no_socket_can_be() {
    let home = Home::new(SLEEPER);
    let state = format!("circusd.runtime_dir={}", home.path("state").display());
    // Nobody, not even root, can make a directory there.
    let socket = "/proc/circusd-test/circusd.sock";
    let complaint = refused(&home, &["--socket", socket, "--set", &state]);
    assert!(
        complaint.contains(socket) && complaint.contains("No such file or directory"),
        "{complaint}"
    );
    // The state lies beside the socket unless it is told elsewhere.
    let complaint = refused(&home, &["--socket", socket]);
    assert!(
        complaint.contains("/proc/circusd-test") && complaint.contains("No such file"),
        "{complaint}"
    );
    let file = home.path("file");
    fs::write(&file, "").expect("a file can be written");
    let state = format!("circusd.runtime_dir={}", file.display());
    let complaint = refused(&home, &["--set", &state]);
    assert!(complaint.contains("the directory"), "{complaint}");
}
