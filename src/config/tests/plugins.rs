//! `[plugin.NAME]`: what becomes of it, what it may say, and the keys of those that come with us.

use serde_json::{Map, Value as Json, json};

use super::{Machine, errors_of};
use crate::config::node::{Node, Origin, Place, Source};
use crate::config::plugins::{BuiltIn, BuiltInSettings, RedisUrl, read_settings};
use crate::config::variables::{Context, Filling};
use crate::config::{Change, Store, Watcher};

/// The keys that a built-in plugin needs.
fn needs(built_in: BuiltIn) -> &'static str {
    match built_in {
        BuiltIn::Logger => "filename = \"/log\"\n",
        BuiltIn::ResourceWatcher => "watchers = \"web\"\n",
        _ => "",
    }
}

fn watcher<'a>(store: &'a Store, name: &str) -> &'a Watcher {
    let found = store.config().watcher(name);
    found.unwrap_or_else(|| panic!("no watcher {name}"))
}

/// What the process of a plugin finds in its environment.
fn told(store: &Store, name: &str) -> Json {
    let env = watcher(store, name).environment.expand(Filling::default());
    assert_eq!(
        env["CIRCUS_PLUGIN_NAME"],
        name.trim_start_matches("plugin:")
    );
    serde_json::from_str(&env["CIRCUS_PLUGIN_CONFIG"]).unwrap()
}

#[test]
fn a_plugin_is_a_watcher_that_knows_its_settings() {
    let machine = Machine::with(
        "[defaults]\nnumprocesses = 3\n\
         [plugin.log]\nuse = \"logger\"\nfilename = \"events.log\"\nx-mine = 1\n\
         [plugin.log.watcher]\nrestart = \"on_failure\"\ncritical = true\n\
         [plugin.mail]\ncmd = \"/usr/bin/mail-plugin\"\nargs = \"-v\"\nto = \"$(circus.env.LANG)\"\n\
         level = { least = 4 }\n",
    );
    let store = machine.load();
    let names: Vec<_> = store
        .config()
        .watchers
        .iter()
        .map(|w| &w.name[..])
        .collect();
    assert_eq!(names, ["plugin:log", "plugin:mail"]);
    let log = watcher(&store, "plugin:log");
    assert!(log.singleton && log.critical && log.priority < 0);
    let options = store.get("plugin:log", None).unwrap();
    assert_eq!(options["cmd"], json!(["circus-plugin", "logger"]));
    assert_eq!(options["restart"], "on_failure");
    let etc = machine.path("etc/circusd");
    assert_eq!(
        told(&store, "plugin:log"),
        json!({
            "filename": etc.join("events.log"),
            "format": "json", "topics": ["*"], "max_bytes": 0, "backup_count": 1,
        })
    );
    assert_eq!(
        told(&store, "plugin:mail"),
        json!({"to": "C", "level": {"least": 4}})
    );
    assert_eq!(store.get("plugin:mail", None).unwrap()["args"], "-v");
}

#[test]
fn a_later_file_adds_to_a_plugin() {
    let machine = Machine::with("[plugin.s]\nport = 1\n[plugin.s.watcher]\nnice = 1\n");
    machine.write(
        "etc/circusd/conf.d/s.toml",
        "[plugin.s]\nuse = \"statsd\"\nport = 2\n[plugin.s.watcher.env]\nA = \"1\"\n",
    );
    let store = machine
        .set("plugin.s.host=stats.example.org")
        .set("plugin.s.watcher.umask='0077'")
        .load();
    let told = told(&store, "plugin:s");
    assert_eq!(
        (&told["port"], &told["host"]),
        (&json!(2), &json!("stats.example.org"))
    );
    let options = store.get("plugin:s", None).unwrap();
    assert_eq!(
        (&options["nice"], &options["umask"]),
        (&json!(1), &json!("0077"))
    );
    assert_eq!(options["env"], json!({"A": "1"}));
    let views = store.settings(Some(&["plugin.s.*".into()])).unwrap();
    let origin = |key: &str| {
        let name = format!("plugin.s.{key}");
        let view = views.iter().find(|view| view.name == name);
        view.unwrap_or_else(|| panic!("no {name}: {views:?}"))
            .origin
    };
    assert_eq!(origin("port"), Origin::DropIn);
    assert_eq!(origin("host"), Origin::CommandLine);
    assert_eq!(origin("sample_rate"), Origin::Default);
}

