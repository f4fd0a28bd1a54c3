//! What an operator changes while the daemon runs: options, watchers, and where values come from.
//!
//! What changes with the files is in `reloadconfig.rs`.

mod common;

use std::path::Path;

use common::facts::{in_each_mode, line_of, number_of, pids, runs, told_until_now, topics};
use common::{CallError, Daemon};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const WEB: &str = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\n";

fn set(daemon: &Daemon, options: Value) -> Result<Value, CallError> {
    daemon.call("Set", json!({"watcher": "web", "options": options}))
}

fn get(daemon: &Daemon, key: &str) -> Value {
    let params = json!({"watcher": "web", "keys": [key]});
    let reply = daemon.call("Get", params).expect("the key is known");
    reply["options"][key].clone()
}

#[test]
fn a_live_option_moves_nothing() {
    let daemon = Daemon::start(WEB);
    let before = pids(&daemon.status("web"));
    let mut events = daemon.subscribe();
    assert!(
        daemon
            .ctl(&["set", "web", "graceful_timeout=5s"])
            .status
            .success()
    );
    let told = told_until_now(&daemon, &mut events);
    assert_eq!(topics(&told), ["web.updated"]);
    assert_eq!(told[0]["data"]["keys"], json!(["graceful_timeout"]));
    assert_eq!(pids(&daemon.status("web")), before);
    assert_eq!(get(&daemon, "graceful_timeout"), "5s");
    let reply = set(&daemon, json!({"graceful_timeout": "6s"})).expect("a good value");
    assert_eq!(reply["effect"], "live");
    // What it is already is no change.
    told_until_now(&daemon, &mut events);
    set(&daemon, json!({"graceful_timeout": 6})).expect("a good value");
    assert!(told_until_now(&daemon, &mut events).is_empty());
}

#[test]
fn an_option_of_the_process_replaces_the_processes_gracefully() {
    let config = "
        [watcher.web]
        cmd = ['sh', '-c', 'echo $COLOUR > $HOME/colour.$COLOUR; exec sleep 1000']
        numprocesses = 2
        env = {COLOUR = 'red', SIZE = 'big'}";
    in_each_mode(config, |daemon| {
        let home = daemon.home();
        line_of(&home.path("colour.red"));
        let before = pids(&daemon.status("web"));
        let reply = set(daemon, json!({"env.COLOUR": "blue"})).expect("a good value");
        assert_eq!(reply["effect"], "reload");
        line_of(&home.path("colour.blue"));
        let after = daemon.wait_until("web", |status| pids(status).len() == 2);
        assert!(pids(&after).is_disjoint(&before));
        assert_eq!(after["state"], "active");
        assert_eq!(get(daemon, "env"), json!({"COLOUR": "blue", "SIZE": "big"}));
        set(daemon, json!({"env": {"COLOUR": "green"}})).expect("a good value");
        line_of(&home.path("colour.green"));
        assert_eq!(get(daemon, "env"), json!({"COLOUR": "green"}));
        set(daemon, json!({"env": null})).expect("back to the file");
        assert_eq!(get(daemon, "env"), json!({"COLOUR": "red", "SIZE": "big"}));
    });
}

#[test]
fn of_two_options_one_wrong_neither_is_applied() {
    let daemon = Daemon::start(WEB);
    let before = (
        pids(&daemon.status("web")),
        get(&daemon, "graceful_timeout"),
    );
    let mut events = daemon.subscribe();
    for wrong in [
        json!({"graceful_timeout": "1s", "numprocesses": -1}),
        json!({"graceful_timeout": "1s", "numproceses": 3}),
        json!({"cmd": "sleep 2000", "stop_signal": "SIGFROB"}),
        json!({"graceful_timeout": "1s", "env": {"A": 1}}),
        json!({"graceful_timeout": "1s", "singleton": true}),
        json!({"graceful_timeout": "1s", "hooks.befor_start": {"exec": "true"}}),
    ] {
        let refused = set(&daemon, wrong.clone()).expect_err("one is wrong");
        assert_eq!(refused.error, "io.circusd.InvalidOption", "{wrong}");
    }
    assert!(told_until_now(&daemon, &mut events).is_empty());
    assert_eq!(
        (
            pids(&daemon.status("web")),
            get(&daemon, "graceful_timeout")
        ),
        before
    );
}

