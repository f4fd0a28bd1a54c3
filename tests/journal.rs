//! Events and refusals as records of the real journal, and what workers write there.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use circusd::api::action::{ACTIONS, DENIED, Of};
use common::facts::{has_cgroups, history};
use common::hooks::answer;
use common::journal::Journal;
use common::{Container, Daemon, Home, eventually};
use serde_json::{Value, json};

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/circusd.catalog");

/// A watcher for each way in which things go wrong, and one in which they do not.
const CONFIG: &str = r#"
    [defaults]
    graceful_timeout = 0
    backoff = false
    working_dir = ".."

    [hooks]
    when_ready = "true"
    post_start = { exec = "/nowhere/at/all", ignore_failure = true }
    pre_stop = { tcp = "127.0.0.1:1", timeout = "10ms" }

    [watcher.web]
    cmd = "sleep 1000"
    hooks.before_start = "sh hook.sh"
    hooks.after_stop = "sh hook.sh"

    [watcher.bad]
    cmd = ["sh", "-c", "exit 3"]
    flapping = { attempts = 2, window = "1h", retry_in = "10ms", max_retry = 1 }

    [watcher.missing]
    cmd = "/nowhere/web"
    max_retry = 1

    [watcher.sick]
    cmd = "sleep 1000"
    autostart = false
    health = { exec = "false", interval = "100ms", retries = 1 }

    [watcher.mute]
    cmd = "sleep 1000"
    autostart = false
    watchdog = "100ms"
"#;

fn restricted() -> String {
    format!("{CONFIG}\n[access]\noperate = []\nadmin = [65534]\n")
}

/// A daemon after a life in which everything has happened that can happen at will, and whether it
/// could freeze anything.
fn lived(journal: &Journal) -> (Daemon, bool) {
    let home = Home::new(CONFIG);
    fs::write(home.path("hook.sh"), common::hooks::SCRIPT).expect("a script can be written");
    answer(&home, "after_stop", "exit 7");
    let daemon = journal.start_daemon(&home);
    for watcher in ["bad", "missing"] {
        daemon.wait_until(watcher, |status| status["state"] == "failed");
    }
    let call = |method: &str, parameters: Value| {
        let answer = daemon.call(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error:?}"));
    };
    let web = json!({"watchers": "web"});
    let freezes = has_cgroups(&daemon);
    if freezes {
        call("Freeze", web.clone());
        call("Thaw", web.clone());
    }
    call("Reload", web.clone());
    let mut events = daemon.subscribe();
    call("Signal", json!({"watcher": "web", "signal": "KILL"}));
    events.wait("watcher.web.ready");
    for (watcher, fault) in [("sick", "health"), ("mute", "watchdog")] {
        call("Start", json!({"watchers": watcher}));
        events.wait(&format!("watcher.{watcher}.{fault}"));
        call("Stop", json!({"watchers": watcher}));
    }
    call("Set", json!({"watcher": "web", "options": {"priority": 7}}));
    call("Stop", web);
    call("Add", json!({"watcher": "new", "options": {"cmd": "true"}}));
    call("Remove", json!({"watcher": "new"}));
    home.configure("nonsense");
    daemon
        .call("ReloadConfig", json!({}))
        .expect_err("it is nonsense");
    home.configure(&restricted());
    call("ReloadConfig", json!({}));
    (daemon, freezes)
}

/// As the table of hooks-and-events says.
fn priority(event: &Value) -> &'static str {
    match event["action"].as_str().expect("an action") {
        "gave_up" | "spawn_failed" | "config_error" => "3",
        "hook_failure" | "flapping" | "oom" | "watchdog" | "health" => "4",
        "reap" if event["data"]["exit"]["expected"] == false => "4",
        _ => "6",
    }
}

