//! Each row of the table read both ways: its default, a good value, a bad one, and the message
//! with its place.

use serde_json::{Map, Value as Json};

use super::{Machine, errors_of};
use crate::config::node::{Node, Origin, Place, Source};
use crate::config::variables::Context;
use crate::config::{OnChange, Row, Section};

/// For each type a value that it takes and one that it does not, as they stand in a file.
const SAMPLES: &[(&str, &str, &str)] = &[
    ("a boolean", "true", "\"yes\""),
    ("an integer", "7", "\"seven\""),
    ("a number", "1.5", "true"),
    ("a string", "\"http://proxy:8080\"", "7"),
    ("a duration", "\"1h 30min\"", "\"5 parsecs\""),
    ("a size", "\"4M\"", "\"4X\""),
    ("a path", "\"/srv/x\"", "true"),
    ("a path, or @ and a name", "\"@circusd\"", "\"@\""),
    ("a path or pattern, or an array of them", "[]", "[7]"),
    ("a string of octal digits", "\"0027\"", "\"0987\""),
    ("a name or a number", "\"www-data\"", "\"a:b\""),
    ("an array, each name or a number", "[\"adm\", 7]", "[-1]"),
    (
        "a level, or levels per part",
        "\"info,circus::server=debug\"",
        "\"info,x=loud\"",
    ),
    ("'journal', 'stderr', or a path", "\"stderr\"", "\"jurnal\""),
    (
        "a string or an array of strings",
        "[\"sleep\", \"1\"]",
        "[1]",
    ),
    (
        "a class, or a class, ':' and a level",
        "\"best_effort:7\"",
        "\"best_effort:8\"",
    ),
    ("a table of strings", "{ LANG = \"C\" }", "{ PORT = 80 }"),
    ("an integer, or 'auto'", "\"auto\"", "\"many\""),
    ("an integer, -1 for no limit", "-1", "-2"),
    (
        "the name or number of a signal",
        "\"SIGRTMIN+1\"",
        "\"SIGTREM\"",
    ),
    (
        "one of 'new_first', 'sequential'",
        "\"sequential\"",
        "\"at_once\"",
    ),
    (
        "one of 'always', 'on_failure', 'never'",
        "\"never\"",
        "\"on-failure\"",
    ),
    ("an array, each integer", "[0, 143]", "[256]"),
    (
        "an array, each the name of a credential or a pattern",
        "[\"db.*\"]",
        "[\"a/b\"]",
    ),
    ("a table, or false", "false", "true"),
    (
        "'spawn', 'notify', 'fd', or a table with a probe",
        "{ tcp = \"127.0.0.1:80$(circus.wid)\" }",
        "\"notfiy\"",
    ),
    (
        "a table with a probe, or false",
        "{ http = \"http://localhost:8080/up\", retries = 1 }",
        "true",
    ),
    (
        "an IP address, or 'localhost'",
        "\"::1\"",
        "\"example.org\"",
    ),
    ("the name of a network interface", "\"lo\"", "\"a/b\""),
    (
        "one of 'stream', 'dgram', 'seqpacket'",
        "\"seqpacket\"",
        "\"tcp\"",
    ),
    ("a boolean, or an array of names", "true", "\"web\""),
    ("an array of names of watchers", "[\"redis\"]", "\"redis\""),
    (
        "'null', 'inherit', or a table with 'file'",
        "{ file = \"/x\" }",
        "{ fiel = \"/x\" }",
    ),
    (
        "'journal', 'null', 'inherit', or a table with 'file' or 'command'; 'stdout' for stderr",
        "{ file = \"/x.log\", max_bytes = \"1M\" }",
        "{ file = \"/x.log\", max_byte = 1 }",
    ),
    (
        "a table of limits",
        "{ nofile = 1024, core = \"unlimited\" }",
        "{ nofiles = 1 }",
    ),
    (
        "a table of resources",
        "{ memory_max = \"512M\", each = { cpu_max = \"150%\" } }",
        "{ memory_maxi = 1 }",
    ),
    ("one of 'process', 'group'", "\"group\"", "\"grup\""),
    (
        "a table of hooks",
        "{ before_start = { tcp = \"localhost:6379\" }, after_stop = \"/bin/true\" }",
        "{ befor_start = \"/bin/true\" }",
    ),
    (
        "a command, a table, or an array of tables",
        "[{ tcp = \"localhost:6379\" }, { exec = \"true\", timeout = 1 }]",
        "{ tpc = \"localhost:6379\" }",
    ),
    (
        "an array, each the name of a capability",
        "[\"net_bind_service\"]",
        "[\"CAP_FLY\"]",
    ),
    (
        "one of 'logger', 'flapping', 'statsd', 'full_stats', 'command_reloader', \
         'resource_watcher', 'http_observer', 'redis_observer', 'watchdog', 'metrics'",
        "\"statsd\"",
        "\"statds\"",
    ),
    (
        "an array, each user, '@' and a group, or '*'",
        "[\"*\", \"@adm\", 0]",
        "[\"@\"]",
    ),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    Section::ALL.into_iter().flat_map(Section::rows)
}

