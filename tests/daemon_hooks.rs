//! The hooks of circusd itself: when each is asked, what it is told, and what its answer does.

mod common;

use std::fs;
use std::sync::Arc;

use common::facts::{history, line_of};
use common::hooks::{answer, asked, context};
use common::{CallError, Connection, Daemon, Home, eventually};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// In the order of circusd-hooks(7).
const HOOKS: [&str; 9] = [
    "pre_start",
    "when_ready",
    "post_start",
    "pre_stop",
    "when_exit",
    "connection_made",
    "connection_lost",
    "pre_request",
    "post_request",
];

const WEB: &str = "[watcher.web]\ncmd = \"sleep 1000\"\ngraceful_timeout = 0\n";

/// Where a daemon lives that has these hooks, which all are the script of `common::hooks`.
fn home(hooks: &[&str], more: &str) -> Arc<Home> {
    let home = Home::new(&config(hooks, more));
    fs::write(home.path("hook.sh"), common::hooks::SCRIPT).expect("a script can be written");
    home
}

fn config(hooks: &[&str], more: &str) -> String {
    let line = |hook: &&str| format!("{hook} = {}\n", script(""));
    let hooks: String = hooks.iter().map(line).collect();
    format!("[hooks]\n{hooks}{more}\n{WEB}")
}

/// The script as a hook, with further keys.
fn script(keys: &str) -> String {
    format!("{{ exec = [\"sh\", \"$(circus.env.HOME)/hook.sh\"] {keys} }}")
}

/// The names of the hooks that were asked so far.
fn names(home: &Home) -> Vec<String> {
    let first = |line: String| line.split(' ').next().map(str::to_owned);
    asked(home).into_iter().filter_map(first).collect()
}

fn wait_for_names(home: &Home, expected: &[&str]) {
    eventually(&format!("{expected:?}"), || {
        (names(home) == expected).then_some(())
    });
}

/// One call on a connection of its own, which is then closed.
fn list(daemon: &Daemon) -> Result<Value, CallError> {
    daemon.call("List", json!({}))
}

fn denied(answer: Result<Value, CallError>) {
    let error = answer.expect_err("it is denied");
    assert_eq!(error.error, "org.varlink.service.PermissionDenied");
}

#[test]
fn a_life_asks_in_the_documented_order() {
    let of_web = format!(
        "[watcher.web.hooks]\nbefore_start = {0}\nafter_stop = {0}\n",
        script("")
    );
    let home = Home::new(&format!("{}{of_web}", config(&HOOKS, "")));
    fs::write(home.path("hook.sh"), common::hooks::SCRIPT).expect("a script can be written");
    let mut daemon = home.start();
    let start = ["pre_start", "before_start", "when_ready", "post_start"];
    assert_eq!(names(&home), start, "READY=1 comes last");
    list(&daemon).expect("every hook says yes");
    let call = [
        "connection_made",
        "pre_request",
        "post_request",
        "connection_lost",
    ];
    wait_for_names(&home, &[start, call].concat());
    assert!(daemon.stop().success());
    let end = ["pre_stop", "after_stop", "when_exit"];
    assert_eq!(names(&home), [&start[..], &call[..], &end[..]].concat());
    for hook in HOOKS {
        let told = format!("circusd: hook {hook} says true");
        assert_eq!(daemon.log().matches(&told).count(), 1, "{hook}");
    }
}

#[test]
fn each_is_told_what_is_documented() {
    let home = home(&HOOKS, "");
    answer(
        &home,
        "pre_start",
        "id -u > $HOME/uid; echo ${CIRCUS_WATCHER-none} ${NOTIFY_SOCKET-none} > $HOME/env",
    );
    let mut daemon = home.start();
    denied_method(&daemon);
    eventually("the last hook", || {
        home.path("context.connection_lost").exists().then_some(())
    });
    daemon.stop();

    let read = |name: &str| fs::read_to_string(home.path(name)).expect("the hook has written it");
    assert_eq!(read("uid").trim(), nix::unistd::getuid().to_string());
    assert_eq!(read("env").trim(), "none none");
    for hook in HOOKS {
        let told = context(&home, hook);
        assert_eq!(told["hook"], hook);
        assert_eq!(told["daemon"]["pid"], daemon.pid(), "{hook}");
        let socket = home.socket();
        assert_eq!(
            told["daemon"]["socket"],
            *socket.to_string_lossy(),
            "{hook}"
        );
        let keys: Vec<_> = told.as_object().expect("an object").keys().collect();
        let expected: &[&str] = match hook {
            "connection_made" | "connection_lost" => &["hook", "daemon", "peer"],
            "pre_request" => &["hook", "daemon", "peer", "method", "parameters"],
            "post_request" => &[
                "hook",
                "daemon",
                "peer",
                "method",
                "parameters",
                "outcome",
                "error",
            ],
            _ => &["hook", "daemon"],
        };
        assert_eq!(keys, expected, "{hook}");
        if expected.contains(&"peer") {
            let ours = json!({
                "pid": std::process::id(),
                "uid": nix::unistd::getuid().as_raw(),
                "gid": nix::unistd::getgid().as_raw(),
            });
            assert_eq!(told["peer"], ours, "{hook}");
        }
    }
    let after = context(&home, "post_request");
    assert_eq!(after["method"], "io.circusd.Stop");
    assert_eq!(after["parameters"], json!({"watchers": "nobody"}));
    assert_eq!(after["outcome"], "error");
    let error = json!({
        "error": "io.circusd.NoSuchWatcher", "parameters": {"watcher": "nobody"},
    });
    assert_eq!(after["error"], error);
}

