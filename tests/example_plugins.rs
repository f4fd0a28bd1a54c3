//! The plugins of examples/plugins do what newcomers copy them for, in each language.
//!
//! What circusd owes its subscribers and hooks is tested elsewhere (subscriptions, hook_clients);
//! here it is what a program makes of it that may be killed at any time, as may circusd.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use common::facts::{text_of, told_until_now, wait_for_text};
use common::hooks::web;
use common::plugins::{LANGUAGES, Language, Plugin, path, sources};
use common::{Connection, Daemon, Events, Home, eventually};
use serde_json::{Value, json};

/// Of short grace: without cgroups, one that was taken over is waited for as long as nobody has reaped
/// it.
const WEB: &str = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
                   graceful_timeout = \"500ms\"\n";

/// Asks the plugin itself, and so knows that it has registered.
const ASKS: &str = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
                    graceful_timeout = \"500ms\"\nhooks.before_start = { plugin = true }\n";

const FLAPS: &str = "[watcher.bad]\ncmd = \"false\"\nautostart = false\nbackoff = false\n\
                     flapping = {attempts = 2, window = '1h', retry_in = '1h'}\n";

fn start_and_stop(daemon: &Daemon) {
    for verb in ["Start", "Stop"] {
        web(daemon, verb).expect("a plugin does not forbid it");
    }
}

/// The same with a plugin that may be killed while it is asked: then `web` does not start, and
/// there are other events.
fn try_to_start_and_stop(daemon: &Daemon) {
    let started = web(daemon, "Start");
    assert!(
        started.is_ok()
            || started
                .as_ref()
                .is_err_and(|e| e.error == "io.circusd.HookFailed"),
        "{started:?}"
    );
    web(daemon, "Stop").expect("it stops");
}

/// All events behind `cursor`, as circusd tells them up to now.
fn told_since(daemon: &Daemon, cursor: &Value) -> Vec<Value> {
    let now = daemon.subscribe().opening["cursor"].clone();
    let mut events = daemon.subscribe_with(json!({"since": cursor}));
    let mut told = Vec::new();
    while told.last().map_or(cursor, |event: &Value| &event["cursor"]) != &now {
        told.push(events.next());
    }
    told
}

/// The events of a log, and that there is nothing else in it behind the beginning.
fn events_of(log: &[Value]) -> Vec<Value> {
    let (beginning, rest) = log.split_first().expect("it has begun");
    assert!(beginning.get("event").is_none(), "{beginning}");
    let event = |line: &Value| {
        assert_eq!(line["cursor"], line["event"]["cursor"], "{line}");
        line["event"].clone()
    };
    rest.iter().map(event).collect()
}

fn is_event(line: &Value, topic: &str) -> bool {
    line["event"]["topic"] == topic
}

#[test]
fn no_event_is_lost_or_doubled_when_circusd_is_killed() {
    for language in LANGUAGES {
        check_log(language, |_, daemons| {
            let daemon = daemons.last_mut().expect("there is one");
            web(daemon, "Start").expect("it starts");
            daemon.kill();
            daemons.push(home_of(daemons).start());
            web(daemons.last().expect("there is one"), "Stop").expect("it stops");
        });
    }
}

#[test]
fn no_event_is_lost_or_doubled_when_the_plugin_is_killed() {
    for language in LANGUAGES {
        check_log(language, |plugin, daemons| {
            let daemon = daemons.last().expect("there is one");
            try_to_start_and_stop(daemon);
            // In the midst of it: nobody waits for what it has logged.
            plugin.kill();
            break_the_last_line(plugin);
            try_to_start_and_stop(daemon);
            plugin.start();
        });
    }
}

