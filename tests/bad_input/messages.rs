//! What is no message, or none that the daemon knows.

use std::io::{ErrorKind, Write};

use serde_json::{Value, json};

use super::common::{Connection, Daemon, eventually};
use super::{SLEEPER, assert_alive, daemon_stats, memory};

const MIB: u64 = 1 << 20;

/// Sends bytes to a daemon that may have enough of them before they end.
fn send(connection: &mut Connection, bytes: &[u8]) -> bool {
    match connection.stream().write_all(bytes) {
        Ok(()) => true,
        Err(error) => {
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                "{error}"
            );
            false
        }
    }
}

/// The daemon says once that this is no message, why, and hangs up.
fn assert_no_message(connection: &mut Connection, reason: &str) {
    let error = connection
        .receive_reply()
        .expect_err("what is no message is refused");
    assert_eq!(error.error, "io.circusd.InvalidMessage");
    let told = error.parameters["reason"].as_str().expect("a reason");
    assert!(told.contains(reason), "'{told}' says nothing of '{reason}'");
    assert_eq!(connection.receive(), None);
}

/// The reply to a message that is whole, but not right.
fn refused(connection: &mut Connection, message: &Value) -> Value {
    connection.send(message);
    connection.receive().expect("a call is answered")
}

#[test]
fn ten_thousand_bytes_of_garbage() {
    let daemon = Daemon::start(SLEEPER);
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
        // Whatever comes first, a newline is to end it: what a NUL ends is answered with a NUL.
        ((state >> 56) as u8).max(1)
    };
    // The first byte is in no text, so that there is no blank line to be skipped.
    let garbage: Vec<u8> = std::iter::once(0xff)
        .chain(std::iter::repeat_with(&mut next).take(9_999))
        .collect();
    let mut connection = daemon.connect();
    send(&mut connection, &garbage);
    send(&mut connection, b"\n");
    assert_no_message(&mut connection, "UTF-8");
    assert_alive(&daemon);
}

#[test]
fn a_line_of_a_hundred_megabytes_costs_the_daemon_one() {
    let daemon = Daemon::start(SLEEPER);
    let before = memory(&daemon);
    let mut connection = daemon.connect();
    let chunk = vec![b'x'; MIB as usize];
    let all_sent = (0..100).all(|_| send(&mut connection, &chunk));
    assert!(!all_sent, "the daemon read all of it");
    assert_no_message(&mut connection, "longer than 1048576 bytes");
    let after = memory(&daemon);
    assert!(after < before + 8 * MIB, "{before} bytes, then {after}");
    assert_alive(&daemon);
}

#[test]
fn json_nested_a_hundred_thousand_deep() {
    const DEPTH: usize = 100_000;
    let daemon = Daemon::start(SLEEPER);
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let (open, close) = (open.repeat(DEPTH), close.repeat(DEPTH));
        let call = r#"{"method":"io.circusd.Status","parameters":{"watchers":"#;
        let text = format!("{call}{open}1{close}}}}}\n");
        let mut connection = daemon.connect();
        send(&mut connection, text.as_bytes());
        assert_no_message(&mut connection, "recursion limit");
    }
    assert_alive(&daemon);
}

#[test]
fn what_is_json_and_no_call() {
    let daemon = Daemon::start(SLEEPER);
    for text in [
        "[]",
        "1",
        "null",
        "\"x\"",
        "{}",
        "{\"method\":1}",
        "{\"method\":\"a.b\",\"parameters\":[]}",
        "{\"method\":\"a.b\",\"more\":\"yes\"}",
        "{",
        "}",
        "{\"method\":\"a.b\"}x",
    ] {
        let mut connection = daemon.connect();
        send(&mut connection, format!("{text}\n").as_bytes());
        assert_no_message(&mut connection, "");
    }
    assert_alive(&daemon);
}

