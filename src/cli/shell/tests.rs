//! What lines mean to the shell, and what the tab key offers.

use super::complete::{Knowledge, complete};
use super::*;

/// A daemon with two watchers.
struct Known;

impl Knowledge for Known {
    fn watchers(&self) -> Vec<String> {
        vec!["web".to_owned(), "worker".to_owned()]
    }

    fn options(&self, watcher: &str) -> Vec<String> {
        assert_eq!(watcher, "web");
        vec!["cmd".to_owned(), "numprocesses".to_owned()]
    }
}

fn check(typed: &str, expected: &[&str]) {
    let (start, offered) = complete(typed, &Known);
    assert_eq!(offered, expected, "behind '{typed}'");
    assert_eq!(
        start,
        typed.rfind(' ').map_or(0, |space| space + 1),
        "{typed}"
    );
}

#[test]
fn the_tab_key_offers_what_the_place_allows() {
    check("sta", &["status", "stats", "start"]);
    check("ex", &["exit"]);
    check("--j", &["--json"]);
    check("--json lis", &["list", "listsockets", "listen"]);
    check("start ", &["web", "worker"]);
    check("start web wo", &["worker"]);
    check("incr web ", &[]);
    check("get web num", &["numprocesses"]);
    check("set web ", &["cmd=", "numprocesses="]);
    check("set web cmd=x num", &["numprocesses="]);
    check("reload web --s", &["--sequential", "--socket"]);
    check("kill web --signal ", &[]);
    check("logs web -o ", &[]);
    check("logs web --fo", &["--follow"]);
    check("logs w", &["web", "worker"]);
    check("help relo", &["reload", "reloadconfig"]);
    check("help config ", &[]);
    check("frob ", &[]);
}

#[test]
fn a_line_is_a_command_or_leaves_or_is_nothing() {
    let globals = Globals {
        json: true,
        ..Globals::default()
    };
    let understand = |typed| understand(typed, &globals);
    assert!(matches!(understand(""), Ok(Step::Nothing)));
    assert!(matches!(understand("  # a comment"), Ok(Step::Nothing)));
    assert!(matches!(understand("exit"), Ok(Step::Leave)));
    assert!(matches!(understand("stop 'a"), Err(Failure::OpenQuote)));
    assert!(matches!(understand("frob"), Err(Failure::Parse(_))));
    let Ok(Step::Do(line)) = understand("--timeout 2 quit # at last") else {
        panic!("no command")
    };
    assert!(line.stops_the_daemon() && line.globals.json && line.globals.timeout.is_some());
}