#[test]
fn no_event_is_lost_or_doubled_when_both_are_killed() {
    for language in LANGUAGES {
        check_log(language, |plugin, daemons| {
            let daemon = daemons.last_mut().expect("there is one");
            try_to_start_and_stop(daemon);
            plugin.kill();
            try_to_start_and_stop(daemon);
            plugin.start();
            daemon.kill();
            daemons.push(home_of(daemons).start());
            try_to_start_and_stop(daemons.last().expect("there is one"));
        });
    }
}

fn home_of(daemons: &[Daemon]) -> Arc<Home> {
    Arc::clone(daemons[0].home())
}

/// Does `round` five times, then compares what the plugin has logged with what circusd tells.
fn check_log(language: Language, mut round: impl FnMut(&mut Plugin, &mut Vec<Daemon>)) {
    let home = Home::new(WEB);
    let mut plugin = Plugin::new(language, &home);
    let mut daemons = vec![home.start()];
    plugin.start();
    let begun = plugin.wait_begun();
    let mut told = Vec::new();
    for _ in 0..5 {
        round(&mut plugin, &mut daemons);
        let daemon = daemons.last().expect("there is one");
        // What is told behind the end of this is for the next round.
        let known = told.last().map_or(&begun, |event: &Value| &event["cursor"]);
        told.extend(told_since(daemon, &known.clone()));
        let wanted = 1 + told.len();
        let log = plugin.wait_log("all of them", |log| log.len() >= wanted);
        assert_eq!(events_of(&log)[..told.len()], told, "{language:?}");
    }
    plugin.kill();
    plugin.wait_gone();
    // Those that were killed are held to account when nothing runs any more.
    drop(daemons.pop());
}

/// As if the plugin had been killed while it wrote.
fn break_the_last_line(plugin: &Plugin) {
    let log = fs::File::options().append(true).open(plugin.log_file());
    log.and_then(|mut log| log.write_all(b"{\"cursor\":\"nowh"))
        .expect("the log can be written");
}

#[test]
fn an_orderly_restart_is_logged_as_a_gap_behind_all_that_was_told() {
    for language in LANGUAGES {
        let home = Home::new(WEB);
        let mut plugin = Plugin::new(language, &home);
        let mut daemon = home.start();
        plugin.start();
        let begun = plugin.wait_begun();
        let mut expected = vec![json!({"cursor": begun})];
        let mut listening = daemon.connect();
        let from = json!({"since": begun});
        listening.send_call("Subscribe", from, true);
        for _ in 0..5 {
            listening.receive_reply().expect("it is a subscription");
            // What circusd says in its last moments is for those who listen by then.
            let so_far = expected.len();
            web(&daemon, "Start").expect("it starts");
            plugin.wait_log("what comes", |log| log.len() > so_far);
            assert!(daemon.stop().success());
            expected.extend(replies_to_the_end(&mut listening));
            drop(daemon);
            daemon = home.start();
            listening = daemon.connect();
            let last = expected.last().expect("there were events")["cursor"].clone();
            listening.send_call("Subscribe", json!({"since": last}), true);
        }
        listening.receive_reply().expect("it is a subscription");
        // The gap, and what happened before anybody could listen.
        let gap = listening.receive_reply().expect("it is another instance");
        assert_eq!(gap["gap"], json!({"first": 0, "last": 0}));
        expected.push(gap);
        let wanted = expected.len();
        let log = plugin.wait_log("as much", |log| log.len() >= wanted);
        assert_eq!(log[..wanted], expected, "{language:?}");
        drop(daemon);
    }
}

/// What is still said over a connection.
fn replies_to_the_end(connection: &mut Connection) -> Vec<Value> {
    let replies = std::iter::from_fn(|| connection.receive());
    replies
        .map(|mut message| message["parameters"].take())
        .collect()
}

