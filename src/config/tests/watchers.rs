//! What a watcher is made of: defaults, variables, environment, paths, commands.

use super::{Machine, errors_of};
use crate::config::{Keeping, Stream, Watcher};

fn web(text: &str) -> Watcher {
    let store = Machine::with(text).load();
    store.config().watcher("web").unwrap().clone()
}

#[test]
fn a_watcher_takes_from_defaults_what_it_does_not_set() {
    let text = "[defaults]\ncmd = \"x\"\nnice = 5\nenv = { A = \"d\", B = \"d\" }\n\
                [watcher.web]\nenv = { A = \"w\" }\n[watcher.other]\nnice = 1\n";
    let store = Machine::with(text).load();
    let web = store.config().watcher("web").unwrap().expand(1);
    assert_eq!(web.env.get("A").map(String::as_str), Some("w"));
    assert_eq!(web.env.get("B"), None);
    let other = store.config().watcher("other").unwrap();
    assert_eq!(other.nice, Some(1));
    assert_eq!(other.expand(1).env["B"], "d");
}

#[test]
fn a_fault_in_defaults_is_told_once_however_many_watchers_there_are() {
    let text = "[defaults]\nnice = 99\n[watcher.a]\ncmd = \"a\"\n[watcher.b]\ncmd = \"b\"\n";
    assert_eq!(
        errors_of(text),
        ["2:8: defaults.nice: 99 is out of range, which is -20 to 19"]
    );
}

#[test]
fn the_environment_grows_stronger_from_inherited_to_own() {
    let text = "[circusd]\nhttp_proxy = \"http://p\"\n\
                [env]\nA = \"env\"\nB = \"env\"\nC = \"env\"\nD = \"env\"\nhttps_proxy = \"own\"\n\
                [env.\"w*\"]\nB = \"pattern\"\nC = \"pattern\"\nD = \"pattern\"\n\
                [env.\"x*\"]\nA = \"other\"\n\
                [watcher.web]\ncmd = \"web\"\nenv_file = \"web.env\"\n\
                env = { D = \"own\", PATH = \"$(circus.env.PATH):/opt/bin\", W = \"$(circus.wid)\" }\n";
    let machine = Machine::with(text)
        .env("SECRET", "s")
        .env("PYTHONPATH", "/py");
    machine.write("etc/circusd/web.env", "C=file\nD=file\n");
    let store = machine.load();
    let web = store.config().watcher("web").unwrap();
    let env = web.expand(3).env;
    let pairs: Vec<_> = env.iter().map(|(n, v)| (&n[..], &v[..])).collect();
    assert_eq!(
        pairs,
        [
            ("A", "env"),
            ("B", "pattern"),
            ("C", "file"),
            ("D", "own"),
            ("HOME", "/home/u"),
            ("LANG", "C"),
            ("PATH", "/bin:/usr/bin:/opt/bin"),
            ("W", "3"),
            ("http_proxy", "http://p"),
            ("https_proxy", "own"),
            ("ws_proxy", "http://p"),
            ("wss_proxy", "http://p"),
        ]
    );
    assert!(web.environment.is_configured("PATH"));
    assert!(!web.environment.is_configured("HOME"));
}

#[test]
fn copy_env_passes_on_everything_and_copy_path_the_module_path() {
    let run = |key: &str| {
        let text = format!("[watcher.web]\ncmd = \"web\"\n{key} = true\n");
        let machine = Machine::with(&text)
            .env("SECRET", "s")
            .env("PYTHONPATH", "/py");
        let env = machine.load().config().watchers[0].expand(1).env;
        (env.contains_key("SECRET"), env.contains_key("PYTHONPATH"))
    };
    assert_eq!(run("copy_env"), (true, true));
    assert_eq!(run("copy_path"), (false, true));
    assert_eq!(run("autostart"), (false, false));
}

#[test]
fn values_of_the_environment_are_strings() {
    assert_eq!(
        errors_of("[env]\nPORT = 80\n[env.\"w*\"]\nON = true\n"),
        [
            "2:8: env.PORT: expected a string, found an integer",
            "4:6: env.w*.ON: expected a string, found a boolean"
        ]
    );
}

