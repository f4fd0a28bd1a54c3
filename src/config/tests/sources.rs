//! Which sources count, in which order, and what is wrong with them.

use serde_json::json;

use super::{Machine, errors_of};
use crate::config::{Embedded, Origin, SettingView, Store};

const WEB: &str = "[watcher.web]\ncmd = \"web\"\n";

fn setting(store: &Store, name: &str) -> SettingView {
    store.settings(Some(&[name.to_owned()])).unwrap().remove(0)
}

#[test]
fn the_later_source_wins_and_every_value_keeps_its_origin() {
    let machine = Machine::with(
        "[circusd]\nevent_buffer = 2\nconnections_max = 2\nwatchers_max = 2\nprocesses_max = 2\n\
         include = \"more.toml\"\n",
    );
    machine.write(
        "usr/lib/circusd/a.toml",
        "[circusd]\nevent_buffer = 1\nstop_timeout = 1\n",
    );
    machine.write(
        "etc/circusd/conf.d/b.toml",
        "[circusd]\nconnections_max = 3\nwatchers_max = 3\nprocesses_max = 3\n",
    );
    machine.write(
        "etc/circusd/more.toml",
        "[circusd]\nwatchers_max = 4\nprocesses_max = 4\numask = \"0022\"\n",
    );
    let store = machine
        .env("CIRCUSD_PROCESSES_MAX", "5")
        .env("CIRCUSD_UMASK", "0027")
        .set("circusd.umask=0077")
        .load();
    let circusd = &store.config().circusd;
    assert_eq!(circusd.stop_timeout.as_secs(), 1);
    assert_eq!(circusd.event_buffer, 2);
    assert_eq!(circusd.connections_max, 3);
    assert_eq!(circusd.watchers_max, 4);
    assert_eq!(circusd.processes_max, 5);
    assert_eq!(circusd.umask.unwrap().0, 0o077);
    let origin = |key: &str| setting(&store, &format!("circusd.{key}")).origin;
    assert_eq!(origin("log_level"), Origin::Default);
    assert_eq!(origin("event_buffer"), Origin::File);
    assert_eq!(origin("connections_max"), Origin::DropIn);
    assert_eq!(origin("watchers_max"), Origin::File);
    assert_eq!(origin("processes_max"), Origin::Environment);
    assert_eq!(origin("umask"), Origin::CommandLine);
}

#[test]
fn a_program_says_all_there_is() {
    let mut machine = Machine::with("[circusd]\nevent_buffer = 2\n");
    let file = machine.write("own.toml", "[watcher.web]\nnumprocesses = 4\n");
    machine.sources.files = vec![file];
    let settings = json!({
        "circusd": {"connections_max": 7, "watchers_max": 7},
        "watcher": {"web": {"cmd": "web", "numprocesses": 2, "priority": 2, "stdout": "pipe"}},
    });
    machine.sources.embedded = Some(Embedded {
        settings: settings.as_object().unwrap().clone(),
        texts: vec![
            "[circusd]\nwatchers_max = 8\n[watcher.web]\nnumprocesses = 3\npriority = 3\n".into(),
        ],
    });
    let store = machine.env("CIRCUSD_EVENT_BUFFER", "5").load();
    let circusd = &store.config().circusd;
    assert_eq!(
        circusd.event_buffer, 8192,
        "neither the usual file nor the variable is read"
    );
    assert_eq!((circusd.connections_max, circusd.watchers_max), (7, 8));
    let numbers = ["numprocesses", "priority"]
        .map(|key| setting(&store, &format!("watcher.web.{key}")).value);
    assert_eq!(numbers, [json!(4), json!(3)]);
    assert_eq!(
        setting(&store, "circusd.connections_max").origin,
        Origin::Program
    );
    let source = setting(&store, "circusd.watchers_max").source;
    assert_eq!(source.as_deref(), Some("the configuration:2:16"));
}