#[test]
fn an_unknown_option_is_an_error_with_the_nearest_known_one() {
    let daemon = Daemon::start(WEB);
    let refused = set(&daemon, json!({"numproceses": 3})).expect_err("no such key");
    assert_eq!(refused.parameters["option"], "numproceses", "{refused:?}");
    assert_eq!(
        refused.parameters["suggestion"], "numprocesses",
        "{refused:?}"
    );
    let output = daemon.ctl(&["set", "web", "numproceses=3"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("numprocesses"),
        "{output:?}"
    );
    assert_eq!(
        daemon.ctl(&["get", "web", "numproceses"]).status.code(),
        Some(3)
    );
    // What a key cannot be is refused, not taken and forgotten.
    for key in ["numprocesses", "ready", "health", "use_sockets"] {
        let refused = set(&daemon, json!({(key): "1s"})).expect_err("no such thing");
        assert_eq!(refused.error, "io.circusd.InvalidOption", "{key}");
    }
    // Names that begin with x- are the operator's own.
    set(&daemon, json!({"x-owner": "me"})).expect("anything goes");
    assert_eq!(get(&daemon, "x-owner"), "me");
}

#[test]
fn numprocesses_may_be_set_too() {
    let daemon = Daemon::start(WEB);
    let before = pids(&daemon.status("web"));
    assert!(
        daemon
            .ctl(&["set", "web", "numprocesses=3"])
            .status
            .success()
    );
    assert!(pids(&daemon.status("web")).is_superset(&before));
    assert_eq!(pids(&daemon.status("web")).len(), 3);
    assert!(
        daemon
            .ctl(&["set", "web", "numprocesses=1"])
            .status
            .success()
    );
    assert_eq!(pids(&daemon.status("web")).len(), 1);
}

#[test]
fn a_watcher_is_added_started_and_removed() {
    let daemon = Daemon::start(WEB);
    let mut events = daemon.subscribe();
    let add = [
        "add",
        "extra",
        "numprocesses=2",
        "--start",
        "--",
        "sleep",
        "1000",
    ];
    assert!(daemon.ctl(&add).status.success());
    let told = told_until_now(&daemon, &mut events);
    assert_eq!(topics(&told)[0], "extra.add");
    assert!(topics(&told).contains(&"extra.start"));
    let workers = pids(&daemon.status("extra"));
    assert_eq!(workers.len(), 2);

    let again = daemon.ctl(&["--json", "add", "extra", "--", "sleep", "1000"]);
    assert_eq!(again.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&again.stdout).contains("io.circusd.WatcherExists"));
    for (name, options) in [
        ("bad name", json!({"cmd": "true"})),
        ("x", json!({})),
        ("x", json!({"cmd": "true", "frob": 1})),
    ] {
        daemon
            .call("Add", json!({"watcher": name, "options": options}))
            .expect_err("it is wrong");
    }
    told_until_now(&daemon, &mut events);

    assert!(daemon.ctl(&["rm", "extra"]).status.success());
    let told = told_until_now(&daemon, &mut events);
    assert_eq!(topics(&told).last(), Some(&"extra.remove"));
    assert!(topics(&told).contains(&"extra.stop"));
    assert!(!workers.into_iter().any(runs));
    let gone = daemon
        .call("Status", json!({"watchers": "extra"}))
        .expect_err("it is gone");
    assert_eq!(gone.error, "io.circusd.NoSuchWatcher");
    assert_eq!(daemon.ctl(&["rm", "extra"]).status.code(), Some(3));
}

#[test]
fn a_watcher_on_its_way_out_has_no_options_any_more() {
    let daemon = Daemon::start(
        "[watcher.web]\ncmd = ['/bin/sh', '-c', 'trap \"\" TERM; echo up > $HOME/deaf; exec sleep 1000']\ngraceful_timeout = '1h'\n",
    );
    line_of(&daemon.home().path("deaf"));
    let mut events = daemon.subscribe();
    let mut remover = daemon.connect();
    let pid = *pids(&daemon.status("web")).first().expect("it runs");
    remover.send_call("Remove", json!({"watcher": "web"}), false);
    events.wait("watcher.web.kill");
    let error = set(&daemon, json!({"numprocesses": 3})).expect_err("it is going");
    assert_eq!(error.error, "io.circusd.NoSuchWatcher", "{error:?}");
    let error = daemon.call("Get", json!({"watcher": "web"}));
    let error = error.expect_err("it is going");
    assert_eq!(error.error, "io.circusd.NoSuchWatcher", "{error:?}");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it is there");
    remover.receive_reply().expect("it is removed");
}

