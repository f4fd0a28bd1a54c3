//! Replies as they come over the socket, and what is printed of them.

use serde_json::json;

use super::*;
use crate::api::types::{Exit, ExitCause};
use crate::cli::command::Work;
use crate::cli::{commands, parser};

/// The moment at which everything here is printed.
const NOW: u64 = 1_800_000_000_000_000;

const SECOND: u64 = 1_000_000;

fn print(line: &str, width: Option<u16>, reply: &Value) -> Result<String, serde_json::Error> {
    let words = shlex::split(line).unwrap();
    let words = std::iter::once("circusctl".to_owned()).chain(words);
    let matches = parser::root().get_matches_from(words);
    let (name, matches) = matches.subcommand().unwrap();
    let view = View {
        matches,
        now_usec: NOW,
        width,
    };
    match commands::find(name).unwrap().work {
        Work::Ask { print, .. } => print(reply.as_object().unwrap(), &view),
        Work::Answer | Work::Help | Work::Validate | Work::Logs => panic!("{name} prints no reply"),
    }
}

/// What `line` prints of `reply` where it is not a terminal.
fn check(line: &str, reply: Value, expected: &str) {
    let printed = print(line, None, &reply).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(printed, expected, "{line} prints:\n{printed}");
}

fn process(wid: u64, pid: u64, age: u64) -> Value {
    json!({
        "wid": wid, "pid": pid, "state": "running", "started_usec": NOW - age * SECOND,
        "ready_usec": null, "generation": 1, "adopted": false, "status_text": null, "cgroup": null,
    })
}

fn web() -> Value {
    json!({
        "name": "web", "state": "active", "numprocesses": 3, "priority": 0, "singleton": false,
        "processes": [process(1, 4711, 60), process(2, 4712, 3_725), process(3, 4713, 5)],
        "frozen": false, "reason": null, "restarts": 1,
        "last_exit": {
            "wid": 3, "pid": 4710, "time_usec": NOW - 5 * SECOND, "runtime_usec": 90 * SECOND,
            "cause": "exited", "status": 1, "expected": false,
        },
    })
}

fn crashy() -> Value {
    json!({
        "name": "crashy", "state": "waiting", "numprocesses": 1, "processes": [], "priority": 0,
        "singleton": true, "frozen": false, "restarts": 12,
        "reason": {
            "cause": "flapping", "text": "5 unexpected ends within 10 s",
            "since_usec": NOW - SECOND, "next_attempt_usec": NOW + 6 * SECOND,
        },
    })
}

#[test]
fn status_is_a_line_for_each_watcher_and_why_it_does_not_run() {
    check(
        "status",
        json!({"watchers": [web(), crashy()]}),
        "\
WATCHER  STATE    PROCESSES  RESTARTS  AGE        PIDS
web      active   3/3               1  1 h 2 min  4711 4712 4713
    last exit: exit code 1, 5 s ago (wid 3, pid 4710, ran 1 min 30 s)
crashy   waiting  0/1              12  -
    5 unexpected ends within 10 s; again in 6 s
",
    );
    check("status", json!({"watchers": []}), "no watchers\n");
}

