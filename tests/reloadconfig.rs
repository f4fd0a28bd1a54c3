//! The files change, and the daemon reads them again.

mod common;

use common::Daemon;
use common::facts::{in_each_mode, pids, runs, told_until_now, topics};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const OLD: &str = "
    [watcher.same]\ncmd = 'sleep 1000'
    [watcher.live]\ncmd = 'sleep 1000'\ngraceful_timeout = '5s'
    [watcher.changed]\ncmd = 'sleep 1000'
    [watcher.gone]\ncmd = 'sleep 1000'
    [watcher.counted]\ncmd = 'sleep 1000'\nnumprocesses = 2\n";

const NEW: &str = "
    [watcher.same]\ncmd = 'sleep 1000' # as it was
    [watcher.live]\ncmd = 'sleep 1000'\ngraceful_timeout = '6s'
    [watcher.changed]\ncmd = 'sleep 2000'
    [watcher.fresh]\ncmd = 'sleep 1000'
    [watcher.counted]\ncmd = 'sleep 1000'\nnumprocesses = 3\n";

fn reload(daemon: &Daemon) -> Value {
    let reply = daemon.call("ReloadConfig", json!({}));
    reply.expect("the files are good")["changes"].clone()
}

/// Name and kind of each change, by name.
fn kinds(changes: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut kinds: Vec<_> = changes
        .as_array()
        .expect("a list")
        .iter()
        .map(|change| (text(&change["watcher"]), text(&change["change"])))
        .collect();
    kinds.sort();
    kinds
}

#[test]
fn each_watcher_gets_what_its_change_means_and_no_more() {
    in_each_mode(OLD, |daemon| {
        daemon.home().configure(OLD);
        let names = ["same", "live", "changed", "counted", "gone"];
        reload(daemon);
        let before = names.map(|name| pids(&daemon.status(name)));
        daemon.home().configure(NEW);
        let expected = [
            ("changed", "reload"),
            ("counted", "live"),
            ("fresh", "add"),
            ("gone", "remove"),
            ("live", "live"),
            ("same", "unchanged"),
        ]
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()));
        // What would be done, nothing changed.
        let mut events = daemon.subscribe();
        let reply = daemon
            .call("GetConfigChanges", json!({}))
            .expect("the files are good");
        assert_eq!(kinds(&reply["changes"]), expected);
        assert!(told_until_now(daemon, &mut events).is_empty());

        assert_eq!(kinds(&reload(daemon)), expected);
        let told = told_until_now(daemon, &mut events);
        let told = topics(&told);
        for topic in [
            "circusd.reloading",
            "circusd.config_changed",
            "fresh.add",
            "fresh.start",
            "gone.stop",
            "gone.remove",
            "changed.reload",
        ] {
            assert!(told.contains(&topic), "no {topic} in {told:?}");
        }
        assert!(
            !told.iter().any(|topic| topic.starts_with("same.")),
            "{told:?}"
        );
        let [same, live, changed, counted, gone] = before;
        assert_eq!(pids(&daemon.status("same")), same);
        assert_eq!(pids(&daemon.status("live")), live);
        assert!(pids(&daemon.status("changed")).is_disjoint(&changed));
        assert!(pids(&daemon.status("counted")).is_superset(&counted));
        assert_eq!(pids(&daemon.status("counted")).len(), 3);
        assert_eq!(daemon.status("fresh")["state"], "active");
        assert!(!gone.into_iter().any(runs));
        assert_eq!(
            daemon
                .call("Status", json!({"watchers": "gone"}))
                .expect_err("gone")
                .error,
            "io.circusd.NoSuchWatcher"
        );

        // Once more: nothing.
        let again = reload(daemon);
        assert!(
            kinds(&again).iter().all(|(_, kind)| kind == "unchanged"),
            "{again}"
        );
    });
}

#[test]
fn a_mistake_changes_nothing_and_says_where_it_is() {
    let daemon = Daemon::start(OLD);
    let before = pids(&daemon.status("same"));
    let wrong = format!("{NEW}\n[watcher.wrong]\ncmd = 'true'\nnumproceses = 3\n");
    daemon.home().configure(&wrong);
    let mut events = daemon.subscribe();
    let output = daemon.ctl(&["--json", "reloadconfig"]);
    assert_eq!(output.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(error["error"], "io.circusd.InvalidConfig");
    let line = wrong
        .lines()
        .position(|line| line.contains("numproceses"))
        .map(|line| line + 1);
    assert_eq!(
        error["parameters"]["line"].as_u64(),
        line.map(|line| line as u64),
        "{error}"
    );
    assert_eq!(error["parameters"]["column"], 1);
    assert!(
        error["parameters"]["file"]
            .as_str()
            .is_some_and(|file| file.ends_with("etc/circusd.toml"))
    );
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("numprocesses"), "{stderr}");
    let told = told_until_now(&daemon, &mut events);
    assert_eq!(topics(&told), ["circusd.reloading", "circusd.config_error"]);
    assert_eq!(
        told[1]["data"]["line"].as_u64(),
        line.map(|line| line as u64),
        "{:?}",
        told[1]
    );
    assert_eq!(pids(&daemon.status("same")), before);
    assert_eq!(daemon.status("gone")["state"], "active");
}