/// A call that is refused by the daemon itself.
fn denied_method(daemon: &Daemon) {
    let refused = daemon.call("Stop", json!({"watchers": "nobody"}));
    refused.expect_err("there is no such watcher");
}

#[test]
fn without_pre_start_nothing_starts() {
    for (shell, words) in [
        (
            "echo '{\"reason\": \"no disk\"}'; exit 1",
            "hook pre_start says no: no disk",
        ),
        ("exit 7", "hook pre_start failed: it ended with exit code 7"),
    ] {
        let home = home(&["pre_start"], "");
        answer(&home, "pre_start", shell);
        let output = home.run_to_end(&[]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("spawn"), "{said}");
    }
}

#[test]
fn a_failure_of_pre_start_may_be_ignored() {
    let home = home(&[], "");
    home.configure(&format!(
        "[hooks]\npre_start = {}\n{WEB}",
        script(", ignore_failure = true")
    ));
    answer(&home, "pre_start", "exit 7");
    let daemon = home.start();
    let told = history(&daemon);
    let event = &told[0];
    assert_eq!(event["topic"], "circusd.hook_failure");
    assert_eq!(event["data"]["name"], "pre_start");
    assert_eq!(event["data"]["error"], "it ended with exit code 7");
    assert_eq!(event["seq"], 1);
}