#[test]
fn without_start_an_added_watcher_waits() {
    let daemon = Daemon::start(WEB);
    let params = json!({"watcher": "extra", "options": {"cmd": "sleep 1000"}});
    daemon.call("Add", params).expect("it is good");
    let status = daemon.status("extra");
    assert_eq!(
        (&status["state"], pids(&status).len()),
        (&json!("stopped"), 0)
    );
    assert!(daemon.ctl(&["start", "extra"]).status.success());
    assert_eq!(daemon.status("extra")["state"], "active");
}

#[test]
fn rm_nostop_leaves_the_processes_running_and_the_daemon_ends_without_them() {
    let config = "[watcher.web]\ncmd = ['sh', '-c', 'echo $$ > $HOME/web; exec sleep 1000']";
    in_each_mode(config, |daemon| {
        let pid = number_of(&daemon.home().path("web"));
        let cgroup = daemon.status("web")["processes"][0]["cgroup"].clone();
        let mut events = daemon.subscribe();
        assert!(daemon.ctl(&["rm", "web", "--nostop"]).status.success());
        let told = told_until_now(daemon, &mut events);
        assert!(!topics(&told).contains(&"web.kill"), "{:?}", topics(&told));
        assert_eq!(topics(&told).last(), Some(&"web.remove"));
        assert!(runs(pid));
        // The name is free again, and its new processes are its own.
        let add = json!({"watcher": "web", "options": {"cmd": "sleep 1000"}, "start": true});
        daemon.call("Add", add).expect("the name is free");
        daemon
            .call("Restart", json!({"watchers": "web"}))
            .expect("it restarts");
        daemon
            .call("Stop", json!({"watchers": "web"}))
            .expect("it stops");
        assert!(runs(pid), "who was let go is nobody's to stop");
        assert_eq!(daemon.stop().code(), Some(0));
        assert!(runs(pid));
        // Its parent is init now, or this test where it is a subreaper: the pid is good as it runs.
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid fits"));
        kill(pid, Signal::SIGKILL).expect("it runs");
        common::eventually("it has gone", || {
            (!runs(pid.as_raw().unsigned_abs().into())).then_some(())
        });
        // With the daemon gone, its groups are left to whoever ends the last in them.
        let Some(place) = cgroup.as_str().map(Path::new) else {
            return;
        };
        for group in place.ancestors().take(3) {
            common::eventually("it is empty", || std::fs::remove_dir(group).ok());
        }
        // What is above is this daemon's, or that of all who share its unit; then others are in it.
        let _ = place.ancestors().nth(3).map(std::fs::remove_dir);
    });
}

#[test]
fn every_value_says_where_it_comes_from() {
    let home = common::Home::new(
        "[circusd]\nlog_level = 'debug'\n[watcher.web]\ncmd = 'sleep 1000'\nnice = 3\n",
    );
    let daemon = home.start_with(|circusd| {
        circusd.args(["--set", "watcher.web.graceful_timeout=7s"]);
    });
    set(&daemon, json!({"stop_signal": "SIGINT"})).expect("a good value");
    let output = daemon.ctl(&["options", "web", "--origin"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |key: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(key));
        found
            .unwrap_or_else(|| panic!("no {key} in {text}"))
            .to_owned()
    };
    assert!(line("nice").contains("circusd.toml:5"), "{text}");
    assert!(line("graceful_timeout").contains("--set"), "{text}");
    assert!(line("stop_signal").contains("SIGINT"), "{text}");
    let output = daemon.ctl(&["globaloptions", "--origin"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let level = text
        .lines()
        .find(|line| line.contains("log_level"))
        .expect("a line");
    assert!(level.contains("circusd.toml:2"), "{level}");

    let params = json!({"names": ["watcher.web.nice", "watcher.web.stop_signal", "watcher.web.graceful_timeout", "watcher.web.priority"]});
    let reply = daemon.call("GetSettings", params).expect("they are known");
    let origins: Vec<&str> = reply["settings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|setting| setting["origin"].as_str())
        .collect();
    assert_eq!(
        origins,
        ["file", "default", "command_line", "api"],
        "{reply}"
    );
}
