//! Settings as pulsar had them, seen from outside: declared once, typed, validated, with an origin each.
//!
//! What each single setting takes is tested where they are declared.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::facts::{pids, variable_of};
use common::{Daemon, Home, output};
use serde_json::{Value, json};

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program of ours says of itself.
fn told(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    text(&output(command))
}

const CIRCUSD: &str = env!("CARGO_BIN_EXE_circusd");
const CIRCUSCTL: &str = env!("CARGO_BIN_EXE_circusctl");

#[test]
fn help_manual_and_schema_come_from_one_table_and_keep_its_order() {
    let schema: Value = serde_json::from_str(&told(CIRCUSD, &["--print-schema"])).expect("JSON");
    let help = told(CIRCUSCTL, &["help", "config"]);
    let mut place = 0;
    let sections = [
        &schema["properties"]["circusd"],
        &schema["$defs"]["watcher"],
    ];
    for section in sections {
        let keys = section["properties"].as_object().expect("a table of keys");
        assert!(keys.len() > 15, "{keys:?}");
        for key in keys.keys() {
            let line = format!("\n  {key} ");
            let found = help[place..].find(&line);
            place += found.unwrap_or_else(|| panic!("{key} is not where it should be: {help}"));
        }
    }
    // The manual is compared with what the table makes of it in tests/pages.
}

#[test]
fn help_of_a_setting_says_type_range_default_and_what_a_change_does() {
    let help = told(CIRCUSCTL, &["help", "config", "graceful_timeout"]);
    for said in [
        "a duration",
        "0 to 86400",
        "default  30s",
        "in force at once",
    ] {
        assert!(help.contains(said), "'{said}': {help}");
    }
    let help = told(CIRCUSD, &["--help"]);
    for flag in ["--config", "--set <KEY=VALUE>", "--log-level"] {
        assert!(help.contains(flag), "{help}");
    }
}

#[test]
fn a_wrong_value_names_the_key_the_value_and_the_range() {
    let home = Home::new("[watcher.web]\ncmd = \"sleep 1000\"\nnice = 50\nnumproceses = 2\n");
    let output = home.run_to_end(&["--check"]);
    assert_eq!(output.status.code(), Some(78));
    let complaint = String::from_utf8_lossy(&output.stderr);
    for said in [
        "circusd.toml:3:8: watcher.web.nice: 50 is out of range, which is -20 to 19",
        "    nice = 50\n",
        "circusd.toml:4:1: watcher.web.numproceses: unknown key",
        "did you mean 'numprocesses'?",
    ] {
        assert!(complaint.contains(said), "'{said}': {complaint}");
    }
}

/// The value of an option of `web`, and where it comes from.
fn origin(daemon: &Daemon, key: &str) -> (Value, String) {
    let names = json!({"names": [format!("watcher.web.{key}")]});
    let reply = daemon.call("GetSettings", names).expect("anybody may look");
    let setting = &reply["settings"][0];
    let source = setting["source"].as_str().unwrap_or_default();
    let source = source.rsplit('/').next().unwrap_or_default();
    let origin = setting["origin"].as_str().expect("every value has one");
    (setting["value"].clone(), format!("{origin} {source}"))
}

#[test]
fn the_nearer_source_wins_and_each_value_knows_its_own() {
    let home = Home::new(
        "[circusd]\ninclude = [\"more.toml\"]\n\
         [watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
         graceful_timeout = 1\npriority = 1\nnice = 1\nnumprocesses = 1\nmax_retry = 1\n",
    );
    fs::create_dir(home.path("etc/conf.d")).expect("a directory can be made");
    let drop_in = "[watcher.web]\npriority = 2\nnice = 2\nnumprocesses = 2\nmax_retry = 2\n";
    let more = "[watcher.web]\nnice = 3\nnumprocesses = 3\nmax_retry = 3\n";
    fs::write(home.path("etc/conf.d/a.toml"), drop_in).expect("it can be written");
    fs::write(home.path("etc/more.toml"), more).expect("it can be written");
    let daemon = home.start_with(|circusd| {
        circusd.args(["--set", "watcher.web.numprocesses=4"]);
        circusd.args(["--set", "watcher.web.max_retry=4"]);
    });
    let set = json!({"watcher": "web", "options": {"max_retry": 5}});
    daemon.call("Set", set).expect("it is taken");
    for (key, value, from) in [
        ("singleton", json!(false), "default "),
        ("graceful_timeout", json!(1), "file circusd.toml:6:20"),
        ("priority", json!(2), "drop_in a.toml:2:12"),
        ("nice", json!(3), "file more.toml:2:8"),
        ("numprocesses", json!(4), "command_line --set"),
        ("max_retry", json!(5), "api Set"),
    ] {
        assert_eq!(origin(&daemon, key), (value, from.to_owned()), "{key}");
    }
    let table = text(&daemon.ctl(&["options", "web", "--origin"]));
    let line = table.lines().find(|line| line.starts_with("priority"));
    assert!(
        line.expect("it has a line").contains("conf.d/a.toml:2:12"),
        "{table}"
    );
}