#[test]
fn what_was_missed_is_logged_as_a_gap() {
    for language in LANGUAGES {
        let home = Home::new(&format!("[circusd]\nevent_buffer = 5\n{WEB}"));
        let daemon = home.start();
        let mut plugin = Plugin::new(language, &home);
        plugin.start();
        plugin.wait_begun();
        plugin.kill();
        plugin.wait_gone();
        let known = plugin.log().last().expect("it has begun")["cursor"].clone();
        for _ in 0..3 {
            // circusd may hear of its end only now.
            try_to_start_and_stop(&daemon);
        }
        plugin.start();
        let log = plugin.wait_log("the rest", |log| {
            log.last()
                .is_some_and(|line| is_event(line, "watcher.web.stop"))
        });
        let mut replies = daemon.connect();
        replies.send_call("Subscribe", json!({"since": known}), true);
        replies.receive_reply().expect("it is a subscription");
        let behind = log
            .iter()
            .skip_while(|line| line["cursor"] != known)
            .skip(1);
        let behind: Vec<_> = behind.cloned().collect();
        assert!(behind[0]["gap"]["last"].is_u64(), "{}", behind[0]);
        assert_eq!(behind.len(), 1 + 5, "{behind:#?}");
        for line in behind {
            assert_eq!(line, replies.receive_reply().expect("it goes on"));
        }
    }
}

#[test]
fn it_waits_for_a_circusd_that_is_not_there() {
    for language in LANGUAGES {
        let home = Home::new(WEB);
        let mut plugin = Plugin::new(language, &home);
        plugin.start();
        if language != Language::Shell {
            // The shell's waits without a word.
            eventually("it complains", || {
                plugin.told().contains("trying again").then_some(())
            });
        }
        let daemon = home.start();
        plugin.wait_begun();
        start_and_stop(&daemon);
        plugin.wait_log("what comes", |log| {
            log.iter().any(|line| is_event(line, "watcher.web.stop"))
        });
        drop(daemon);
        let told = plugin.told();
        assert!(told.matches("trying again").count() <= 4, "{told}");
    }
}

#[test]
fn it_answers_a_hook_and_after_a_restart_again() {
    for language in LANGUAGES {
        let home = Home::new(ASKS);
        let mut plugin = Plugin::new(language, &home);
        let hold = plugin.directory().join("web.hold");
        let mut daemons = vec![home.start()];
        plugin.start();
        for _ in 0..2 {
            let daemon = daemons.last_mut().expect("there is one");
            wait_registered(daemon);
            fs::write(&hold, "").expect("a file can be written");
            let refused = web(daemon, "Start").expect_err("it is held");
            assert_eq!(refused.error, "io.circusd.HookRefused", "{language:?}");
            fs::remove_file(&hold).expect("it was there");
            start_and_stop(daemon);
            daemon.kill();
            daemons.push(home.start());
        }
        let last = daemons.pop().expect("there is one");
        wait_registered(&last);
        plugin.kill();
        plugin.wait_gone();
        let failed = web(&last, "Start").expect_err("nobody answers");
        assert_eq!(failed.error, "io.circusd.HookFailed", "{language:?}");
        drop(last);
    }
}

/// Waits until somebody answers for `web`.
fn wait_registered(daemon: &Daemon) {
    eventually("somebody answers", || web(daemon, "Start").ok());
    web(daemon, "Stop").expect("it stops");
}

fn is_stopped_by_an_operator(status: &Value) -> bool {
    status["state"] == "stopped" && status["reason"]["cause"] == "operator"
}

/// Starts `bad` and waits until it flaps.
fn flap(daemon: &Daemon, events: &mut Events) {
    let bad = json!({"watchers": "bad", "wait": false});
    daemon.call("Start", bad).expect("it is tried");
    events.wait("watcher.bad.flapping");
}

