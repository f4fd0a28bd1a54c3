//! When each hook is asked, among which events, and what it is told: the sequences of
//! circusd-hooks(7).

mod common;

use std::fs;

use common::Daemon;
use common::facts::pids;
use common::hooks::{self, HOOKS, answer, asked, context, told, web};
use serde_json::json;

fn daemon(hooks: &[&str], more: &str) -> Daemon {
    hooks::home(hooks, more).start()
}

#[test]
fn a_start_and_a_stop_ask_and_tell_in_the_documented_order() {
    let daemon = daemon(&HOOKS, "");
    let mut events = daemon.subscribe();
    web(&daemon, "Start").expect("every hook says yes");
    assert_eq!(
        told(&mut events, "start"),
        [
            "hook_success before_start",
            "hook_success before_spawn",
            "spawn",
            "hook_success after_spawn",
            "ready",
            "hook_success after_start",
            "start",
        ]
    );
    let pid = pids(&daemon.status("web")).pop_first().expect("it runs");
    web(&daemon, "Stop").expect("it stops");
    assert_eq!(
        without_after_signal(told(&mut events, "stop")),
        [
            "hook_success before_stop",
            "hook_success before_signal",
            "kill",
            "hook_success before_reap",
            "reap",
            "hook_success after_reap",
            "hook_success after_stop",
            "stop",
        ]
    );
    let expected = [
        "before_start - - -".to_owned(),
        "before_spawn 1 - -".into(),
        format!("after_spawn 1 {pid} -"),
        "after_start - - -".into(),
        "before_stop - - -".into(),
        format!("before_signal 1 {pid} 15"),
        format!("after_signal 1 {pid} 15"),
        format!("before_reap 1 {pid} -"),
        format!("after_reap 1 {pid} -"),
        "after_stop - - -".into(),
    ];
    let mut asked = asked(daemon.home());
    // They run side by side.
    asked[5..9].sort();
    let mut expected = expected.to_vec();
    expected[5..9].sort();
    assert_eq!(asked, expected);
}

/// A process may end as soon as it is sent a signal, and is told of while the hook still runs: all
/// that is certain of its answer is that it comes after the signal and before the worker is gone.
fn without_after_signal(mut told: Vec<String>) -> Vec<String> {
    let at = |told: &[String], what: &str| told.iter().position(|action| action == what);
    let kill = at(&told, "kill").expect("it is told to end");
    let answer = at(&told, "hook_success after_signal").expect("the hook is asked");
    assert!(kill < answer, "{told:?}");
    told.remove(answer);
    told
}

#[test]
fn a_respawn_asks_of_the_end_and_then_of_the_new_process() {
    let daemon = daemon(&HOOKS, "backoff = false");
    web(&daemon, "Start").expect("every hook says yes");
    let pid = pids(&daemon.status("web")).pop_first().expect("it runs");
    let mut events = daemon.subscribe();
    kill(pid);
    assert_eq!(
        told(&mut events, "ready"),
        [
            "hook_success before_reap",
            "reap",
            "hook_success after_reap",
            "hook_success before_spawn",
            "spawn",
            "hook_success after_spawn",
            "ready",
        ]
    );
}

fn kill(pid: u64) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
}

#[test]
fn a_reload_asks_of_the_new_process_first_and_then_of_the_old_one() {
    let daemon = daemon(&HOOKS, "");
    web(&daemon, "Start").expect("every hook says yes");
    let mut events = daemon.subscribe();
    web(&daemon, "Reload").expect("every hook says yes");
    assert_eq!(
        without_after_signal(told(&mut events, "reload")),
        [
            "hook_success before_spawn",
            "spawn",
            "hook_success after_spawn",
            "ready",
            "hook_success before_signal",
            "kill",
            "hook_success before_reap",
            "reap",
            "hook_success after_reap",
            "reload",
        ]
    );
}

#[test]
fn a_hook_is_told_all_that_is_documented() {
    let daemon = daemon(&HOOKS, "env = { COLOUR = \"blue\" }");
    let home = daemon.home();
    answer(
        home,
        "before_start",
        "echo $COLOUR > $HOME/colour; echo $CIRCUS_SOCKET > $HOME/socket",
    );
    web(&daemon, "Start").expect("every hook says yes");
    let pid = pids(&daemon.status("web")).pop_first().expect("it runs");
    web(&daemon, "Stop").expect("it stops");

    let read = |name: &str| fs::read_to_string(home.path(name)).expect("the hook has written it");
    assert_eq!(read("colour"), "blue\n");
    assert_eq!(read("socket").trim(), home.socket().to_string_lossy());

    let before_start = context(home, "before_start");
    let keys: Vec<_> = before_start
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(keys, ["hook", "watcher", "options", "daemon"]);
    assert_eq!(before_start["hook"], "before_start");
    assert_eq!(before_start["watcher"]["name"], "web");
    assert_eq!(before_start["watcher"]["state"], "starting");
    assert_eq!(before_start["options"]["cmd"], "sleep 1000");
    assert_eq!(before_start["daemon"]["pid"], daemon.pid());
    assert_eq!(before_start["daemon"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        before_start["daemon"]["socket"],
        *home.socket().to_string_lossy()
    );
    assert!(before_start["daemon"]["instance"].is_string());

    assert_eq!(context(home, "before_spawn")["wid"], 1);
    for hook in [
        "after_spawn",
        "before_signal",
        "after_signal",
        "before_reap",
        "after_reap",
    ] {
        let told = context(home, hook);
        assert_eq!(
            (&told["wid"], &told["pid"]),
            (&json!(1), &json!(pid)),
            "{hook}"
        );
        assert_eq!(told["process"]["pid"], pid, "{hook}");
    }
    assert_eq!(context(home, "before_signal")["signum"], 15);
    for hook in ["before_reap", "after_reap"] {
        let exit = &context(home, hook)["exit"];
        assert_eq!(
            (&exit["cause"], &exit["status"]),
            (&json!("signaled"), &json!(15)),
            "{hook}"
        );
    }
    for hook in ["after_start", "before_stop"] {
        assert_eq!(context(home, hook)["pids"], json!([pid]), "{hook}");
    }
    assert_eq!(context(home, "after_stop")["exits"][0]["pid"], pid);
}