#[test]
fn variables_are_errors_where_they_mean_nothing() {
    let text = "[watcher.web]\ncmd = \"web $(circus.env.NONE)\"\nargs = \"$(circus.sockets.web)\"\n\
                working_dir = \"/srv/$(circus.wid)\"\n";
    let errors = errors_of(text);
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("2:7: watcher.web.cmd: '$(circus.env.NONE)'"));
    assert!(errors[1].starts_with("3:8: watcher.web.args: '$(circus.sockets.web)'"));
    assert!(errors[2].starts_with("4:15: watcher.web.working_dir: '$(circus.wid)'"));
}

#[test]
fn a_variable_may_stand_for_a_number() {
    let text = "[watcher.web]\ncmd = \"web\"\nnumprocesses = \"$(circus.env.N)\"\n";
    let store = Machine::with(text).env("N", "4").load();
    let value = store.get("web", Some(&["numprocesses".into()])).unwrap();
    assert_eq!(value["numprocesses"], "$(circus.env.N)");
    let errors = Machine::with(text).env("N", "many").errors();
    assert!(
        errors[0].contains("3:16: watcher.web.numprocesses"),
        "{errors:?}"
    );
}

#[test]
fn a_command_is_split_before_its_variables_are_filled_in() {
    let text = "[watcher.web]\ncmd = \"run '$(circus.env.TWO)' 'a  b' --id=$(circus.wid)\"\n\
                args = [\"$(circus.env.TWO)\"]\n";
    let store = Machine::with(text).env("TWO", "two words").load();
    assert_eq!(
        store.config().watchers[0].expand(2).argv,
        ["run", "two words", "a  b", "--id=2", "two words"]
    );
    for wrong in ["\"\"", "[]", "\"  \"", "[\"\"]", "\"a 'b\""] {
        let errors = errors_of(&format!("[watcher.web]\ncmd = {wrong}\n"));
        assert_eq!(errors.len(), 1, "{wrong}: {errors:?}");
        assert!(errors[0].starts_with("2:7: watcher.web.cmd:"), "{errors:?}");
    }
}

#[test]
fn a_shell_gets_the_line_as_it_is_and_arguments_in_quotes() {
    let watcher = web(
        "[watcher.web]\nshell = true\ncmd = \"echo 'it # is' | cat\"\nargs = [\"a b\", \"it's\"]\n",
    );
    let [sh, c, line] = &watcher.expand(1).argv[..] else {
        panic!("{watcher:?}");
    };
    assert_eq!((&sh[..], &c[..]), ("/bin/sh", "-c"));
    assert_eq!(line, r"echo 'it # is' | cat 'a b' 'it'\''s'");
    let errors = errors_of("[watcher.web]\nshell = true\ncmd = [\"a\"]\n");
    assert!(errors[0].starts_with("3:7: watcher.web.cmd: shell = true needs a string"));
}

#[test]
fn relative_paths_are_relative_to_their_file() {
    let machine = Machine::with("[circusd]\ninclude = \"sub/*.toml\"\n");
    machine.write(
        "etc/circusd/sub/web.toml",
        "[watcher.web]\ncmd = \"./web\"\nworking_dir = \"srv\"\nstderr = \"stdout\"\n\
         stdout = { file = \"logs/$(circus.wid).log\", max_bytes = \"1M\" }\n",
    );
    let store = machine.load();
    let web = &store.config().watchers[0];
    assert_eq!(web.working_dir, machine.path("etc/circusd/sub/srv"));
    let expanded = web.expand(2);
    assert_eq!(expanded.argv, ["./web"]);
    assert_eq!(expanded.stderr, Some(Stream::Stdout));
    assert_eq!(
        expanded.stdout,
        Some(Stream::File {
            path: machine.path("etc/circusd/sub/logs/2.log"),
            keeping: Keeping {
                max_bytes: 1 << 20,
                rotate: None,
                utc: false,
                backup_count: 5,
            },
            format: None,
        })
    );
}

