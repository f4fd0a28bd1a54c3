//! What ends unexpectedly, again and again, or cannot be started at all.

mod common;

use common::facts::{in_each_mode, told_until_now, topics};
use common::{Daemon, Events};
use serde_json::{Value, json};

fn time(event: &Value) -> u64 {
    event["time_usec"].as_u64().expect("an event has a time")
}

/// Waits for the end of the next process and for its successor; returns the pause between them.
fn pause(events: &mut Events, watcher: &str) -> u64 {
    let reap = events.wait(&format!("watcher.{watcher}.reap"));
    let spawn = events.wait(&format!("watcher.{watcher}.spawn"));
    time(&spawn) - time(&reap)
}

#[test]
fn the_first_respawn_is_immediate_then_the_pause_grows() {
    let config = "
        [watcher.web]
        cmd = ['sh', '-c', 'read line < $HOME/go']
        flapping = false
        autostart = false
        backoff = {initial = '1s', factor = 2, max = '1500ms', jitter = 0}";
    in_each_mode(config, |daemon| {
        // Without the file its worker ends at once, with an error.
        let mut events = daemon.subscribe();
        let start = json!({"watchers": "web", "wait": false});
        daemon.call("Start", start).expect("it is accepted");
        let pauses: Vec<u64> = (0..3).map(|_| pause(&mut events, "web")).collect();
        assert!(pauses[0] < 999_000, "{pauses:?}");
        assert!(pauses[1] >= 999_000, "{pauses:?}");
        assert!(pauses[2] >= 1_499_000, "{pauses:?}");
    });
}

#[test]
fn without_backoff_a_worker_is_replaced_at_once() {
    let config = "
        [watcher.web]
        cmd = 'false'
        flapping = false
        backoff = false";
    let daemon = Daemon::start(config);
    let mut events = daemon.subscribe();
    for _ in 0..20 {
        events.wait("watcher.web.spawn");
    }
    assert!(daemon.ctl(&["stop", "web"]).status.success());
    assert!(daemon.status("web")["restarts"].as_u64() >= Some(19));
}

#[test]
fn a_flapping_process_is_held_and_at_last_given_up() {
    let config = "
        [watcher.bad]
        cmd = ['sh', '-c', 'exit 9']
        autostart = false
        backoff = false
        flapping = {attempts = 3, window = '1h', retry_in = '300ms', max_retry = 1}";
    in_each_mode(config, |daemon| {
        let mut events = daemon.subscribe();
        let start = json!({"watchers": "bad", "wait": false});
        daemon.call("Start", start).expect("it is accepted");
        let flapping = events.wait("watcher.bad.flapping");
        assert_eq!(flapping["data"]["attempts"], 3);
        assert_eq!(flapping["data"]["window_usec"], 3_600_000_000_u64);
        assert_eq!(flapping["data"]["retry_in_usec"], 300_000);
        let next = events.wait("watcher.bad.spawn");
        assert!(
            time(&next) - time(&flapping) >= 299_000,
            "{flapping} {next}"
        );
        events.wait("watcher.bad.gave_up");
        let status = daemon.status("bad");
        assert_eq!(status["state"], "failed");
        assert_eq!(status["reason"]["cause"], "gave_up");
        assert!(
            status["reason"]
                .get("next_attempt_usec")
                .is_none_or(Value::is_null)
        );
        assert_eq!(status["last_exit"]["status"], 9);
        assert!(told_until_now(daemon, &mut events).is_empty());

        // An operator may have another try.
        let _ = daemon.call("Start", json!({"watchers": "bad", "wait": false}));
        for _ in 0..3 {
            events.wait("watcher.bad.spawn");
        }
        events.wait("watcher.bad.gave_up");
        let good = json!({"watcher": "bad", "options": {"cmd": "sleep 1000"}, "wait": false});
        daemon.call("Set", good).expect("a good command");
        let _ = daemon.call("Start", json!({"watchers": "bad"}));
        daemon.wait_until("bad", |status| status["state"] == "active");
    });
}

