//! Watchers that name others: those exist, and nobody waits for himself in the end.

use super::{Machine, errors_of};
use crate::config::Change;

fn watchers(keys: &[(&str, &str)]) -> String {
    keys.iter()
        .map(|(name, keys)| format!("[watcher.{name}]\ncmd = 'true'\n{keys}\n"))
        .collect()
}

#[test]
fn a_name_must_be_that_of_another_watcher() {
    let cases = [
        (
            "requires = ['rdis']",
            "3:13: watcher.web.requires: there is no watcher 'rdis'",
        ),
        (
            "after = ['redis', 'redis']",
            "3:19: watcher.web.after: 'redis' is named twice",
        ),
        (
            "after = ['web']",
            "3:10: watcher.web.after: a watcher cannot wait for itself",
        ),
        (
            "after = 'redis'",
            "3:9: watcher.web.after: expected an array of names of watchers, found a string",
        ),
    ];
    for (keys, error) in cases {
        let text = watchers(&[("web", keys), ("redis", "")]);
        assert_eq!(errors_of(&text), [error]);
    }
    let both = "after = ['redis']\nrequires = ['redis']";
    Machine::with(&watchers(&[("web", both), ("redis", "")])).load();
}

#[test]
fn a_name_that_is_nearly_right_is_suggested() {
    let machine = Machine::with(&watchers(&[("web", "after = ['rdis']"), ("redis", "")]));
    let errors = machine.try_load().unwrap_err();
    assert_eq!(errors.first().suggestion.as_deref(), Some("redis"));
}

#[test]
fn a_circle_is_told_in_full_and_once() {
    let text = watchers(&[
        ("log", ""),
        ("web", "after = ['log']\nrequires = ['queue']"),
        ("mail", "requires = ['web']"),
        ("queue", "after = ['redis']"),
        ("redis", "requires = ['web', 'log']"),
    ]);
    assert_eq!(
        errors_of(&text),
        ["7:13: watcher.web.requires: nobody of these can be first: \
             web -> queue -> redis -> web"]
    );
    let text = watchers(&[
        ("a", "after = ['b']"),
        ("b", "after = ['a']"),
        ("c", "after = ['d', 'a']"),
        ("d", "after = ['c']"),
    ]);
    assert_eq!(
        errors_of(&text),
        [
            "3:10: watcher.a.after: nobody of these can be first: a -> b -> a",
            "9:10: watcher.c.after: nobody of these can be first: c -> d -> c",
        ]
    );
}

#[test]
fn one_that_is_named_is_not_removed() {
    let text = watchers(&[("web", "requires = ['redis']"), ("redis", "")]);
    let store = Machine::with(&text).load();
    let errors = store.remove("redis").unwrap_err();
    let told = errors.to_string();
    let expected = "3:13: watcher.web.requires: names 'redis', which is to be removed";
    assert!(told.contains(expected), "{told}");
    let store = store.remove("web").unwrap();
    assert!(store.remove("redis").unwrap().config().watchers.is_empty());
}

#[test]
fn a_change_is_checked_against_all_others_and_is_live() {
    let text = watchers(&[("web", "requires = ['redis']"), ("redis", "")]);
    let store = Machine::with(&text).load();
    let set = |watcher: &str, value: serde_json::Value| {
        let options = [("after".to_owned(), value)].into_iter().collect();
        store.set(watcher, &options)
    };
    let told = set("redis", serde_json::json!(["web"]));
    let told = told.unwrap_err().to_string();
    assert!(told.contains("web -> redis -> web"), "{told}");
    let changed = set("web", serde_json::json!(["redis"])).unwrap();
    let changes = store.diff(&changed);
    assert_eq!(
        (changes[0].change, &changes[0].keys[..]),
        (Change::Live, &["after".to_owned()][..])
    );
}

#[test]
fn a_long_chain_is_no_circle() {
    let names: Vec<String> = (0..2000).map(|number| format!("w{number}")).collect();
    let mut text = watchers(&[("w0", "")]);
    for pair in names.windows(2) {
        let keys = format!("requires = ['{}']", pair[0]);
        text += &watchers(&[(&pair[1], &keys)]);
    }
    Machine::with(&text).load();
}
