//! What a hook that says no, or cannot say, does to its watcher: exactly what circusd-hooks(7)
//! tells of each.

mod common;

use common::facts::{pid_of, pids};
use common::hooks::{self, HOOKS, answer, asked, told, web};
use common::{Daemon, Home};
use serde_json::{Value, json};

/// Pauses would only make the tests slow.
const AT_ONCE: &str = "backoff = false\nmax_retry = 2";

const NO: &str = "exit 1";
const FAILURE: &str = "exit 2";

/// A daemon with all hooks, of which this one answers so.
fn daemon(hook: &str, shell: &str) -> Daemon {
    let home = hooks::home(&HOOKS, AT_ONCE);
    answer(&home, hook, shell);
    home.start()
}

/// What the caller is told of a hook that answers so.
fn error_for(shell: &str) -> &'static str {
    match shell {
        NO => "io.circusd.HookRefused",
        _ => "io.circusd.HookFailed",
    }
}

/// The state, and the cause of it.
fn state(daemon: &Daemon) -> (Value, Value) {
    let mut status = daemon.status("web");
    (status["state"].take(), status["reason"]["cause"].take())
}

fn is(state: (Value, Value), name: &str, cause: &str) {
    assert_eq!(state, (json!(name), json!(cause)));
}

fn hooks_asked(home: &Home) -> Vec<String> {
    let first = |line: String| line.split(' ').next().unwrap_or_default().to_owned();
    asked(home).into_iter().map(first).collect()
}

#[test]
fn before_start_keeps_the_watcher_stopped() {
    for (shell, cause) in [(NO, "hook_refused"), (FAILURE, "hook_failed")] {
        let daemon = daemon("before_start", shell);
        let refused = web(&daemon, "Start").expect_err("the hook does not say yes");
        assert_eq!(refused.error, error_for(shell));
        assert_eq!(refused.parameters["hook"], "before_start");
        is(state(&daemon), "stopped", cause);
        let text = daemon.status("web")["reason"]["text"].take();
        assert!(
            text.as_str()
                .is_some_and(|text| text.contains("before_start")),
            "{text}"
        );
        assert_eq!(hooks_asked(daemon.home()), ["before_start"]);
    }
}

#[test]
fn after_start_stops_the_watcher_and_the_start_has_failed() {
    for (shell, cause) in [(NO, "hook_refused"), (FAILURE, "hook_failed")] {
        let daemon = daemon("after_start", shell);
        let mut events = daemon.subscribe();
        let refused = web(&daemon, "Start").expect_err("the hook does not say yes");
        assert_eq!(
            (&refused.error[..], &refused.parameters["hook"]),
            (error_for(shell), &json!("after_start"))
        );
        let told = told(&mut events, "stop");
        assert!(!told.contains(&"start".to_owned()), "{told:?}");
        is(state(&daemon), "stopped", cause);
        assert!(pids(&daemon.status("web")).is_empty());
    }
}

#[test]
fn before_spawn_counts_as_a_failed_attempt() {
    for shell in [NO, FAILURE] {
        let daemon = daemon("before_spawn", shell);
        let failed = web(&daemon, "Start").expect_err("no process is allowed");
        assert_eq!(failed.error, error_for(shell));
        daemon.wait_until("web", |status| status["state"] == "failed");
        is(state(&daemon), "failed", "gave_up");
        let text = daemon.status("web")["reason"]["text"].take();
        assert!(
            text.as_str()
                .is_some_and(|text| text.contains("before_spawn")),
            "{text}"
        );
        assert!(!hooks_asked(daemon.home()).contains(&"after_spawn".to_owned()));
    }
}

#[test]
fn after_spawn_stops_the_process_and_counts_as_a_failed_attempt() {
    for shell in [NO, FAILURE] {
        let daemon = daemon("after_spawn", shell);
        let mut events = daemon.subscribe();
        let failed = web(&daemon, "Start").expect_err("no process is kept");
        assert_eq!(failed.error, error_for(shell));
        let spawned = pid_of(&events.wait("watcher.web.spawn"));
        let kill = events.wait("watcher.web.kill");
        assert_eq!(
            (pid_of(&kill), &kill["data"]["by"]),
            (spawned, &json!("hook"))
        );
        daemon.wait_until("web", |status| status["state"] == "failed");
        is(state(&daemon), "failed", "gave_up");
        assert!(pids(&daemon.status("web")).is_empty());
    }
}

