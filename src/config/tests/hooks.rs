//! Hooks as they are written: every form, the two short ones, and what is wrong with others.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{Machine, errors_of};
use crate::config::{DaemonHook, HOOKS, Hook, HookForm, HookName, Hooks, Store};

fn hooks(store: &Store) -> &Hooks {
    &store.config().watcher("web").unwrap().hooks
}

/// The hooks of `before_start` as written there.
fn read(value: &str) -> Vec<Hook> {
    let text = format!("[watcher.web]\ncmd = \"x\"\nhooks.before_start = {value}\n");
    let store = Machine::with(&text).load();
    hooks(&store).at(HookName::BeforeStart).to_vec()
}

fn forms(value: &str) -> Vec<HookForm> {
    read(value).into_iter().map(|hook| hook.form).collect()
}

/// What is wrong with `before_start` written so, in line 3 behind the name of the hook.
#[track_caller]
fn wrong(value: &str) -> Vec<String> {
    let text = format!("[watcher.web]\ncmd = \"x\"\nhooks.before_start = {value}\n");
    errors_of(&text)
}

fn words(words: &[&str]) -> HookForm {
    HookForm::Exec(words.iter().map(ToString::to_string).collect())
}

#[test]
fn a_command_is_a_string_an_array_or_a_table() {
    let expected = [words(&["check", "a b"])];
    assert_eq!(forms("\"check 'a b'\""), expected);
    assert_eq!(forms("[\"check\", \"a b\"]"), expected);
    assert_eq!(forms("{ exec = \"check 'a b'\" }"), expected);
    assert_eq!(forms("[{ exec = [\"check\", \"a b\"] }]"), expected);
}

#[test]
fn every_form_is_read() {
    let http = |value: &str| match forms(value).pop() {
        Some(HookForm::Http(url, expect)) => (url.host().to_owned(), url.path, expect),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        http("{ http = \"http://127.0.0.1:8080/health?deep=1\" }"),
        ("127.0.0.1:8080".into(), "/health?deep=1".into(), vec![200])
    );
    assert_eq!(
        http("{ http = \"http://unix:/run/app.sock:/up\", expect = [200, 204] }"),
        ("localhost".into(), "/up".into(), vec![200, 204])
    );
    assert_eq!(http("{ http = \"http://localhost\" }").1, "/");
    assert!(matches!(
        forms("{ tcp = \"127.0.0.1:6379\" }")[..],
        [HookForm::Tcp(_)]
    ));
    assert!(matches!(
        forms("{ unix = \"@redis\" }")[..],
        [HookForm::Unix(_)]
    ));
    assert_eq!(
        forms("{ file = \"/run/x\" }"),
        [HookForm::File(PathBuf::from("/run/x"))]
    );
    assert_eq!(forms("{ plugin = true }"), [HookForm::Plugin]);
}

#[test]
fn a_list_keeps_its_order() {
    let list = "[{ plugin = true }, { exec = \"a\", ignore_failure = true }, { exec = \"b\" }]";
    assert_eq!(
        forms(list),
        [HookForm::Plugin, words(&["a"]), words(&["b"])]
    );
    let ignored: Vec<_> = read(list).iter().map(|hook| hook.ignore_failure).collect();
    assert_eq!(ignored, [false, true, false]);
}

#[test]
fn a_hook_without_a_time_out_has_that_of_the_daemon() {
    let text = "[watcher.web]\ncmd = \"x\"\nhooks.after_stop = [{ exec = \"a\", timeout = 2 }, \
                { exec = \"b\" }]\n";
    let seconds = |text: &str| {
        let store = Machine::with(text).load();
        let list = hooks(&store).at(HookName::AfterStop).to_vec();
        list.iter().map(Hook::timeout).collect::<Vec<_>>()
    };
    let (two, thirty) = (Duration::from_secs(2), Duration::from_secs(30));
    assert_eq!(seconds(text), [two, thirty]);
    let quick = format!("[circusd]\nhook_timeout = \"5s\"\n{text}");
    assert_eq!(seconds(&quick), [two, Duration::from_secs(5)]);
}

