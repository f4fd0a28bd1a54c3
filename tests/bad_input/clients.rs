//! Clients that say nothing, too many of them, and those that leave or do not listen.

use std::io::{ErrorKind, Write};

use serde_json::json;

use super::common::{Connection, Daemon, Home, eventually, skip};
use super::{SLEEPER, assert_alive, daemon_stats, may_hold_descriptors, memory};

const MIB: u64 = 1 << 20;

/// A worker that does not hear SIGTERM, and is given an hour to do so; ready once it does not.
const STUBBORN: &str = r#"
[watcher.stubborn]
cmd = ["/bin/sh", "-c", "trap '' TERM; echo >> heard; exec sleep infinity"]
working_dir = "HOME"
graceful_timeout = "1h"
"#;

/// The one who is too many is told so, and the connection is closed.
fn assert_turned_away(mut connection: Connection, limit: u64) {
    let error = connection.receive_reply().expect_err("one too many");
    assert_eq!(error.error, "io.circusd.TooMany");
    assert_eq!(
        error.parameters,
        json!({"what": "connections", "limit": limit})
    );
    assert_eq!(connection.receive(), None);
}

#[test]
fn a_thousand_clients_that_say_nothing() {
    if !may_hold_descriptors(2000) {
        return skip("a process may not hold 2000 descriptors here");
    }
    let daemon = Daemon::start(SLEEPER);
    let before = memory(&daemon);
    let mut caller = daemon.connect();
    let mut silent: Vec<Connection> = (0..1000).map(|_| daemon.connect()).collect();
    // Taken in after all of them, as they came before.
    let stats = daemon_stats(&daemon);
    assert_eq!(stats["connections"], 1002, "{stats}");
    // The one who asked has gone, or there would be room for one less.
    eventually("who asked has gone", || {
        let stats = caller.call("DaemonStats", json!({})).expect("it may look");
        (stats["stats"]["connections"] == 1001).then_some(())
    });
    let each = memory(&daemon).saturating_sub(before) / 1000;
    assert!(each < 16 * 1024, "a silent client costs {each} bytes");
    let more = 1024 - 1001;
    silent.extend((0..more).map(|_| daemon.connect()));
    assert_turned_away(daemon.connect(), 1024);
    // Who was there before the crowd is served.
    assert!(caller.call("Status", json!({})).is_ok());
    drop(silent);
    eventually("there is room again", || {
        let stats = caller.call("DaemonStats", json!({})).expect("it may look");
        (stats["stats"]["connections"] == 1).then_some(())
    });
    assert_alive(&daemon);
}

#[test]
fn the_limit_on_connections_is_that_of_the_last_reload() {
    let home = Home::new(&format!("[circusd]\nconnections_max = 1\n{SLEEPER}"));
    let daemon = home.start();
    let mut only = daemon.connect();
    only.call("List", json!({})).expect("the first is served");
    assert_turned_away(daemon.connect(), 1);
    home.configure(&format!("[circusd]\nconnections_max = 2\n{SLEEPER}"));
    only.call("ReloadConfig", json!({})).expect("it is good");
    let mut second = daemon.connect();
    second.call("List", json!({})).expect("there is room");
    assert_turned_away(daemon.connect(), 2);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_long_stop() {
    let home = Home::new("");
    home.configure(&STUBBORN.replace("HOME", &home.root().to_string_lossy()));
    let daemon = home.start();
    eventually("the worker does not hear", || {
        home.path("heard").exists().then_some(())
    });
    let mut events = daemon.subscribe();
    for more in [false, true] {
        let mut connection = daemon.connect();
        connection.send_call("Stop", json!({"watchers": "stubborn"}), more);
        if !more {
            events.wait("watcher.stubborn.kill");
        }
    }
    // What is left is the subscription, and the connection that asks.
    eventually("the daemon forgets those who have gone", || {
        (daemon_stats(&daemon)["connections"] == 2).then_some(())
    });
    assert_eq!(daemon.status("stubborn")["state"], "stopping");
    let killed = daemon.call(
        "Signal",
        json!({"watcher": "stubborn", "signal": "SIGKILL"}),
    );
    assert!(killed.is_ok(), "{killed:?}");
    events.wait("watcher.stubborn.stop");
    assert_eq!(daemon.status("stubborn")["state"], "stopped");
}

#[test]
fn a_client_that_only_listens_on_is_still_answered() {
    let home = Home::new("");
    home.configure(&STUBBORN.replace("HOME", &home.root().to_string_lossy()));
    let daemon = home.start();
    eventually("the worker does not hear", || {
        home.path("heard").exists().then_some(())
    });
    let mut events = daemon.subscribe();
    let mut connection = daemon.connect();
    connection.send_call("Stop", json!({"watchers": "stubborn"}), false);
    connection
        .stream()
        .shutdown(std::net::Shutdown::Write)
        .expect("a socket can be closed by half");
    events.wait("watcher.stubborn.kill");
    let killed = daemon.call(
        "Signal",
        json!({"watcher": "stubborn", "signal": "SIGKILL"}),
    );
    assert!(killed.is_ok(), "{killed:?}");
    let stopped = connection.receive_reply().expect("the stop is answered");
    assert_eq!(stopped["changes"][0]["watcher"], "stubborn", "{stopped}");
}

#[test]
fn what_is_sent_during_a_long_call_is_answered_after_it() {
    let home = Home::new("");
    home.configure(&STUBBORN.replace("HOME", &home.root().to_string_lossy()));
    let daemon = home.start();
    eventually("the worker does not hear", || {
        home.path("heard").exists().then_some(())
    });
    let mut events = daemon.subscribe();
    let mut connection = daemon.connect();
    connection.send_call("Stop", json!({"watchers": "stubborn"}), false);
    events.wait("watcher.stubborn.kill");
    for _ in 0..100 {
        connection.send_call("List", json!({}), false);
    }
    let killed = daemon.call(
        "Signal",
        json!({"watcher": "stubborn", "signal": "SIGKILL"}),
    );
    assert!(killed.is_ok(), "{killed:?}");
    let stopped = connection.receive_reply().expect("the stop is answered");
    assert_eq!(stopped["changes"][0]["watcher"], "stubborn", "{stopped}");
    for _ in 0..100 {
        let list = connection.receive_reply().expect("a call is answered");
        assert_eq!(list["watchers"], json!(["stubborn"]));
    }
}

#[test]
fn a_client_that_asks_and_never_reads() {
    let daemon = Daemon::start(SLEEPER);
    let mut caller = daemon.connect();
    let before = memory(&daemon);
    let mut deaf = daemon.connect();
    deaf.stream()
        .set_nonblocking(true)
        .expect("a socket can be made so");
    let call = br#"{"method":"io.circusd.Status"}"#.to_vec();
    let call = [&call[..], b"\n"].concat().repeat(1000);
    // Until the daemon, which cannot send, no longer reads: everything in between is full.
    let mut refusals = 0;
    while refusals < 10 {
        match deaf.stream().write(&call) {
            Ok(_) => refusals = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // A whole round of the daemon lies between two attempts.
                caller.call("Status", json!({})).expect("it is served");
                refusals += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let after = memory(&daemon);
    assert!(after < before + 4 * MIB, "{before} bytes, then {after}");
    assert_alive(&daemon);
}
