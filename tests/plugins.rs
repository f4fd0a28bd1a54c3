//! `[plugin.NAME]` and `circus-plugin`: what a plugin is to the daemon, whoever wrote it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use common::facts::{history, line_of, pids, topics, variable_of, wait_for_text};
use common::{Daemon, Home, output};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const WEB: &str = "[watcher.web]\ncmd = \"sleep 1000\"\n";

/// Runs `circus-plugin` to its end.
fn circus_plugin(home: &Home, arguments: &[&str]) -> Output {
    let mut command = home.program(env!("CARGO_BIN_EXE_circus-plugin"));
    command.args(arguments);
    output(command)
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// The pid of the plugin `name`.
fn pid(daemon: &Daemon, name: &str) -> u64 {
    let status = daemon.wait_until(&format!("plugin:{name}"), |status| {
        status["state"] == "active"
    });
    *pids(&status).first().expect("it runs")
}

/// The numbers of the events in a file of logger.
fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let event = |line: &str| -> Value { serde_json::from_str(line).expect("a line is JSON") };
    let number = |line: &str| event(line)["seq"].as_u64();
    text.lines()
        .map(|line| number(line).unwrap_or_else(|| panic!("not an event: {line}")))
        .collect()
}

/// Has something happen that is told once, and waits until it is in the file.
fn mark(daemon: &Daemon, path: &Path, name: &str) {
    let marker = json!({"watcher": name, "options": {"cmd": "true", "autostart": false}});
    daemon.call("Add", marker).expect("a watcher can be added");
    wait_for_text(path, &format!("watcher.{name}.add"));
}

fn logger(more: &str) -> Arc<Home> {
    Home::new(&format!(
        "{WEB}[plugin.log]\nuse = \"logger\"\nfilename = \"../events.log\"\n{more}"
    ))
}

#[test]
fn a_plugin_starts_before_the_watchers_and_ends_after_them() {
    let home = logger("");
    let mut daemon = home.start();
    let told = history(&daemon);
    let told = topics(&told);
    let at = |topic: &str| told.iter().position(|told| *told == topic);
    assert!(at("plugin:log.spawn") < at("web.spawn"), "{told:?}");
    let path = home.path("events.log");
    wait_for_text(&path, "watcher.web.start");
    let status = daemon.status("plugin:log");
    assert_eq!(
        (&status["singleton"], &status["numprocesses"]),
        (&json!(true), &json!(1))
    );
    assert!(daemon.stop().success());
    let text = fs::read_to_string(&path).expect("there is a file");
    assert!(text.contains("watcher.web.stop"), "{text}");
}