fn available() -> impl Iterator<Item = &'static Row> {
    rows().filter(|row| row.available())
}

fn sample(row: &Row) -> (&'static str, &'static str) {
    let name = row.type_name();
    let found = SAMPLES.iter().find(|(known, _, _)| *known == name);
    let (_, good, bad) = found.unwrap_or_else(|| panic!("no sample of {name} ({})", row.key));
    (good, bad)
}

const OTHER: &str = "[watcher.redis]\ncmd = \"true\"\n";

const SOCKET: &str = "[socket.web]\npath = \"@web\"\n";

/// A file that sets only this, with a watcher that is otherwise right; the value is in line 2.
fn file(row: &Row, value: &str) -> String {
    let assignment = format!("{} = {value}\n", row.key);
    match row.section {
        Section::Watcher if row.key == "cmd" => format!("[watcher.web]\n{assignment}"),
        Section::Watcher if row.key == "on_demand" => {
            format!("[watcher.web]\n{assignment}cmd = \"true\"\nuse_sockets = true\n{SOCKET}")
        }
        Section::Watcher => format!("[watcher.web]\n{assignment}cmd = \"true\"\n{OTHER}"),
        Section::Socket => format!("[socket.web]\n{assignment}{}", company(row.key)),
        Section::Plugin if row.key == "args" => {
            format!("[plugin.log]\n{assignment}cmd = \"true\"\n")
        }
        Section::Plugin => format!("[plugin.log]\n{assignment}"),
        Section::Circusd | Section::Hooks | Section::Access => {
            format!("[{}]\n{assignment}", row.section.as_str())
        }
    }
}

/// The keys that a key of a socket needs.
fn company(key: &str) -> &'static str {
    match key {
        "path" | "from_manager" => "",
        "host" => "port = 0\n",
        "port" => "host = \"::1\"\n",
        "reuseport" | "ipv6_only" | "interface" => "host = \"::1\"\nport = 0\n",
        _ => "path = \"/run/web.sock\"\n",
    }
}

fn name(row: &Row) -> String {
    match row.section {
        Section::Watcher => format!("watcher.web.{}", row.key),
        Section::Socket => format!("socket.web.{}", row.key),
        Section::Plugin => format!("plugin.log.{}", row.key),
        Section::Circusd | Section::Hooks | Section::Access => {
            format!("{}.{}", row.section.as_str(), row.key)
        }
    }
}

#[test]
fn every_row_says_what_it_is() {
    for row in rows() {
        let description = row.description();
        assert!(description.ends_with('.'), "{}: '{description}'", row.key);
        assert!(!description.contains('`'), "{}: '{description}'", row.key);
        assert!(!description.contains("  "), "{}: '{description}'", row.key);
        let same = row
            .section
            .rows()
            .iter()
            .filter(|other| other.key == row.key);
        assert_eq!(same.count(), 1, "{} is in the table twice", row.key);
    }
}