#[test]
fn what_is_not_known_is_refused_by_its_name() {
    let daemon = Daemon::start(SLEEPER);
    let mut connection = daemon.connect();
    for (method, parameters, error, told) in [
        (
            "io.circusd.Dance",
            json!({}),
            "MethodNotFound",
            json!({"method": "io.circusd.Dance"}),
        ),
        (
            "io.example.Dance",
            json!({}),
            "InterfaceNotFound",
            json!({"interface": "io.example"}),
        ),
        ("Dance", json!({}), "InterfaceNotFound", Value::Null),
        ("", json!({}), "InterfaceNotFound", Value::Null),
        (
            "org.varlink.service.Dance",
            json!({}),
            "MethodNotFound",
            json!({"method": "org.varlink.service.Dance"}),
        ),
        (
            "io.circusd.Status",
            json!({"watcher": "x"}),
            "InvalidParameter",
            json!({"parameter": "watcher"}),
        ),
        (
            "io.circusd.Status",
            json!({"watchers": 7}),
            "InvalidParameter",
            json!({"parameter": "watchers"}),
        ),
        (
            "io.circusd.Status",
            json!({"watchers": {"a": [1]}}),
            "InvalidParameter",
            json!({"parameter": "watchers"}),
        ),
        (
            "io.circusd.Scale",
            json!({"watcher": "sleeper", "numprocesses": -1}),
            "InvalidParameter",
            json!({"parameter": "numprocesses"}),
        ),
        (
            "io.circusd.Scale",
            json!({"watcher": "sleeper", "numprocesses": 1.5}),
            "InvalidParameter",
            json!({"parameter": "numprocesses"}),
        ),
        (
            "io.circusd.Scale",
            json!({"watcher": "sleeper", "numprocesses": 1e300}),
            "InvalidParameter",
            json!({"parameter": "numprocesses"}),
        ),
        (
            "io.circusd.Scale",
            json!({"watcher": "sleeper"}),
            "InvalidParameter",
            json!({"parameter": "numprocesses"}),
        ),
        (
            "io.circusd.Signal",
            json!({"watcher": "sleeper", "signal": "SIGNOTHING"}),
            "InvalidParameter",
            json!({"parameter": "signal"}),
        ),
        (
            "io.circusd.Signal",
            json!({"watcher": "sleeper"}),
            "InvalidParameter",
            json!({"parameter": "signal"}),
        ),
        (
            "io.circusd.Kill",
            json!({"watcher": "sleeper", "pid": 4_294_967_295_u64}),
            "InvalidParameter",
            json!({"parameter": "pid"}),
        ),
        (
            "io.circusd.Subscribe",
            json!({}),
            "ExpectedMore",
            Value::Null,
        ),
    ] {
        let call = json!({"method": method, "parameters": parameters});
        let reply = refused(&mut connection, &call);
        let whole = format!("org.varlink.service.{error}");
        assert_eq!(reply["error"], whole, "{call}: {reply}");
        if !told.is_null() {
            assert_eq!(reply["parameters"], told, "{call}");
        }
    }
    // A mistake of that kind costs nobody his connection.
    assert!(connection.call("Status", json!({})).is_ok());
}

#[test]
fn half_a_message_and_then_nothing() {
    let daemon = Daemon::start(SLEEPER);
    let mut connection = daemon.connect();
    send(&mut connection, br#"{"method":"io.circusd.Quit","parame"#);
    drop(connection);
    eventually("the daemon forgets a client that has gone", || {
        (daemon_stats(&daemon)["connections"] == 1).then_some(())
    });
    assert_alive(&daemon);
}

#[test]
fn calls_sent_together_are_answered_in_order() {
    let daemon = Daemon::start(SLEEPER);
    let mut connection = daemon.connect();
    let calls = [
        json!({"method": "org.varlink.service.GetInfo"}),
        json!({"method": "io.circusd.List"}),
        json!({"method": "io.circusd.Scale", "more": true,
            "parameters": {"watcher": "sleeper", "numprocesses": 3}}),
        json!({"method": "io.circusd.Dance"}),
        json!({"method": "io.circusd.Scale", "oneway": true,
            "parameters": {"watcher": "sleeper", "numprocesses": 2}}),
        json!({"method": "io.circusd.Status", "parameters": {"watchers": "sleeper"}}),
    ];
    let text: String = calls.iter().map(|call| format!("{call}\n")).collect();
    assert!(send(&mut connection, text.as_bytes()));

    let info = connection.receive_reply().expect("GetInfo is answered");
    assert_eq!(info["product"], "circusd");
    let list = connection.receive_reply().expect("List is answered");
    assert_eq!(list["watchers"], json!(["sleeper"]));
    let scaled = std::iter::from_fn(|| connection.receive())
        .find(|reply| reply["continues"] != true)
        .expect("Scale is answered");
    assert_eq!(scaled["parameters"]["numprocesses"], 3, "{scaled}");
    let unknown = connection.receive_reply().expect_err("nobody dances");
    assert_eq!(unknown.error, "org.varlink.service.MethodNotFound");
    // What wanted no reply has none, and was carried out before the next.
    let status = connection.receive_reply().expect("Status is answered");
    assert_eq!(status["watchers"][0]["numprocesses"], 2, "{status}");
}

#[test]
fn both_framings_live_on_one_socket() {
    let daemon = Daemon::start(SLEEPER);
    let list = br#"{"method":"io.circusd.List"}"#;
    for (first, second) in [(b'\n', 0), (0, b'\n')] {
        let mut connection = daemon.connect();
        let two = [&list[..], &[first], &list[..], &[second]].concat();
        assert!(send(&mut connection, &two));
        // The first message says how all are answered.
        let mut reader = std::io::BufReader::new(connection.stream());
        for _ in 0..2 {
            let mut reply = Vec::new();
            std::io::BufRead::read_until(&mut reader, first, &mut reply).expect("a reply comes");
            assert_eq!(reply.pop(), Some(first));
            let reply: Value = serde_json::from_slice(&reply).expect("it is JSON and no more");
            assert_eq!(reply["parameters"]["watchers"], json!(["sleeper"]));
        }
    }
}
