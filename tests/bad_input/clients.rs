//! Clients that say nothing, too many of them, and those that leave or do not listen.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::common::facts::{pids, without_cgroups};
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
    // The only other client there is: what others leave behind is noticed a moment later.
    let mut caller = daemon.connect();
    let mut stats = || {
        let reply = caller.call("DaemonStats", json!({}));
        reply.expect("who was there before is served")["stats"].clone()
    };
    let before = stats();
    let mut silent: Vec<Connection> = (0..1000).map(|_| daemon.connect()).collect();
    let crowded = eventually("all are taken in", || {
        Some(stats()).filter(|stats| stats["connections"] == 1001)
    });
    let bytes = |stats: &Value| stats["memory_rss"].as_u64().expect("a number");
    let each = bytes(&crowded).saturating_sub(bytes(&before)) / 1000;
    assert!(each < 16 * 1024, "a silent client costs {each} bytes");

    silent.extend((1001..1024).map(|_| daemon.connect()));
    assert_turned_away(daemon.connect(), 1024);
    assert_turned_away(daemon.connect(), 1024);
    drop(silent);
    eventually("there is room again", || {
        (stats()["connections"] == 1).then_some(())
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
    let output = daemon.ctl(&["status"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{complaint}");
    assert!(complaint.contains("connections"), "{complaint}");
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
    let call = [&br#"{"method":"io.circusd.Status"}"#[..], b"\n"].concat();
    let call = call.repeat(1000);
    // What the first calls cost is the program itself, which comes into memory as it is used.
    caller.stream().write_all(&call).expect("the daemon reads");
    (0..1000).for_each(|_| {
        caller.receive_reply().expect("it is served");
    });
    let before = memory(&daemon);
    let mut deaf = daemon.connect();
    deaf.stream()
        .set_nonblocking(true)
        .expect("a socket can be made so");
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

/// Answers that cost much are given one after the other, and what happens meanwhile comes between
/// them: who has asked for so much waits, not the workers.
#[test]
fn a_crowd_that_asks_for_much_does_not_delay_a_respawn() {
    const CLIENTS: usize = 40;
    let daemon = Daemon::start(&format!(
        "{SLEEPER}[watcher.many]\ncmd = ['sleep', 'infinity']\nnumprocesses = 100\n"
    ));
    let mut events = daemon.subscribe_with(json!({"topics": ["watcher.sleeper.spawn"]}));
    let pid = *pids(&daemon.status("sleeper")).first().expect("one runs");
    let mut crowd: Vec<Connection> = (0..CLIENTS).map(|_| daemon.connect()).collect();
    for client in &mut crowd {
        client.send_call("Stats", json!({}), false);
    }
    let pid = Pid::from_raw(pid.try_into().expect("a pid"));
    kill(pid, Signal::SIGKILL).expect("it runs");
    events.next();
    let answered = crowd.iter_mut().filter_map(has_answer).count();
    for client in &mut crowd {
        client.receive_reply().expect("everyone is answered");
    }
    assert!(
        answered < CLIENTS * 3 / 4,
        "{answered} of {CLIENTS} came first"
    );
}

/// Whether something is there to be read.
fn has_answer(client: &mut Connection) -> Option<()> {
    let stream = client.stream();
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::ZERO).expect("a socket can be polled");
    (ready > 0).then_some(())
}

/// A start waits until the program runs, so many of them are begun a few at a time.
#[test]
fn a_great_many_starts_do_not_delay_a_client() {
    const WORKERS: u64 = 300;
    let daemon = Daemon::start(&format!(
        "{SLEEPER}[watcher.many]\ncmd = ['sleep', 'infinity']\nnumprocesses = 0\n"
    ));
    let mut client = daemon.connect();
    let many = json!({"watcher": "many", "numprocesses": WORKERS, "wait": false});
    client.call("Scale", many).expect("there may be so many");
    let stats = client.call("DaemonStats", json!({}));
    let spawns = &stats.expect("everyone may look")["stats"]["spawns_total"];
    assert!(spawns.as_u64() < Some(WORKERS), "{spawns} came first");
    let all = daemon.wait_until("many", |status| {
        status["processes"].as_array().map(Vec::len) == Some(WORKERS as usize)
    });
    assert_eq!(all["state"], "active", "{all}");
}

/// Without cgroups the processes of a worker are looked for among all of the machine: once for all
/// workers that are killed together, not once for each.
#[test]
fn a_great_many_kills_do_not_delay_a_client() {
    const WORKERS: usize = 300;
    // Some tenths of a second are needed; to look for each by itself took eleven seconds.
    const CPU_USEC_MAX: u64 = 3_000_000;
    let daemon = without_cgroups(&Home::new(&format!(
        "[watcher.deaf]
        cmd = ['sh', '-c', 'trap \"\" TERM; echo >> $HOME/heard; while :; do sleep 1000; done']
        numprocesses = {WORKERS}
        graceful_timeout = '100ms'"
    )));
    eventually("none of them hears", || {
        let heard = std::fs::read_to_string(daemon.home().path("heard")).ok()?;
        (heard.lines().count() == WORKERS).then_some(())
    });
    let cpu_usec = || daemon_stats(&daemon)["cpu_usec"].as_u64().expect("a time");
    let before = cpu_usec();
    let stopped = daemon.call("Stop", json!({"watchers": "deaf"}));
    let stopped = stopped.expect("it stops")["changes"][0]["stopped"].clone();
    assert_eq!(stopped.as_array().map(Vec::len), Some(WORKERS));
    let needed = cpu_usec() - before;
    assert!(needed < CPU_USEC_MAX, "{needed} microseconds");
}
