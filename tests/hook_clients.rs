//! Clients that answer for hooks: `RegisterHook` and `HookResult`, and `circusctl answer`, which has
//! a program answer.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use common::hooks::web;
use common::{CallError, Connection, Daemon};
use serde_json::{Value, json};

const WEB: &str = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n";

/// With a hook that must be answered by a client.
const REQUIRED: &str = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
                        hooks.before_start = { plugin = true }\n";

/// One who has registered.
struct Client {
    connection: Connection,
    registration: Value,
}

impl Client {
    fn register(daemon: &Daemon, parameters: Value) -> Self {
        let mut connection = daemon.connect();
        connection.send_call("RegisterHook", parameters, true);
        let first = connection.receive_reply().expect("it is registered");
        assert!(first.get("invocation").is_none(), "{first}");
        Self {
            connection,
            registration: first["registration"].clone(),
        }
    }

    /// Waits to be asked; the number of the invocation, and what it is about.
    fn asked(&mut self) -> (u64, Value) {
        let asked = self.connection.receive_reply().expect("it is asked");
        assert_eq!(asked["registration"], self.registration);
        (asked["invocation"].as_u64().expect("a number"), asked)
    }
}

fn before_start() -> Value {
    json!({"watchers": "web", "hooks": ["before_start"]})
}

fn answer(daemon: &Daemon, mut result: Value, invocation: u64) -> Result<Value, CallError> {
    result["invocation"] = json!(invocation);
    daemon.call("HookResult", result)
}

fn send_start(daemon: &Daemon) -> Connection {
    let mut starter = daemon.connect();
    starter.send_call("Start", json!({"watchers": "web"}), false);
    starter
}

#[test]
fn a_client_is_asked_with_the_context_and_its_answer_counts() {
    let daemon = Daemon::start(WEB);
    let mut client = Client::register(&daemon, before_start());
    let check = |client: &mut Client, result: Value, expected: Result<(), (&str, &str)>| {
        let mut starter = send_start(&daemon);
        let (invocation, asked) = client.asked();
        assert_eq!(
            (&asked["hook"], &asked["watcher"]),
            (&json!("before_start"), &json!("web"))
        );
        assert_eq!(asked["context"]["watcher"]["name"], "web");
        assert_eq!(asked["context"]["options"]["cmd"], "sleep 1000");
        answer(&daemon, result, invocation).expect("it was asked");
        let started = starter.receive_reply().map(drop).map_err(|error| {
            let reason = error.parameters["reason"].as_str().unwrap_or_default();
            (error.error.replace("io.circusd.", ""), reason.to_owned())
        });
        let expected = expected.map_err(|(error, reason)| (error.to_owned(), reason.to_owned()));
        assert_eq!(started, expected);
        let again = answer(&daemon, json!({"result": true}), invocation);
        let error = again.expect_err("it has been answered");
        assert_eq!(error.error, "io.circusd.NoSuchInvocation");
        web(&daemon, "Stop").expect("it stops");
    };
    check(&mut client, json!({"result": true}), Ok(()));
    let no = "the client that answers for it says no";
    check(
        &mut client,
        json!({"result": false}),
        Err(("HookRefused", no)),
    );
    let broken = json!({"result": true, "error": "no database"});
    check(&mut client, broken, Err(("HookFailed", "no database")));
}

#[test]
fn a_registration_is_no_option_and_lives_as_long_as_its_connection() {
    let daemon = Daemon::start(WEB);
    let mut events = daemon.subscribe();
    let client = Client::register(&daemon, before_start());
    assert_eq!(
        daemon
            .call("Get", json!({"watcher": "web"}))
            .expect("it is known")["options"]["hooks"],
        json!({})
    );
    drop(client);
    web(&daemon, "Start").expect("nobody is asked");
    let first = events.next();
    assert_ne!(first["action"], "updated", "{first}");
}

#[test]
fn who_goes_without_an_answer_has_failed() {
    let daemon = Daemon::start(WEB);
    let mut client = Client::register(&daemon, before_start());
    let mut starter = send_start(&daemon);
    client.asked();
    drop(client);
    let failed = starter.receive_reply().expect_err("nobody answers");
    assert_eq!(failed.error, "io.circusd.HookFailed");
    let reason = failed.parameters["reason"].as_str().expect("a reason");
    assert!(reason.contains("has gone"), "{reason}");
}

