//! What subscribers hear: everything, once, in order, from where they ask, or an explicit gap.

mod common;

use std::collections::BTreeMap;

use common::facts::{history, in_each_mode, pid_of, told_until_now, topics};
use common::{Daemon, Events};
use serde_json::{Value, json};

const WEB: &str = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\n";

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().expect("an event has a number")
}

/// Each number is the one before and 1.
fn assert_without_gaps(events: &[Value]) {
    for pair in events.windows(2) {
        assert_eq!(seq(&pair[1]), seq(&pair[0]) + 1, "{pair:#?}");
    }
}

#[test]
fn numbers_have_no_gaps_and_an_event_says_all_that_it_must() {
    let daemon = Daemon::start(WEB);
    daemon.call("Restart", json!({})).expect("it restarts");
    let told = history(&daemon);
    assert_without_gaps(&told);
    assert_eq!(seq(&told[0]), 1);
    for event in &told {
        let topic = match event["watcher"].as_str() {
            Some(watcher) => format!(
                "watcher.{watcher}.{}",
                event["action"].as_str().expect("a word")
            ),
            None => format!("circusd.{}", event["action"].as_str().expect("a word")),
        };
        assert_eq!(event["topic"], topic.as_str());
        assert!(event["data"].is_object(), "{event}");
        assert!(
            event["time_usec"].as_u64() > Some(1_600_000_000_000_000),
            "{event}"
        );
        assert!(
            event["cursor"]
                .as_str()
                .is_some_and(|at| at.ends_with(&format!(":{}", seq(event))))
        );
    }
}

#[test]
fn one_who_comes_back_goes_on_exactly_behind_his_cursor() {
    let daemon = Daemon::start(WEB);
    let mut events = daemon.subscribe();
    daemon.call("Restart", json!({})).expect("it restarts");
    let told = told_until_now(&daemon, &mut events);
    let middle = &told[told.len() / 2];
    let mut again = daemon.subscribe_with(json!({"since": middle["cursor"]}));
    assert_eq!(again.opening["cursor"], middle["cursor"]);
    for event in &told[told.len() / 2 + 1..] {
        assert_eq!(&again.next(), event);
    }
}

#[test]
fn what_is_no_longer_kept_is_told_as_a_gap() {
    let daemon = Daemon::start(&format!("[circusd]\nevent_buffer = 5\n{WEB}"));
    daemon.call("Restart", json!({})).expect("it restarts");
    let opening = daemon.subscribe().opening;
    let cursor = opening["cursor"].as_str().expect("a cursor");
    let (instance, last) = cursor.rsplit_once(':').expect("INSTANCE:SEQ");
    let last: u64 = last.parse().expect("a number");
    for (since, first) in [(format!("{instance}:1"), 2), ("strange:7".to_owned(), 0)] {
        let mut client = daemon.connect();
        client.send_call("Subscribe", json!({"since": since}), true);
        client.receive_reply().expect("the opening");
        let gap = client.receive_reply().expect("a gap");
        assert_eq!(gap["gap"], json!({"first": first, "last": last - 5}));
        let event = client.receive_reply().expect("an event");
        assert_eq!(event["event"]["seq"], last - 4);
    }
    let wrong = daemon
        .connect()
        .call_more("Subscribe", json!({"since": "nonsense"}));
    assert_eq!(
        wrong.expect_err("no cursor").error,
        "org.varlink.service.InvalidParameter"
    );
}

#[test]
fn patterns_are_read_from_both_ends() {
    let config = "
        [watcher.web]\ncmd = 'sleep 1000'
        [watcher.'web.spawn']\ncmd = 'sleep 1000'
        [watcher.api]\ncmd = 'sleep 1000'";
    let daemon = Daemon::start(config);
    let heard = |patterns: Value| -> Vec<String> {
        let all = history(&daemon);
        let opening = daemon.subscribe().opening["cursor"].clone();
        let instance = opening
            .as_str()
            .and_then(|at| at.split(':').next())
            .expect("a cursor")
            .to_owned();
        let wanted = json!({"topics": patterns, "since": format!("{instance}:0")});
        let mut events = daemon.subscribe_with(wanted);
        // A marker that every pattern here hears would spoil them: the last event of all is known.
        let last = all.iter().rev().map(|event| event["topic"].clone());
        let last: Vec<Value> = last.collect();
        let mut told = Vec::new();
        let count = expected(&patterns, &all);
        for _ in 0..count {
            told.push(events.next()["topic"].as_str().expect("a topic").to_owned());
        }
        assert!(!last.is_empty());
        told
    };
    assert_eq!(
        heard(json!(["*.spawn"])),
        [
            "watcher.web.spawn",
            "watcher.web.spawn.spawn",
            "watcher.api.spawn"
        ]
    );
    assert!(
        heard(json!(["watcher.web.*"]))
            .iter()
            .all(|topic| !topic.starts_with("watcher.web.spawn."))
    );
    assert!(
        heard(json!(["circusd.*"]))
            .iter()
            .all(|topic| topic.starts_with("circusd."))
    );
    assert_eq!(
        heard(json!(["watcher.api.start", "watcher.web.spawn.start"])).len(),
        2
    );
}

