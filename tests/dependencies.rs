//! Watchers that start after others, and stop before them: `after` and `requires`, with real
//! processes.

mod common;

use common::facts::{history, in_each_mode, told_until_now, topics};
use common::{Daemon, Home};
use serde_json::{Value, json};

/// A web that requires a queue that requires a redis, written in the worst of orders and with the
/// worst of priorities.
const CHAIN: &str = "
    [watcher.web]
    cmd = 'sleep 1000'
    requires = ['queue']
    priority = 1
    [watcher.queue]
    cmd = 'sleep 1000'
    requires = ['redis']
    priority = 2
    [watcher.redis]
    cmd = 'sleep 1000'
    priority = 3";

fn is(state: &str) -> impl Fn(&Value) -> bool + '_ {
    move |status| status["state"] == state
}

/// The topics of the starts and stops among these events, in order.
fn turns(events: &[Value]) -> Vec<&str> {
    let all = topics(events).into_iter();
    all.filter(|topic| topic.ends_with(".start") || topic.ends_with(".stop"))
        .collect()
}

/// What `circusctl` says, and that it says it with success.
fn said(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.ctl(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `circusctl` complains about.
fn complained(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.ctl(arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn they_start_and_stop_in_order_whatever_the_priorities() {
    in_each_mode(CHAIN, |daemon| {
        daemon.wait_until("web", is("active"));
        assert_eq!(
            turns(&history(daemon)),
            ["redis.start", "queue.start", "web.start"]
        );
        let mut events = daemon.subscribe();
        said(daemon, &["restart", "redis"]);
        daemon.wait_until("web", is("active"));
        assert_eq!(
            turns(&told_until_now(daemon, &mut events)),
            [
                "web.stop",
                "queue.stop",
                "redis.stop",
                "redis.start",
                "queue.start",
                "web.start"
            ]
        );
        said(daemon, &["stop"]);
        assert_eq!(
            turns(&told_until_now(daemon, &mut events)),
            ["web.stop", "queue.stop", "redis.stop"]
        );
        said(daemon, &["start", "web"]);
        assert_eq!(
            turns(&told_until_now(daemon, &mut events)),
            ["redis.start", "queue.start", "web.start"]
        );
    });
}

#[test]
fn who_waits_says_for_whom_and_starts_when_that_one_is_there() {
    let daemon = Daemon::start(CHAIN);
    daemon.wait_until("web", is("active"));
    said(&daemon, &["stop", "redis"]);
    let status = daemon.status("web");
    assert_eq!(status["state"], "waiting", "{status}");
    assert_eq!(status["reason"]["cause"], "dependency", "{status}");
    assert_eq!(
        status["reason"]["text"],
        "waiting for queue, which is waiting for redis"
    );
    let text = "waiting for redis, which is stopped: stopped by an operator";
    let shown = said(&daemon, &["status", "queue"]);
    assert!(shown.contains(text), "{shown}");
    let story = said(&daemon, &["why", "queue"]);
    assert!(
        story.starts_with("queue is waiting; 0 of 1 processes are ready.\n"),
        "{story}"
    );
    assert!(story.contains(&format!("Why: {text}; since ")), "{story}");
    assert!(
        story.contains("Next: it starts by itself when redis is ready."),
        "{story}"
    );
    said(&daemon, &["start", "redis"]);
    daemon.wait_until("web", is("active"));
}

#[test]
fn a_crash_of_the_other_leaves_it_alone() {
    let daemon = Daemon::start(CHAIN);
    let web = daemon.wait_until("web", is("active"));
    let mut events = daemon.subscribe();
    said(&daemon, &["signal", "redis", "SIGKILL"]);
    events.wait("watcher.redis.reap");
    events.wait("watcher.redis.ready");
    assert_eq!(daemon.status("web")["processes"], web["processes"]);
}

#[test]
fn the_boot_does_not_wait_for_what_does_not_come() {
    // That the harness saw READY=1 is half of the proof.
    let daemon = Daemon::start(
        "[watcher.web]\ncmd = 'sleep 1000'\nafter = ['redis']\n\
         [watcher.redis]\ncmd = 'sleep 1000'\nautostart = false\n\
         [watcher.mail]\ncmd = 'sleep 1000'\nafter = ['broken']\n\
         [watcher.broken]\ncmd = '/nowhere'\nmax_retry = 1\n",
    );
    let text = &daemon.status("web")["reason"]["text"];
    assert_eq!(
        text,
        "waiting for redis, which is stopped: autostart is off and nobody has started it"
    );
    let refusal = daemon.call("Start", json!({"watchers": "mail"}));
    let refusal = refusal.expect_err("nothing will make it start");
    assert_eq!(refusal.error, "io.circusd.StartFailed");
    let reason = &refusal.parameters["reason"];
    assert_eq!(reason["cause"], "dependency", "{reason}");
    let text = reason["text"].as_str().unwrap_or_default();
    assert!(
        text.starts_with("waiting for broken, which is failed: given up after 1 failed attempts:"),
        "{text}"
    );
    said(&daemon, &["start", "redis"]);
    daemon.wait_until("web", is("active"));
}

#[test]
fn the_end_of_the_daemon_stops_dependents_first() {
    let mut daemon = Daemon::start(CHAIN);
    daemon.wait_until("web", is("active"));
    let mut events = daemon.subscribe();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    for watcher in ["web", "queue", "redis"] {
        let stop = events.wait("watcher.*.stop");
        assert_eq!(stop["watcher"], watcher, "{stop}");
    }
    assert!(daemon.stop().success());
}

#[test]
fn the_keys_change_live_and_never_into_a_circle() {
    let daemon = Daemon::start(CHAIN);
    let web = daemon.wait_until("web", is("active"));
    let complaint = complained(&daemon, &["set", "redis", "after=[\"web\"]"]);
    assert!(
        complaint.contains("web -> queue -> redis -> web"),
        "{complaint}"
    );
    said(&daemon, &["set", "web", "requires=[]"]);
    said(&daemon, &["stop", "queue"]);
    assert_eq!(daemon.status("web")["processes"], web["processes"]);
    let set = json!({"watcher": "web", "options": {"requires": ["queue"]}});
    daemon.call("Set", set).expect("it may be set again");
    said(&daemon, &["restart", "web"]);
    assert_eq!(daemon.status("queue")["state"], "active");
}

#[test]
fn who_is_named_by_another_is_not_removed() {
    let daemon = Daemon::start(CHAIN);
    daemon.wait_until("web", is("active"));
    let complaint = complained(&daemon, &["rm", "redis"]);
    assert!(
        complaint.contains("watcher.queue.requires: names 'redis', which is to be removed"),
        "{complaint}"
    );
    assert_eq!(daemon.status("redis")["state"], "active");
    said(&daemon, &["rm", "web"]);
    said(&daemon, &["rm", "queue"]);
    said(&daemon, &["rm", "redis"]);
}

#[test]
fn a_circle_in_the_files_is_refused_with_all_its_members() {
    let home = Home::new(&format!("{CHAIN}\nafter = ['web']\n"));
    let output = home.run_to_end(&["--check"]);
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(
            ":4:17: watcher.web.requires: nobody of these can be first: \
             web -> queue -> redis -> web"
        ),
        "{text}"
    );
    let daemon = Daemon::start(CHAIN);
    let home = daemon.home();
    home.configure(&format!("{CHAIN}\nafter = ['web']\n"));
    let complaint = complained(&daemon, &["reloadconfig"]);
    assert!(
        complaint.contains("web -> queue -> redis -> web"),
        "{complaint}"
    );
    home.configure(
        "[watcher.web]\ncmd = 'sleep 1000'\nafter = ['redsi']\n[watcher.redis]\ncmd = 'sleep 1000'",
    );
    let complaint = complained(&daemon, &["reloadconfig"]);
    assert!(
        complaint.contains("watcher.web.after: there is no watcher 'redsi'"),
        "{complaint}"
    );
    daemon.wait_until("web", is("active"));
}
