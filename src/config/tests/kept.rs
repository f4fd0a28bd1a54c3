//! What the next daemon is told of a configuration.

use serde_json::{Map, Value as Json, json};

use super::Machine;
use crate::config::Store;

const WEB: &str = "[watcher.web]\ncmd = \"web\"\n[watcher.web.env]\nA = \"file\"\n";

fn set(store: &Store, watcher: &str, value: Json) -> Store {
    store.set(watcher, &options(value)).unwrap()
}

fn options(value: Json) -> Map<String, Json> {
    serde_json::from_value(value).unwrap()
}

fn made_from(text: &str) -> Json {
    Machine::with(text).load().made_from("web").unwrap()
}

#[test]
fn wishes_come_back_as_they_were() {
    let machine = Machine::with(&format!("{WEB}[watcher.old]\ncmd = \"old\"\n"));
    let store = machine.load();
    let store = store.add("new", &options(json!({"cmd": ["new"], "env.X": "1"})));
    let store = set(
        &store.unwrap(),
        "web",
        json!({"numprocesses": 3, "env.A": "api"}),
    );
    let store = store.remove("old").unwrap();

    let (again, faults) = machine.load().with_wishes(&store.wishes());
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(again.wishes(), store.wishes());
    for name in ["web", "new"] {
        assert_eq!(again.config().watcher(name), store.config().watcher(name));
    }
    assert!(again.config().watcher("old").is_none());
}

#[test]
fn a_wish_that_no_longer_fits_is_left_out_and_told() {
    let store = Machine::with(&format!("{WEB}[watcher.old]\ncmd = \"old\"\n")).load();
    let store = set(&store, "old", json!({"nice": 3}));
    let store = set(&store, "web", json!({"nice": 4}));
    let (again, faults) = Machine::with(WEB).load().with_wishes(&store.wishes());
    assert_eq!(again.config().watcher("web").unwrap().nice, Some(4));
    let [(name, errors)] = &faults[..] else {
        panic!("{faults:?}");
    };
    assert_eq!(name, "old");
    assert!(errors.to_string().contains("no such watcher"), "{errors}");
}

#[test]
fn nonsense_is_no_wish() {
    let store = Machine::with(WEB).load();
    for nonsense in [
        json!(null),
        json!({"added": 1, "values": []}),
        json!({"added": [1]}),
    ] {
        let (again, faults) = store.with_wishes(&nonsense);
        assert_eq!(again.wishes(), store.wishes());
        assert!(faults.is_empty(), "{nonsense}");
    }
}

#[test]
fn what_makes_the_same_processes_is_the_same() {
    let same = [
        WEB.to_owned(),
        WEB.replace("cmd", "numprocesses = 7\ncmd"),
        WEB.replace("cmd", "shell = false\ncmd"),
        format!("{WEB}[watcher.other]\ncmd = \"other\"\n"),
    ];
    for text in same {
        assert_eq!(made_from(&text), made_from(WEB), "{text}");
    }
}

#[test]
fn what_makes_others_is_not() {
    let others = [
        WEB.replace("\"web\"", "\"wib\""),
        WEB.replace("file", "elif"),
        WEB.replace("cmd", "nice = 1\ncmd"),
        format!("{WEB}[defaults]\nnice = 1\n"),
        format!("{WEB}[env]\nB = \"1\"\n"),
    ];
    for text in others {
        assert_ne!(made_from(&text), made_from(WEB), "{text}");
    }
    let socket = |port: u16| {
        let web = WEB.replace("cmd", "use_sockets = true\ncmd");
        format!("{web}[socket.s]\nhost = \"127.0.0.1\"\nport = {port}\n")
    };
    assert_ne!(made_from(&socket(80)), made_from(&socket(81)));
}