#[test]
fn paths_are_relative_to_the_file_they_are_written_in() {
    let text = "[watcher.web]\ncmd = \"x\"\n[watcher.web.hooks]\nafter_start = { file = \"up\" }\n\
                [[watcher.web.hooks.before_start]]\nunix = \"redis.sock\"\n";
    let machine = Machine::with(text);
    let store = machine.load();
    let up = machine.path("etc/circusd/up");
    assert_eq!(
        hooks(&store).at(HookName::AfterStart)[0].form,
        HookForm::File(up)
    );
    let HookForm::Unix(path) = &hooks(&store).at(HookName::BeforeStart)[0].form else {
        panic!("{store:?}");
    };
    let expected = machine.path("etc/circusd/redis.sock");
    assert_eq!(
        *path,
        crate::config::SocketPath::Path(expected),
        "not beside the file"
    );
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_was_meant() {
    let check = |value: &str, expected: &[&str]| {
        let expected: Vec<_> = expected
            .iter()
            .map(|line| format!("3:{}", line.replace('@', "watcher.web.hooks.before_start")))
            .collect();
        assert_eq!(wrong(value), expected, "{value}");
    };
    check("{ exce = \"a\" }", &["24: @.exce: unknown key"]);
    check(
        "7",
        &["22: @: expected a command, a table, or an array of tables, found an integer"],
    );
    check("[]", &["22: @: asks nothing"]);
    check("\"\"", &["22: @: names no program"]);
    check("\"a 'b\"", &["22: @: a quote is not closed"]);
    check(
        "[{ exec = \"a\" }, \"b\"]",
        &["39: @: expected a table for each hook of the array, found a string"],
    );
    check(
        "{ timeout = 1 }",
        &["22: @: asks nothing: it needs one of 'exec', 'tcp', 'unix', 'http', 'file', 'plugin'"],
    );
    check(
        "{ exec = \"a\", tcp = \"127.0.0.1:1\" }",
        &["36: @.tcp: not beside 'exec': several things are asked by an array of tables, one each"],
    );
    check(
        "{ exec = \"a\", expect = [200] }",
        &["36: @.expect: means nothing without 'http'"],
    );
    check(
        "{ http = \"http://[::1]\", expect = [99] }",
        &["47: @.expect: 99 is no status code, which are 100 to 599"],
    );
    check(
        "{ http = \"http://[::1]\", expect = [] }",
        &["47: @.expect: names no status code"],
    );
    check(
        "{ http = \"https://127.0.0.1\" }",
        &["31: @.http: 'https' is not available, only http"],
    );
    check(
        "{ tcp = \"redis:6379\" }",
        &[
            "30: @.tcp: expected an IP address or localhost, ':' and a port, found 'redis:6379'; \
           names are not looked up",
        ],
    );
    check(
        "{ exec = \"a\", timeout = 0 }",
        &["46: @.timeout: 0 s is out of range, which is 0.001 to 86400 s"],
    );
    check(
        "\"check $(circus.wid)\"",
        &[
            "22: @: '$(circus.wid)' has no value here, only in cmd, args, env, files of output, ready and health of a watcher",
        ],
    );
}

#[test]
fn an_unknown_hook_is_told_with_the_nearest_known() {
    let told = |line: &str| {
        let text = format!("[watcher.web]\ncmd = \"x\"\nhooks.{line}\n");
        let errors = Machine::with(&text).try_load().unwrap_err();
        let first = errors.first();
        (first.reason.clone(), first.suggestion.clone())
    };
    let meant = |word: &str| Some(word.to_owned());
    assert_eq!(
        told("befor_start = \"a\""),
        ("unknown hook".into(), meant("before_start"))
    );
    assert_eq!(told("on_fire = \"a\""), ("unknown hook".into(), None));
    assert_eq!(
        told("after_stop = { exce = \"a\" }"),
        ("unknown key".into(), meant("exec"))
    );
}

#[test]
fn figures_are_asked_of_somebody_who_can_tell_some() {
    let text =
        |value: &str| format!("[watcher.web]\ncmd = \"x\"\nhooks.extended_stats = {value}\n");
    let probe = "{ tcp = \"127.0.0.1:1\" }";
    let errors = errors_of(&text(probe));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("asks nobody who could tell"),
        "{errors:?}"
    );
    let list = format!("[{probe}, {{ exec = \"a\" }}]");
    for (value, count) in [(list.as_str(), 2), ("{ plugin = true }", 1)] {
        let store = Machine::with(&text(value)).load();
        assert_eq!(hooks(&store).at(HookName::ExtendedStats).len(), count);
    }
}

