//! Clients that we did not write speak to the daemon: `varlinkctl` of systemd, and the Python
//! package varlink.
//!
//! What they understand is Varlink, whatever we believe it to be. `tests/setup` fetches them;
//! where that is not possible the tests are skipped, with its reason.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use common::{DEADLINE, Daemon, output, tool};
use serde_json::{Value, json};

const CONFIG: &str = r#"
[watcher.sleeper]
cmd = ["sleep", "infinity"]
"#;

/// The interface as it was written, to compare with what goes over the socket.
const IDL: &str = include_str!("../src/api/io.circusd.varlink");

/// Runs varlinkctl with `arguments`; `ADDRESS` among them is the daemon's.
fn varlinkctl(program: &Path, daemon: &Daemon, arguments: &[&str]) -> Command {
    let address = format!("unix:{}", daemon.home().socket().display());
    let mut command = Command::new(program);
    command.args(
        arguments
            .iter()
            .map(|argument| argument.replace("ADDRESS", &address)),
    );
    command
}

/// Its standard output, if it succeeded.
fn success(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The replies of `varlinkctl -j`: one a line; of a stream each after a record separator (RFC 7464).
fn reply(line: &str) -> Value {
    let text = line.trim_start_matches('\u{1e}');
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in '{text}'"))
}

/// A client that runs until the test has heard enough.
struct Listener {
    child: Child,
    lines: Receiver<String>,
}

impl Listener {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        let stdout = child.stdout.take().expect("it was asked for");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // Ends with the client, or when the test has heard enough.
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines
                .map(|line| sender.send(line))
                .take_while(Result::is_ok)
                .for_each(drop);
        });
        Self { child, lines }
    }

    fn next(&self) -> Value {
        reply(
            &self
                .lines
                .recv_timeout(DEADLINE)
                .expect("the client tells of another reply"),
        )
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        self.child.wait().expect("our own child can be waited for");
    }
}

#[test]
fn varlinkctl_is_told_who_answers() {
    let Some(program) = tool("varlinkctl") else {
        return;
    };
    let daemon = Daemon::start(CONFIG);
    let info = reply(&success(&output(varlinkctl(
        &program,
        &daemon,
        &["-j", "info", "ADDRESS"],
    ))));
    assert_eq!(info["product"], "circusd");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    let interfaces = info["interfaces"].as_array().expect("a list");
    assert!(interfaces.contains(&json!("io.circusd")), "{info}");
    assert!(interfaces.contains(&json!("org.varlink.service")), "{info}");
}

#[test]
fn varlinkctl_reads_the_interface() {
    let Some(program) = tool("varlinkctl") else {
        return;
    };
    let daemon = Daemon::start(CONFIG);
    let run = |arguments: &[&str]| success(&output(varlinkctl(&program, &daemon, arguments)));

    let description = run(&["introspect", "ADDRESS", "io.circusd"]);
    assert!(
        description.contains("interface io.circusd"),
        "{description}"
    );
    let written: BTreeSet<String> = IDL
        .lines()
        .filter_map(|line| Some(line.strip_prefix("method ")?.split_once('(')?.0))
        .map(|name| format!("io.circusd.{name}"))
        .collect();
    let listed = run(&["list-methods", "ADDRESS", "io.circusd"]);
    assert_eq!(
        listed.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
        written
    );
    let service = run(&["introspect", "ADDRESS", "org.varlink.service"]);
    assert!(service.contains("method GetInfo("), "{service}");
}

