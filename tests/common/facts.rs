//! What tests read out of replies, events and `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Daemon, Events, Home, eventually, skip};

/// The pids of a watcher's processes, as `Status` tells them.
pub(crate) fn pids(status: &Value) -> BTreeSet<u64> {
    let processes = status["processes"].as_array().expect("a list of processes");
    let pid = |process: &Value| process["pid"].as_u64().expect("a process has a pid");
    processes.iter().map(pid).collect()
}

/// The places of a watcher's processes.
pub(crate) fn wids(status: &Value) -> BTreeSet<u64> {
    let processes = status["processes"].as_array().expect("a list of processes");
    let wid = |process: &Value| process["wid"].as_u64().expect("a process has a wid");
    processes.iter().map(wid).collect()
}

/// The pid that an event is about.
pub(crate) fn pid_of(event: &Value) -> u64 {
    let pid = &event["data"]["process_pid"];
    pid.as_u64()
        .unwrap_or_else(|| panic!("an event of a process: {event}"))
}

/// An end, as `reap` tells it, of a process that circusd has taken over was this one, if the kernel
/// tells: from Linux 6.15 on it keeps that for others than the parent, and only before that is it
/// `unknown`.
pub(crate) fn ended_by(exit: &Value, cause: &str, status: i32) {
    let kept = release() >= (6, 15);
    let expected = match kept {
        true => (json!(cause), json!(status)),
        false => (json!("unknown"), Value::Null),
    };
    let told = (exit["cause"].clone(), exit["status"].clone());
    assert_eq!(told, expected, "{exit}");
}

/// The first two numbers of the kernel's release: "6.18.1-amd64".
fn release() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel has one");
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    number().zip(number()).expect("it begins with two numbers")
}

/// Whether this process runs: it is there, and more than a zombie.
pub(crate) fn runs(pid: u64) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// Waits until a worker has written a whole line there; returns the first.
pub(crate) fn line_of(path: &Path) -> String {
    eventually(&format!("a line in {}", path.display()), || {
        let text = fs::read_to_string(path).ok()?;
        text.split_once('\n').map(|(line, _)| line.to_owned())
    })
}

/// A socket as `ListSockets` tells it.
pub(crate) fn socket_of(daemon: &Daemon, name: &str) -> Value {
    let reply = daemon.call("ListSockets", json!({}));
    let reply = reply.expect("everyone may look");
    let sockets = reply["sockets"].as_array().expect("a list of sockets");
    let found = sockets.iter().find(|socket| socket["name"] == name);
    found
        .unwrap_or_else(|| panic!("no socket '{name}': {reply}"))
        .clone()
}

/// The port of an Internet socket.
pub(crate) fn port_of(daemon: &Daemon, socket: &str) -> u16 {
    let socket = socket_of(daemon, socket);
    let address = socket["address"].as_str().expect("a socket has an address");
    let port = address.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok)
        .unwrap_or_else(|| panic!("no port: {socket}"))
}

/// The HTTP worker of the examples.
pub(crate) fn http_worker() -> PathBuf {
    example("http_worker")
}

/// A program of the examples, beside the test programs in cargo's target directory.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its program");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("it lies in target/debug/deps");
    let program = profile.join("examples").join(name);
    assert!(
        program.exists(),
        "{program:?} is missing: cargo build --examples"
    );
    program
}

/// A variable of a process. One that is just executing another program has none for a moment.
pub(crate) fn variable_of(pid: u64, name: &str) -> String {
    eventually(&format!("{name} of process {pid}"), || {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| {
            let value = variable.strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// The story of a watcher, as `circusctl why` tells it.
pub(crate) fn why(daemon: &Daemon, watcher: &str) -> String {
    let reply = daemon.call("Explain", json!({"watcher": watcher}));
    let reply = reply.expect("a watcher has a story");
    reply["text"].as_str().expect("it is a text").to_owned()
}

/// What is in a file; nothing if there is none.
pub(crate) fn text_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Waits until a file holds this text; returns all of it.
pub(crate) fn wait_for_text(path: &Path, wanted: &str) -> String {
    eventually(&format!("'{wanted}' in {}", path.display()), || {
        Some(text_of(path)).filter(|text| text.contains(wanted))
    })
}

/// Waits until a worker has written a number there.
pub(crate) fn number_of(path: &Path) -> u64 {
    let line = line_of(path);
    line.trim()
        .parse()
        .unwrap_or_else(|error| panic!("'{line}': {error}"))
}

/// All that the daemon has told since it was started, up to now.
pub(crate) fn history(daemon: &Daemon) -> Vec<Value> {
    let now = daemon.subscribe().opening["cursor"].clone();
    let now = now.as_str().expect("a subscription begins with a cursor");
    let (instance, last) = now.rsplit_once(':').expect("a cursor is INSTANCE:SEQ");
    let last: u64 = last.parse().expect("a cursor ends with a number");
    let mut events = daemon.subscribe_with(json!({"since": format!("{instance}:0")}));
    (0..last).map(|_| events.next()).collect()
}

/// The topics of events, without `watcher.` in front.
pub(crate) fn topics(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["topic"].as_str().expect("an event has a topic"))
        .map(|topic| topic.strip_prefix("watcher.").unwrap_or(topic))
        .collect()
}

/// Everything that comes before an event that this call brings about: what was still to be told.
///
/// The watcher it adds for that is removed again, unheard.
pub(crate) fn told_until_now(daemon: &Daemon, events: &mut Events) -> Vec<Value> {
    let marker = json!({"watcher": "end-marker", "options": {"cmd": "true"}});
    daemon.call("Add", marker).expect("a watcher can be added");
    let mut told = Vec::new();
    loop {
        let event = events.next();
        if event["topic"] == "watcher.end-marker.add" {
            break;
        }
        told.push(event);
    }
    let marker = json!({"watcher": "end-marker"});
    daemon.call("Remove", marker).expect("it can be removed");
    events.wait("watcher.end-marker.remove");
    told
}

/// Runs `check` with a daemon that gives workers cgroups, where they can be had, and with one that
/// does not.
pub(crate) fn in_each_mode(config: &str, check: impl Fn(&mut Daemon)) {
    let mut daemon = Daemon::start(config);
    if !has_cgroups(&daemon) {
        skip("no cgroup can be made here");
        // It is the one without.
        return check(&mut daemon);
    }
    check(&mut daemon);
    drop(daemon);
    check(&mut without_cgroups(&Home::new(config)));
}

/// Starts the daemon of `home` as one that makes no cgroups.
pub(crate) fn without_cgroups(home: &std::sync::Arc<Home>) -> Daemon {
    home.start_with(|circusd| {
        circusd.args(["--set", "circusd.cgroups=false"]);
    })
}

/// Whether the daemon gives each worker a cgroup: without them nothing can be frozen.
pub(crate) fn has_cgroups(daemon: &Daemon) -> bool {
    daemon
        .call("Freeze", json!({"watchers": "nobody-is-called-so*"}))
        .is_ok()
}
