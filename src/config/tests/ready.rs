//! Readiness and health as they are written: every form, what differs from process to process, and
//! what is wrong with others.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{Machine, errors_of};
use crate::config::{Health, PlacedProbe, Probe, Ready, Store, Watcher};

fn watcher(line: &str) -> Watcher {
    let store = Machine::with(&format!("[watcher.web]\ncmd = \"x\"\n{line}\n")).load();
    store.config().watcher("web").unwrap().clone()
}

fn ready(value: &str) -> Ready {
    watcher(&format!("ready = {value}")).ready
}

fn health(value: &str) -> Option<Health> {
    watcher(&format!("health = {value}")).health
}

/// What is asked of the process with number 7.
#[track_caller]
fn asked(value: &str) -> PlacedProbe {
    match ready(value) {
        Ready::Probe(probe) => probe.at(7).unwrap(),
        other => panic!("no probe: {other:?}"),
    }
}

/// What is wrong with `key` written so, in line 3.
#[track_caller]
fn check_wrong(key: &str, value: &str, expected: &[&str]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|line| format!("3:{}", line.replace('@', &format!("watcher.web.{key}"))))
        .collect();
    let text = format!("[watcher.web]\ncmd = \"x\"\n{key} = {value}\n");
    assert_eq!(errors_of(&text), expected, "{value}");
}

#[test]
fn every_form_of_readiness_is_read() {
    assert_eq!(watcher("").ready, Ready::Spawn);
    assert_eq!(ready("\"spawn\""), Ready::Spawn);
    assert_eq!(ready("\"notify\""), Ready::Notify);
    assert_eq!(ready("\"fd\""), Ready::Fd);
    let words = |words: &[&str]| PlacedProbe::Exec(words.iter().map(|w| (*w).into()).collect());
    assert_eq!(
        asked("{ exec = \"check 'a b'\" }"),
        words(&["check", "a b"])
    );
    assert_eq!(asked("{ exec = [\"check\"] }"), words(&["check"]));
    assert!(matches!(
        asked("{ tcp = \"localhost:80\" }"),
        PlacedProbe::Tcp(_)
    ));
    assert!(matches!(asked("{ unix = \"@web\" }"), PlacedProbe::Unix(_)));
    let PlacedProbe::Http(url, expect) = asked("{ http = \"http://[::1]/up\", expect = [204] }")
    else {
        panic!("a page");
    };
    assert_eq!((url.path.as_str(), &expect[..]), ("/up", &[204][..]));
}

#[test]
fn a_probe_may_be_another_for_each_process() {
    let PlacedProbe::Tcp(address) = asked("{ tcp = \"127.0.0.1:80$(circus.wid)\" }") else {
        panic!("an address");
    };
    assert_eq!(address.addresses[0].port(), 807);
    assert_eq!(
        asked("{ file = \"/run/web.$(circus.wid).ready\" }"),
        PlacedProbe::File(PathBuf::from("/run/web.7.ready"))
    );
    assert_eq!(
        asked("{ exec = [\"check\", \"$(circus.wid)\", \"$(circus.env.LANG)\"] }"),
        PlacedProbe::Exec(vec!["check".into(), "7".into(), "C".into()])
    );
    let Ready::Probe(probe) = ready("{ tcp = \"127.0.0.1:6$(circus.wid)\" }") else {
        panic!("a probe");
    };
    let error = probe.at(10_000).unwrap_err();
    assert!(error.contains("'127.0.0.1:610000'"), "{error}");
}

#[test]
fn paths_are_relative_to_the_file_they_are_written_in() {
    let machine = Machine::with(
        "[watcher.web]\ncmd = \"x\"\nready = { file = \"run/$(circus.wid)\" }\n\
         health = { unix = \"web.sock\" }\n",
    );
    let store = machine.load();
    let web = store.config().watcher("web").unwrap();
    let Ready::Probe(probe) = &web.ready else {
        panic!("a probe");
    };
    let file = machine.path("etc/circusd/run/7");
    assert_eq!(probe.at(7), Ok(PlacedProbe::File(file)));
    let path = crate::config::SocketPath::Path(machine.path("etc/circusd/web.sock"));
    let probe = &web.health.as_ref().unwrap().probe;
    assert_eq!(probe.at(1), Ok(PlacedProbe::Unix(path)));
}

#[test]
fn health_has_its_defaults_and_can_be_switched_off() {
    let read = health("{ tcp = \"localhost:80\" }").unwrap();
    assert!(matches!(read.probe, Probe::Tcp(_)));
    let (ten, five) = (Duration::from_secs(10), Duration::from_secs(5));
    assert_eq!((read.interval, read.timeout, read.retries), (ten, five, 3));
    assert_eq!(health("false"), None);
    let text =
        "[defaults]\nhealth = { exec = \"a\" }\n[watcher.web]\ncmd = \"x\"\nhealth = false\n";
    let store = Machine::with(text).load();
    assert_eq!(store.config().watcher("web").unwrap().health, None);
}

