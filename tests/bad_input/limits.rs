//! More watchers and processes than there may be: refused whole.

use serde_json::{Value, json};

use super::common::{CallError, Daemon};
use super::{SLEEPER, assert_alive};

fn assert_too_many(reply: Result<Value, CallError>, what: &str, limit: u64) {
    let error = reply.expect_err("it is too many");
    assert_eq!(error.error, "io.circusd.TooMany");
    assert_eq!(error.parameters, json!({"what": what, "limit": limit}));
}

#[test]
fn processes() {
    let daemon = Daemon::start(&format!("[circusd]\nprocesses_max = 10\n{SLEEPER}"));
    let scale = |parameters: Value| daemon.call("Scale", parameters);
    for parameters in [
        json!({"watcher": "sleeper", "numprocesses": 11}),
        json!({"watcher": "sleeper", "numprocesses": 4_000_000_000_u64}),
        json!({"watcher": "sleeper", "delta": 10}),
        json!({"watcher": "sleeper", "delta": i64::MAX}),
    ] {
        assert_too_many(scale(parameters), "processes", 10);
    }
    let set = |number: u64| {
        let options = json!({"numprocesses": number});
        daemon.call("Set", json!({"watcher": "sleeper", "options": options}))
    };
    assert_too_many(set(11), "processes", 10);
    let add = |number: u64| {
        let options = json!({"cmd": "sleep infinity", "numprocesses": number});
        daemon.call(
            "Add",
            json!({"watcher": "other", "options": options, "start": true}),
        )
    };
    assert_too_many(add(10), "processes", 10);
    assert_eq!(daemon.status("sleeper")["numprocesses"], 1);
    assert_eq!(
        daemon.call("List", json!({})).expect("it may look")["watchers"],
        json!(["sleeper"])
    );

    // What is refused leaves no trace, and what is just enough is granted.
    add(9).expect("ten may run");
    scale(json!({"watcher": "other", "delta": i64::MIN})).expect("none is as few as can be");
    assert_eq!(daemon.status("other")["numprocesses"], 0);
    set(10).expect("ten may run");
    assert_alive(&daemon);
}

#[test]
fn watchers() {
    let daemon = Daemon::start(&format!("[circusd]\nwatchers_max = 2\n{SLEEPER}"));
    let add = |name: &str| {
        let options = json!({"cmd": "sleep infinity"});
        daemon.call("Add", json!({"watcher": name, "options": options}))
    };
    add("second").expect("two may be");
    assert_too_many(add("third"), "watchers", 2);
    // Refused for its own reason even when there is no room.
    let twice = add("second").expect_err("it is there");
    assert_eq!(twice.error, "io.circusd.WatcherExists");
    daemon
        .call("Remove", json!({"watcher": "second"}))
        .expect("it can go");
    add("third").expect("there is room again");
    assert_alive(&daemon);
}

#[test]
fn requests_that_wait() {
    let config = "[watcher.sleeper]
cmd = ['sleep', 'infinity']
\
        [watcher.s]
cmd = ['/bin/sh', '-c', \"trap '' TERM; exec sleep infinity\"]
\
        graceful_timeout = '1h'
";
    let daemon = Daemon::start(config);
    let mut client = daemon.connect();
    // A flood of wishes that contradict each other costs no memory: none of them waits.
    for round in 0..2000 {
        let verb = if round % 2 == 0 { "Stop" } else { "Start" };
        let reply = client.call(verb, json!({"watchers": "s", "wait": false}));
        assert!(reply.is_ok(), "{round}: {reply:?}");
    }
    assert_alive(&daemon);
    let killed = daemon.call("Signal", json!({"watcher": "s", "signal": "SIGKILL"}));
    assert!(killed.is_ok(), "{killed:?}");
    daemon.wait_until("s", |status| status["state"] == "active");
    daemon
        .call(
            "Set",
            json!({"watcher": "s", "options": {"graceful_timeout": "0s"}}),
        )
        .expect("it can be changed");
}
