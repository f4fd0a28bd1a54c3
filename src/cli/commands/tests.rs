//! Holds the table against itself, against the interface, and against Circus.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::api::{Method, Streaming, method};
use crate::cli::answer;
use crate::cli::command::{Replies, Work, WrongUsage};
use crate::cli::parser;

/// What `line`, as typed behind `circusctl`, would send.
fn calls(line: &str) -> Result<Vec<Call>, WrongUsage> {
    let words = shlex::split(line).unwrap_or_else(|| panic!("open quote in: {line}"));
    let words = std::iter::once("circusctl".to_owned()).chain(words);
    let matches = parser::root().try_get_matches_from(words);
    let matches = matches.unwrap_or_else(|error| panic!("{line}: {error}"));
    let (name, matches) = matches.subcommand().unwrap();
    match find(name).unwrap().work {
        Work::Ask { calls, .. } => calls(matches),
        Work::Answer => Ok(vec![answer::registration(matches)]),
        Work::Help | Work::Validate | Work::Logs => Ok(Vec::new()),
    }
}

fn check(line: &str, method: &str, parameters: Value) {
    let calls = calls(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let sent: Vec<_> = calls
        .iter()
        .map(|call| (call.method, &call.parameters))
        .collect();
    assert_eq!(sent, [(method, parameters.as_object().unwrap())], "{line}");
}

fn check_refused(line: &str) {
    let words = shlex::split(line).unwrap();
    let words = std::iter::once("circusctl".to_owned()).chain(words);
    assert!(
        parser::root().try_get_matches_from(words).is_err(),
        "{line}"
    );
}

#[test]
fn every_row_says_what_it_does() {
    for row in all() {
        assert!(
            !row.about.is_empty() && !row.about.ends_with('.'),
            "{}",
            row.name
        );
        assert!(row.details.ends_with('.'), "{}", row.name);
        assert!(!row.examples.is_empty(), "{} has no example", row.name);
        for arg in row.args {
            assert!(
                !arg.help.is_empty() && !arg.help.ends_with('.'),
                "{} {}",
                row.name,
                arg.name
            );
        }
    }
}

#[test]
fn every_row_has_its_own_name() {
    let names: BTreeSet<_> = all().map(|row| row.name).collect();
    assert_eq!(names.len(), all().count());
}

#[test]
fn every_command_of_circus_keeps_its_name() {
    let circus = "add decr dstats get globaloptions incr kill list listen listsockets numprocesses \
                  numwatchers options quit reload reloadconfig restart rm set signal start stats status stop version";
    for name in circus.split(' ').filter(|name| !name.is_empty()) {
        assert!(find(name).is_some(), "{name} is missing");
    }
}

#[test]
fn every_example_is_understood_and_is_of_its_command() {
    for row in all() {
        let mut sent = BTreeSet::new();
        for example in row.examples {
            let words = shlex::split(example.line).unwrap();
            assert!(
                words.iter().any(|word| word == row.name),
                "{}",
                example.line
            );
            for call in calls(example.line).unwrap() {
                sent.insert(call.method);
                check_call(example.line, &call);
            }
        }
        if let Work::Ask { methods, .. } = row.work {
            assert_eq!(
                sent,
                methods.iter().copied().collect(),
                "the methods of {}",
                row.name
            );
        }
    }
}

/// The interface has the method, takes the parameters, and answers as we expect it to.
fn check_call(line: &str, call: &Call) {
    let name = format!("io.circusd.{}", call.method);
    Method::parse(&name, call.parameters.clone()).unwrap_or_else(|error| panic!("{line}: {error}"));
    let row = method::METHODS.iter().find(|row| row.name == name).unwrap();
    match call.replies {
        Replies::One => assert_ne!(row.streaming, Streaming::Required, "{line}"),
        Replies::Progress => assert_eq!(row.streaming, Streaming::Optional, "{line}"),
        Replies::Stream => assert_ne!(row.streaming, Streaming::Never, "{line}"),
    }
}

#[test]
fn every_command_has_a_help_with_its_examples() {
    let mut root = parser::root();
    root.build();
    for row in all() {
        let help = root
            .find_subcommand_mut(row.name)
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(help.contains(row.about), "{help}");
        for example in row.examples {
            assert!(
                help.contains(&format!("circusctl {}", example.line)),
                "{help}"
            );
        }
    }
}

#[test]
fn the_parser_is_sound() {
    let mut root = parser::root();
    root.build();
    root.debug_assert();
}

#[test]
fn a_command_without_names_is_for_all_watchers_and_with_names_for_each() {
    for (command, method) in [
        ("start", "Start"),
        ("stop", "Stop"),
        ("restart", "Restart"),
        ("reload", "Reload"),
        ("freeze", "Freeze"),
        ("thaw", "Thaw"),
        ("status", "Status"),
    ] {
        check(command, method, json!({}));
        let named = calls(&format!("{command} web 'w*'")).unwrap();
        let watchers: Vec<_> = named
            .iter()
            .map(|call| call.parameters["watchers"].clone())
            .collect();
        assert_eq!(watchers, ["web", "w*"], "{command}");
    }
}

#[test]
fn what_was_not_given_is_not_sent() {
    check("stop web", "Stop", json!({"watchers": "web"}));
    check(
        "stop web --no-wait",
        "Stop",
        json!({"watchers": "web", "wait": false}),
    );
    check("reload", "Reload", json!({}));
    check(
        "reload --sequential --terminate",
        "Reload",
        json!({"graceful": false, "sequential": true}),
    );
    check("rm web", "Remove", json!({"watcher": "web"}));
    check(
        "rm web --nostop",
        "Remove",
        json!({"watcher": "web", "keep_processes": true}),
    );
    check("quit", "Quit", json!({}));
    check("reexec", "Reexec", json!({}));
    check("listen", "Subscribe", json!({}));
    check("kill web", "Kill", json!({"watcher": "web"}));
}

#[test]
fn counts_and_durations_are_sent_as_the_interface_wants_them() {
    check("incr web", "Scale", json!({"watcher": "web", "delta": 1}));
    check(
        "decr web 3",
        "Scale",
        json!({"watcher": "web", "delta": -3}),
    );
    check(
        "numprocesses web 3",
        "Scale",
        json!({"watcher": "web", "numprocesses": 3}),
    );
    check("numprocesses web", "Status", json!({"watchers": "web"}));
    check(
        "stats --interval 0.5",
        "Stats",
        json!({"interval_usec": 500_000}),
    );
    check(
        "stats --extended web",
        "Stats",
        json!({"watchers": "web", "extended": true}),
    );
    check(
        "kill web --pid 7 --graceful-timeout 0",
        "Kill",
        json!({"watcher": "web", "pid": 7, "graceful_timeout_usec": 0}),
    );
    for wrong in [
        "incr web -1",
        "numprocesses web -1",
        "incr web x",
        "stats --interval -1",
        "stats --interval inf",
        "stats --interval nan",
        "--timeout 1e30 status",
        "signal web hup --wid 0",
        "signal web hup --pid 4294967296",
    ] {
        check_refused(wrong);
    }
}

#[test]
fn a_signal_goes_to_the_process_its_children_or_all() {
    let sent =
        |recipients: &str| json!({"watcher": "w", "signal": "usr1", "recipients": recipients});
    check(
        "signal w usr1",
        "Signal",
        json!({"watcher": "w", "signal": "usr1"}),
    );
    check("signal w usr1 --children", "Signal", sent("children"));
    check("signal w usr1 --recursive", "Signal", sent("all"));
    check_refused("signal w usr1 --children --recursive");
    check_refused("signal w usr1 --wid 1 --pid 2");
    check(
        "signal w usr1 --pid 7 --child 8",
        "Signal",
        json!({"watcher": "w", "signal": "usr1", "pid": 7, "child": 8}),
    );
    check_refused("signal w usr1 --pid 7 --child 8 --children");
    assert_eq!(
        calls("signal w usr1 --child 8"),
        Err(WrongUsage::ChildOfWhom)
    );
}

#[test]
fn a_value_is_json_where_it_is_json() {
    let options = |line: &str| calls(line).map(|calls| calls[0].parameters["options"].clone());
    let check = |line: &str, expected: Value| assert_eq!(options(line), Ok(expected), "{line}");
    check(
        "set w a=1 b=1s c=true",
        json!({"a": 1, "b": "1s", "c": true}),
    );
    check("set w a= b=null", json!({"a": "", "b": null}));
    check("set w cmd='[\"a\", \"b=c\"]'", json!({"cmd": ["a", "b=c"]}));
    check("set w env.X=a=b", json!({"env.X": "a=b"}));
    check("set w max_retry=-1", json!({"max_retry": -1}));
    check(
        "set w max_retry -1 cmd a=b",
        json!({"max_retry": -1, "cmd": "a=b"}),
    );
    let refused = |line: &str, error| assert_eq!(options(line), Err(error), "{line}");
    refused("set w a", WrongUsage::NoValue("a".into()));
    refused("set w a 1 b", WrongUsage::NoValue("b".into()));
    refused("set w a=1 b", WrongUsage::NotAnAssignment("b".into()));
    refused("set w =1", WrongUsage::NoKey("=1".into()));
    refused("set w a=1 a=2", WrongUsage::Twice("a".into()));
}

#[test]
fn the_name_of_a_watcher_alone_is_no_topic() {
    let refused = calls("listen web").expect_err("that could never be heard");
    assert!(matches!(refused, WrongUsage::Topic(_)), "{refused}");
    assert!(
        refused.to_string().contains("'watcher.NAME.*'"),
        "{refused}"
    );
}

#[test]
fn a_letter_does_instead_of_a_flag_and_an_hour_ago_is_no_flag() {
    let read = |line: &str| {
        let words = line.split(' ');
        let mut matches = parser::root().try_get_matches_from(words).unwrap();
        let (_, matches) = matches.remove_subcommand().unwrap();
        let text = |name| matches.get_one::<String>(name).cloned();
        (
            matches.get_flag("follow"),
            matches.get_one::<i64>("lines").copied(),
            [text("since"), text("output")],
        )
    };
    let short = read("circusctl logs web -fn 5 --since -1h -o cat");
    let long = read("circusctl logs web --follow --lines 5 --since -1h --output cat");
    assert_eq!(short, long);
    let texts = ["-1h", "cat"].map(|text| Some(text.to_owned()));
    assert_eq!(short, (true, Some(5), texts));
    check_refused("logs");
    check_refused("logs web -n -5");
}

#[test]
fn a_new_watcher_needs_a_program() {
    check(
        "add w numprocesses=2 -- sh -c 'exit 1' --start",
        "Add",
        json!({
            "watcher": "w",
            "options": {"numprocesses": 2, "cmd": ["sh", "-c", "exit 1", "--start"]},
            "start": false,
        }),
    );
    check(
        "add w cmd=top --start",
        "Add",
        json!({"watcher": "w", "options": {"cmd": "top"}, "start": true}),
    );
    assert_eq!(calls("add w"), Err(WrongUsage::NoProgram("w".into())));
    assert_eq!(
        calls("add w cmd=a -- b"),
        Err(WrongUsage::Twice("cmd".into()))
    );
    assert_eq!(
        calls("add w sleep"),
        Err(WrongUsage::NotAnAssignment("sleep".into()))
    );
}
