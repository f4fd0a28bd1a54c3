//! Subscribers that do not read: they cost a bounded amount of memory, delay nobody, and are told
//! what they have missed.

use serde_json::{Value, json};

use super::common::{Connection, Daemon};
use super::memory;

const MIB: u64 = 1 << 20;

/// Few events are kept, so that most of those that follow are gone before they are read.
const CONFIG: &str = r#"
[circusd]
event_buffer = 64
log_level = "error"
[watcher.sleeper]
cmd = ["sleep", "infinity"]
"#;

/// Makes `count` events: a signal that does nothing, sent by an operator.
fn make_events(daemon: &Daemon, count: usize) {
    const AT_ONCE: usize = 100;
    let mut connection = daemon.connect();
    for _ in 0..count / AT_ONCE {
        for _ in 0..AT_ONCE {
            let signal = json!({"watcher": "sleeper", "signal": "SIGCONT"});
            connection.send_call("Signal", signal, false);
        }
        for _ in 0..AT_ONCE {
            let reply = connection.receive_reply().expect("it runs");
            assert_eq!(reply["pids"].as_array().map(Vec::len), Some(1), "{reply}");
        }
    }
}

fn subscribe(daemon: &Daemon, parameters: Value) -> (Connection, u64) {
    let mut connection = daemon.connect();
    connection.send_call("Subscribe", parameters, true);
    let opening = connection.receive_reply().expect("everyone may listen");
    let seq = sequence(&opening);
    (connection, seq)
}

fn sequence(reply: &Value) -> u64 {
    let cursor = reply["cursor"].as_str().expect("a cursor");
    let (_, seq) = cursor.split_once(':').expect("instance and number");
    seq.parse().expect("a number")
}

/// Reads all up to event `last`: each number is either told or part of a gap. Returns how many
/// events were missed.
fn read_all(connection: &mut Connection, mut position: u64, last: u64) -> u64 {
    let mut missed = 0;
    while position < last {
        let reply = connection.receive_reply().expect("a stream of events");
        let (first, end) = match &reply["gap"] {
            Value::Null => {
                let seq = reply["event"]["seq"].as_u64().expect("a number");
                (seq, seq)
            }
            gap => {
                let number = |key: &str| gap[key].as_u64().expect("a number");
                missed += number("last") - number("first") + 1;
                (number("first"), number("last"))
            }
        };
        assert_eq!(first, position + 1, "after {position}: {reply}");
        assert_eq!(sequence(&reply), end, "{reply}");
        position = end;
    }
    missed
}

fn last_event(daemon: &Daemon) -> u64 {
    let reply = daemon.call("DaemonStats", json!({})).expect("it may look");
    reply["stats"]["events_total"].as_u64().expect("a number")
}

#[test]
fn subscribers_that_never_read_cost_little_and_are_told_of_a_gap() {
    const DEAF: usize = 20;
    const EVENTS: usize = 20_000;
    let daemon = Daemon::start(CONFIG);
    // One that reads at all times would have to read all of it; it has a log of its own to fill.
    make_events(&daemon, 200);
    let before = memory(&daemon);
    let mut deaf: Vec<_> = (0..DEAF).map(|_| subscribe(&daemon, json!({}))).collect();
    make_events(&daemon, EVENTS);
    let after = memory(&daemon);
    // A batch each, and what the kernel takes is its own.
    assert!(after < before + 6 * MIB, "{before} bytes, then {after}");

    let last = last_event(&daemon);
    let (connection, position) = &mut deaf[0];
    let missed = read_all(connection, *position, last);
    assert!(missed > 0, "nothing was missed of {EVENTS} events");
    // And it goes on as if nothing had been.
    make_events(&daemon, 100);
    let now = last_event(&daemon);
    read_all(connection, last, now);
}

#[test]
fn a_subscriber_that_reads_misses_nothing_beside_one_that_does_not() {
    let daemon = Daemon::start(&CONFIG.replace("64", "8192"));
    let (_deaf, _) = subscribe(&daemon, json!({}));
    let (mut listener, position) = subscribe(&daemon, json!({}));
    for _ in 0..20 {
        make_events(&daemon, 200);
    }
    let last = last_event(&daemon);
    assert_eq!(read_all(&mut listener, position, last), 0);
}

#[test]
fn who_comes_back_too_late_is_told_so() {
    let daemon = Daemon::start(CONFIG);
    let (connection, position) = subscribe(&daemon, json!({}));
    drop(connection);
    make_events(&daemon, 1000);
    let cursor = |seq: u64| {
        let (mut connection, _) = (daemon.connect(), ());
        connection.send_call("Subscribe", json!({}), true);
        let opening = connection.receive_reply().expect("everyone may listen");
        let cursor = opening["cursor"].as_str().expect("a cursor").to_owned();
        let (instance, _) = cursor.split_once(':').expect("instance and number");
        format!("{instance}:{seq}")
    };
    let last = last_event(&daemon);
    let mut late = daemon.connect();
    late.send_call("Subscribe", json!({"since": cursor(position)}), true);
    // The first reply says where the stream starts: behind the gap that follows it.
    late.receive_reply().expect("everyone may listen");
    assert!(read_all(&mut late, position, last) > 0);

    for since in ["", "x", ":", "a:b", "a:-1", "a:99999999999999999999999"] {
        let error = daemon.connect();
        let mut error = error;
        error.send_call("Subscribe", json!({"since": since}), true);
        let error = error.receive_reply().expect_err("it is no cursor");
        assert_eq!(error.error, "org.varlink.service.InvalidParameter");
        assert_eq!(error.parameters, json!({"parameter": "since"}), "{since}");
    }
}