#[test]
fn who_answers_too_late_has_failed() {
    let daemon = Daemon::start(WEB);
    let mut parameters = before_start();
    parameters["timeout_usec"] = json!(200_000);
    let mut client = Client::register(&daemon, parameters);
    let mut starter = send_start(&daemon);
    let (invocation, _) = client.asked();
    let failed = starter.receive_reply().expect_err("the time is over");
    assert_eq!(failed.parameters["reason"], "no answer within 0.2 s");
    let late = answer(&daemon, json!({"result": true}), invocation);
    let late = late.expect_err("nobody waits for it any more");
    assert_eq!(late.error, "io.circusd.NoSuchInvocation");
    assert_eq!(late.parameters["invocation"], invocation);
}

#[test]
fn a_stop_takes_the_question_back() {
    let daemon = Daemon::start(WEB);
    let mut client = Client::register(&daemon, before_start());
    send_start(&daemon);
    let (invocation, _) = client.asked();
    web(&daemon, "Stop").expect("a stop wins");
    let late = answer(&daemon, json!({"result": true}), invocation);
    assert_eq!(
        late.expect_err("it was taken back").error,
        "io.circusd.NoSuchInvocation"
    );
}

#[test]
fn plugin_requires_somebody_who_has_registered() {
    let daemon = Daemon::start(REQUIRED);
    let failed = web(&daemon, "Start").expect_err("there is nobody");
    assert_eq!(failed.error, "io.circusd.HookFailed");
    assert_eq!(failed.parameters["reason"], "nobody has registered for it");
    let mut client = Client::register(&daemon, before_start());
    let mut starter = send_start(&daemon);
    let (invocation, _) = client.asked();
    answer(&daemon, json!({"result": true}), invocation).expect("it was asked");
    starter.receive_reply().expect("somebody has said yes");
}

#[test]
fn clients_are_asked_in_their_order_and_behind_what_is_configured() {
    let config = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
                  hooks.before_start = \"false\"\n";
    let daemon = Daemon::start(config);
    let mut first = Client::register(&daemon, before_start());
    let everywhere = json!({"watchers": "w*", "hooks": ["after_stop", "before_start"]});
    let mut second = Client::register(&daemon, everywhere);
    let refused = web(&daemon, "Start").expect_err("the program says no");
    assert_eq!(refused.parameters["reason"], "it ended with exit code 1");

    let none = json!({"watcher": "web", "options": {"hooks.before_start": "true"}});
    daemon.call("Set", none).expect("it is an option");
    let mut starter = send_start(&daemon);
    for client in [&mut first, &mut second] {
        let (invocation, _) = client.asked();
        answer(&daemon, json!({"result": true}), invocation).expect("it was asked");
    }
    starter.receive_reply().expect("all have said yes");
}

#[test]
fn a_watcher_that_comes_later_is_asked_about_too() {
    let daemon = Daemon::start("");
    let mut client = Client::register(&daemon, json!({"hooks": ["before_start"]}));
    let mut adder = daemon.connect();
    let web = json!({"watcher": "web", "options": {"cmd": "sleep 1000"}, "start": true});
    adder.send_call("Add", web, false);
    let (invocation, asked) = client.asked();
    assert_eq!(asked["watcher"], "web");
    answer(&daemon, json!({"result": true}), invocation).expect("it was asked");
    adder.receive_reply().expect("it was started");
}

#[test]
fn only_extended_stats_has_data() {
    let daemon = Daemon::start(WEB);
    let mut client = Client::register(&daemon, before_start());
    let mut starter = send_start(&daemon);
    let (invocation, _) = client.asked();
    let data = json!({"result": true, "data": {}});
    let refused = answer(&daemon, data, invocation).expect_err("it adds nothing");
    assert_eq!(refused.parameters["parameter"], "data");
    answer(&daemon, json!({"result": true}), invocation).expect("it still waits");
    starter.receive_reply().expect("it was started");
}