/// What a record of the event must have; null: it must not have that.
fn fields(event: &Value) -> Vec<(&'static str, Value)> {
    let data = &event["data"];
    let action = event["action"].as_str().expect("an action");
    let of = match event["watcher"].is_null() {
        true => Of::Daemon,
        false => Of::Watcher,
    };
    let row = ACTIONS
        .iter()
        .find(|row| row.of == of && row.name == action);
    let text = |value: &Value| match value {
        Value::Null => Value::Null,
        Value::String(text) => json!(text),
        other => json!(other.to_string()),
    };
    let (hook, result) = match action {
        "hook_success" => (text(&data["name"]), text(&data["result"])),
        "hook_failure" => (text(&data["name"]), json!("failure")),
        _ => (Value::Null, Value::Null),
    };
    vec![
        (
            "MESSAGE_ID",
            json!(row.expect("it is in the table").message.id),
        ),
        ("PRIORITY", json!(priority(event))),
        ("SYSLOG_IDENTIFIER", json!("circusd")),
        ("CIRCUS_ACTION", json!(action)),
        ("CIRCUS_SEQ", text(&event["seq"])),
        ("CIRCUS_WATCHER", text(&event["watcher"])),
        ("CIRCUS_WID", text(&data["wid"])),
        ("CIRCUS_PID", text(&data["process_pid"])),
        ("OBJECT_PID", text(&data["process_pid"])),
        ("CIRCUS_HOOK", hook),
        ("CIRCUS_HOOK_RESULT", result),
        ("CIRCUS_EXIT_CAUSE", text(&data["exit"]["cause"])),
        ("CIRCUS_EXIT_STATUS", text(&data["exit"]["status"])),
    ]
}

#[test]
fn every_event_is_a_record_with_its_fields() {
    let Some(journal) = Journal::start() else {
        return;
    };
    let (mut daemon, freezes) = lived(&journal);
    let events = history(&daemon);
    let pid = format!("_PID={}", daemon.pid());
    let records: Vec<Value> = journal.records(&[&pid]);
    for event in &events {
        let seq = event["seq"].to_string();
        let mut found = records.iter().filter(|record| record["CIRCUS_SEQ"] == *seq);
        let record = found.next().unwrap_or_else(|| panic!("no record: {event}"));
        assert!(found.next().is_none(), "told twice: {event}");
        for (field, expected) in fields(event) {
            assert_eq!(record[field], expected, "{field} of {event}: {record}");
        }
        let message = record["MESSAGE"].as_str().expect("a sentence");
        let name = event["watcher"].as_str().unwrap_or("circusd");
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
    }
    let numbered = records
        .iter()
        .filter(|record| !record["CIRCUS_SEQ"].is_null());
    assert_eq!(numbered.count(), events.len(), "a record of no event");

    let seen: BTreeSet<_> = events.iter().map(kind).collect();
    assert!(daemon.stop().success());
    let last = journal.records(&[&pid, "CIRCUS_ACTION=stopping"]);
    assert_eq!(last.len(), 1, "{last:?}");
    let failed = journal.records(&[&pid, "CIRCUS_HOOK=pre_stop"]);
    assert_eq!(failed[0]["CIRCUS_HOOK_RESULT"], "failure");

    // `adopt` needs another daemon: tests/unit; `notice` a program: tests/library.rs.
    let not_at_will = ["oom", "adopt", "notice"];
    let frozen = ["freeze", "thaw"];
    // It could not be heard of any more.
    let seen: BTreeSet<_> = seen
        .into_iter()
        .chain([(false, "stopping".into())])
        .collect();
    for row in ACTIONS {
        let expected = match row.name {
            name if not_at_will.contains(&name) => continue,
            name if frozen.contains(&name) && !freezes => continue,
            name => (row.of == Of::Watcher, name.to_owned()),
        };
        assert!(seen.contains(&expected), "{expected:?} did not happen");
    }
}

fn kind(event: &Value) -> (bool, String) {
    let action = event["action"].as_str().expect("an action");
    (!event["watcher"].is_null(), action.to_owned())
}

