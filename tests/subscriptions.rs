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

/// What every cursor of this daemon begins with, and the number of its last event.
fn instance_and_last(daemon: &Daemon) -> (String, u64) {
    let opening = daemon.subscribe().opening;
    let cursor = opening["cursor"].as_str().expect("a cursor");
    let (instance, last) = cursor.rsplit_once(':').expect("INSTANCE:SEQ");
    (instance.to_owned(), last.parse().expect("a number"))
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
    let (instance, last) = instance_and_last(&daemon);
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
    let all = history(&daemon);
    let (instance, _) = instance_and_last(&daemon);
    type Wanted = fn(Option<&str>, &str) -> bool;
    let cases: [(&[&str], Wanted); 6] = [
        (&["*.spawn"], |_, action| action == "spawn"),
        (&["watcher.*"], |watcher, _| watcher.is_some()),
        (&["watcher.web.*"], |watcher, _| watcher == Some("web")),
        (&["watcher.web.spawn.*"], |watcher, _| {
            watcher == Some("web.spawn")
        }),
        (&["circusd.*"], |watcher, _| watcher.is_none()),
        (&["watcher.*.start", "watcher.a*.add"], |watcher, action| {
            watcher.is_some() && action == "start" || watcher == Some("api") && action == "add"
        }),
    ];
    for (topics, wanted) in cases {
        let since = format!("{instance}:0");
        let mut events = daemon.subscribe_with(json!({"topics": topics, "since": since}));
        let wanted = all.iter().filter(|event| {
            wanted(
                event["watcher"].as_str(),
                event["action"].as_str().expect("a word"),
            )
        });
        let mut any = false;
        for event in wanted {
            assert_eq!(&events.next(), event, "{topics:?}");
            any = true;
        }
        assert!(any, "{topics:?}");
    }
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
    let mut line = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("one object")
    };
    // The first is the reply that says from where on it listens.
    assert!(line()["cursor"].is_string());
    daemon
        .call("Restart", json!({"watchers": "web"}))
        .expect("it restarts");
    let told = [line(), line()];
    listener.kill().expect("it is ours");
    listener.wait().expect("it is ours");
    for told in told {
        assert_eq!(told["event"]["topic"], "watcher.web.kill", "{told}");
    }
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