#[test]
fn keys_that_contradict_each_other_are_errors() {
    let head = "[watcher.web]\ncmd = \"web\"\n";
    let errors = |rest: &str| errors_of(&format!("{head}{rest}"));
    assert_eq!(
        errors("singleton = true\nnumprocesses = 2\n"),
        ["4:16: watcher.web.numprocesses: more than one, but singleton = true"]
    );
    assert_eq!(
        errors("stdout = \"stdout\"\n"),
        ["3:10: watcher.web.stdout: 'stdout' is for stderr only"]
    );
    assert_eq!(
        errors("stdout = { max_bytes = 1 }\n"),
        ["3:10: watcher.web.stdout.file: neither 'file' nor 'command' is there"]
    );
    let file = |rest: &str| errors(&format!("stdout = {{ file = \"/x\", {rest} }}\n"));
    for (rest, column, told) in [
        (
            "command = \"y\"",
            12,
            "file: means nothing beside 'command'",
        ),
        (
            "backup_count = 3",
            25,
            "backup_count: means nothing without 'max_bytes' or 'rotate'",
        ),
        (
            "utc = true",
            25,
            "utc: means nothing without 'rotate' or 'time_format'",
        ),
    ] {
        assert_eq!(
            file(rest),
            [format!("3:{column}: watcher.web.stdout.{told}")]
        );
    }
    assert_eq!(
        errors("stdin = { command = \"y\" }\n"),
        ["3:11: watcher.web.stdin.command: there is one for output only"]
    );
    let two = |rest: &str| {
        errors_of(&format!(
            "{head}stdout = {{ file = \"/x\", max_bytes = 5 }}\n[watcher.b]\ncmd = \"b\"\n\
             stderr = {{ file = \"/x\", {rest} }}\n"
        ))
    };
    assert_eq!(
        two("max_bytes = 6"),
        ["6:10: watcher.b.stderr: watcher.web.stdout has its file turned over in another way"]
    );
    let alike = format!(
        "{head}stdout = {{ file = \"/x\" }}\nstderr = {{ file = \"/x\", prefix = \"e \" }}\n"
    );
    Machine::with(&alike).load();
}

#[test]
fn an_env_file_that_is_missing_or_wrong_is_an_error_with_its_place() {
    let machine = Machine::with("[watcher.web]\ncmd = \"web\"\nenv_file = \"web.env\"\n");
    let errors = machine.errors();
    assert!(errors[0].starts_with("etc/circusd/circusd.toml:3:12: watcher.web.env_file: "));
    machine.write("etc/circusd/web.env", "A=1\nnonsense\n");
    assert_eq!(
        machine.errors(),
        ["etc/circusd/web.env:2:1: expected NAME=VALUE"]
    );
}

#[test]
fn watchers_come_in_the_order_written_and_no_more_than_allowed() {
    let machine = Machine::with("[watcher.b]\ncmd = \"b\"\n[watcher.a]\ncmd = \"a\"\n");
    machine.write(
        "etc/circusd/conf.d/x.toml",
        "[watcher.a]\nnice = 1\n[watcher.Z]\ncmd = \"z\"\n",
    );
    let store = machine.load();
    let names: Vec<_> = store
        .config()
        .watchers
        .iter()
        .map(|w| &w.name[..])
        .collect();
    assert_eq!(names, ["b", "a", "Z"]);
    let machine = machine.set("circusd.watchers_max=2");
    assert_eq!(
        machine.errors(),
        ["3 watchers are more than circusd.watchers_max, which is 2"]
    );
    let machine = machine.set("circusd.watchers_max=3");
    let machine = machine.set("circusd.processes_max=2");
    assert_eq!(
        machine.errors(),
        ["3 processes are more than circusd.processes_max, which is 2"]
    );
}

#[test]
fn the_state_lies_beside_the_socket() {
    let state = |text: &str| {
        Machine::with(text)
            .load()
            .config()
            .circusd
            .state_dir
            .clone()
    };
    assert_eq!(state("").to_str(), Some("/run/circusd/circusd.sock.state"));
    assert_eq!(
        state("[circusd]\nsocket = \"@a/b\"\n").to_str(),
        Some("/run/circusd/@a_b.state")
    );
    assert_eq!(
        state("[circusd]\nruntime_dir = \"/x\"\n").to_str(),
        Some("/x")
    );
}