#[test]
fn what_is_denied_is_a_record_with_who_asked() {
    let Some(journal) = Journal::start() else {
        return;
    };
    let home = Home::new(
        "[hooks]\npre_request = { exec = [\"sh\", \"-c\", \"! grep -q DaemonStats\"] }\n",
    );
    let daemon = journal.start_daemon(&home);
    home.configure("[access]\nadmin = [65534]\n[hooks]\nconnection_made = \"true\"\n");
    daemon
        .call("DaemonStats", json!({}))
        .expect_err("the hook says no");
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    daemon.call("Quit", json!({})).expect_err("it is denied");
    let id = format!("MESSAGE_ID={}", DENIED.id);
    let records = journal.records(&[&id]);
    let methods: Vec<_> = records
        .iter()
        .map(|record| &record["CIRCUS_METHOD"])
        .collect();
    assert_eq!(methods, ["io.circusd.DaemonStats", "io.circusd.Quit"]);
    for record in records {
        assert_eq!(record["PRIORITY"], "4");
        assert_eq!(record["CIRCUS_PEER_PID"], std::process::id().to_string());
        assert_eq!(record["CIRCUS_PEER_UID"], "0");
        assert_eq!(record["CIRCUS_PEER_GID"], "0");
    }
}

#[test]
fn elsewhere_a_record_is_one_line_for_people() {
    let daemon = Daemon::start("[watcher.web]\ncmd = \"sleep 1000\"\ngraceful_timeout = 0\n");
    daemon
        .home()
        .configure("[watcher.web]\ncmd = 1\nnumproceses = 2\n");
    daemon
        .call("ReloadConfig", json!({}))
        .expect_err("it has two faults");
    let log = daemon.log();
    for line in log.lines() {
        let (time, _) = line.split_once(' ').unwrap_or_default();
        assert!(time.ends_with('Z'), "not the beginning of a record: {line}");
        assert!(
            !line.contains("MESSAGE_ID") && !line.contains("CIRCUS_"),
            "{line}"
        );
    }
    let refused = log.lines().find(|line| line.contains("is refused"));
    let refused = refused.expect("it is told");
    assert!(
        refused.contains("numproceses") && refused.contains("ERROR"),
        "{refused}"
    );
}

/// A journal that has our catalog.
fn with_catalog() -> Option<Journal> {
    let journal = Journal::start()?;
    let installed = journal.path("/usr/lib/systemd/catalog/circusd.catalog");
    fs::copy(CATALOG, installed).expect("a catalog can be installed");
    journal.journalctl(&["--update-catalog"]);
    Some(journal)
}

#[test]
fn the_catalog_has_every_record() {
    let Some(journal) = with_catalog() else {
        return;
    };
    let listed = journal.journalctl(&["--list-catalog"]);
    let messages = ACTIONS.iter().map(|row| row.message).chain([DENIED]);
    assert_eq!(listed.lines().count(), messages.clone().count(), "{listed}");
    for message in messages {
        assert!(listed.contains(message.id), "{}", message.subject);
    }
}

/// A text of the catalog with the fields of a record in their places.
fn filled(text: &str, record: &Value) -> String {
    let part = |(index, part): (usize, &str)| match index % 2 {
        0 => part.to_owned(),
        _ => record[part]
            .as_str()
            .map_or_else(|| format!("@{part}@"), str::to_owned),
    };
    text.split('@').enumerate().map(part).collect()
}

