//! Watchers that start at the first connection to one of their sockets.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use common::Daemon;
use common::facts::{history, http_worker, in_each_mode, pids, port_of, topics};
use serde_json::json;

fn config(keys: &str) -> String {
    format!(
        "[socket.http]\nhost = 'localhost'\nport = 0\n\
         [watcher.web]\ncmd = ['{}', '--listen-fds']\nuse_sockets = true\non_demand = true\n{keys}",
        http_worker().display()
    )
}

/// Asks, over a connection of its own.
fn ask(daemon: &Daemon) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port_of(daemon, "http")))
        .expect("the socket is open whoever runs");
    client
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("it waits");
    client
}

/// Waits for the answer.
fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it is served");
    answer
}

#[test]
fn the_first_connection_starts_it_and_is_served() {
    in_each_mode(&config("numprocesses = 2"), |daemon| {
        let status = daemon.status("web");
        assert_eq!(status["state"], "stopped", "{status}");
        assert_eq!(status["reason"]["cause"], "on_demand", "{status}");
        let told = "waiting for the first connection to one of its sockets";
        assert_eq!(status["reason"]["text"], told);
        let story = daemon.ctl(&["why", "web"]);
        let story = String::from_utf8_lossy(&story.stdout).into_owned();
        assert!(
            story.contains("Next: it starts at the first connection"),
            "{story}"
        );
        let answer = answer(ask(daemon));
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let status = daemon.wait_until("web", |status| status["state"] == "active");
        assert_eq!(pids(&status).len(), 2);
        let started = history(daemon);
        let starts = topics(&started).into_iter();
        assert_eq!(starts.filter(|topic| *topic == "web.start").count(), 1);
    });
}

#[test]
fn stopped_by_an_operator_it_is_stopped() {
    let daemon = Daemon::start(&config(""));
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    assert_eq!(daemon.status("web")["reason"]["cause"], "operator");
    let early = ask(&daemon);
    // Had the connection woken it, this answer would come after that.
    assert_eq!(daemon.status("web")["state"], "stopped");
    daemon
        .call("Start", json!({"watchers": "web"}))
        .expect("it starts");
    assert!(answer(early).contains("200 OK"));
}

#[test]
fn autostart_off_is_stronger() {
    let daemon = Daemon::start(&config("autostart = false"));
    assert_eq!(daemon.status("web")["reason"]["cause"], "autostart_off");
}

#[test]
fn all_that_wait_for_one_socket_start() {
    let other = "[watcher.other]\ncmd = 'sleep 1000'\nuse_sockets = true\non_demand = true\n";
    let daemon = Daemon::start(&config(other));
    let client = ask(&daemon);
    daemon.wait_until("other", |status| status["state"] == "active");
    assert!(answer(client).contains("200 OK"));
}

#[test]
fn a_socket_that_is_changed_meanwhile_is_waited_for_as_it_is_now() {
    let with = |path: &str| {
        format!(
            "[socket.s]\npath = '../{path}'\n\
             [watcher.web]\ncmd = 'sleep 1000'\nuse_sockets = true\non_demand = true\n"
        )
    };
    let daemon = Daemon::start(&with("one"));
    let home = daemon.home();
    home.configure(&with("two"));
    daemon.call("ReloadConfig", json!({})).expect("it is taken");
    assert_eq!(daemon.status("web")["reason"]["cause"], "on_demand");
    assert!(!home.path("one").exists(), "nobody uses it any more");
    let _client = UnixStream::connect(home.path("two")).expect("it is open");
    daemon.wait_until("web", |status| status["state"] == "active");
}

#[test]
fn what_no_longer_starts_on_demand_is_not_woken() {
    let daemon = Daemon::start(&config(""));
    let set = daemon.ctl(&["set", "web", "on_demand=false"]);
    assert!(set.status.success(), "{set:?}");
    let status = daemon.status("web");
    assert_eq!(status["reason"]["cause"], "operator", "{status}");
    let _client = ask(&daemon);
    assert_eq!(daemon.status("web")["state"], "stopped");
}

#[test]
fn one_that_cannot_be_started_is_tried_no_more_often_than_any_other() {
    let config = "[socket.s]\npath = '../s'\n[watcher.web]\ncmd = '/does/not/exist'\n\
                  use_sockets = true\non_demand = true\nmax_retry = 2\nbackoff = false\n";
    let daemon = Daemon::start(config);
    let _client = UnixStream::connect(daemon.home().path("s")).expect("it is open");
    daemon.wait_until("web", |status| status["state"] == "failed");
    let told = history(&daemon);
    let failed = topics(&told).into_iter();
    assert_eq!(
        failed.filter(|topic| *topic == "web.spawn_failed").count(),
        2
    );
}