#[test]
fn every_default_is_a_value_that_would_be_taken() {
    let at = Place::start(&Source::named("default", Origin::Default, None));
    for system in [true, false] {
        let cx = Context {
            system,
            ..Context::default()
        };
        for row in available() {
            let default = row.default(&cx);
            if default.is_null() {
                assert!(
                    row.default_text.is_some(),
                    "{} does not say its default",
                    row.key
                );
                continue;
            }
            let checked = row.check(&Node::from_json(&default, &at), &cx);
            assert!(checked.is_ok(), "{} = {default}: {checked:?}", row.key);
        }
    }
}

#[test]
fn every_row_takes_a_good_value_and_gives_it_back() {
    for row in available() {
        let (good, _) = sample(row);
        let machine = Machine::new();
        let vars = machine.write("web.env", "A=1\n");
        // The only value that must be there when it is read.
        let good = match row.key {
            "env_file" => format!("\"{}\"", vars.display()),
            _ => good.to_owned(),
        };
        machine.write("etc/circusd/circusd.toml", &file(row, &good));
        let store = machine.load();
        let settings = store.settings(Some(&[name(row)])).unwrap();
        let [setting] = settings.as_slice() else {
            panic!("{}: {settings:?}", row.key);
        };
        assert_eq!(setting.origin, Origin::File, "{}", row.key);
        let source = setting.source.as_deref().unwrap_or_default();
        let column = row.key.len() + 4;
        assert!(
            source.ends_with(&format!("circusd.toml:2:{column}")),
            "{source}"
        );
    }
}

#[test]
fn every_row_refuses_a_bad_value_with_its_place() {
    for row in available() {
        let (_, bad) = sample(row);
        let errors = errors_of(&file(row, bad));
        let [error] = errors.as_slice() else {
            panic!("{} = {bad}: {errors:?}", row.key);
        };
        assert!(error.starts_with("2:"), "{error}");
        assert!(error.contains(&name(row)), "{error}");
    }
}

#[test]
fn every_range_is_kept_at_both_ends() {
    for row in available() {
        let Some(range) = row.range else { continue };
        for edge in [range.min, range.max] {
            Machine::with(&file(row, &edge.to_string())).load();
        }
        for beyond in [range.min - 1.0, range.max + 1.0] {
            let errors = errors_of(&file(row, &beyond.to_string()));
            assert_eq!(errors.len(), 1, "{} = {beyond}: {errors:?}", row.key);
        }
    }
}

#[test]
fn what_is_not_available_yet_is_refused_and_not_ignored() {
    for row in rows().filter(|row| !row.available()) {
        let errors = errors_of(&file(row, "1"));
        let expected = format!("2:1: {}: not available in this version", name(row));
        assert_eq!(errors, [expected]);
    }
}

#[test]
fn set_does_what_the_row_says_it_does() {
    for row in Section::Watcher.rows().iter().filter(|row| row.available()) {
        let (good, _) = sample(row);
        let text = match row.key {
            "on_demand" => format!("{SOCKET}[watcher.web]\ncmd = \"true\"\nuse_sockets = true\n"),
            _ => format!("[watcher.web]\ncmd = \"true\"\n{OTHER}"),
        };
        let before = Machine::with(&text).load();
        let text = format!("v = {good}");
        let value: toml::Table = text.parse().unwrap();
        let json = serde_json::to_value(&value["v"]).unwrap();
        let options = Map::from_iter([(row.key.to_owned(), json)]);
        let after = match before.set("web", &options) {
            Ok(after) => after,
            // The sample of a file that is read with the configuration does not exist.
            Err(errors) if row.key == "env_file" => {
                assert!(errors.to_string().contains("No such file"), "{errors}");
                continue;
            }
            Err(errors) => panic!("{errors}"),
        };
        let changes = before.diff(&after);
        if changes[0].keys.is_empty() {
            // The good value is the default.
            continue;
        }
        assert!(
            changes[0].keys.iter().any(|key| key == row.key),
            "{}: {changes:?}",
            row.key
        );
        let expected = if row.on_change == OnChange::Live {
            "live"
        } else {
            "reload"
        };
        assert_eq!(changes[0].change.as_str(), expected, "{}", row.key);
        let back = Map::from_iter([(row.key.to_owned(), Json::Null)]);
        let back = after.set("web", &back).unwrap();
        assert_eq!(before.config(), back.config(), "{}", row.key);
    }
}
