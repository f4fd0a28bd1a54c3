//! What is sent as an event, held against what the table of events says of it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::events::event_data;
use super::*;
use crate::api::action::{ACTIONS, Action, Of};
use crate::core::{
    Announcement, By, EventKind, Exit, Fault, Hook, HookAnswer, Name, Origin, SpawnFailure, Time,
};

/// One of every kind, as full as it can be and as empty.
fn samples() -> Vec<EventKind> {
    let (pid, wid, duration) = (4711, 1, Duration::from_millis(1));
    let exit = Exit {
        wid,
        pid,
        time: Time::ZERO,
        runtime: duration,
        status: ExitStatus::Unknown,
        expected: false,
        forced: None,
    };
    let failure = SpawnFailure {
        stage: "executing".into(),
        errno: 2,
        error: "no such file".into(),
    };
    let (hook, process) = (Hook::BeforeSpawn, Some((wid, Some(pid))));
    let success = |reason, process| EventKind::HookSuccess {
        hook,
        result: false,
        reason,
        duration,
        process,
    };
    let config_error = |line: Option<u64>| {
        EventKind::Announced(Announcement::ConfigError {
            error: "wrong".into(),
            file: line.map(|_| "web.toml".into()),
            line,
            column: line,
        })
    };
    let watchers = vec!["web".into()];
    vec![
        EventKind::Spawn {
            pid,
            wid,
            generation: 1,
        },
        EventKind::Ready {
            pid,
            wid,
            after: duration,
        },
        EventKind::Reap { pid, wid, exit },
        EventKind::Kill {
            pid,
            wid,
            child: None,
            signal: 15,
            by: By::Stop,
        },
        EventKind::Kill {
            pid,
            wid,
            child: Some(pid + 1),
            signal: 15,
            by: By::Operator,
        },
        EventKind::SpawnFailed { wid, failure },
        EventKind::Start {
            pids: vec![pid],
            duration,
        },
        EventKind::Stop {
            pids: vec![pid],
            duration,
        },
        EventKind::Reload {
            pids: vec![pid],
            duration,
        },
        EventKind::Updated {
            keys: vec!["cmd".into()],
            origin: Origin::Files,
        },
        EventKind::Add,
        EventKind::Remove,
        success(Some("not today".into()), process),
        success(None, None),
        EventKind::HookFailure {
            hook,
            error: "crashed".into(),
            duration,
            process,
        },
        EventKind::Flapping {
            wid,
            attempts: 5,
            window: duration,
            retry_in: duration,
        },
        EventKind::GaveUp {
            wid: Some(wid),
            attempts: 5,
        },
        EventKind::GaveUp {
            wid: None,
            attempts: 5,
        },
        EventKind::Adopt { pid: 7, wid: 1 },
        EventKind::Oom {
            pid: 7,
            wid: 1,
            peak: Some(1 << 20),
            limit: None,
        },
        unfit(Fault::Watchdog),
        unfit(Fault::Health),
        EventKind::Freeze,
        EventKind::Thaw,
        EventKind::DaemonReady,
        EventKind::DaemonStopping,
        EventKind::Announced(Announcement::Reloading),
        EventKind::Announced(Announcement::ConfigChanged { watchers }),
        config_error(Some(1)),
        config_error(None),
        EventKind::Announced(Announcement::Notice {
            watcher: Name::from("web"),
            name: "deployed".into(),
            data: r#"{"version": 3}"#.into(),
        }),
        answered(Some("web"), HookAnswer::True),
        answered(Some("web"), HookAnswer::Failed("crashed".into())),
        answered(None, HookAnswer::False("not today".into())),
        answered(None, HookAnswer::Failed("crashed".into())),
    ]
}

fn answered(watcher: Option<&str>, answer: HookAnswer) -> EventKind {
    EventKind::Announced(Announcement::HookAnswered {
        watcher: watcher.map(Name::from),
        hook: "a hook",
        answer,
        duration: Duration::from_millis(1),
        process: watcher.map(|_| (1, 7)),
    })
}