#[test]
fn sighup_reads_the_files_again() {
    let daemon = Daemon::start(OLD);
    daemon.home().configure(NEW);
    let mut events = daemon.subscribe();
    daemon.signal(Signal::SIGHUP);
    events.wait("circusd.config_changed");
    daemon.wait_until("fresh", |status| status["state"] == "active");
    daemon.home().configure("[watcher");
    daemon.signal(Signal::SIGHUP);
    events.wait("circusd.config_error");
    assert_eq!(daemon.status("fresh")["state"], "active");
}

#[test]
fn what_an_operator_asked_for_outlives_a_reload() {
    let daemon = Daemon::start(OLD);
    assert!(daemon.ctl(&["incr", "counted", "3"]).status.success());
    assert!(
        daemon
            .ctl(&["set", "live", "graceful_timeout=9s"])
            .status
            .success()
    );
    daemon
        .call(
            "Add",
            json!({"watcher": "extra", "options": {"cmd": "sleep 1000"}, "start": true}),
        )
        .expect("good");
    assert!(daemon.ctl(&["stop", "same"]).status.success());
    daemon.home().configure(NEW);
    reload(&daemon);
    assert_eq!(pids(&daemon.status("counted")).len(), 5);
    let reply = daemon.call(
        "Get",
        json!({"watcher": "live", "keys": ["graceful_timeout"]}),
    );
    assert_eq!(reply.expect("a key")["options"]["graceful_timeout"], "9s");
    assert_eq!(daemon.status("extra")["state"], "active");
    assert_eq!(daemon.status("same")["state"], "stopped");
    // With null it is the file's again.
    let back = json!({"watcher": "counted", "options": {"numprocesses": null}});
    daemon.call("Set", back).expect("back to the file");
    assert_eq!(daemon.status("counted")["numprocesses"], 3);
}

#[test]
fn limits_that_are_live_are_in_force_after_a_reload() {
    let daemon = Daemon::start(OLD);
    let mut kept = daemon.connect();
    daemon.home().configure(&format!(
        "[circusd]\nconnections_max = 1\nwatchers_max = 5\n{OLD}"
    ));
    kept.call("ReloadConfig", json!({}))
        .expect("the files are good");
    let refused = daemon.connect().receive_reply().expect_err("one too many");
    assert_eq!(refused.error, "io.circusd.TooMany");
    let add = json!({"watcher": "extra", "options": {"cmd": "true"}});
    let refused = kept.call("Add", add.clone()).expect_err("one too many");
    assert_eq!(
        (refused.error.as_str(), &refused.parameters["limit"]),
        ("io.circusd.TooMany", &json!(5))
    );
    daemon.home().configure(OLD);
    kept.call("ReloadConfig", json!({}))
        .expect("the files are good");
    daemon.call("Add", add).expect("there is room again");
}

#[test]
fn a_changed_default_reaches_all_who_do_not_say_otherwise() {
    let watchers = "[watcher.a]\ncmd = 'sleep 1000'\n[watcher.b]\ncmd = 'sleep 1000'\nnice = 1\n";
    let daemon = Daemon::start(watchers);
    daemon
        .home()
        .configure(&format!("[defaults]\nnice = 2\n{watchers}"));
    let changes = reload(&daemon);
    assert_eq!(
        kinds(&changes),
        [
            ("a".to_owned(), "reload".to_owned()),
            ("b".to_owned(), "unchanged".to_owned())
        ]
    );
}

#[test]
fn what_needs_another_daemon_is_told_and_the_rest_is_done() {
    let daemon = Daemon::start(OLD);
    daemon
        .home()
        .configure(&format!("[circusd]\npidfile = '/nowhere/pid'\n{NEW}"));
    reload(&daemon);
    assert_eq!(daemon.status("fresh")["state"], "active");
    let told = "circusd.pidfile: changed, and in force only when circusd is started again";
    assert!(daemon.log().contains(told), "{}", daemon.log());
}