#[test]
fn a_mistake_in_readiness_is_told_with_its_place_and_what_was_meant() {
    let check = |value: &str, expected: &[&str]| check_wrong("ready", value, expected);
    check(
        "\"notfy\"",
        &["9: @: expected one of 'spawn', 'notify', 'fd', found 'notfy'"],
    );
    check(
        "true",
        &["9: @: expected 'spawn', 'notify', 'fd', or a table with a probe, found a boolean"],
    );
    check(
        "{}",
        &["9: @: asks nothing: it needs one of 'exec', 'tcp', 'unix', 'http', 'file'"],
    );
    check("{ tpc = \"localhost:1\" }", &["11: @.tpc: unknown key"]);
    check(
        "{ tcp = \"localhost:1\", file = \"/x\" }",
        &["32: @.file: not beside 'tcp': a probe asks one thing"],
    );
    check(
        "{ tcp = \"localhost:1\", expect = [200] }",
        &["32: @.expect: means nothing without 'http'"],
    );
    check(
        "{ tcp = \"web:80\" }",
        &[
            "17: @.tcp: expected an IP address or localhost, ':' and a port, found 'web:80'; names are \
           not looked up",
        ],
    );
    check(
        "{ tcp = \"127.0.0.1:99999$(circus.wid)\" }",
        &[
            "17: @.tcp: expected an IP address or localhost, ':' and a port, found \
           '127.0.0.1:999991'; names are not looked up",
        ],
    );
    check("{ exec = [] }", &["18: @.exec: names no program"]);
    check(
        "{ exec = \"a 'b\" }",
        &["18: @.exec: a quote is not closed"],
    );
    check(
        "{ exec = \"check $(circus.sockets.web)\" }",
        &["18: @.exec: '$(circus.sockets.web)' has no value here: a probe inherits no sockets"],
    );
    check(
        "{ file = \"/run/$(circus.pid)\" }",
        &["18: @.file: '$(circus.pid)' has no value here, only in the prefix of a stream"],
    );
    check(
        "{ http = \"https://[::1]\" }",
        &["18: @.http: 'https' is not available, only http"],
    );
    check(
        "{ exec = \"a\", timeout = 1 }",
        &["23: @.timeout: unknown key"],
    );
}

#[test]
fn a_mistake_in_health_is_told_with_its_place_and_what_was_meant() {
    let check = |value: &str, expected: &[&str]| check_wrong("health", value, expected);
    check(
        "true",
        &["10: @: expected a table with a probe, or false, found a boolean"],
    );
    check(
        "{ interval = 1 }",
        &["10: @: asks nothing: it needs one of 'exec', 'tcp', 'unix', 'http'"],
    );
    check("{ file = \"/x\" }", &["12: @.file: unknown key"]);
    check(
        "{ exec = \"a\", retries = 0 }",
        &["34: @.retries: 0 is out of range, which is 1 to 1000000"],
    );
    check(
        "{ exec = \"a\", timeout = 0, interval = 0 }",
        &[
            "34: @.timeout: 0 s is out of range, which is 0.001 to 86400 s",
            "48: @.interval: 0 s is out of range, which is 0.1 to 86400 s",
        ],
    );
}

#[test]
fn what_is_shown_can_be_set_and_a_probe_takes_the_place_of_another_whole() {
    let set = |store: &Store, key: &str, value: Json| {
        store
            .set("web", &Map::from_iter([(key.to_owned(), value)]))
            .unwrap()
    };
    let before =
        Machine::with("[watcher.web]\ncmd = \"x\"\nready = { tcp = \"[::1]:$(circus.wid)\" }\n");
    let before = before.load();
    let shown = before.get("web", None).unwrap();
    assert_eq!(shown["ready"], json!({"tcp": "[::1]:$(circus.wid)"}));
    let after = set(&before, "ready", json!({"file": "/x"}));
    assert_eq!(before.diff(&after)[0].change.as_str(), "reload");
    assert_eq!(
        after.get("web", None).unwrap()["ready"],
        json!({"file": "/x"})
    );
    let after = set(&before, "health", json!({"exec": "a", "retries": 1}));
    assert_eq!(before.diff(&after)[0].change.as_str(), "live");
    let shown = after.get("web", None).unwrap();
    assert_eq!(shown["health"], json!({"exec": "a", "retries": 1}));
    assert_eq!(
        set(&after, "health", shown["health"].clone()).config(),
        after.config()
    );
    assert_eq!(set(&after, "health", Json::Null).config(), before.config());
}