#[test]
fn varlinkctl_calls_and_is_refused() {
    let Some(program) = tool("varlinkctl") else {
        return;
    };
    let daemon = Daemon::start(CONFIG);
    let call = |method: &str, parameters: &str| {
        output(varlinkctl(
            &program,
            &daemon,
            &["-j", "call", "ADDRESS", method, parameters],
        ))
    };

    let status = reply(&success(&call("io.circusd.Status", "{}")));
    assert_eq!(status["watchers"][0]["name"], "sleeper");
    assert_eq!(status["watchers"][0]["processes"][0]["state"], "running");
    for (method, parameters, error) in [
        (
            "io.circusd.Status",
            r#"{"watchers": "nobody"}"#,
            "io.circusd.NoSuchWatcher",
        ),
        (
            "io.circusd.Status",
            r#"{"watchers": 7}"#,
            "org.varlink.service.InvalidParameter",
        ),
        (
            "io.circusd.Dance",
            "{}",
            "org.varlink.service.MethodNotFound",
        ),
        (
            "io.example.Dance",
            "{}",
            "org.varlink.service.InterfaceNotFound",
        ),
        (
            "io.circusd.Subscribe",
            "{}",
            "org.varlink.service.ExpectedMore",
        ),
    ] {
        let refused = call(method, parameters);
        assert!(
            !refused.status.success(),
            "{method} {parameters} was not refused"
        );
        let complaint = String::from_utf8_lossy(&refused.stderr);
        assert!(
            complaint.contains(error),
            "{method} {parameters}: {complaint}"
        );
    }
}

#[test]
fn varlinkctl_follows_a_verb_to_its_end() {
    let Some(program) = tool("varlinkctl") else {
        return;
    };
    let daemon = Daemon::start(CONFIG);
    let pid = daemon.status("sleeper")["processes"][0]["pid"].clone();
    let arguments = [
        "-j",
        "--more",
        "call",
        "ADDRESS",
        "io.circusd.Stop",
        r#"{"watchers": "sleeper"}"#,
    ];
    let text = success(&output(varlinkctl(&program, &daemon, &arguments)));
    let replies: Vec<Value> = text.lines().map(reply).collect();
    let (last, before) = replies.split_last().expect("a call is answered");
    assert!(
        before
            .iter()
            .all(|reply| reply["progress"]["watcher"] == "sleeper"),
        "{text}"
    );
    assert_eq!(last["changes"][0]["stopped"], json!([pid]), "{text}");
    assert_eq!(daemon.status("sleeper")["state"], "stopped");
}

#[test]
fn varlinkctl_hears_events() {
    let Some(program) = tool("varlinkctl") else {
        return;
    };
    let daemon = Daemon::start(CONFIG);
    let topics = r#"{"topics": ["watcher.sleeper.spawn", "watcher.sleeper.ready"]}"#;
    let arguments = [
        "-j",
        "--more",
        "--timeout=infinity",
        "call",
        "ADDRESS",
        "io.circusd.Subscribe",
        topics,
    ];
    let listener = Listener::start(varlinkctl(&program, &daemon, &arguments));

    let opening = listener.next();
    assert!(
        opening["cursor"].is_string() && opening["event"].is_null(),
        "{opening}"
    );
    daemon
        .call("Scale", json!({"watcher": "sleeper", "delta": 1}))
        .expect("sleeper can grow");
    for action in ["spawn", "ready"] {
        let reply = listener.next();
        assert_eq!(reply["event"]["action"], action, "{reply}");
        assert_eq!(reply["event"]["data"]["wid"], 2, "{reply}");
    }
}

#[test]
fn the_python_package_understands_us() {
    let Some(python) = tool("python-varlink") else {
        return;
    };
    let daemon = Daemon::start(CONFIG);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign_client.py");
    let mut command = Command::new(python);
    command.arg(script).arg(daemon.home().socket());
    let told = success(&output(command));
    let told: Value = serde_json::from_str(&told).expect("the script tells in JSON");

    assert_eq!(told["info"]["product"], "circusd");
    let methods = IDL
        .lines()
        .filter(|line| line.starts_with("method "))
        .count();
    assert_eq!(told["methods"], methods);
    assert_eq!(told["status"]["watchers"][0]["name"], "sleeper");
    assert_eq!(
        told["error"],
        json!({"error": "io.circusd.NoSuchWatcher", "watcher": "nobody"})
    );
    assert_eq!(told["scaled"], 2);
    assert_eq!(told["events"], json!(["spawn", "ready"]));
}
