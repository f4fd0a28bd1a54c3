//! Names and values that look like something else.

use std::os::unix::ffi::OsStringExt;

use serde_json::{Value, json};

use super::common::{Daemon, Home, eventually};

const LONGEST: usize = 128;

fn add(daemon: &Daemon, name: &str) -> Result<Value, super::common::CallError> {
    let options = json!({"cmd": ["sleep", "infinity"]});
    daemon.call(
        "Add",
        json!({"watcher": name, "options": options, "start": true}),
    )
}

#[test]
fn names_that_are_allowed_are_names_everywhere() {
    let daemon = Daemon::start("");
    let longest = "n".repeat(LONGEST);
    let mut events = daemon.subscribe();
    for name in [
        "cgroup.procs",
        "memory.max",
        "a.b:c@d",
        "1",
        "0",
        "x-",
        "spawn",
        "circusd",
        "watcher",
        "w..w",
        "A",
        "cgroup",
        &longest,
    ] {
        add(&daemon, name).unwrap_or_else(|error| panic!("'{name}': {error:?}"));
        let ready = events.wait(&format!("watcher.{name}.ready"));
        assert_eq!(ready["watcher"], name);
        let status = daemon.status(name);
        assert_eq!(status["state"], "active", "{status}");
        assert_eq!(status["processes"][0]["wid"], 1, "{status}");
        let found = daemon.ctl(&["--json", "status", name]);
        assert!(found.status.success(), "{found:?}");
        daemon
            .call("Remove", json!({"watcher": name}))
            .unwrap_or_else(|error| panic!("'{name}': {error:?}"));
    }
    assert_eq!(
        daemon.call("List", json!({})).expect("it may look")["watchers"],
        json!([])
    );
}

#[test]
fn names_that_are_not_allowed_are_refused() {
    let daemon = Daemon::start("");
    let too_long = "n".repeat(LONGEST + 1);
    let enormous = "n".repeat(500_000);
    for name in [
        "", ".", "..", ".hidden", "-x", "a/b", "../x", "a b", "a\n", "a\0b", "*", "a*", "ä", "@x",
        "_x", &too_long, &enormous,
    ] {
        let Err(error) = add(&daemon, name) else {
            panic!("'{name}' was taken");
        };
        assert!(
            [
                "io.circusd.InvalidOption",
                "org.varlink.service.InvalidParameter"
            ]
            .contains(&error.error.as_str()),
            "{error:?}"
        );
    }
    for name in ["..", "a/b", "ä", &too_long] {
        let error = daemon
            .call("Stop", json!({"watchers": name}))
            .expect_err("there is none");
        assert_eq!(error.error, "io.circusd.NoSuchWatcher", "{error:?}");
    }
    assert_eq!(
        daemon.call("List", json!({})).expect("it may look")["watchers"],
        json!([])
    );
}

#[test]
fn patterns_that_are_none() {
    let daemon = Daemon::start("[watcher.a]\ncmd = 'sleep infinity'\n");
    let enormous = "*".repeat(100_000);
    for pattern in ["[", "[a", "a[", "[!", "***", "a]", "", &enormous] {
        // Refused, or nothing is found, or all: but answered.
        let _ = daemon.call("Status", json!({"watchers": pattern}));
        let mut connection = daemon.connect();
        connection.send_call("Subscribe", json!({"topics": [pattern, ""]}), true);
        let _ = connection.receive_reply();
    }
    // One that would take for ever if every star were tried with every other.
    let slow = format!("{}b", "*a".repeat(500));
    let _ = daemon.call("Status", json!({"watchers": slow}));
    assert_eq!(daemon.status("a")["state"], "active");
}

#[test]
fn the_values_of_variables_reach_the_worker_byte_for_byte() {
    let home = Home::new("");
    let out = home.path("env");
    let value = "a=b \\\" ' $HOME `x` \u{1}\u{7f}\n\té\u{10ffff};";
    let toml_value = serde_json::to_string(value).expect("a text");
    let toml_value = toml_value.replace('\u{7f}', "\\u007F");
    home.configure(&format!(
        "[watcher.w]\ncmd = ['/bin/sh', '-c', 'tr \"\\\\000\" \"\\\\001\" < /proc/self/environ > {out}.new && mv {out}.new {out}; exec sleep infinity']\ncopy_env = true\n[watcher.w.env]\nODD = {toml_value}\nEMPTY = ''\n",
        out = out.display()
    ));
    // What cannot be named in a configuration is not in the way either.
    let odd = std::ffi::OsString::from_vec(b"\xff\xfe".to_vec());
    let _daemon = home.start_with(|command| {
        command.env("NOT_UTF8", &odd).env("PASSED", "on");
    });
    let seen = eventually("the worker has written", || std::fs::read(&out).ok());
    let seen = String::from_utf8_lossy(&seen).into_owned();
    let wanted = format!("ODD={value}");
    // The worker's separator is one of the odd characters too.
    assert!(seen.contains(&wanted), "{seen:?}");
    assert!(seen.contains("\u{1}PASSED=on\u{1}"), "{seen:?}");
    assert!(
        seen.contains("EMPTY=\u{1}") || seen.ends_with("EMPTY="),
        "{seen:?}"
    );
}

#[test]
fn values_that_cannot_be_passed_on() {
    let daemon = Daemon::start("");
    for (options, option) in [
        (json!({"cmd": ["sleep\u{0}", "infinity"]}), "cmd"),
        (json!({"cmd": "sleep", "env": {"A=B": "x"}}), "env"),
        (json!({"cmd": "sleep", "env": {"A": "x\u{0}"}}), "env"),
        (json!({"cmd": "sleep", "env": {"": "x"}}), "env"),
        (json!({"cmd": []}), "cmd"),
        (json!({"cmd": ""}), "cmd"),
        (json!({"cmd": "sleep 'infinity"}), "cmd"),
        (json!({"cmd": "x", "numprocesses": 1e40}), "numprocesses"),
        (
            json!({"cmd": "x", "graceful_timeout": -1}),
            "graceful_timeout",
        ),
        (
            json!({"cmd": "x", "graceful_timeout": 1e300}),
            "graceful_timeout",
        ),
        (json!({"cmd": "x", "stop_signal": 0}), "stop_signal"),
        (json!({"cmd": "x", "stop_signal": 4096}), "stop_signal"),
        (json!({"cmd": "x", "working_dir": "a\u{0}"}), "working_dir"),
        (json!({"cmd": "$(circus.env.NOT_THERE)"}), "cmd"),
        (json!({"cmd": "$(circus.sockets.web)"}), "cmd"),
        (json!({}), "cmd"),
        (json!({"cmd": "x", "numproceses": 1}), "numproceses"),
    ] {
        let call = json!({"watcher": "w", "options": options});
        let error = daemon.call("Add", call).expect_err("it cannot be");
        assert_eq!(
            error.error, "io.circusd.InvalidOption",
            "{options}: {error:?}"
        );
        let named = error.parameters["option"].as_str().expect("a name");
        assert!(named.contains(option), "{options}: {error:?}");
    }
}

#[test]
fn more_arguments_than_the_kernel_takes() {
    let daemon = Daemon::start("");
    let long = "x".repeat(500_000);
    let options = json!({"cmd": ["sleep", long], "max_retry": 0});
    let error = daemon
        .call(
            "Add",
            json!({"watcher": "w", "options": options, "start": true}),
        )
        .expect_err("no program can be started with that");
    assert_eq!(error.error, "io.circusd.StartFailed", "{}", error.error);
    let text = error.parameters["reason"]["text"].as_str().expect("a text");
    assert!(text.contains("Argument list too long"), "{text}");
}