#[test]
fn the_environment_stands_between_files_and_flags() {
    let home = Home::new("[circusd]\nevent_buffer = 10\nhook_timeout = 10\nwarmup_delay = 0\n");
    let daemon = home.start_with(|circusd| {
        circusd.env("CIRCUSD_EVENT_BUFFER", "20");
        circusd.env("CIRCUSD_HOOK_TIMEOUT", "20");
        circusd.args(["--set", "circusd.hook_timeout=30"]);
    });
    let reply = daemon
        .call("GetSettings", json!({}))
        .expect("anybody may look");
    let settings = reply["settings"].as_array().expect("a list");
    for (name, value, origin) in [
        ("event_buffer", json!(20), "environment"),
        ("hook_timeout", json!(30), "command_line"),
        ("warmup_delay", json!(0), "file"),
        ("message_bytes_max", json!("1M"), "default"),
    ] {
        let setting = settings
            .iter()
            .find(|setting| setting["name"] == format!("circusd.{name}"));
        let setting = setting.unwrap_or_else(|| panic!("no {name}: {reply}"));
        assert_eq!(
            (&setting["value"], &setting["origin"]),
            (&value, &json!(origin)),
            "{name}"
        );
    }
}

#[test]
fn a_watcher_has_what_defaults_say_where_it_says_nothing_itself() {
    let home = Home::new(
        "[defaults]\nnumprocesses = 2\ngraceful_timeout = 1\nx-team = \"ops\"\n\
         [watcher.web]\ncmd = \"sleep 1000\"\nnumprocesses = 1\nautostart = false\n",
    );
    let daemon = home.start();
    // One is its default, too; but it was said.
    let kept = origin(&daemon, "numprocesses");
    assert_eq!(kept, (json!(1), "file circusd.toml:7:16".to_owned()));
    let copied = origin(&daemon, "graceful_timeout");
    assert_eq!(copied, (json!(1), "file circusd.toml:3:20".to_owned()));
    let team = text(&daemon.ctl(&["get", "web", "x-team"]));
    assert_eq!(team, "x-team = \"ops\"\n");
}

#[test]
fn a_prefix_tells_several_programs_in_one_daemon_apart() {
    let home = Home::new(
        "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
         [watcher.api]\ncmd = \"sleep 1000\"\nautostart = false\n",
    );
    let daemon = home.start_with(|circusd| {
        circusd.args(["--set", "watcher.api.numprocesses=7"]);
    });
    assert_eq!(daemon.status("api")["numprocesses"], 7);
    assert_eq!(daemon.status("web")["numprocesses"], 1);
    let output = home.run_to_end(&["--check", "--set", "watcher.api.numproceses=7"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{complaint}");
    assert!(
        complaint.contains("did you mean 'numprocesses'?"),
        "{complaint}"
    );
}

#[test]
fn a_setting_has_its_effect_on_what_is_started() {
    let home = Home::new(
        "[circusd]\nhttp_proxy = \"http://proxy:3128\"\n\
         [watcher.web]\ncmd = \"sleep 1000\"\ngraceful_timeout = 0\nthread_workers = 4\n",
    );
    let daemon = home.start();
    let web = daemon.wait_until("web", |status| status["state"] == "active");
    let pid = pids(&web).first().copied().expect("it runs");
    for name in ["http_proxy", "https_proxy", "ws_proxy", "wss_proxy"] {
        assert_eq!(variable_of(pid, name), "http://proxy:3128", "{name}");
    }
    assert_eq!(variable_of(pid, "CIRCUS_THREAD_WORKERS"), "4");
    // exc_id: the same name in every cursor and for every worker.
    let instance = variable_of(pid, "CIRCUS_INSTANCE");
    let cursor = &daemon.subscribe().opening["cursor"];
    let cursor = cursor.as_str().expect("a subscription begins with one");
    assert!(
        cursor.starts_with(&format!("{instance}:")),
        "{cursor} {instance}"
    );
}

#[test]
fn a_pidfile_names_the_daemon_while_it_runs() {
    let home = Home::new("");
    let file = home.path("circusd.pid");
    home.configure(&format!("[circusd]\npidfile = '{}'\n", file.display()));
    let mut daemon = home.start();
    let told = fs::read_to_string(&file).expect("it is there when the daemon is ready");
    assert_eq!(told, format!("{}\n", daemon.pid()));
    daemon.stop();
    assert!(!file.exists(), "a daemon that has ended has no pid");
}
