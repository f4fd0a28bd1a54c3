//! The real `circusctl`: its exit codes, what it writes where, and how it ends.
//!
//! What it talks to is a few scripted replies on a socket, so that a refusal, a silence and a
//! broken connection come when the test wants them. What it does with a real daemon is not here.

#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A socket in a fresh directory.
struct Place {
    directory: TempDir,
}

/// The daemon's end of one connection.
struct Peer {
    stream: BufReader<UnixStream>,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("circusd.sock")
    }

    /// `circusctl` with the socket and nothing of the caller's environment.
    fn circusctl(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_circusctl"));
        command
            .args(args)
            .env_clear()
            .env("CIRCUSD_SOCKET", self.socket())
            .stdin(Stdio::null());
        command
    }

    /// Takes one connection and does with it what `script` says.
    fn serve<T: Send + 'static>(
        &self,
        script: impl FnOnce(Peer) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            script(Peer {
                stream: BufReader::new(stream),
            })
        })
    }
}

impl Peer {
    fn call(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn reply(&mut self, reply: &Value) {
        self.stream
            .get_mut()
            .write_all(format!("{reply}\n").as_bytes())
            .unwrap();
    }

    /// Waits until the other end has closed.
    fn closed(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    }
}

fn check(output: &Output, code: i32, out: &str, err: &str) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    assert_eq!(stdout, out);
    assert_eq!(stderr, err);
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs `args` against a daemon that answers one call with `reply`.
fn answered(args: &[&str], reply: Value) -> Output {
    let place = Place::new();
    let daemon = place.serve(move |mut peer| {
        peer.call();
        peer.reply(&reply);
    });
    let output = place.circusctl(args).output().unwrap();
    daemon.join().unwrap();
    output
}

#[test]
fn a_wrong_command_line_is_2_and_asks_nobody() {
    let place = Place::new();
    for args in [
        &["frob"][..],
        &["incr"],
        &["incr", "web", "-1"],
        &["start", "--frob"],
        &["set", "web", "a"],
        &["add", "web"],
        &["--timeout", "-1", "status"],
        &["help", "frob"],
    ] {
        let output = place.circusctl(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        let said = text(&output.stderr);
        assert!(
            said.starts_with("circusctl: ") && !said.contains("cannot reach"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn no_daemon_is_1_and_says_where_it_was_looked_for_and_how_to_start_it() {
    let place = Place::new();
    let output = place.circusctl(&["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    for part in [
        place.socket().to_str().unwrap(),
        "systemctl start circusd",
        "--socket",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let output = place.circusctl(&["--json", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"], "circusctl.Unreachable");
}

#[test]
fn a_lost_connection_is_1() {
    let place = Place::new();
    let daemon = place.serve(|mut peer| peer.call());
    let output = place.circusctl(&["status"]).output().unwrap();
    check(
        &output,
        1,
        "",
        "circusctl: the connection to circusd is closed\n",
    );
    assert_eq!(
        daemon.join().unwrap(),
        json!({"method": "io.circusd.Status"})
    );
}

#[test]
fn a_refusal_is_3_with_its_sentence_and_for_scripts_as_it_came() {
    let refusal = json!({"error": "io.circusd.NoSuchWatcher", "parameters": {"watcher": "web"}});
    let sentence = "circusctl: there is no watcher 'web'\n";
    check(
        &answered(&["incr", "web"], refusal.clone()),
        3,
        "",
        sentence,
    );
    let line = format!("{refusal}\n");
    check(
        &answered(&["incr", "web", "--json"], refusal),
        3,
        &line,
        sentence,
    );
    let strange = json!({"error": "io.circusd.New", "parameters": {"a": [1]}});
    let line = format!("{strange}\n");
    let output = answered(&["--json", "incr", "web"], strange);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(3), line.as_str())
    );
}

#[test]
fn who_is_denied_learns_where_that_is_said() {
    let denied = json!({"error": "org.varlink.service.PermissionDenied"});
    let output = answered(&["stop", "web"], denied.clone());
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(
        told.starts_with("circusctl: permission denied\n") && told.contains("[access]"),
        "{told}"
    );
    // A program is told what went wrong and nothing else.
    let output = answered(&["--json", "stop", "web"], denied);
    assert_eq!(
        text(&output.stdout),
        "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}\n"
    );
}

#[test]
fn an_answer_of_another_form_is_3() {
    let output = answered(&["list"], json!({"parameters": {"watchers": 1}}));
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("failed to read the reply to 'List': "));
}

#[test]
fn the_end_of_the_timeout_is_4() {
    let place = Place::new();
    let daemon = place.serve(|mut peer| {
        peer.call();
        peer.closed();
    });
    let output = place
        .circusctl(&["--timeout", "0.2", "status"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with("circusctl: no answer within 200ms"));
    daemon.join().unwrap();
}

#[test]
fn json_is_the_parameters_of_each_reply_and_asks_for_no_progress() {
    let place = Place::new();
    let daemon = place.serve(|mut peer| {
        let calls = [peer.call(), {
            peer.reply(&json!({"parameters": {"changes": []}}));
            peer.call()
        }];
        peer.reply(&json!({"parameters": {"changes": [], "later": 1.5}}));
        calls
    });
    let output = place
        .circusctl(&["--json", "stop", "a", "b*"])
        .output()
        .unwrap();
    check(
        &output,
        0,
        "{\"changes\":[]}\n{\"changes\":[],\"later\":1.5}\n",
        "",
    );
    let call = |name: &str| json!({"method": "io.circusd.Stop", "parameters": {"watchers": name}});
    assert_eq!(daemon.join().unwrap(), [call("a"), call("b*")]);
}

#[test]
fn a_long_stop_tells_how_far_it_is_and_then_what_it_did() {
    let place = Place::new();
    let (told, hear) = std::sync::mpsc::channel::<()>();
    let daemon = place.serve(move |mut peer| {
        assert_eq!(peer.call()["more"], true);
        let progress = json!({"watcher": "web", "action": "stop", "done": 1, "total": 3});
        peer.reply(&json!({"parameters": {"progress": progress}, "continues": true}));
        // The work is not done before somebody has been told about it.
        hear.recv().unwrap();
        let change = json!({"watcher": "web", "started": [], "stopped": [7], "kept": []});
        peer.reply(&json!({"parameters": {"changes": [change]}}));
    });
    let mut circusctl = place.circusctl(&["stop"]);
    let mut child = circusctl
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "stop web: 1 of 3\n");
    told.send(()).unwrap();
    check(
        &child.wait_with_output().unwrap(),
        0,
        "web: stopped 1 (7)\n",
        "",
    );
    daemon.join().unwrap();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    let (closed, wait) = std::sync::mpsc::channel::<()>();
    let daemon = place.serve(move |mut peer| {
        peer.call();
        wait.recv().unwrap();
        peer.reply(&json!({"parameters": {"watchers": ["web"]}}));
    });
    let mut circusctl = place.circusctl(&["list"]);
    let mut child = circusctl
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    closed.send(()).unwrap();
    check(&child.wait_with_output().unwrap(), 0, "", "");
    daemon.join().unwrap();
}

#[test]
fn commands_are_read_from_a_pipe_up_to_the_first_that_fails() {
    let place = Place::new();
    let mut circusctl = place.circusctl(&[]);
    let mut child = circusctl
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = b"# what there is\n\nhelp numwatchers\n'list\nhelp stop\n";
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "circusctl: a quote is not closed\n");
    assert!(text(&output.stdout).starts_with("Show how many watchers there are"));
    assert!(!text(&output.stdout).contains("Stop watchers"));
}

#[test]
fn help_and_version_are_told_without_a_daemon() {
    let place = Place::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["help", "stop"],
        &["stop", "--help"],
    ] {
        let output = place.circusctl(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(
            text(&output.stdout).contains("Usage: circusctl"),
            "{args:?}"
        );
    }
    let version = format!("circusctl {}\n", env!("CARGO_PKG_VERSION"));
    check(
        &place.circusctl(&["--version"]).output().unwrap(),
        0,
        &version,
        "",
    );
}

/// A configuration that only its owner can write, as root wants it.
#[cfg(feature = "server")]
fn configuration(place: &Place, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let file = place.directory.path().join("circusd.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.into_os_string().into_string().unwrap()
}

#[test]
#[cfg(feature = "server")]
fn validate_tells_every_fault_with_78_and_nothing_of_what_is_good() {
    let place = Place::new();
    let good = configuration(&place, "[watcher.web]\ncmd = 'sleep 1'\n");
    let validate = |args: &[&str]| place.circusctl(args).output().unwrap();
    check(&validate(&["validate", "--config", &good]), 0, "", "");

    let bad = "[watcher.web]\ncmd = 'sleep 1'\nnumproceses = 3\n\n[circusd]\nlog_level = 5\n";
    let bad = configuration(&place, bad);
    let output = validate(&["validate", "--config", &bad]);
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stderr);
    for position in [":3:1: ", ":6:13: "] {
        assert!(
            told.contains(&format!("circusctl: {bad}{position}")),
            "{told}"
        );
    }
    assert!(told.contains("did you mean 'numprocesses'?"), "{told}");

    let output = validate(&["--json", "validate", "--config", &bad]);
    assert_eq!(output.status.code(), Some(78));
    let lines = text(&output.stdout).lines();
    let faults: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let places: Vec<_> = faults
        .iter()
        .map(|fault| fault["parameters"]["line"].clone())
        .collect();
    assert_eq!(places, [3, 6]);
    assert!(
        faults
            .iter()
            .all(|fault| fault["error"] == "io.circusd.InvalidConfig")
    );
}

#[test]
#[cfg(feature = "server")]
fn a_key_of_the_configuration_is_explained_in_each_section_that_has_it() {
    let place = Place::new();
    let help = |words: &[&str]| {
        let output = place
            .circusctl(&[&["help", "config"], words].concat())
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout).to_owned())
    };
    let (code, told) = help(&["umask"]);
    assert_eq!(code, Some(0));
    assert!(told.contains("umask of [circusd]\n") && told.contains("umask of [watcher.NAME]\n"));
    let (_, told) = help(&["circusd.umask"]);
    assert!(!told.contains("[watcher.NAME]"), "{told}");
    let (_, told) = help(&[]);
    assert!(told.contains("graceful_timeout"), "{told}");
    assert_eq!(help(&["frob"]).0, Some(2));
}

#[test]
fn another_machine_takes_an_ssh() {
    let place = Place::new();
    let output = place
        .circusctl(&["--host", "root@web1", "status"])
        .env("PATH", place.directory.path())
        .output()
        .unwrap();
    let told = "circusctl: failed to start ssh, which --host needs: No such file or directory \
                (os error 2)\n";
    check(&output, 1, "", told);
}