#[test]
fn a_wrong_registration_is_refused() {
    let daemon = Daemon::start(WEB);
    let refused = |parameters: Value| {
        let mut connection = daemon.connect();
        connection.send_call("RegisterHook", parameters, true);
        let refused = connection.receive_reply().expect_err("it is wrong");
        (refused.error, refused.parameters)
    };
    let invalid = |name: &str| {
        let error = "org.varlink.service.InvalidParameter".to_owned();
        (error, json!({"parameter": name}))
    };
    assert_eq!(refused(json!({"hooks": []})), invalid("hooks"));
    assert_eq!(refused(json!({"hooks": ["befor_start"]})), invalid("hooks"));
    let timeout = json!({"hooks": ["before_start"], "timeout_usec": 0});
    assert_eq!(refused(timeout), invalid("timeout_usec"));
    let nobody = json!({"hooks": ["before_start"], "watchers": "nobody"});
    assert_eq!(refused(nobody).0, "io.circusd.NoSuchWatcher");
    let unknown = answer(&daemon, json!({"result": true}), 7).expect_err("nobody has asked");
    assert_eq!(unknown.error, "io.circusd.NoSuchInvocation");
}

/// `circusctl answer`, with the lines it writes.
struct Answering {
    circusctl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Answering {
    /// Registered already.
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let arguments = [&["--json", "answer"], arguments].concat();
        let mut circusctl = daemon
            .home()
            .circusctl(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let stdout = circusctl.stdout.take().expect("a pipe");
        let lines = BufReader::new(stdout).lines();
        let mut answering = Self { circusctl, lines };
        let first = answering.line();
        assert!(first["registration"].is_u64(), "{first}");
        answering
    }

    fn line(&mut self) -> Value {
        let line = self.lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("one object")
    }

    /// Waits until it has ended by itself: its exit code, and what it has said.
    fn ended(mut self) -> (Option<i32>, String) {
        // Read first, lest it be held up by a pipe that is full.
        let stderr = self.circusctl.stderr.take().expect("a pipe");
        let said = std::io::read_to_string(stderr).expect("text");
        let status = self.circusctl.wait().expect("it is ours");
        (status.code(), said)
    }

    fn kill(mut self) {
        self.circusctl.kill().expect("it is ours");
        self.circusctl.wait().expect("it is ours");
    }
}

#[test]
fn a_name_that_no_hook_has_is_told_of() {
    let daemon = Daemon::start(WEB);
    let arguments = ["answer", "web.before_start", "--", "true"];
    let output = daemon.ctl(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("there is no such hook\ncircusd-hooks(7)"),
        "{said}"
    );
}

#[test]
fn a_program_answers_by_way_of_circusctl() {
    let mut daemon = Daemon::start(REQUIRED);
    let answer = daemon.home().path("answer");
    let answers = |exit: &str| fs::write(&answer, exit).expect("a file can be written");
    let script = answer.display().to_string();
    let program = ["before_start", "--watcher", "w*", "--", "sh", &script];
    let mut answering = Answering::start(&daemon, &program);
    answers("test $CIRCUS_HOOK.$CIRCUS_WATCHER = before_start.web");
    web(&daemon, "Start").expect("it says yes");
    let asked = answering.line();
    assert_eq!(asked["context"]["watcher"]["name"], "web", "{asked}");
    web(&daemon, "Stop").expect("it stops");
    answers("exit 1");
    let refused = web(&daemon, "Start").expect_err("it says no");
    assert_eq!(refused.error, "io.circusd.HookRefused");
    answers("exit 3");
    let failed = web(&daemon, "Start").expect_err("it cannot say");
    assert_eq!(failed.error, "io.circusd.HookFailed");
    assert_eq!(failed.parameters["reason"], "it ended with exit code 3");
    daemon.stop();
    let (code, said) = answering.ended();
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_program_that_is_asked_no_more_is_asked_the_next_time() {
    let daemon = Daemon::start(WEB);
    let go = daemon.home().path("go");
    let script = format!("until test -e '{}'; do sleep 0.01; done", go.display());
    let mut answering = Answering::start(&daemon, &["before_start", "--", "sh", "-c", &script]);
    send_start(&daemon);
    answering.line();
    web(&daemon, "Stop").expect("a stop wins");
    fs::write(go, "").expect("a file can be written");
    web(&daemon, "Start").expect("it says yes");
    answering.line();
    answering.kill();
}

#[test]
fn what_cannot_be_answered_for_is_refused() {
    let daemon = Daemon::start(WEB);
    let check = |arguments: &[&str], code: i32| {
        let output = daemon.ctl(&[&["answer"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    };
    check(&["before_start"], 2);
    check(&["before_start", "--"], 2);
    check(&["--", "true"], 2);
    check(&["befor_start", "--", "true"], 3);
    check(&["before_start", "--watcher", "nobody", "--", "true"], 3);
    check(&["before_start", "--within", "0", "--", "true"], 3);
}
