//! `examples/quickstart.toml`, as the README has it run: it does what its comments promise.
//!
//! The file itself, with two differences: a port that is free, and the HTTP worker as cargo built it for the tests.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::facts;
use common::{Events, Home, eventually};
use serde_json::json;

const QUICKSTART: &str = include_str!("../examples/quickstart.toml");
const PORT: &str = "port = 8080";

/// A checkout with no more in it than the quickstart needs.
fn checkout() -> Arc<Home> {
    assert!(
        QUICKSTART.contains(PORT),
        "the quickstart has another port now: this test must know it"
    );
    let home = Home::new(&QUICKSTART.replace(PORT, "port = 0"));
    let examples = home.path("target/release/examples");
    fs::create_dir_all(&examples).expect("a directory can be made");
    std::os::unix::fs::symlink(facts::http_worker(), examples.join("http_worker"))
        .expect("a link can be made");
    home
}

/// The body of the answer, or nothing where nobody listens yet.
fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    Some(body.to_owned())
}

/// Waits until process `wid` has ended and its place is filled again; returns the old and the new pid.
fn wait_replaced(events: &mut Events, watcher: &str, wid: u64) -> (u64, u64) {
    let pid = |event: serde_json::Value| event["data"]["process_pid"].as_u64().expect("a pid");
    let old = pid(
        events.wait_where(&format!("watcher.{watcher}.reap"), |data| {
            data["wid"] == wid
        }),
    );
    let new = pid(
        events.wait_where(&format!("watcher.{watcher}.spawn"), |data| {
            data["wid"] == wid
        }),
    );
    (old, new)
}

#[test]
fn the_quickstart_does_what_it_says() {
    let home = checkout();
    let mut daemon = home.start();
    let port = facts::port_of(&daemon, "http");
    let mut events = daemon.subscribe();

    let pids: BTreeSet<String> = daemon.status("http")["processes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| process["pid"].to_string())
        .collect();
    assert_eq!(pids.len(), 4);
    let answered = eventually("the pool answers", || get(port));
    let answering = answered
        .trim_start_matches("pid ")
        .split(',')
        .next()
        .expect("a pid");
    assert!(
        pids.contains(answering),
        "'{answered}' is not by one of {pids:?}"
    );

    daemon
        .call(
            "Signal",
            json!({"watcher": "http", "signal": "SIGKILL", "wid": 2}),
        )
        .expect("it runs");
    let (old, new) = wait_replaced(&mut events, "http", 2);
    assert_ne!(old, new);

    let crash = events.wait("watcher.crasher.reap");
    assert_eq!(crash["data"]["exit_code"], 3, "{crash}");
    assert_eq!(crash["data"]["exit"]["expected"], false, "{crash}");
    events.wait("watcher.crasher.spawn");
    eventually("the ticker writes", || {
        fs::read(home.path("target/ticker.log"))
            .ok()
            .filter(|text| text.contains(&b'\n'))
    });

    let status = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(get(port).is_none(), "a worker serves after the stop");
}
