//! A full table of descriptors: who asks is told, the daemon goes on, and nothing is lost when
//! there is room again.

use std::io::Write;

use serde_json::{Value, json};

use super::common::{CallError, Connection, Daemon, Home, eventually};
use super::{assert_alive, daemon_stats};

/// Room for the daemon itself and some twenty clients or workers.
const DESCRIPTORS: u32 = 80;

/// Tries again for as long as a test may last.
const CONFIG: &str = r#"
[watcher.sleeper]
cmd = ["sleep", "infinity"]
max_retry = -1
backoff = { initial = "10ms", max = "50ms" }
"#;

/// `List` of a daemon that may have closed the connection before it is asked.
fn list(connection: &mut Connection) -> Result<Value, CallError> {
    // Why it is closed is read all the same.
    let _ = writeln!(connection.stream(), r#"{{"method":"io.circusd.List"}}"#);
    connection.receive_reply()
}

/// Connects until one is turned away; returns those who were not, and who were served.
fn fill(daemon: &Daemon) -> Vec<Connection> {
    let mut served = Vec::new();
    loop {
        let mut connection = daemon.connect();
        match list(&mut connection) {
            Ok(_) => served.push(connection),
            Err(error) => {
                assert_eq!(error.error, "io.circusd.TooMany");
                assert_eq!(error.parameters["what"], "connections");
                assert_eq!(connection.receive(), None);
                return served;
            }
        }
        assert!(served.len() < DESCRIPTORS as usize, "there is no limit");
    }
}

#[test]
fn clients_fill_the_table() {
    let daemon = Home::new(CONFIG).start_with_descriptors(DESCRIPTORS);
    let mut events = daemon.subscribe();
    let mut clients = fill(&daemon);
    assert!(clients.len() > 3, "{}", clients.len());
    // The next and the next are told as well.
    for _ in 0..3 {
        assert!(list(&mut daemon.connect()).is_err());
    }
    let first = &mut clients[0];
    let stats = first.call("DaemonStats", json!({})).expect("it is served");
    assert!(stats["stats"]["memory_rss"].as_u64() > Some(0), "{stats}");
    assert!(stats["stats"]["fds"].as_u64() > Some(0), "{stats}");
    // A worker that ends meanwhile is replaced, now or when there is room.
    first
        .call("Signal", json!({"watcher": "sleeper", "signal": "SIGKILL"}))
        .expect("it is served");
    events.wait("watcher.sleeper.reap");
    drop(clients);
    events.wait("watcher.sleeper.ready");
    assert_alive(&daemon);
}

#[test]
fn workers_fill_the_table() {
    let daemon = Home::new(CONFIG).start_with_descriptors(DESCRIPTORS);
    let mut events = daemon.subscribe();
    let mut client = daemon.connect();
    let before = daemon_stats(&daemon)["fds"].as_u64().expect("a number");
    let more = json!({"watcher": "sleeper", "numprocesses": 100, "wait": false});
    client.call("Scale", more).expect("it is accepted");
    let failed = events.wait("watcher.sleeper.spawn_failed");
    let error = failed["data"]["error"].as_str().expect("a reason");
    assert!(error.contains("Too many open files"), "{failed}");
    let status = client.call("Status", json!({})).expect("it is served");
    let status = &status["watchers"][0];
    let reason = status["reason"]["text"].as_str().unwrap_or_default();
    assert!(reason.contains("Too many open files"), "{status}");
    // Whoever comes now is served as well.
    let another = list(&mut daemon.connect());
    another.expect("some descriptors are for clients alone");
    let fds = daemon_stats(&daemon)["fds"].as_u64().expect("a number");
    assert!(fds + 16 < u64::from(DESCRIPTORS), "{fds}");

    // Somebody ends: its successor has room again, or the next attempt has.
    let killed = client.call(
        "Signal",
        json!({"watcher": "sleeper", "signal": "SIGKILL", "wid": 1}),
    );
    killed.expect("it is served");
    events.wait_where("watcher.sleeper.reap", |data| data["wid"] == 1);

    let fewer = json!({"watcher": "sleeper", "numprocesses": 2});
    let scaled = client.call("Scale", fewer).expect("it is accepted");
    assert_eq!(scaled["numprocesses"], 2);
    let status = daemon.wait_until("sleeper", |status| {
        status["state"] == "active" && status["processes"].as_array().map(Vec::len) == Some(2)
    });
    assert!(status["reason"].is_null(), "{status}");
    eventually("what was held for the others is free", || {
        // One more process runs than before.
        (daemon_stats(&daemon)["fds"] == before + 1).then_some(())
    });
}

#[test]
fn a_worker_that_leaves_others_behind_while_the_table_is_full() {
    let config = r#"
[watcher.sleeper]
cmd = ["/bin/sh", "-c", "sleep infinity & exec sleep infinity"]
graceful_timeout = "1s"
max_retry = -1
backoff = { initial = "10ms", max = "50ms" }
"#;
    let daemon = Home::new(config).start_with_descriptors(DESCRIPTORS);
    let mut events = daemon.subscribe();
    let mut clients = fill(&daemon);
    clients[0]
        .call("Signal", json!({"watcher": "sleeper", "signal": "SIGKILL"}))
        .expect("it is served");
    events.wait("watcher.sleeper.reap");
    let stopped = clients[0].call("Stop", json!({"watchers": "sleeper"}));
    stopped.expect("it can be stopped");
    drop(clients);
    assert_eq!(daemon.status("sleeper")["state"], "stopped");
    assert_eq!(daemon.status("sleeper")["processes"], json!([]));
}