#[test]
fn while_a_place_is_held_the_status_says_so_and_when_it_goes_on() {
    let config = "
        [watcher.bad]
        cmd = ['sh', '-c', 'test $CIRCUS_WID = 2 && exit 9; exec sleep 1000']
        numprocesses = 2
        backoff = false
        flapping = {attempts = 3, window = '1h', retry_in = '1h'}";
    let daemon = Daemon::start(config);
    let status = daemon.wait_until("bad", |status| status["reason"]["cause"] == "flapping");
    // The other is ready, so it serves.
    assert_eq!(status["state"], "active", "{status}");
    assert!(
        status["reason"]["next_attempt_usec"].as_u64() > status["reason"]["since_usec"].as_u64()
    );
    daemon
        .call("Scale", json!({"watcher": "bad", "numprocesses": 1}))
        .expect("one is good");
    daemon.wait_until("bad", |status| {
        status.get("reason").is_none_or(Value::is_null)
    });
}

#[test]
fn a_watcher_with_all_places_held_waits() {
    let config = "
        [watcher.bad]
        cmd = 'false'
        backoff = false
        flapping = {attempts = 2, window = '1h', retry_in = '1h'}";
    let daemon = Daemon::start(config);
    let status = daemon.wait_until("bad", |status| status["reason"]["cause"] == "flapping");
    assert_eq!(status["state"], "waiting", "{status}");
    let output = daemon.ctl(&["status", "bad"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("again in"),
        "{output:?}"
    );
    // It can be stopped while it waits, and then it has been an operator.
    assert!(daemon.ctl(&["stop", "bad"]).status.success());
    assert_eq!(daemon.status("bad")["reason"]["cause"], "operator");
}

#[test]
fn a_bad_command_is_tried_some_times_with_pauses_and_then_given_up() {
    let config = "
        [watcher.bad]
        cmd = '/nowhere/at/all'
        autostart = false
        numprocesses = 3
        max_retry = 2
        backoff = {initial = '50ms', factor = 1, max = '50ms', jitter = 0}";
    in_each_mode(config, |daemon| {
        let mut events = daemon.subscribe();
        let output = daemon.ctl(&["--json", "start", "bad"]);
        assert_eq!(output.status.code(), Some(3));
        let error: Value = serde_json::from_slice(&output.stdout).expect("a document");
        assert_eq!(error["error"], "io.circusd.StartFailed");
        let text = error["parameters"]["reason"]["text"].to_string();
        assert!(text.contains("/nowhere/at/all"), "{error}");
        let first = events.wait("watcher.bad.spawn_failed");
        assert_eq!(first["data"]["errno"], 2, "{first}");
        assert!(first["data"]["stage"].is_string());
        let status = daemon.wait_until("bad", |status| status["state"] == "failed");
        assert_eq!(status["reason"]["cause"], "gave_up");
        assert!(
            status["reason"]["text"]
                .to_string()
                .contains("/nowhere/at/all"),
            "{status}"
        );
        let told = told_until_now(daemon, &mut events);
        let failed = topics(&told)
            .iter()
            .filter(|topic| topic.ends_with("spawn_failed"))
            .count();
        assert!(failed < 9, "{}", failed + 1);
        assert!(!topics(&told).contains(&"bad.spawn"));
    });
}

#[test]
fn a_working_directory_that_appears_is_found_by_the_next_attempt() {
    let config = "
        [watcher.web]
        cmd = 'sleep 1000'
        working_dir = 'later'
        max_retry = -1
        backoff = {initial = '50ms', factor = 1, max = '50ms', jitter = 0}";
    let daemon = Daemon::start(config);
    let mut events = daemon.subscribe();
    events.wait("watcher.web.spawn_failed");
    let status = daemon.status("web");
    assert_eq!(status["reason"]["cause"], "spawn_failed", "{status}");
    assert_eq!(status["state"], "waiting", "{status}");
    std::fs::create_dir(daemon.home().path("etc/later")).expect("a directory can be made");
    events.wait("watcher.web.spawn");
    daemon.wait_until("web", |status| status["state"] == "active");
}

#[test]
fn a_user_that_does_not_exist_is_said_to_be_the_reason() {
    let config = "
        [watcher.web]
        cmd = 'sleep 1000'
        uid = 'nobody-is-called-so'
        autostart = false
        max_retry = 0";
    let daemon = Daemon::start(config);
    let refused = daemon
        .call("Start", json!({"watchers": "web"}))
        .expect_err("nobody can be found");
    assert_eq!(refused.error, "io.circusd.StartFailed");
    assert!(
        refused
            .parameters
            .to_string()
            .contains("nobody-is-called-so"),
        "{refused:?}"
    );
    assert_eq!(daemon.status("web")["state"], "failed");
}
