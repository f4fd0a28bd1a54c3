//! Limits as they are written: both levels, the section and the short form, over files and the API.

use serde_json::{Map, Value as Json, json};

use super::{Machine, errors_of};
use crate::config::{Amounts, Memory, Oom, Resources, Store};

fn of(store: &Store) -> Resources {
    store.config().watcher("web").unwrap().resources
}

fn set(store: &Store, options: Json) -> Store {
    let Json::Object(options) = options else {
        panic!("{options}");
    };
    store.set("web", &options).unwrap()
}

fn get(store: &Store, option: &str) -> Json {
    let options: Map<String, Json> = store.get("web", Some(&[option.to_owned()])).unwrap();
    options[option].clone()
}

const WEB: &str = "[watcher.web]\ncmd = \"x\"\n";

#[test]
fn a_section_and_a_table_say_the_same() {
    let sections = Machine::with(&format!(
        "{WEB}oom = \"group\"\n[watcher.web.resources]\nmemory_max = \"2G\"\noptional = true\n\
         [watcher.web.resources.each]\nmemory_max = \"50%\"\npids_max = \"unlimited\"\n"
    ));
    let table = Machine::with(&format!(
        "{WEB}oom = \"group\"\nresources = {{ memory_max = 2147483648, optional = true, \
         each.memory_max = \"50 %\", each.pids_max = \"max\" }}\n"
    ));
    let expected = Resources {
        all: Amounts {
            memory_max: Some(Memory::Bytes(2 << 30)),
            ..Amounts::default()
        },
        each: Amounts {
            memory_max: Some(Memory::Percent(50.0)),
            pids_max: Some(u64::MAX),
            ..Amounts::default()
        },
        optional: true,
    };
    for store in [sections.load(), table.load()] {
        assert_eq!(of(&store), expected);
        assert_eq!(store.config().watchers[0].oom, Oom::Group);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let wrong = |value: &str| errors_of(&format!("{WEB}resources = {{ {value} }}\n"));
    let expected = [
        (
            "memory_max = 0",
            "memory_max: nothing can run without memory",
        ),
        (
            "memory_max = \"101%\"",
            "memory_max: expected a size such as \"512M\", a share such as \"50%\", or \"max\", \
             found \"101%\"",
        ),
        (
            "cpu_weight = 0",
            "cpu_weight: 0 is out of range, which is 1 to 10000",
        ),
        (
            "io_weight = 10001",
            "io_weight: 10001 is out of range, which is 1 to 10000",
        ),
        (
            "cpu_max = \"0.5%\"",
            "cpu_max: less than the kernel can give, which is 1%, or 1000 microseconds",
        ),
        (
            "cpu_max = \"5000 10\"",
            "cpu_max: a period of 10 is out of range, which is 1000 to 1000000 microseconds",
        ),
        (
            "pids_max = 0",
            "pids_max: 0 is out of range, which is 1 to 4194304",
        ),
        (
            "pids_max = \"many\"",
            "pids_max: expected an integer, or 'max', found a string",
        ),
        ("each.optional = true", "each.optional: unknown key"),
        (
            "each = 5",
            "each: expected a table of resources, found an integer",
        ),
    ];
    for (value, reason) in expected {
        let errors = wrong(value);
        assert_eq!(errors.len(), 1, "{errors:?}");
        let told = format!("watcher.web.resources.{reason}");
        assert!(errors[0].ends_with(&told), "{} is not {told}", errors[0]);
        assert!(errors[0].starts_with("3:"), "{}", errors[0]);
    }
    let two = wrong("memory_max = -1, each.pids_max = -1");
    assert_eq!(two.len(), 2, "{two:?}");
}

#[test]
fn a_number_of_processors_was_meant_per_cent() {
    let text = format!("{WEB}resources = {{ cpu_max = 1.5 }}\n");
    let error = Machine::with(&text).try_load().unwrap_err().to_string();
    assert!(error.contains("did you mean '\"150%\"'?"), "{error}");
    let text = format!("{WEB}[watcher.web.resources.each]\nmemory_maxx = 1\n");
    let error = Machine::with(&text).try_load().unwrap_err().to_string();
    assert!(error.contains("did you mean 'memory_max'?"), "{error}");
}

#[test]
fn a_later_file_adds_to_both_tables() {
    let machine = Machine::with(&format!(
        "{WEB}[watcher.web.resources]\nmemory_max = \"1G\"\neach = {{ pids_max = 5 }}\n"
    ));
    machine.write(
        "etc/circusd/conf.d/x.toml",
        "[watcher.web.resources]\ncpu_weight = 7\n[watcher.web.resources.each]\nio_weight = 9\n",
    );
    assert_eq!(
        get(&machine.load(), "resources"),
        json!({"memory_max": "1G", "each": {"pids_max": 5, "io_weight": 9}, "cpu_weight": 7})
    );
}

#[test]
fn each_entry_is_set_and_taken_back_by_itself() {
    let store = Machine::with(&format!(
        "{WEB}resources = {{ memory_max = \"1G\", each.pids_max = 5 }}\n"
    ))
    .load();
    let more = set(
        &store,
        json!({"resources.each.pids_max": 9, "resources.each.cpu_max": "50%"}),
    );
    assert_eq!(
        get(&more, "resources"),
        json!({"memory_max": "1G", "each": {"pids_max": 9, "cpu_max": "50%"}})
    );
    assert_eq!(get(&more, "resources.each.pids_max"), 9);
    let back = set(&more, json!({"resources.each.pids_max": null}));
    assert_eq!(
        get(&back, "resources.each"),
        json!({"pids_max": 5, "cpu_max": "50%"})
    );
    let whole = set(&more, json!({"resources.each": {"io_weight": 3}}));
    assert_eq!(get(&whole, "resources.each"), json!({"io_weight": 3}));
    let one = set(&whole, json!({"resources.each.io_weight": null}));
    assert_eq!(get(&one, "resources.each"), json!({}));
    let all = set(&whole, json!({"resources.each": null}));
    assert_eq!(all.config(), store.config());
    let fresh = Machine::with(WEB).load();
    let first = set(&fresh, json!({"resources.each.pids_max": 2}));
    assert_eq!(of(&first).each.pids_max, Some(2));
}

#[test]
fn a_flag_names_an_entry_of_each_too() {
    let machine = Machine::with(&format!("{WEB}resources = {{ each.io_weight = 3 }}\n"));
    let store = machine
        .set("watcher.web.resources.each.pids_max=5")
        .set("watcher.web.resources.each.cpu_max=150%")
        .load();
    let each = of(&store).each;
    assert_eq!((each.pids_max, each.io_weight), (Some(5), Some(3)));
    assert!(each.cpu_max.is_some());
}