#[test]
fn a_logger_neither_loses_nor_doubles_an_event_when_it_is_killed() {
    let home = logger("");
    let daemon = home.start();
    let path = home.path("events.log");
    mark(&daemon, &path, "first");
    for name in ["second", "third"] {
        let mut events = daemon.subscribe();
        let kill = json!({"watcher": "plugin:log", "signal": "SIGKILL"});
        daemon.call("Signal", kill).expect("it runs");
        events.wait("watcher.plugin:log.reap");
        mark(&daemon, &path, name);
    }
    let numbers = numbers(&path);
    let first = numbers[0];
    let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_plugin_goes_on_at_its_cursor_over_a_crash_of_circusd() {
    let home = logger("");
    let mut daemon = home.start();
    let path = home.path("events.log");
    mark(&daemon, &path, "first");
    let before = pid(&daemon, "log");
    daemon.kill();
    let daemon = home.start();
    mark(&daemon, &path, "second");
    assert_eq!(pid(&daemon, "log"), before, "it need not start again");
    let numbers = numbers(&path);
    let first = numbers[0];
    let expected: Vec<u64> = (first..first + numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_log_that_was_moved_is_made_anew_and_one_that_is_long_is_turned_over() {
    let home = logger("topics = [\"watcher.*.add\"]\nmax_bytes = 600\nbackup_count = 2\n");
    let daemon = home.start();
    let path = home.path("events.log");
    mark(&daemon, &path, "first");
    fs::rename(&path, home.path("moved.log")).expect("a file can be moved");
    for number in 0..12 {
        mark(&daemon, &path, &format!("m{number}"));
    }
    let mut names: Vec<_> = fs::read_dir(home.root())
        .expect("a directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("log") && name != "circusd.log")
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["events.log", "events.log.1", "events.log.2", "moved.log"]
    );
    for name in &names {
        let text = fs::read_to_string(home.path(name)).expect("there is a file");
        assert!(text.len() <= 600 && text.ends_with('\n'), "{name}: {text}");
        assert!(text.lines().all(|line| line.contains(".add\"")), "{text}");
    }
}

#[test]
fn a_log_can_be_for_people() {
    let home = logger("format = \"text\"\n");
    let daemon = home.start();
    let path = home.path("events.log");
    mark(&daemon, &path, "first");
    let text = fs::read_to_string(&path).expect("there is a file");
    let line = text.lines().find(|line| line.contains("watcher.first.add"));
    let line = line.expect("it was told");
    assert!(line.ends_with("Z watcher.first.add {}"), "{line}");
}

/// What a program that is a plugin was given.
#[test]
fn any_program_is_a_plugin_and_finds_what_it_needs_in_its_environment() {
    let config = format!(
        "{WEB}[plugin.mail]\ncmd = \"/bin/sh -c\"\nargs = ['echo $CIRCUS_SOCKET >mail; exec sleep 1000']\n\
         to = \"root\"\nlevel = {{ least = 4 }}\n\
         [plugin.mail.watcher]\nworking_dir = \"@\"\n"
    );
    let home = Home::new("");
    home.configure(&config.replace('@', &home.root().display().to_string()));
    let daemon = home.start();
    let pid = pid(&daemon, "mail");
    assert_eq!(
        line_of(&home.path("mail")),
        home.socket().display().to_string()
    );
    let told: Value =
        serde_json::from_str(&variable_of(pid, "CIRCUS_PLUGIN_CONFIG")).expect("JSON");
    assert_eq!(told, json!({"to": "root", "level": {"least": 4}}));
    assert_eq!(variable_of(pid, "CIRCUS_PLUGIN_NAME"), "mail");
}

#[test]
fn a_change_replaces_the_plugin_that_it_is_about_and_nothing_else() {
    let config = |to: &str, more: &str| {
        format!(
            "{WEB}[plugin.mail]\ncmd = \"sleep 1000\"\nto = \"{to}\"\n\
             [plugin.other]\ncmd = \"sleep 1000\"\n{more}"
        )
    };
    let home = Home::new(&config("root", ""));
    let daemon = home.start();
    let all = |names: &[&str]| -> Vec<BTreeSet<u64>> {
        names
            .iter()
            .map(|name| pids(&daemon.status(name)))
            .collect()
    };
    let (mail, others) = (all(&["plugin:mail"]), all(&["web", "plugin:other"]));

    home.configure(&config("admin", "[plugin.new]\ncmd = \"sleep 1000\"\n"));
    let reply = daemon.call("ReloadConfig", json!({})).expect("it is right");
    let changes = reply["changes"].as_array().expect("a list");
    let change = |name: &str| changes.iter().find(|change| change["watcher"] == name);
    let mail_changed = change("plugin:mail").expect("it is named");
    assert_eq!(
        (&mail_changed["change"], &mail_changed["keys"]),
        (&json!("reload"), &json!(["to"]))
    );
    assert_eq!(change("plugin:new").expect("it is named")["change"], "add");
    let told = variable_of(pid(&daemon, "mail"), "CIRCUS_PLUGIN_CONFIG");
    assert_eq!(told, "{\"to\":\"admin\"}");
    pid(&daemon, "new");
    assert_ne!(all(&["plugin:mail"]), mail);
    assert_eq!(all(&["web", "plugin:other"]), others);

    home.configure(&config("admin", "").replace("[plugin.other]\ncmd = \"sleep 1000\"\n", ""));
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    let names = daemon.call("List", json!({})).expect("everyone may look");
    assert_eq!(names["watchers"], json!(["plugin:mail", "web"]));
}

#[test]
fn circusctl_shows_where_the_settings_of_a_plugin_come_from() {
    let home = logger("[plugin.log.watcher]\nrestart = \"on_failure\"\n");
    let daemon = home.start();
    let shown = said(&daemon.ctl(&["options", "plugin:log", "--origin"]));
    let line = |key: &str| {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("{key} ")));
        line.unwrap_or_else(|| panic!("no {key}: {shown}"))
    };
    assert!(line("filename").contains("circusd.toml:5:12"), "{shown}");
    assert!(line("format").contains("default"), "{shown}");
    assert!(line("restart").contains("circusd.toml:7:11"), "{shown}");
}

#[test]
fn a_wrong_setting_is_told_before_anything_starts() {
    let home = logger("max_byte = 7\n");
    let output = home.run_to_end(&["--check"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = said(&output);
    assert!(
        said.contains("circusd.toml:6:1: plugin.log.max_byte: unknown key"),
        "{said}"
    );
    assert!(said.contains("did you mean 'max_bytes'?"), "{said}");
}

#[test]
fn a_plugin_that_gives_up_ends_circusd_if_it_is_critical() {
    let home = Home::new(&format!(
        "{WEB}[plugin.bad]\ncmd = \"false\"\n[plugin.bad.watcher]\ncritical = true\n\
         flapping = {{ attempts = 1, max_retry = 0 }}\n"
    ));
    let output = home.run_to_end(&[]);
    assert_eq!(output.status.code(), Some(70), "{output:?}");
}

#[test]
fn flapping_holds_back_who_has_no_rule_of_his_own() {
    let home = Home::new(
        "[defaults]\nbackoff = false\n[watcher.bad]\ncmd = \"false\"\n\
         [watcher.other]\ncmd = \"false\"\nflapping = { attempts = 1, max_retry = 0 }\n\
         [plugin.calm]\nuse = \"flapping\"\nattempts = 2\nretry_in = \"1h\"\n",
    );
    let daemon = home.start();
    let held = daemon.wait_until("bad", |status| status["reason"]["cause"] == "flapping");
    let text = held["reason"]["text"].as_str().unwrap_or_default();
    assert!(text.ends_with("2 times within 10 s"), "{held}");
    daemon.wait_until("other", |status| status["state"] == "failed");
    let all = daemon.call("List", json!({})).expect("it is answered");
    assert_eq!(
        all["watchers"],
        json!(["bad", "other"]),
        "it has no process"
    );
}

#[test]
fn circus_plugin_by_hand_tells_every_wrong_setting_and_exits_with_78() {
    let home = Home::new("");
    let output = circus_plugin(
        &home,
        &[
            "--config",
            "max_bytes=much",
            "--config",
            "flename=x",
            "logger",
        ],
    );
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = said(&output);
    for part in [
        "max_bytes: expected a size",
        "flename: unknown key",
        "filename: required",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(circus_plugin(&home, &["lgger"]).status.code(), Some(2));
    assert_eq!(circus_plugin(&home, &[]).status.code(), Some(2));
    let nobody = circus_plugin(&home, &["--config", "filename=/dev/null", "logger"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
}

#[test]
fn circus_plugin_describes_every_plugin() {
    let home = Home::new("");
    let list = circus_plugin(&home, &["list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let list = list.as_array().expect("a list");
    assert!(list.len() >= 10, "{list:?}");
    for plugin in list {
        let name = plugin["name"].as_str().expect("a name");
        let described = circus_plugin(&home, &["describe", "--json", name]);
        let described: Value = serde_json::from_slice(&described.stdout).expect("JSON");
        let settings = described["settings"].as_array().expect("a list");
        let text = said(&circus_plugin(&home, &["describe", name]));
        for setting in settings {
            let key = setting["name"].as_str().expect("a name");
            assert!(text.contains(&format!("\n{key}\n")), "{text}");
        }
        assert!(!settings.is_empty(), "{described}");
    }
}

#[test]
fn circus_plugin_by_hand_ends_with_0_when_it_is_told_to() {
    let daemon = Daemon::start(WEB);
    let home = daemon.home();
    let mut command = home.program(env!("CARGO_BIN_EXE_circus-plugin"));
    let path = home.path("by-hand.log");
    command.args(["--config", "filename=by-hand.log", "--socket"]);
    command
        .arg(home.socket())
        .arg("logger")
        .current_dir(home.root());
    let mut child = command.spawn().expect("it can be started");
    common::eventually("it listens", || {
        let stats = daemon
            .call("DaemonStats", json!({}))
            .expect("everyone may look");
        (stats["stats"]["subscribers"] == 1).then_some(())
    });
    mark(&daemon, &path, "first");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().expect("a pid fits"));
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("our own child");
    assert_eq!(child.wait().expect("our own child").code(), Some(0));
}