#[test]
fn nobody_reads_a_pipe_but_a_program() {
    let errors = errors_of("[watcher.web]\ncmd = \"web\"\nstdout = \"pipe\"\n");
    let reason =
        "a pipe is read by the program that has the library run its workers, and here is none";
    assert_eq!(errors, [format!("3:10: watcher.web.stdout: {reason}")]);
}

#[test]
fn a_users_daemon_reads_the_users_files_only() {
    let mut machine = Machine::with(WEB);
    let path = machine.write("home/circusd/circusd.toml", "[watcher.mine]\ncmd = \"x\"\n");
    let config = path.parent().unwrap().parent().unwrap();
    machine.sources.system = false;
    let store = machine
        .env("XDG_CONFIG_HOME", config.to_str().unwrap())
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .load();
    let names: Vec<_> = store
        .config()
        .watchers
        .iter()
        .map(|w| &w.name[..])
        .collect();
    assert_eq!(names, ["mine"]);
    assert_eq!(
        store.config().watchers[0].working_dir.to_str(),
        Some("/home/u")
    );
    assert_eq!(
        setting(&store, "circusd.socket").value,
        "/run/user/1000/circusd/circusd.sock"
    );
}

#[test]
fn a_named_file_takes_the_place_of_the_usual_ones_but_its_drop_ins_count() {
    let mut machine = Machine::with(WEB);
    machine.write("here/a.toml", "[watcher.a]\ncmd = \"a\"\n");
    machine.write("here/conf.d/b.toml", "[watcher.b]\ncmd = \"b\"\n");
    machine.sources.files = vec!["here/a.toml".into()];
    let names = |machine: &Machine| -> Vec<String> {
        let store = machine.load();
        store
            .config()
            .watchers
            .iter()
            .map(|w| w.name.clone())
            .collect()
    };
    assert_eq!(names(&machine), ["a", "b"]);
    machine.sources.files = vec!["here".into()];
    assert_eq!(names(&machine), ["a", "b"]);
    machine.sources.files = vec!["nowhere.toml".into(), "etc".into()];
    let errors = machine.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("nowhere.toml: cannot be read: No such file"));
    assert_eq!(errors[1], "etc: has no *.toml file");
}

#[test]
fn no_files_at_all_is_an_empty_configuration_and_a_warning() {
    let store = Machine::new().load();
    assert!(store.config().watchers.is_empty());
    assert_eq!(store.warnings().len(), 1);
}

#[test]
fn every_error_of_every_file_is_told_at_once() {
    let machine = Machine::with("[watcher.web]\ncmd = \"web\"\nnumproceses = 3\nnice = 99\n");
    machine.write(
        "etc/circusd/conf.d/a.toml",
        "[circus]\n[watcher.-x]\nuid = [1]\n",
    );
    machine.write("etc/circusd/conf.d/b.toml", "[watcher.b]\numask = 22\n");
    let errors = machine
        .set("circusd.log_level=loud")
        .set("nonsense")
        .errors();
    assert_eq!(
        errors,
        [
            "etc/circusd/circusd.toml:3:1: watcher.web.numproceses: unknown key",
            "etc/circusd/circusd.toml:4:8: watcher.web.nice: 99 is out of range, which is -20 to 19",
            "etc/circusd/conf.d/a.toml:1:2: circus: unknown section",
            "etc/circusd/conf.d/a.toml:2:10: watcher.-x: a name begins with a letter or digit and \
             has only letters, digits and _ . : @ -",
            "etc/circusd/conf.d/b.toml:1:10: watcher.b.cmd: required, and not set",
            "etc/circusd/conf.d/b.toml:2:9: watcher.b.umask: expected a string of octal digits, \
             such as \"0022\", found an integer",
            "--set: circusd.log_level: expected one of 'error', 'warn', 'info', \
             'debug', 'trace', found 'loud'",
            "--set nonsense: expected KEY=VALUE",
        ]
    );
}