#[test]
fn what_is_wrong_with_a_plugin_is_told_where_it_stands() {
    let check = |text: &str, expected: &[&str]| assert_eq!(errors_of(text), expected, "{text}");
    check(
        "[plugin.p]\nx-a = 1\n",
        &["1:9: plugin.p: needs use or cmd"],
    );
    check(
        "[plugin.p]\nuse = \"statds\"\n",
        &[
            "2:7: plugin.p.use: expected one of 'logger', 'flapping', 'statsd', 'full_stats', \
           'command_reloader', 'resource_watcher', 'http_observer', 'redis_observer', 'watchdog', \
           'metrics', found 'statds'",
        ],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\ncmd = \"true\"\n",
        &["3:7: plugin.p.cmd: has no effect with use"],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\nprot = 1\nport = 0\nargs = \"x\"\n",
        &[
            "3:1: plugin.p.prot: unknown key",
            "4:8: plugin.p.port: 0 is out of range, which is 1 to 65535",
            "5:8: plugin.p.args: has no effect with use",
        ],
    );
    check(
        "[plugin.p]\nuse = \"logger\"\n",
        &["1:9: plugin.p.filename: required, and not set"],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\n[plugin.p.watcher]\nnumproceses = 1\n",
        &["4:1: plugin.p.watcher.numproceses: unknown key"],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\n[plugin.p.watcher]\nport = 1\n",
        &[
            "4:1: plugin.p.watcher.port: unknown key; what is the plugin's own is set in its section of the \
             configuration",
        ],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\n[plugin.p.watcher]\nnumprocesses = 2\ncmd = \"x\"\n",
        &[
            "4:16: plugin.p.watcher.numprocesses: more than one, but singleton = true",
            "5:7: plugin.p.watcher.cmd: the program of a plugin is cmd of its own section",
        ],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\ncritical = true\n",
        &["3:1: plugin.p.critical: unknown key; what its watcher takes goes into plugin.p.watcher"],
    );
    check(
        "[plugin.p]\ncmd = \"true\"\nlevels = [1.0, inf]\n",
        &["3:16: plugin.p.levels: JSON has no such number"],
    );
    check(
        "[plugin.p]\ncmd = \"true\"\nto = [\"$(circus.env.NOBODY)\"]\n",
        &[
            "3:7: plugin.p.to: '$(circus.env.NOBODY)': no such variable in the environment of circusd",
        ],
    );
    check(
        "[watcher.\"plugin:p\"]\ncmd = \"true\"\n",
        &[
            "1:10: watcher.plugin:p: watchers whose names begin with 'plugin:' are made by [plugin.NAME]",
        ],
    );
    check(
        "[plugin.p]\nuse = \"statsd\"\nwatcher = 1\n",
        &["3:11: plugin.p.watcher: expected a table, found an integer"],
    );
    check(
        "[plugin.m]\nuse = \"metrics\"\nhost = \"0.0.0.0\"\n",
        &["3:8: plugin.m.host: 0.0.0.0 can be reached by others: expected 127.0.0.1 or ::1"],
    );
    check(
        "[plugin.w]\nuse = \"watchdog\"\nwatchers_regex = \"(\"\n",
        &[
            "3:18: plugin.w.watchers_regex: '(' is no regular expression: found open group without closing ')'",
        ],
    );
    check(
        "[plugin.w]\nuse = \"watchdog\"\nmsg_regex = \"^([0-9]+)$\"\n",
        &["3:13: plugin.w.msg_regex: has no group (?P<pid>…), so it is nobody's"],
    );
    check(
        "[plugin.w]\nuse = \"resource_watcher\"\nwatchers = \"web[\"\n",
        &["3:12: plugin.w.watchers: 'web[' is no pattern: invalid range pattern"],
    );
    check(
        "[plugin.l]\nuse = \"logger\"\nfilename = \"/l\"\ntopics = [\"*.spawn\", \"web.spawn\", \"watcher..x\"]\n",
        &[
            "4:22: plugin.l.topics: 'web.spawn' is no topic: those begin with 'watcher.' or 'circusd.'",
            "4:35: plugin.l.topics: 'watcher..x' is empty, or has an empty part",
        ],
    );
    check(
        "[plugin.l]\nuse = \"logger\"\nfilename = \"/l\"\ntopics = []\n",
        &["4:10: plugin.l.topics: without a topic nothing is heard"],
    );
}

#[test]
fn an_option_of_a_plugin_that_there_is_not_is_refused() {
    let errors = Machine::with("[plugin.log]\ncmd = \"true\"\n")
        .set("plugin.lgo.watcher.nice=1")
        .errors();
    assert_eq!(errors, ["--set: plugin.lgo: there is no plugin 'lgo'"]);
}

#[test]
fn only_the_plugin_that_differs_is_replaced() {
    let text = |port: u16| {
        format!(
            "[watcher.web]\ncmd = \"web\"\n[plugin.a]\nuse = \"statsd\"\nport = {port}\n\
             [plugin.b]\ncmd = \"b\"\nmine = {{ port = {port} }}\n[plugin.c]\nuse = \"statsd\"\n"
        )
    };
    let (before, after) = (
        Machine::with(&text(1)).load(),
        Machine::with(&text(2)).load(),
    );
    let changes = before.diff(&after);
    let found: Vec<_> = changes
        .iter()
        .map(|change| (&change.watcher[..], change.change, change.keys.join(" ")))
        .collect();
    assert_eq!(
        found,
        [
            ("web", Change::Unchanged, String::new()),
            ("plugin:a", Change::Reload, "port".into()),
            ("plugin:b", Change::Reload, "mine".into()),
            ("plugin:c", Change::Unchanged, String::new()),
        ]
    );
    assert_ne!(before.made_from("plugin:a"), after.made_from("plugin:a"));
}