fn unfit(fault: Fault) -> EventKind {
    let (pid, wid, error) = (7, 1, "status 503".into());
    EventKind::Unfit {
        pid,
        wid,
        fault,
        error,
    }
}

/// A kind that is not here does not compile, so that nobody forgets its sample.
fn of(kind: &EventKind) -> Of {
    match kind {
        EventKind::Spawn { .. }
        | EventKind::Ready { .. }
        | EventKind::Reap { .. }
        | EventKind::Kill { .. }
        | EventKind::SpawnFailed { .. }
        | EventKind::Start { .. }
        | EventKind::Stop { .. }
        | EventKind::Reload { .. }
        | EventKind::Updated { .. }
        | EventKind::Add
        | EventKind::Remove
        | EventKind::HookSuccess { .. }
        | EventKind::HookFailure { .. }
        | EventKind::Flapping { .. }
        | EventKind::GaveUp { .. }
        | EventKind::Adopt { .. }
        | EventKind::Oom { .. }
        | EventKind::Unfit { .. }
        | EventKind::Freeze
        | EventKind::Thaw => Of::Watcher,
        EventKind::DaemonReady | EventKind::DaemonStopping => Of::Daemon,
        EventKind::Announced(news) => match news.watcher() {
            Some(_) => Of::Watcher,
            None => Of::Daemon,
        },
    }
}

fn row(of: Of, name: &str) -> &'static Action {
    let found = ACTIONS.iter().find(|row| row.of == of && row.name == name);
    found.unwrap_or_else(|| panic!("the table has no event {name} of {of:?}"))
}

/// Whether `value` may stand where the table says `of_type`.
fn fits(of_type: &str, value: &serde_json::Value) -> bool {
    match of_type.strip_prefix('?') {
        Some(of_type) => value.is_null() || fits(of_type, value),
        None => match of_type {
            "int" => value.is_i64() || value.is_u64(),
            "bool" => value.is_boolean(),
            "string" => value.is_string(),
            "Exit" | "object" => value.is_object(),
            list => list.strip_prefix("[]").is_some_and(|of_type| {
                value
                    .as_array()
                    .is_some_and(|items| items.iter().all(|item| fits(of_type, item)))
            }),
        },
    }
}

#[test]
fn every_event_is_as_the_table_says() {
    let clock = Clock::start();
    let mut told = BTreeSet::new();
    for kind in samples() {
        let (name, data) = event_data(&kind, &clock);
        let row = row(of(&kind), name);
        let data = data.as_object().expect("data is an object");
        for key in data.keys() {
            let known = row.data.iter().any(|member| member.name == key);
            assert!(known, "{name}: the table has no member {key}");
        }
        for member in row.data {
            let value = data.get(member.name).unwrap_or(&serde_json::Value::Null);
            let (key, of_type) = (member.name, member.of_type);
            assert!(fits(of_type, value), "{name}: {key}: {of_type}: {value}");
        }
        told.insert((name, row.of == Of::Watcher));
    }
    let table = ACTIONS.iter().map(|row| (row.name, row.of == Of::Watcher));
    assert_eq!(
        told,
        table.collect(),
        "an event of the table is never sent, or has no sample here"
    );
}

#[test]
fn every_reason_of_a_signal_is_in_the_table() {
    let by = row(Of::Watcher, "kill")
        .data
        .iter()
        .find(|member| member.name == "by");
    let meaning = by.expect("kill says by whom").meaning;
    for by in [
        By::Stop,
        By::Scale,
        By::Reload,
        By::MaxAge,
        By::Operator,
        By::StartTimeout,
        By::Hook,
        By::Cleanup,
        By::Watchdog,
        By::Health,
        By::MaxRequests,
    ] {
        assert!(meaning.contains(&format!("`{}`", by.as_str())), "{by:?}");
    }
}