#[test]
fn an_error_shows_its_line_and_what_was_meant() {
    let machine = Machine::with("[watcher.web]\n\tcmd = \"web\"\n\trestart = \"on-failure\"\n");
    let errors = machine.try_load().unwrap_err();
    let text = errors.to_string();
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "    \trestart = \"on-failure\"",
            "    \t          ^",
            "    did you mean 'on_failure'?"
        ]
    );
    assert_eq!(errors.first().suggestion.as_deref(), Some("on_failure"));
}

#[test]
fn a_broken_line_does_not_hide_what_is_wrong_elsewhere() {
    let errors = errors_of("[watcher.web]\ncmd = \nnumproceses = 3\n[watcher.web]\n");
    assert!(errors.iter().any(|e| e.starts_with("2:")), "{errors:?}");
    assert!(
        errors
            .iter()
            .any(|e| e.starts_with("3:1: watcher.web.numproceses")),
        "{errors:?}"
    );
    assert!(errors.iter().any(|e| e.starts_with("4:")), "{errors:?}");
    assert!(!errors.iter().any(|e| e.contains("required")), "{errors:?}");
}

#[test]
fn includes_are_followed_once_and_never_in_a_circle() {
    let machine = Machine::with("[circusd]\ninclude = [\"*.toml\", \"none*.toml\"]\n");
    machine.write("etc/circusd/sub.toml", WEB);
    let store = machine.load();
    assert!(store.config().watcher("web").is_some());
    assert_eq!(store.files().len(), 2);
    let warning = store.warnings()[0].to_string();
    assert!(
        warning.contains("circusd.toml:2:22: circusd.include"),
        "{warning}"
    );

    machine.write(
        "etc/circusd/sub.toml",
        "[circusd]\ninclude = \"./circusd.toml\"\n",
    );
    let errors = machine.errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("etc/circusd/sub.toml:2:11: circusd.include:"));
    assert!(errors[0].ends_with("includes itself"));

    machine.write(
        "etc/circusd/sub.toml",
        "[circusd]\ninclude = \"gone.toml\"\n",
    );
    assert!(machine.errors()[0].ends_with("gone.toml': no such file"));
}

#[test]
fn root_refuses_a_file_that_others_can_write() {
    use std::os::unix::fs::PermissionsExt;
    let mut machine = Machine::new();
    let path = machine.write("etc/circusd/circusd.toml", WEB);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    machine.load();
    machine.sources.uid = 0;
    let errors = machine.errors();
    assert!(
        errors[0].contains("refused, for others than root could write it"),
        "{errors:?}"
    );
}

#[test]
fn what_is_no_setting_in_the_environment_is_a_warning() {
    let store = Machine::with(WEB).env("CIRCUSD_LOGLEVEL", "debug").load();
    let warning = &store.warnings()[0];
    assert_eq!(warning.file, "CIRCUSD_LOGLEVEL");
    assert_eq!(warning.suggestion.as_deref(), Some("CIRCUSD_LOG_LEVEL"));
    let errors = Machine::with(WEB)
        .env("CIRCUSD_EVENT_BUFFER", "many")
        .errors();
    assert!(errors[0].starts_with("CIRCUSD_EVENT_BUFFER: circusd.event_buffer: expected"));
}

