//! Workers that do not want to end, or hide what they have started.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::common::{Daemon, Home, eventually};

/// As on a machine where no groups may be made.
const WITHOUT_CGROUPS: &str = "[circusd]\ncgroups = false\n";

fn pids(status: &Value) -> BTreeSet<i64> {
    let processes = status["processes"].as_array().expect("a list");
    let pid = |process: &Value| process["pid"].as_i64().expect("a pid");
    processes.iter().map(pid).collect()
}

fn send(pid: i64, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().expect("a pid")), signal).expect("it runs");
}

/// Whether the process runs; one that has ended and was not waited for does not.
fn runs(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

#[test]
fn a_worker_that_was_halted_is_stopped_all_the_same() {
    let config = "[watcher.w]\ncmd = ['sleep', 'infinity']\ngraceful_timeout = '1s'\n";
    let daemon = Daemon::start(config);
    let mut events = daemon.subscribe();
    let before = pids(&daemon.status("w"));
    before.iter().for_each(|pid| send(*pid, Signal::SIGSTOP));
    let stopped = daemon.call("Stop", json!({"watchers": "w"}));
    let stopped = stopped.expect("it can be stopped");
    assert_eq!(stopped["changes"][0]["stopped"], json!(before), "{stopped}");
    let reap = events.wait("watcher.w.reap");
    assert_eq!(reap["data"]["exit"]["expected"], true, "{reap}");
    assert!(before.iter().all(|pid| !runs(*pid)));
}

#[test]
fn what_changes_its_session_and_forks_is_stopped_with_its_worker() {
    check_hidden("");
}

#[test]
fn what_changes_its_session_and_forks_is_stopped_without_cgroups_too() {
    check_hidden(WITHOUT_CGROUPS);
}

fn check_hidden(circusd: &str) {
    let home = Home::new("");
    // Two generations away, in a session of its own, deaf, and halted on top.
    let script = "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; (sleep infinity & echo $! >> pids; wait) & echo $! >> pids; exit 0'; echo $$ >> pids; echo >> done; while :; do sleep 3600; done";
    fs::write(home.path("hide.sh"), script).expect("a file can be written");
    home.configure(&format!(
        "{circusd}[watcher.w]\ncmd = ['/bin/sh', 'hide.sh']\nworking_dir = '{}'\ngraceful_timeout = '1s'\n",
        home.root().display()
    ));
    let daemon = home.start();
    let hidden = eventually("all have been started", || {
        if !home.path("done").exists() {
            return None;
        }
        let text = fs::read_to_string(home.path("pids")).ok()?;
        let pids: Vec<i64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 3).then_some(pids)
    });
    assert!(hidden.iter().all(|pid| runs(*pid)), "{hidden:?}");
    send(hidden[1], Signal::SIGSTOP);
    daemon
        .call("Stop", json!({"watchers": "w"}))
        .expect("it can be stopped");
    let left: Vec<_> = hidden.iter().filter(|pid| runs(**pid)).collect();
    assert!(left.is_empty(), "{left:?} of {hidden:?} are left");
}

#[test]
fn what_a_crashed_worker_leaves_is_ended() {
    check_left("");
}

#[test]
fn what_a_crashed_worker_leaves_is_ended_without_cgroups_too() {
    check_left(WITHOUT_CGROUPS);
}

fn check_left(circusd: &str) {
    let home = Home::new("");
    let script =
        "sleep infinity & echo $! >> pids; test -e crash || exec sleep infinity; rm crash; exit 1";
    fs::write(home.path("leave.sh"), script).expect("a file can be written");
    fs::write(home.path("crash"), "").expect("a file can be written");
    home.configure(&format!(
        "{circusd}[watcher.w]\ncmd = ['/bin/sh', 'leave.sh']\nworking_dir = '{}'\ngraceful_timeout = '1s'\n",
        home.root().display()
    ));
    let daemon = home.start();
    let started = eventually("it has been started twice", || {
        let text = fs::read_to_string(home.path("pids")).ok()?;
        let pids: Vec<i64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    });
    eventually("what the first left is gone", || {
        (!runs(started[0])).then_some(())
    });
    assert!(runs(started[1]));
    assert_eq!(daemon.status("w")["restarts"], 1);
}