/// How many of `all` are to be heard by `patterns`; by the names alone, told by hand.
fn expected(patterns: &Value, all: &[Value]) -> usize {
    let is = |event: &&Value| {
        let (watcher, action) = (event["watcher"].as_str(), event["action"].as_str());
        patterns
            .as_array()
            .expect("a list")
            .iter()
            .any(|pattern| match pattern.as_str() {
                Some("*.spawn") => action == Some("spawn"),
                Some("watcher.web.*") => watcher == Some("web"),
                Some("circusd.*") => watcher.is_none(),
                Some("watcher.api.start") => (watcher, action) == (Some("api"), Some("start")),
                Some("watcher.web.spawn.start") => {
                    (watcher, action) == (Some("web.spawn"), Some("start"))
                }
                other => panic!("{other:?}"),
            })
    };
    all.iter().filter(is).count()
}

#[test]
fn a_snapshot_and_the_stream_fit_together() {
    let daemon = Daemon::start(WEB);
    let mut events = daemon.subscribe_with(json!({"snapshot": true}));
    let snapshot = events.opening["watchers"].clone();
    assert_eq!(snapshot[0], daemon.status("web"));
    let cursor = events.opening["cursor"]
        .as_str()
        .expect("a cursor")
        .to_owned();
    daemon
        .call("Scale", json!({"watcher": "web", "delta": 1}))
        .expect("one more");
    let next = events.next();
    assert!(
        cursor.ends_with(&format!(":{}", seq(&next) - 1)),
        "{cursor} {next}"
    );
}

#[test]
fn listen_prints_one_event_a_line() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let daemon = Daemon::start(WEB);
    let mut command = daemon
        .home()
        .circusctl(&["--json", "listen", "watcher.web.*"]);
    let mut listener = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut lines = BufReader::new(listener.stdout.take().expect("a pipe")).lines();
    // It is heard when it listens; until then the watcher is signalled again and again.
    let heard = std::thread::scope(|scope| {
        let line = scope.spawn(|| lines.next().expect("a line").expect("text"));
        common::eventually("the listener listens", || {
            let stop = json!({"watcher": "web", "signal": "CONT"});
            daemon.call("Signal", stop).expect("it runs");
            line.is_finished().then_some(())
        });
        line.join().expect("a line")
    });
    listener.kill().expect("it is ours");
    listener.wait().expect("it is ours");
    let told: Value = serde_json::from_str(&heard).expect("one object");
    assert_eq!(told["event"]["topic"], "watcher.web.kill", "{told}");
}

#[test]
fn each_process_is_told_once_when_it_comes_and_once_when_it_goes() {
    let config = "
        [watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3
        [watcher.short]\ncmd = ['sh', '-c', 'exit 1']\nbackoff = {initial = '20ms', max = '20ms'}\nflapping = false
        [watcher.old]\ncmd = 'sleep 1000'\nmax_age = '100ms'\nmax_age_variance = '50ms'\nnumprocesses = 2
        [watcher.left]\ncmd = ['sh', '-c', 'sleep 1000 & exec sleep 1000']\ngraceful_timeout = 0";
    in_each_mode(config, |daemon| {
        let mut client = daemon.connect();
        for round in 0..5 {
            for (method, params) in [
                ("Signal", json!({"watcher": "web", "signal": "KILL"})),
                (
                    "Scale",
                    json!({"watcher": "web", "numprocesses": 1 + round % 4, "wait": false}),
                ),
                ("Reload", json!({"watchers": "web", "wait": false})),
                ("Kill", json!({"watcher": "left"})),
                ("Restart", json!({"watchers": "left", "wait": false})),
                ("Stop", json!({"watchers": "web", "wait": false})),
                ("Start", json!({"watchers": "web", "wait": false})),
                ("Reload", json!({"watchers": "web", "sequential": true})),
            ] {
                // Some come too late or contradict the one before; that is the scenario.
                let _ = client.call(method, params);
            }
        }
        client.call("Stop", json!({})).expect("all stop");
        let told = history(daemon);
        assert_without_gaps(&told);
        let mut lives: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for event in &told {
            if let Some(action @ ("spawn" | "reap")) = event["action"].as_str() {
                lives.entry(pid_of(event)).or_default().push(action);
            }
        }
        assert!(lives.len() > 20, "{}", topics(&told).len());
        // A pid that came back within the test would be told twice; the kernel does not do that.
        for (pid, told) in lives {
            assert_eq!(told, ["spawn", "reap"], "{pid}");
        }
    });
}

#[test]
fn all_subscribers_hear_the_same() {
    let daemon = Daemon::start(WEB);
    let mut all: Vec<Events> = (0..20).map(|_| daemon.subscribe()).collect();
    daemon.call("Restart", json!({})).expect("it restarts");
    let first: Vec<Value> = (0..8).map(|_| all[0].next()).collect();
    for other in &mut all[1..] {
        for event in &first {
            assert_eq!(&other.next(), event);
        }
    }
}