/// As one line, however it is broken and whatever is before each line.
fn unbroken(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| *word != "░░");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_record_of_every_kind_is_explained() {
    let Some(journal) = with_catalog() else {
        return;
    };
    let (daemon, _) = lived(&journal);
    let mut kinds = BTreeSet::new();
    for record in journal.records(&[&format!("_PID={}", daemon.pid())]) {
        let id = &record["MESSAGE_ID"];
        let row = ACTIONS.iter().find(|row| *id == row.message.id);
        let Some(row) = row.filter(|row| kinds.insert(row.message.id)) else {
            continue;
        };
        let seq = record["CIRCUS_SEQ"].as_str().expect("an event has one");
        let told = journal.journalctl(&["-x", &format!("CIRCUS_SEQ={seq}")]);
        let subject = format!("Subject: {}", filled(row.message.subject, &record));
        let text = filled(row.message.text, &record);
        for expected in [&subject, &text, "Documentation: man:circusd-events(7)"] {
            let (told, expected) = (unbroken(&told), unbroken(expected));
            assert!(told.contains(&expected), "{expected}: {told}");
        }
        assert!(!told.contains("@CIRCUS_"), "{}: {told}", row.name);
    }
    assert!(kinds.len() > 20, "{kinds:?}");
}

#[test]
fn a_worker_writes_to_the_journal_under_the_name_of_its_watcher() {
    let Some(journal) = Journal::start() else {
        return;
    };
    let home = Home::new(
        r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo out; echo '<4>care'; echo err >&2; exec sleep 1000"]
        stdout = "journal"
        stderr = "journal"
        graceful_timeout = 0
    "#,
    );
    let daemon = journal.start_daemon(&home);
    let pid = daemon.status("web")["processes"][0]["pid"].to_string();
    let records = eventually("what it has written", || {
        let records = journal.records(&["SYSLOG_IDENTIFIER=web"]);
        (records.len() == 3).then_some(records)
    });
    let mut told: Vec<_> = records
        .iter()
        .map(|record| {
            let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(field("_TRANSPORT"), "stdout");
            (field("MESSAGE"), field("PRIORITY"), field("_PID"))
        })
        .collect();
    told.sort();
    let expected = [("care", "4"), ("err", "4"), ("out", "6")];
    let expected = expected.map(|(text, priority)| (text.into(), priority.into(), pid.clone()));
    assert_eq!(told, expected);
    // Both what it says and what is said of it.
    let both = journal.records(&[&format!("_PID={pid}"), "+", &format!("OBJECT_PID={pid}")]);
    assert!(both.len() > records.len(), "{both:?}");
}

/// As a packaged circusd has it.
const SERVICE: &str = "
Type=notify
ExecStart=/usr/local/bin/circusd --config /etc/circusd/circusd.toml
RuntimeDirectory=circusd
Delegate=yes
DelegateSubgroup=supervisor";

#[test]
fn a_service_logs_to_the_journal_by_itself_and_is_explained_there() {
    let Some(container) = Container::boot() else {
        return;
    };
    container.copy_in(
        Path::new(CATALOG),
        "/usr/lib/systemd/catalog/circusd.catalog",
    );
    container.succeed(&["journalctl", "--update-catalog"]);
    container.write(
        "/etc/circusd/circusd.toml",
        "[watcher.web]\ncmd = \"sleep 1000\"\n",
    );
    container.start_service("circusd.service", SERVICE);
    let spawn = &container.wait_for_journal(&["CIRCUS_ACTION=spawn"], 1)[0];
    for (field, expected) in [
        ("_SYSTEMD_UNIT", "circusd.service"),
        ("SYSLOG_IDENTIFIER", "circusd"),
        ("CIRCUS_WATCHER", "web"),
        ("PRIORITY", "6"),
        // What journald finds out of the worker itself; its cgroup, as it is born there. What it
        // executes may not be seen yet.
        ("OBJECT_SYSTEMD_UNIT", "circusd.service"),
    ] {
        assert_eq!(spawn[field], expected, "{field}: {spawn}");
    }
    let told = container.succeed(&["journalctl", "-x", "--unit=circusd.service"]);
    let subject = "Subject: Process 1 of watcher web has been started";
    assert!(told.contains(subject), "{told}");
    assert!(!told.contains("CIRCUS_"), "fields are for programs: {told}");
}