#[test]
fn before_signal_keeps_a_signal_but_not_a_kill() {
    for shell in [NO, FAILURE] {
        let daemon = daemon("before_signal", shell);
        web(&daemon, "Start").expect("the other hooks say yes");
        let process = pids(&daemon.status("web"));
        let sent = daemon.call("Signal", json!({"watcher": "web", "signal": "TERM"}));
        assert_eq!(sent.expect("it was asked")["pids"], json!([]));
        assert_eq!(pids(&daemon.status("web")), process);
        assert!(!hooks_asked(daemon.home()).contains(&"after_signal".to_owned()));

        let mut events = daemon.subscribe();
        let kill = json!({"watcher": "web", "signal": "KILL"});
        daemon.call("Signal", kill).expect("no hook is asked");
        let reap = events.wait("watcher.web.reap");
        assert_eq!(reap["data"]["exit"]["status"], 9);
    }
}

#[test]
fn a_stop_that_no_signal_reaches_ends_with_a_kill() {
    let home = hooks::home(&["before_signal"], "graceful_timeout = 0.2");
    answer(&home, "before_signal", NO);
    let daemon = home.start();
    web(&daemon, "Start").expect("it starts");
    let mut events = daemon.subscribe();
    web(&daemon, "Stop").expect("it is killed");
    let kill = events.wait("watcher.web.kill");
    assert_eq!(kill["data"]["signal"], "SIGKILL");
}

#[test]
fn the_other_hooks_are_told_and_not_asked() {
    for hook in [
        "before_stop",
        "after_stop",
        "after_signal",
        "before_reap",
        "after_reap",
    ] {
        for shell in [NO, FAILURE] {
            let daemon = daemon(hook, shell);
            web(&daemon, "Start").expect("it starts");
            let mut events = daemon.subscribe();
            web(&daemon, "Stop").expect("it stops all the same");
            let told = told(&mut events, "stop");
            let outcome = if shell == NO {
                "hook_success"
            } else {
                "hook_failure"
            };
            assert!(told.contains(&format!("{outcome} {hook}")), "{told:?}");
            is(state(&daemon), "stopped", "operator");
        }
    }
}

#[test]
fn an_ignored_failure_is_told_and_counts_as_yes_and_a_no_is_never_ignored() {
    let home = Home::new(
        "[watcher.web]\ncmd = \"sleep 1000\"\nworking_dir = \"..\"\nautostart = false\n\
         hooks.before_start = { exec = \"sh hook.sh\", ignore_failure = true }",
    );
    std::fs::write(home.path("hook.sh"), ". $HOME/answer.before_start").expect("a script");
    answer(&home, "before_start", FAILURE);
    let daemon = home.start();
    let mut events = daemon.subscribe();
    web(&daemon, "Start").expect("the failure is ignored");
    let told = events.wait("watcher.web.hook_*");
    assert_eq!(told["action"], "hook_failure");
    assert_eq!(told["data"]["error"], "it ended with exit code 2");
    web(&daemon, "Stop").expect("it stops");
    answer(&home, "before_start", NO);
    let refused = web(&daemon, "Start").expect_err("no is no");
    assert_eq!(refused.error, "io.circusd.HookRefused");
}

#[test]
fn hooks_are_changed_while_the_watcher_runs() {
    let daemon = Daemon::start("[watcher.web]\ncmd = \"sleep 1000\"");
    let process = pids(&daemon.status("web"));
    let set = |options: Value| {
        let options = json!({"watcher": "web", "options": options});
        daemon.call("Set", options).expect("the option is right")
    };
    let refused = |verb: &str| web(&daemon, verb).map_err(|error| error.error);
    assert_eq!(
        set(json!({"hooks.before_start": "false"}))["effect"],
        "live"
    );
    assert_eq!(pids(&daemon.status("web")), process);
    assert_eq!(refused("Restart"), Err("io.circusd.HookRefused".into()));
    set(json!({"hooks.before_start": null}));
    refused("Start").expect("nobody is asked");

    let output = daemon.ctl(&["set", "web", "hooks.before_start={\"exec\": [\"false\"]}"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(refused("Restart"), Err("io.circusd.HookRefused".into()));
}