#[test]
fn status_of_a_name_is_the_whole_watcher() {
    let mut web = web();
    web["processes"][0]["status_text"] = json!("serving\u{1b}[2J");
    web["frozen"] = json!(true);
    check(
        "status web",
        json!({"watchers": [web]}),
        "\
web: active, frozen, 3 of 3 processes ready, 1 restarts
  last exit: exit code 1, 5 s ago (wid 3, pid 4710, ran 1 min 30 s)
  WID   PID  STATE    AGE
    1  4711  running  1 min      serving\\u{1b}[2J
    2  4712  running  1 h 2 min
    3  4713  running  5 s
",
    );
}

#[test]
fn pids_are_shortened_for_a_terminal_only() {
    let processes: Vec<_> = (0..30).map(|wid| process(wid, 10_000 + wid, 1)).collect();
    let mut web = web();
    web["processes"] = json!(processes);
    let reply = json!({"watchers": [web]});
    let piped = print("status", None, &reply).unwrap();
    assert!(piped.contains(" 10029\n"), "{piped}");
    let seen = print("status", Some(80), &reply).unwrap();
    assert!(
        seen.contains("  10000 10001 10002 10003 10004 +25\n"),
        "{seen}"
    );
    assert!(
        seen.lines().all(|line| line.chars().count() <= 80),
        "{seen}"
    );
    let narrow = print("status", Some(10), &reply).unwrap();
    assert!(narrow.contains("  10000 +29\n"), "{narrow}");
}

#[test]
fn list_is_names_or_pids() {
    check("list", json!({"watchers": ["web", "w"]}), "web\nw\n");
    check(
        "list web",
        json!({"watchers": [web(), crashy()]}),
        "4711\n4712\n4713\n",
    );
}

#[test]
fn numbers_stand_alone() {
    check("numwatchers", json!({"watchers": ["web", "w"]}), "2\n");
    check(
        "numprocesses",
        json!({"watchers": [web(), crashy()]}),
        "3\n",
    );
    check("incr web", json!({"numprocesses": 4, "changes": []}), "4\n");
    check(
        "signal web hup",
        json!({"pids": [4711, 4712]}),
        "4711\n4712\n",
    );
}

#[test]
fn a_verb_says_what_it_did() {
    check(
        "restart",
        json!({"changes": [
            {"watcher": "web", "started": [3, 4], "stopped": [1, 2], "kept": []},
            {"watcher": "w", "started": [], "stopped": [], "kept": [5]},
        ]}),
        "web: started 2 (3, 4), stopped 2 (1, 2)\nw: no process was started or stopped\n",
    );
    check("restart --no-wait", json!({}), "accepted\n");
    check(
        "set web a=1",
        json!({"effect": "live"}),
        "in force; no process was replaced\n",
    );
    check(
        "set web a=1",
        json!({"effect": "reload", "changes": [
            {"watcher": "web", "started": [2], "stopped": [1], "kept": []},
        ]}),
        "web: started 1 (2), stopped 1 (1)\n",
    );
    check("rm web", json!({}), "");
}

#[test]
fn a_new_configuration_is_told_by_watcher() {
    check(
        "reloadconfig",
        json!({"changes": [
            {"watcher": "a", "change": "add", "keys": []},
            {"watcher": "b", "change": "unchanged", "keys": []},
            {"watcher": "c", "change": "reload", "keys": ["cmd", "env"]},
        ]}),
        "a: add\nc: reload (cmd, env)\n",
    );
    check(
        "reloadconfig --dry-run",
        json!({"changes": []}),
        "no watcher changes\n",
    );
}

#[test]
fn options_are_in_the_form_in_which_they_are_set() {
    check(
        "options web",
        json!({"options": {"cmd": ["a", "b"], "graceful_timeout": "30s", "umask": null}}),
        "cmd = [\"a\",\"b\"]\ngraceful_timeout = \"30s\"\numask = null\n",
    );
}

#[test]
fn settings_are_named_within_their_section_and_say_where_they_come_from() {
    let setting = |section: &str, key: &str, value: Value, origin: &str, source: Option<&str>| {
        json!({
            "name": format!("{section}.{key}"), "section": section, "value": value, "origin": origin,
            "source": source, "on_change": "live", "description": "…",
        })
    };
    let settings = json!({"settings": [
        setting("circusd", "log_level", json!("debug"), "command_line", None),
        setting("circusd", "event_buffer", json!(10), "drop_in", Some("/etc/circusd/conf.d/a.toml:3:1")),
    ]});
    check(
        "globaloptions",
        settings.clone(),
        "log_level = \"debug\"\nevent_buffer = 10\n",
    );
    check(
        "globaloptions --origin",
        settings,
        "\
OPTION        ORIGIN                                  VALUE
log_level     command line                            \"debug\"
event_buffer  drop in /etc/circusd/conf.d/a.toml:3:1  10
",
    );
    let settings = json!({"settings": [
        setting("watcher.web", "env.LANG", json!("C"), "api", None),
        setting("watcher.web.old", "cmd", json!("x"), "api", None),
    ]});
    check(
        "options web --origin",
        settings,
        "OPTION    ORIGIN  VALUE\nenv.LANG  api     \"C\"\n",
    );
}

#[test]
fn an_event_is_a_line_and_so_is_a_gap() {
    check("listen", json!({"cursor": "a:1"}), "");
    check(
        "listen",
        json!({"cursor": "a:2", "event": {
            "cursor": "a:2", "seq": 2, "time_usec": 1_709_208_000_123_456_u64,
            "topic": "watcher.web.hook_failure", "watcher": "web", "action": "hook_failure",
            "data": {"name": "before_start", "error": "exit code 3\n", "wid": 2},
        }}),
        "2024-02-29T12:00:00.123Z watcher.web.hook_failure name=before_start error=\"exit code 3\\n\" wid=2\n",
    );
    check(
        "listen",
        json!({"cursor": "a:9", "gap": {"first": 3, "last": 9}}),
        "gap: events 3 to 9 are lost\n",
    );
    check(
        "listen",
        json!({"cursor": "a:9", "gap": {"first": 0, "last": 9}}),
        "gap: events up to number 9 are lost\n",
    );
}

#[test]
fn stats_have_a_dash_for_what_is_not_known() {
    check(
        "stats",
        json!({"processes": [{
            "watcher": "web", "wid": 1, "pid": 4711, "state": "running", "age_usec": 61 * SECOND,
            "cpu_usec": 1_500_000, "memory_rss": 12_345_678, "memory_current": 2_048, "tasks": 3,
            "fds": 10, "children": 0,
        }]}),
        "\
WATCHER  WID   PID  STATE          AGE  CPU%  CPU  MEMORY  TREE  TASKS  FDS  READ  WRITTEN
web        1  4711  running  1 min 1 s     -  1 s     11M  2.0K      3   10     -        -
",
    );
}

#[test]
fn what_a_hook_knows_of_a_process_is_below_it() {
    let process = |wid: u64, extended: Value| {
        json!({
            "watcher": "web", "wid": wid, "pid": 4710 + wid, "state": "running",
            "age_usec": SECOND, "cpu_usec": 0, "memory_rss": 1024, "tasks": 1, "children": 0,
            "extended": extended,
        })
    };
    check(
        "stats --extended",
        json!({"processes": [
            process(1, json!({"requests": 7, "queue": "a\nb", "by": {"get": 5}})),
            process(2, json!(null)),
        ]}),
        "\
WATCHER  WID   PID  STATE    AGE  CPU%   CPU  MEMORY  TREE  TASKS  FDS  READ  WRITTEN
web        1  4711  running  1 s     -  0 ms    1.0K     -      1    -     -        -
    requests=7 queue=a\\nb by={\"get\":5}
web        2  4712  running  1 s     -  0 ms    1.0K     -      1    -     -        -
",
    );
}

#[test]
fn what_runs_below_a_process_follows_it() {
    let process = |wid: u64, more: Value| {
        json!({
            "watcher": "web", "wid": wid, "pid": 4710 + wid, "state": "running",
            "age_usec": SECOND, "cpu_usec": 0, "memory_rss": 1024, "tasks": 1, "children": 1,
            "extended": {"requests": 7}, "descendants": more,
        })
    };
    let child = json!({
        "pid": 4800, "ppid": 4711, "age_usec": SECOND, "cpu_usec": 500_000, "cpu_percent": 49.96,
        "memory_rss": 2048,
    });
    check(
        "stats --children --extended",
        json!({"processes": [process(1, json!([child])), process(2, json!([]))]}),
        "\
WATCHER  WID   PID  STATE    AGE  CPU%     CPU  MEMORY  TREE  TASKS  FDS  READ  WRITTEN
web        1  4711  running  1 s     -    0 ms    1.0K     -      1    -     -        -
    requests=7
web        1  4800  child    1 s  50.0  500 ms    2.0K     -      -    -     -        -
web        2  4712  running  1 s     -    0 ms    1.0K     -      1    -     -        -
    requests=7
",
    );
}

#[test]
fn a_reply_of_another_form_is_an_error() {
    assert!(print("status", None, &json!({"watchers": [{"name": 1}]})).is_err());
    assert!(print("list", None, &json!({})).is_err());
}

#[test]
fn durations_have_two_units_at_most() {
    let hour = 3600 * SECOND;
    for (usec, expected) in [
        (0, "0 ms"),
        (999_999, "999 ms"),
        (SECOND, "1 s"),
        (60 * SECOND, "1 min"),
        (61 * SECOND, "1 min 1 s"),
        (hour - 1, "59 min 59 s"),
        (hour, "1 h"),
        (hour + 59 * SECOND, "1 h"),
        (25 * hour, "1 d 1 h"),
        (u64::MAX, "213503982 d 8 h"),
    ] {
        assert_eq!(words::duration(usec), expected, "{usec}");
    }
    assert_eq!(words::again(NOW, NOW + 1), "again now");
    assert_eq!(words::ago(NOW + SECOND, NOW), "just now");
}

#[test]
fn sizes_and_times_are_exact() {
    for (bytes, expected) in [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (10 * 1024 - 1, "9.9K"),
        (1024 * 1024, "1.0M"),
        (u64::MAX, "16383P"),
    ] {
        assert_eq!(words::size(bytes), expected, "{bytes}");
    }
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(words::time(seconds * SECOND), expected);
    }
}

#[test]
fn an_exit_is_told_in_words() {
    for (cause, status, expected) in [
        (ExitCause::Exited, Some(1), "exit code 1"),
        (ExitCause::Signaled, Some(9), "killed by SIGKILL"),
        (ExitCause::Signaled, Some(40), "killed by signal 40"),
        (ExitCause::Signaled, Some(0), "killed by signal 0"),
        (
            ExitCause::Dumped,
            Some(11),
            "killed by SIGSEGV (core dumped)",
        ),
        (
            ExitCause::OomKill,
            None,
            "killed by the kernel, out of memory",
        ),
        (ExitCause::Unknown, None, "ended, how is not known"),
    ] {
        let exit = Exit {
            wid: 1,
            pid: 2,
            time_usec: 3,
            runtime_usec: 4,
            cause,
            status,
            expected: false,
        };
        assert_eq!(words::exit(&exit), expected);
    }
}