#[test]
fn it_stops_a_watcher_that_flaps_but_none_that_did() {
    for language in LANGUAGES {
        let home = Home::new(FLAPS);
        let daemon = home.start();
        let mut events = daemon.subscribe();
        let mut plugin = Plugin::new(language, &home);
        plugin.start();
        plugin.wait_begun();
        flap(&daemon, &mut events);
        daemon.wait_until("bad", is_stopped_by_an_operator);

        plugin.kill();
        plugin.wait_gone();
        flap(&daemon, &mut events);
        let mended = json!({"watcher": "bad", "options": {"cmd": "sleep 1000"}});
        daemon.call("Set", mended).expect("it can be mended");
        daemon
            .call("Restart", json!({"watchers": "bad"}))
            .expect("it works now");
        plugin.start();
        let told = told_until_now(&daemon, &mut events);
        assert!(!told.is_empty());
        plugin.wait_log("what happened since", |log| {
            log.iter()
                .any(|line| line["cursor"] == told[told.len() - 1]["cursor"])
        });
        assert_eq!(daemon.status("bad")["state"], "active", "{language:?}");
    }
}

/// A configuration in which circusd itself runs the plugin, with what it finds in its environment.
fn under_circusd(plugin: &Plugin) -> String {
    format!(
        "{WEB}[watcher.plugin]\ncmd = {}\nenv.PATH = {}\ngraceful_timeout = \"500ms\"\n",
        json!(plugin.argv()),
        json!(path())
    )
}

#[test]
fn circusd_runs_it_like_any_other_worker() {
    for language in LANGUAGES {
        let home = Home::new("");
        let plugin = Plugin::new(language, &home);
        home.configure(&under_circusd(&plugin));
        let mut first = home.start();
        let begun = plugin.wait_begun();
        start_and_stop(&first);
        first.kill();
        let second = home.start();
        start_and_stop(&second);
        let told = told_since(&second, &begun);
        let wanted = told.len() + 1;
        let log = plugin.wait_log("all of them", |log| log.len() >= wanted);
        assert_eq!(events_of(&log)[..told.len()], told, "{language:?}");
        let status = second.status("plugin");
        assert_eq!(status["restarts"], 0, "{status}");
        drop(second);
    }
}

/// Where a mail is written instead of being sent.
fn sendmail(home: &Arc<Home>) -> String {
    let sendmail = home.path("sendmail");
    fs::write(
        &sendmail,
        "#!/bin/sh\ncat >\"$0.new\"\nmv \"$0.new\" \"$0.mail\"\n",
    )
    .expect("a script can be written");
    fs::set_permissions(&sendmail, fs::Permissions::from_mode(0o755)).expect("it is ours");
    sendmail.display().to_string()
}

#[test]
fn a_mail_is_sent_when_a_watcher_flaps() {
    let home = Home::new("");
    let mailer = sources().join("mail_on_flapping.sh").display().to_string();
    let argv = json!(["sh", mailer, "root@example.org", sendmail(&home)]);
    home.configure(&format!(
        "{FLAPS}[watcher.mailer]\ncmd = {argv}\nenv.PATH = {}\n",
        json!(path())
    ));
    let daemon = home.start();
    let mut events = daemon.subscribe();
    eventually("the mailer listens", || {
        let stats = daemon.call("DaemonStats", json!({})).expect("it is known");
        (stats["stats"]["subscribers"] == 2).then_some(())
    });
    flap(&daemon, &mut events);
    let mail = home.path("sendmail.mail");
    let text = wait_for_text(&mail, "bad");
    let head = "To: root@example.org\nSubject: bad keeps ending\n\n";
    assert!(text.starts_with(head), "{text}");
    assert!(text.len() > head.len() + "bad".len(), "{text}");
    assert_eq!(text_of(&mail), text);
}

#[test]
fn the_configuration_in_the_readme_is_right() {
    let readme = text_of(&sources().join("README.md"));
    let blocks = readme.split("```toml\n").skip(1);
    let ends = blocks.map(|block| block.split_once("```").expect("a block has an end"));
    let config: String = ends.map(|(config, _)| config).collect();
    assert!(config.contains("[watcher.web]"), "{config}");
    let checked = Home::new(&config).run_to_end(&["--check"]);
    assert!(checked.status.success(), "{checked:?}");
}