#[test]
fn who_is_told_to_end_does_not_wait_for_pre_start() {
    let home = home(&["pre_start"], "");
    answer(&home, "pre_start", "kill -TERM $PPID; sleep 1000");
    let output = home.run_to_end(&[]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn who_is_not_let_in_is_told_so_and_closed() {
    for (shell, keys, lets_in) in [
        ("exit 1", "", false),
        ("exit 7", "", false),
        ("exit 1", ", ignore_failure = true", false),
        ("exit 7", ", ignore_failure = true", true),
    ] {
        let home = home(&[], "");
        home.configure(&format!(
            "[hooks]\nconnection_made = {}\n{WEB}",
            script(keys)
        ));
        answer(&home, "connection_made", shell);
        let daemon = home.start();
        let mut connection = daemon.connect();
        if lets_in {
            connection.call("List", json!({})).expect("it is let in");
        } else {
            denied(connection.receive_reply());
            assert_eq!(connection.receive(), None);
        }
    }
}

#[test]
fn a_call_that_is_refused_is_not_made() {
    let home = home(&["pre_request", "post_request"], "");
    answer(
        &home,
        "pre_request",
        "grep -q '\"method\":\"io.circusd.Stop\"' $HOME/context.pre_request && exit 1; exit 0",
    );
    let daemon = home.start();
    let mut events = daemon.subscribe();
    let mut connection = daemon.connect();
    denied(connection.call("Stop", json!({"watchers": "web"})));
    let refused = events.wait_where("circusd.hook_success", |data| data["result"] == false);
    assert_eq!(refused["data"]["name"], "pre_request");
    connection.call("List", json!({})).expect("it may look");
    assert_eq!(daemon.status("web")["state"], "active");
}

#[test]
fn a_hook_that_hangs_holds_up_its_own_connection_alone_and_keeps_its_order() {
    let home = home(&["pre_request"], "");
    answer(
        &home,
        "pre_request",
        "if grep -q nobody $HOME/context.pre_request; then : > $HOME/hangs; \
         while [ ! -e $HOME/go ]; do sleep 0.02; done; fi",
    );
    let daemon = home.start();
    let mut connection = daemon.connect();
    // Without an answer, so that the second call is handed over at once where nobody is asked.
    connection.send(&json!({
        "method": "io.circusd.Scale",
        "parameters": {"watcher": "web", "numprocesses": 3, "wait": false},
        "oneway": true,
    }));
    connection.send_call("Status", json!({"watchers": "nobody"}), false);
    connection.send_call("Status", json!({"watchers": "web"}), false);
    eventually("the hook", || home.path("hangs").exists().then_some(()));
    // The script writes one file for all: what hangs has read its own by now.
    assert_eq!(daemon.status("web")["numprocesses"], 3);
    fs::write(home.path("go"), "").expect("a file can be written");
    let first = connection.receive_reply().expect_err("there is none");
    assert_eq!(first.error, "io.circusd.NoSuchWatcher");
    let second = connection.receive_reply().expect("it is known");
    assert_eq!(second["watchers"][0]["name"], "web");
}

#[test]
fn reloadconfig_changes_who_is_asked() {
    let home = home(&["pre_request"], "");
    answer(&home, "pre_request", "exit 1");
    let daemon = home.start();
    denied(list(&daemon));
    home.configure(WEB);
    // Nobody may call any more: the way out is a signal.
    daemon.signal(Signal::SIGHUP);
    eventually("the new configuration", || list(&daemon).ok());
    home.configure(&config(&["pre_request"], ""));
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    denied(list(&daemon));
}

/// One who answers for hooks of the daemon.
fn register(daemon: &Daemon, hooks: &[&str]) -> Connection {
    let mut client = daemon.connect();
    client.send_call("RegisterHook", json!({"hooks": hooks}), true);
    client.receive_reply().expect("it is registered");
    client
}

#[test]
fn a_client_may_answer_for_the_daemon_and_is_not_asked_about_itself() {
    // The client must be another process than those who call: a thread would be the same to circusd.
    let daemon = Daemon::start(WEB);
    let mut client = register(&daemon, &["connection_made", "pre_request"]);
    list(&daemon).expect("nobody is asked about the process that answers");

    let mut caller = daemon.home().circusctl(&["list"]);
    let caller = std::thread::spawn(move || {
        common::output({
            caller.arg("--json");
            caller
        })
    });
    for (hook, result) in [("connection_made", true), ("pre_request", false)] {
        let asked = client.receive_reply().expect("it is asked");
        assert_eq!(asked["hook"], hook);
        assert!(asked.get("watcher").is_none(), "{asked}");
        assert_ne!(asked["context"]["peer"]["pid"], std::process::id());
        let answer = json!({"invocation": asked["invocation"], "result": result});
        daemon.call("HookResult", answer).expect("it was asked");
    }
    let output = caller.join().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("PermissionDenied"), "{said}");
    drop(client);
    eventually("nobody is asked any more", || {
        let output = daemon.ctl(&["list"]);
        output.status.success().then_some(())
    });
}

#[test]
fn what_cannot_be_registered_for_is_refused() {
    let daemon = Daemon::start(WEB);
    for (parameters, parameter) in [
        (json!({"hooks": ["pre_start"]}), "hooks"),
        (
            json!({"hooks": ["pre_request"], "watchers": "web"}),
            "watchers",
        ),
    ] {
        let mut client = daemon.connect();
        client.send_call("RegisterHook", parameters, true);
        let refused = client.receive_reply().expect_err("it is refused");
        assert_eq!(refused.error, "org.varlink.service.InvalidParameter");
        assert_eq!(refused.parameters["parameter"], parameter);
    }
}

#[test]
fn a_hook_that_calls_circusd_is_not_asked_about_itself() {
    let home = home(&["connection_made", "pre_request", "post_request"], "");
    let ctl = env!("CARGO_BIN_EXE_circusctl");
    let ask = format!("{ctl} list > $HOME/listed.$CIRCUS_HOOK || exit 1");
    for hook in ["connection_made", "pre_request", "post_request"] {
        answer(&home, hook, &ask);
    }
    let daemon = home.start();
    list(&daemon).expect("every hook says yes");
    wait_for_names(&home, &["connection_made", "pre_request", "post_request"]);
    for hook in ["connection_made", "pre_request", "post_request"] {
        assert_eq!(line_of(&home.path(&format!("listed.{hook}"))), "web");
    }
}

#[test]
fn quit_returns_when_pre_stop_has_answered_and_all_has_stopped() {
    let home = home(&["pre_stop"], "");
    answer(
        &home,
        "pre_stop",
        "while [ ! -e $HOME/go ]; do sleep 0.02; done",
    );
    let mut daemon = home.start();
    let mut events = daemon.subscribe();
    let mut caller = daemon.connect();
    caller.send_call("Quit", json!({}), false);
    wait_for_names(&home, &["pre_stop"]);
    assert_eq!(daemon.status("web")["state"], "active");
    fs::write(home.path("go"), "").expect("a file can be written");
    caller.receive_reply().expect("it ends");
    let told = common::hooks::told(&mut events, "stopping");
    assert_eq!(told, ["hook_success pre_stop", "stopping"]);
    assert!(daemon.wait_end().success());
}

#[test]
fn quit_may_not_wait_and_may_come_late() {
    let home = home(&["pre_stop", "when_exit"], "");
    for hook in ["pre_stop", "when_exit"] {
        let wait = format!("while [ ! -e $HOME/go.{hook} ]; do sleep 0.02; done");
        answer(&home, hook, &wait);
    }
    let mut daemon = home.start();
    let quit = |wait: bool| daemon.call("Quit", json!({"wait": wait}));
    quit(false).expect("it is asked");
    wait_for_names(&home, &["pre_stop"]);
    fs::write(home.path("go.pre_stop"), "").expect("a file can be written");
    wait_for_names(&home, &["pre_stop", "when_exit"]);
    quit(true).expect("everything has stopped");
    let refused = daemon.call("Start", json!({})).expect_err("it is over");
    assert_eq!(refused.error, "io.circusd.ShuttingDown");
    fs::write(home.path("go.when_exit"), "").expect("a file can be written");
    assert!(daemon.wait_end().success());
}

#[test]
fn pre_stop_has_its_time_and_no_more() {
    let home = home(&[], "");
    home.configure(&format!(
        "[hooks]\npre_stop = {}\n{WEB}",
        script(", timeout = \"100ms\"")
    ));
    answer(&home, "pre_stop", "sleep 1000");
    let mut daemon = home.start();
    assert!(daemon.stop().success());
    assert_eq!(names(&home), ["pre_stop"]);
    assert!(
        daemon
            .log()
            .contains("hook pre_stop failed: no answer within 0.1 s")
    );
}

#[test]
fn a_critical_watcher_that_gives_up_is_an_end_like_others() {
    let home = home(&["pre_stop", "when_exit"], "");
    let mut daemon = home.start();
    let options = json!({"cmd": "/nowhere/at/all", "max_retry": 0, "critical": true});
    let bad = json!({"watcher": "bad", "options": options, "start": true});
    daemon.call("Add", bad).expect_err("it cannot start");
    assert_eq!(daemon.wait_end().code(), Some(70));
    assert_eq!(names(&home), ["pre_stop", "when_exit"]);
}

#[test]
fn what_is_critical_may_give_up_while_an_end_is_asked_about() {
    let home = home(&["pre_stop", "when_exit"], "");
    answer(
        &home,
        "pre_stop",
        &format!(
            "until test -e {}; do sleep 0.01; done",
            home.path("go").display()
        ),
    );
    let mut daemon = home.start();
    let mut caller = daemon.connect();
    caller.send_call("Quit", json!({}), false);
    wait_for_names(&home, &["pre_stop"]);
    let options = json!({"cmd": "/nowhere/at/all", "max_retry": 0, "critical": true});
    let bad = json!({"watcher": "bad", "options": options, "start": true});
    daemon.call("Add", bad).expect_err("it cannot start");
    fs::write(home.path("go"), "").expect("a file can be written");
    caller.receive_reply().expect("everything has stopped");
    assert_eq!(daemon.wait_end().code(), Some(70));
    assert_eq!(names(&home), ["pre_stop", "when_exit"]);
}

#[test]
fn a_second_sigint_ends_at_once_whatever_is_asked() {
    for hook in ["pre_stop", "when_exit"] {
        let home = home(&[hook], "");
        answer(&home, hook, "sleep 1000");
        let mut daemon = home.start();
        daemon.signal(Signal::SIGINT);
        wait_for_names(&home, &[hook]);
        daemon.signal(Signal::SIGINT);
        assert_eq!(daemon.wait_end().code(), Some(130), "{hook}");
    }
}

#[test]
fn a_stop_does_not_wait_for_when_ready() {
    let home = home(&["when_ready"], "");
    answer(&home, "when_ready", "kill -TERM $PPID; sleep 1000");
    let output = home.run_to_end(&[]);
    assert_eq!(output.status.code(), Some(0));
}