#[test]
fn hooks_are_set_one_by_one_and_taken_back() {
    let text = "[watcher.web]\ncmd = \"x\"\nhooks.before_start = \"a\"\n";
    let before = Machine::with(text).load();
    let set = |store: &Store, key: &str, value: Json| {
        let options = Map::from_iter([(key.to_owned(), value)]);
        store.set("web", &options).unwrap()
    };
    let after = set(&before, "hooks.after_start", json!({"tcp": "127.0.0.1:1"}));
    assert_eq!(hooks(&after).at(HookName::BeforeStart).len(), 1);
    assert_eq!(hooks(&after).at(HookName::AfterStart).len(), 1);
    let changes = before.diff(&after);
    assert_eq!(changes[0].keys, ["hooks"]);
    assert_eq!(changes[0].change.as_str(), "live");
    let back = set(&after, "hooks.after_start", Json::Null);
    assert_eq!(before.config(), back.config());
    let other = set(&before, "hooks.before_start", json!(["b", "c"]));
    assert_eq!(
        hooks(&other).at(HookName::BeforeStart)[0].form,
        words(&["b", "c"])
    );
    let options = Map::from_iter([("hooks.befor_start".to_owned(), json!("a"))]);
    let errors = before.set("web", &options).unwrap_err().to_string();
    assert!(errors.contains("'before_start'"), "{errors}");
}

#[test]
fn a_watcher_has_the_hooks_of_defaults_unless_it_has_its_own() {
    let text = "[defaults.hooks]\nafter_stop = \"a\"\n[watcher.web]\ncmd = \"x\"\n";
    let store = Machine::with(text).load();
    assert_eq!(hooks(&store).at(HookName::AfterStop).len(), 1);
}

#[test]
fn the_daemons_hooks_are_read_as_those_of_a_watcher() {
    let text = "[circusd]\nhook_timeout = 5\n[hooks]\npre_stop = \"a 'b c'\"\n\
                pre_request = [{ plugin = true }, { file = \"up\", timeout = 1 }]\n";
    let machine = Machine::with(text);
    machine.write(
        "etc/circusd/conf.d/more.toml",
        "[hooks]\npre_stop = \"d\"\n",
    );
    let store = machine.load();
    let hooks = &store.config().hooks;
    assert_eq!(hooks.at(DaemonHook::PreStop)[0].form, words(&["d"]));
    let [plugin, file] = hooks.at(DaemonHook::PreRequest) else {
        panic!("{hooks:?}");
    };
    assert_eq!(plugin.form, HookForm::Plugin);
    assert_eq!(plugin.timeout(), Duration::from_secs(5));
    let up = machine.path("etc/circusd/up");
    assert_eq!(file.form, HookForm::File(up));
    assert_eq!(file.timeout(), Duration::from_secs(1));
    assert!(hooks.at(DaemonHook::WhenExit).is_empty());

    let without = Machine::with("").load();
    let changed = without.daemon_changes(&store);
    let keys: Vec<_> = changed.iter().map(|row| row.key).collect();
    assert_eq!(keys, ["hook_timeout", "pre_stop", "pre_request"]);
}

#[test]
fn no_client_can_be_asked_before_there_is_a_socket() {
    assert_eq!(
        errors_of("[hooks]\npre_start = [{ exec = \"a\" }, { plugin = true }]\n"),
        ["2:13: hooks.pre_start.plugin: no client can have registered before circusd answers"]
    );
    assert_eq!(
        errors_of("[hooks]\npre_stat = \"a\"\n"),
        ["2:1: hooks.pre_stat: unknown key"]
    );
}

#[test]
fn the_list_of_hooks_has_each_once() {
    for (index, row) in HOOKS.iter().enumerate() {
        let name = row.name;
        assert!(!HOOKS[..index].iter().any(|other| other.name == name));
        assert!(
            row.when.ends_with('.') && row.refusal.ends_with('.'),
            "{name:?}"
        );
        assert_eq!(forms_of(name.as_str()), 1);
    }
}

fn forms_of(name: &str) -> usize {
    let text = format!("[watcher.web]\ncmd = \"x\"\nhooks.{name} = \"a\"\n");
    let store = Machine::with(&text).load();
    HOOKS
        .iter()
        .map(|row| hooks(&store).at(row.name).len())
        .sum()
}