#[test]
fn a_flag_is_what_its_setting_can_take() {
    let store = Machine::with("[watcher.\"web.1\"]\ncmd = \"web\"\nflapping = { attempts = 9 }\n")
        .set("watcher.\"web.1\".cmd=true")
        .set("watcher.\"web.1\".numprocesses=5")
        .set("watcher.\"web.1\".env.PORT=8080")
        .set("watcher.\"web.1\".flapping.window=5s")
        .set("watcher.\"web.1\".stdout.file=logs/web.log")
        .set("watcher.\"web.1\".args=[\"-x\", \"a b\"]")
        .set("env.LANG=C.UTF-8")
        .set("defaults.nice=3")
        .load();
    let web = store.config().watcher("web.1").unwrap();
    let expanded = web.expand(1);
    assert_eq!(expanded.argv, ["true", "-x", "a b"]);
    assert_eq!(expanded.env["PORT"], "8080");
    assert_eq!(expanded.env["LANG"], "C.UTF-8");
    assert_eq!(web.nice, Some(3));
    let flapping = web.flapping.as_ref().unwrap();
    assert_eq!((flapping.attempts, flapping.window.as_secs()), (9, 5));
    let errors = Machine::with(WEB)
        .set("watcher.web.stdout.max_bytes=5M")
        .set("watcher.web.flapping.windw=5s")
        .set("watcher.web.cmd.x=1")
        .set("wachter.web.cmd=1")
        .errors();
    assert_eq!(errors.len(), 4, "{errors:?}");
}

#[test]
fn a_hundred_thousand_brackets_and_other_garbage_are_errors() {
    for text in [
        "\0\0",
        "[[watcher]]\n",
        "watcher = 3",
        "= = =",
        "\u{feff}\u{feff}x",
    ] {
        assert!(!errors_of(text).is_empty());
    }
    let deep = format!("x-deep = {}", "[".repeat(100_000));
    assert!(!errors_of(&deep).is_empty());
}

/// Input of any kind is never a panic, and half a file is a file too.
#[test]
fn every_beginning_of_a_file_is_taken_or_refused() {
    let text = "\"x-é\" = [1.5, 1979-05-27]\n[circusd]\nstop_timeout = \"1h 30min\"\n[env.\"w*\"]\n\
                A = \"$(circus.env.HOME)\"\n[watcher.web]\ncmd = 'a \"b c\" $(circus.wid)'\n\
                rlimits = { nofile = 0x10, core = \"unlimited\" }\nflapping = false\n\
                stdout = { file = \"x-$(circus.wid)\" }\n[access]\nadmin = [\"@é\", 0]\n";
    let machine = Machine::new();
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        machine.write("etc/circusd/circusd.toml", &text[..end]);
        if let Err(errors) = machine.try_load() {
            assert!(!errors.to_string().is_empty());
        }
    }
    machine.load();
}

#[test]
fn a_watcher_written_twice_in_a_file_is_an_error() {
    let web = "[watcher.web]\ncmd = \"web\"\n";
    assert_eq!(
        errors_of(&format!("{web}{web}")),
        ["3:10: duplicate key 'web'", "4:1: duplicate key 'cmd'"]
    );
}

#[test]
fn what_was_looked_at_is_known_though_it_is_not_there_or_wrong() {
    let machine = Machine::with(
        "[circusd]\ninclude = ['more/*.toml', 'one.toml']\n[watcher.web]\ncmd = 'true'\n\
         env_file = 'web.env'\n",
    );
    let one = machine.write("etc/circusd/one.toml", "");
    machine.write("etc/circusd/web.env", "A=1\n");
    let store = machine.load();
    let root = &machine.path("");
    let places: Vec<_> = (store.trace().places())
        .map(|place| place.strip_prefix(root).unwrap().to_owned())
        .collect();
    let expected = [
        "etc/circusd/circusd.toml",
        "etc/circusd/conf.d",
        "etc/circusd/more",
        "etc/circusd/one.toml",
        "etc/circusd/web.env",
        "usr/lib/circusd",
    ];
    assert_eq!(places, expected.map(std::path::PathBuf::from));

    let again = || store.reread_traced();
    assert!(again().1.found_the_same(&store.trace()));
    machine.write("etc/circusd/web.env", "A=2\n");
    assert!(!again().1.found_the_same(&store.trace()));
    machine.write("etc/circusd/web.env", "A=1\n");
    assert!(again().1.found_the_same(&store.trace()));
    std::fs::remove_file(one).unwrap();
    let (read, trace) = again();
    assert!(read.is_err() && !trace.found_the_same(&store.trace()));
    assert_eq!(trace.places().count(), expected.len());
}