#[test]
fn what_forks_and_ends_all_the_while_is_stopped_with_its_worker() {
    check_comet("");
}

#[test]
fn what_forks_and_ends_all_the_while_is_stopped_without_cgroups_too() {
    check_comet(WITHOUT_CGROUPS);
}

/// Of such a one every look at /proc can see nothing: it has ended, and its child was not there yet.
fn check_comet(circusd: &str) {
    let home = Home::new("");
    let script =
        "f() { echo >> trail; test $1 -eq 0 || f $(($1 - 1)) & }; f 20000; exec sleep infinity";
    fs::write(home.path("comet.sh"), script).expect("a file can be written");
    home.configure(&format!(
        "{circusd}[watcher.w]\ncmd = ['/bin/sh', 'comet.sh']\nautostart = false\nworking_dir = '{}'\ngraceful_timeout = '100ms'\n",
        home.root().display()
    ));
    let daemon = home.start();
    let trail = || fs::metadata(home.path("trail")).map_or(0, |trail| trail.len());
    for _ in 0..5 {
        let before = trail();
        let started = daemon.call("Start", json!({"watchers": "w"}));
        started.expect("it can be started");
        eventually("it flies", || (trail() > before + 50).then_some(()));
        let stopped = daemon.call("Stop", json!({"watchers": "w"}));
        stopped.expect("it can be stopped");
        let after = trail();
        for _ in 0..20 {
            daemon.ctl(&["status"]);
        }
        assert_eq!(trail(), after, "it flies on");
    }
}

#[test]
fn a_storm_of_kills() {
    const WORKERS: usize = 20;
    const ROUNDS: usize = 10;
    let config = format!(
        "[circusd]\nevent_buffer = 100000\n[watcher.w]\ncmd = ['sleep', 'infinity']\nnumprocesses = {WORKERS}\nbackoff = false\nflapping = false\n"
    );
    let daemon = Daemon::start(&config);
    let mut events = daemon.subscribe();
    let mut all = BTreeSet::new();
    let mut now = pids(&daemon.status("w"));
    for _ in 0..ROUNDS {
        assert_eq!(now.len(), WORKERS);
        now.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
        let (mut reaped, mut ready) = (BTreeSet::new(), BTreeSet::new());
        // Each end and each successor is told once, whatever comes first.
        while reaped.len() < WORKERS || ready.len() < WORKERS {
            let event = events.next();
            let pid = event["data"]["process_pid"].as_i64();
            match event["action"].as_str() {
                Some("reap") => assert!(reaped.insert(pid.expect("a pid")), "{event}"),
                Some("ready") => assert!(ready.insert(pid.expect("a pid")), "{event}"),
                _ => {}
            }
        }
        assert_eq!(reaped, now);
        all.extend(reaped);
        now = ready;
        assert_eq!(pids(&daemon.status("w")), now);
    }
    assert_eq!(daemon.status("w")["restarts"], (WORKERS * ROUNDS) as u64);
    assert_eq!(all.len(), WORKERS * ROUNDS);
}

#[test]
fn workers_that_end_at_once_are_not_started_without_end() {
    let config = "[watcher.w]\ncmd = ['/bin/true']\nnumprocesses = 3\nflapping = { attempts = 3, window = '10s', retry_in = '1h', max_retry = 5 }\nbackoff = false\n";
    let daemon = Daemon::start(config);
    let status = daemon.wait_until("w", |status| status["state"] == "waiting");
    assert_eq!(status["reason"]["cause"], "flapping", "{status}");
    let stats = super::daemon_stats(&daemon);
    assert_eq!(stats["spawns_total"], 9, "{stats}");
}