#[test]
fn flapping_is_that_of_the_watchers_with_none_of_their_own() {
    let text = |more: &str| {
        format!(
            "[watcher.own]\ncmd = \"x\"\nflapping = {{ attempts = 9 }}\n[watcher.web]\ncmd = \"x\"\n\
             [plugin.f]\nuse = \"flapping\"\n{more}"
        )
    };
    let flapping = |more: &str, name: &str| {
        let store = Machine::with(&text(more)).load();
        assert_eq!(store.config().watchers.len(), 2, "flapping has no process");
        store.get(name, None).unwrap()["flapping"].clone()
    };
    assert_eq!(
        flapping("attempts = 2\nwindow = 1\n", "web"),
        json!({"attempts": 2, "window": 1})
    );
    assert_eq!(flapping("attempts = 2\n", "own"), json!({"attempts": 9}));
    assert_eq!(flapping("active = false\n", "web"), json!(false));
    assert_eq!(
        errors_of(&text("[plugin.f.watcher]\nnice = 1\n")),
        ["9:1: plugin.f.watcher.nice: has no effect: flapping has no process"]
    );
    let twice = errors_of(&text("[plugin.g]\nuse = \"flapping\"\n"));
    assert_eq!(twice.len(), 1, "{twice:?}");
}

#[test]
fn every_default_of_a_built_in_is_a_value_that_would_be_taken() {
    let at = Place::start(&Source::named("default", Origin::Default, None));
    let cx = Context::default();
    for built_in in BuiltIn::ALL {
        assert!(built_in.description().ends_with('.'), "{built_in:?}");
        for row in built_in.rows() {
            assert!(row.description().ends_with('.'), "{}", row.key);
            let default = row.default(&cx);
            if default.is_null() || row.is_required() {
                assert!(!row.default_in_words().is_empty(), "{}", row.key);
                continue;
            }
            let checked = row.check(&Node::from_json(&default, &at), &cx);
            assert!(checked.is_ok(), "{} = {default}: {checked:?}", row.key);
        }
        let word = built_in.as_str();
        Machine::with(&format!(
            "[plugin.p]\nuse = \"{word}\"\n{}",
            needs(*built_in)
        ))
        .load();
    }
}

#[test]
fn what_circusd_hands_a_built_in_is_what_it_reads() {
    for built_in in BuiltIn::ALL
        .iter()
        .filter(|plugin| **plugin != BuiltIn::Flapping)
    {
        let word = built_in.as_str();
        let text = format!("[plugin.p]\nuse = \"{word}\"\n{}", needs(*built_in));
        let store = Machine::with(&text).load();
        let told = told(&store, "plugin:p");
        let read = read_settings(*built_in, told.as_object().unwrap(), &[], "/".as_ref());
        assert!(read.is_ok(), "{told}: {read:?}");
    }
}

#[test]
fn flags_of_a_plugin_are_read_as_toml_or_as_a_string() {
    let read = |flags: &[&str]| {
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        read_settings(BuiltIn::Logger, &Map::new(), &flags, "/srv".as_ref())
    };
    let Ok(BuiltInSettings::Logger(logger)) = read(&[
        "filename=log",
        "topics=[\"*.spawn\"]",
        "max_bytes=1K",
        "format=text",
    ]) else {
        panic!("was not taken");
    };
    assert_eq!(logger.filename, std::path::Path::new("/srv/log"));
    assert_eq!(
        (logger.max_bytes.0, logger.topics.0),
        (1024, vec!["*.spawn".to_owned()])
    );
    let errors = read(&["filname=log", "max_bytes=much", "topics"]).unwrap_err();
    let told: Vec<_> = errors
        .diagnostics()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 4, "{told:#?}");
}

#[test]
fn the_url_of_a_redis_says_where_it_is_and_what_it_is_told() {
    let parse = |text: &str| {
        RedisUrl::parse(text).map(|url| {
            let login = [url.user, url.password].map(Option::unwrap_or_default);
            (url.server, login.join(":"), url.database)
        })
    };
    let tcp = |host: &str, port| Ok((host.to_owned(), port));
    let unix = |path: &str| Err(path.into());
    for (text, server, login, database) in [
        ("redis://localhost", tcp("localhost", 6379), ":", 0),
        ("redis://h:1/3", tcp("h", 1), ":", 3),
        ("redis://:p@ss@[::1]:2", tcp("::1", 2), ":p@ss", 0),
        ("redis://u:p@[::1]/", tcp("::1", 6379), "u:p", 0),
        ("unix:///run/r.sock", unix("/run/r.sock"), ":", 0),
        ("unix://:p@/run/r.sock", unix("/run/r.sock"), ":p", 0),
    ] {
        assert_eq!(
            parse(text),
            Some((server, login.to_owned(), database)),
            "{text}"
        );
    }
    for wrong in [
        "",
        "localhost:6379",
        "rediss://h",
        "redis://",
        "redis://h:0",
        "redis://h:x",
        "redis://h/x",
        "unix://run",
        "unix://p@run",
    ] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}
