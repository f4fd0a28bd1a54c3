//! Hooks that are programs: what their ends mean, and that nothing they do harms anybody else.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::facts::{in_each_mode, number_of, runs, without_cgroups};
use common::hooks::{self, answer, web};
use common::{Daemon, Home, eventually, skip};
use serde_json::json;

fn daemon(hooks: &[&str], more: &str) -> Daemon {
    hooks::home(hooks, more).start()
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_all_it_has_started() {
    let more = "[circusd]\nhook_timeout = \"2s\"";
    let hang = "echo $$ > $HOME/hook; setsid sh -c 'echo $$ > $HOME/daemon; exec sleep 1000' & \
                sleep 1000";
    in_both_modes(&["before_start"], |home, start| {
        home.configure(&format!("{more}\n{}", read_config(home)));
        answer(home, "before_start", hang);
        let daemon = start(home);
        let mut events = daemon.subscribe();
        let failed = web(&daemon, "Start").expect_err("it does not answer");
        assert_eq!(failed.error, "io.circusd.HookFailed", "{failed:?}");
        assert_eq!(failed.parameters["reason"], "no answer within 2 s");
        let told = events.wait("watcher.web.hook_failure");
        assert_eq!(told["data"]["name"], "before_start");
        for name in ["hook", "daemon"] {
            let pid = number_of(&home.path(name));
            eventually("the end of a hook", || (!runs(pid)).then_some(()));
        }
    });
}

fn read_config(home: &Home) -> String {
    fs::read_to_string(home.path("etc/circusd.toml")).expect("there is a configuration")
}

#[test]
fn what_a_hook_leaves_running_ends_with_it() {
    let leave = "setsid sh -c 'echo $$ > $HOME/daemon; exec sleep 1000' & \
                 while ! [ -s $HOME/daemon ]; do sleep 0.01; done";
    in_both_modes(&["after_start"], |home, start| {
        answer(home, "after_start", leave);
        let daemon = start(home);
        web(&daemon, "Start").expect("it says yes");
        let pid = number_of(&home.path("daemon"));
        eventually("the end of a daemon", || (!runs(pid)).then_some(()));
        assert_eq!(daemon.status("web")["state"], "active");
    });
}

#[test]
fn a_hook_leaves_no_cgroup_behind() {
    let daemon = daemon(&["after_start"], "");
    web(&daemon, "Start").expect("it says yes");
    let status = daemon.status("web");
    let Some(cgroup) = status["processes"][0]["cgroup"].as_str() else {
        return skip("no cgroup can be made here");
    };
    // BASE/watchers/web/1 and BASE/hooks
    let base = Path::new(cgroup)
        .ancestors()
        .nth(3)
        .expect("it is deep enough");
    let hooks = base.join("hooks");
    assert!(hooks.is_dir(), "the hook ran somewhere else");
    eventually("the end of the cgroup of a hook", || {
        let groups = fs::read_dir(&hooks).expect("it can be read").flatten();
        let left = groups.filter(|entry| entry.path().is_dir()).count();
        (left == 0).then_some(())
    });
}

/// Runs `check` in a fresh home for each way to hold processes together, with what starts a daemon
/// there.
fn in_both_modes(hooks: &[&str], check: impl Fn(&Arc<Home>, fn(&Arc<Home>) -> Daemon)) {
    check(&hooks::home(hooks, ""), Home::start);
    check(&hooks::home(hooks, ""), without_cgroups);
}

#[test]
fn a_hook_that_hangs_holds_up_nobody_else_and_a_stop_ends_it() {
    let home = hooks::home(&["before_start"], "");
    let config = read_config(&home);
    home.configure(&format!(
        "{config}\n[watcher.other]\ncmd = \"sleep 1000\"\nautostart = false"
    ));
    answer(
        &home,
        "before_start",
        "echo $$ > $HOME/hook; exec sleep 1000",
    );
    let daemon = home.start();
    let mut starter = daemon.connect();
    starter.send_call("Start", json!({"watchers": "web"}), false);
    let pid = number_of(&home.path("hook"));

    daemon
        .call("Start", json!({"watchers": "other"}))
        .expect("nothing keeps it");
    assert_eq!(daemon.status("web")["state"], "starting");
    assert!(runs(pid));

    web(&daemon, "Stop").expect("a stop wins");
    eventually("the end of a hook", || (!runs(pid)).then_some(()));
    let refused = starter
        .receive_reply()
        .expect_err("it was stopped meanwhile");
    assert_eq!(refused.error, "io.circusd.StartFailed", "{refused:?}");
    let status = daemon.status("web");
    assert_eq!(
        (&status["state"], &status["reason"]["cause"]),
        (&json!("stopped"), &json!("operator"))
    );
}

#[test]
fn a_flood_of_output_is_read_and_forgotten() {
    let flood = "head -c 10000000 /dev/zero | tr '\\0' x; \
                 head -c 10000000 /dev/zero | tr '\\0' y >&2; echo; echo '{\"result\": false, \"reason\": \"enough\"}'";
    let home = hooks::home(&["before_start"], "");
    answer(&home, "before_start", flood);
    let daemon = home.start();
    let refused = web(&daemon, "Start").expect_err("its last word counts");
    assert_eq!(refused.error, "io.circusd.HookRefused");
    assert_eq!(refused.parameters["reason"], "enough");
    let log = eventually("the end of the flood in the log", || {
        Some(daemon.log()).filter(|log| log.contains("more bytes on its standard error"))
    });
    assert!(log.len() < 200_000, "{} bytes", log.len());
    // An object that is cut may have said no.
    answer(
        &home,
        "before_start",
        "echo '{'; head -c 200000 /dev/zero | tr '\\0' ' '; echo '}'",
    );
    let failed = web(&daemon, "Start").expect_err("nobody can read that");
    assert_eq!(failed.error, "io.circusd.HookFailed");
}

#[test]
fn each_way_to_end_has_its_meaning() {
    let daemon = daemon(&["before_start"], "");
    let home = daemon.home();
    let check = |shell: &str, expected: Result<(), (&str, &str)>| {
        answer(home, "before_start", shell);
        let result = web(&daemon, "Start").map(drop);
        let found = result.map_err(|error| {
            let reason = error.parameters["reason"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            (error.error.replace("io.circusd.", ""), reason)
        });
        let expected = expected.map_err(|(error, reason)| (error.to_owned(), reason.to_owned()));
        assert_eq!(found, expected, "{shell}");
        web(&daemon, "Stop").expect("it stops");
    };
    check("exit 0", Ok(()));
    check("echo hello; exit 0", Ok(()));
    check("echo '{\"result\": true}'", Ok(()));
    check("exec <&-; exit 0", Ok(()));
    check("exit 1", Err(("HookRefused", "it ended with exit code 1")));
    check(
        "echo '{\"reason\": \"no redis\"}'; exit 1",
        Err(("HookRefused", "no redis")),
    );
    check(
        "echo '{\"result\": false}'",
        Err(("HookRefused", "it says no")),
    );
    check("exit 2", Err(("HookFailed", "it ended with exit code 2")));
    check(
        "echo hello; echo '{\"reason\": \"odd\"}'; exit 3",
        Err(("HookFailed", "odd (it ended with exit code 3)")),
    );
    check("kill -9 $$", Err(("HookFailed", "it was ended by SIGKILL")));
    check(
        "echo '{\"result\": \"no\"}'",
        Err(("HookFailed", "its result is neither true nor false: \"no\"")),
    );
    check("echo what is said >&2", Ok(()));
    let log = daemon.log();
    assert!(
        log.contains("web: hook before_start: what is said"),
        "{log}"
    );
}

#[test]
fn a_program_that_cannot_be_started_is_a_failure_that_says_why() {
    let config = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
                  hooks.before_start = \"/no/such/program\"";
    in_each_mode(config, |daemon| {
        let failed = web(daemon, "Start").expect_err("there is no such program");
        assert_eq!(failed.error, "io.circusd.HookFailed");
        let reason = failed.parameters["reason"].as_str().expect("a reason");
        assert!(
            reason.contains("'/no/such/program'") && reason.contains("No such file"),
            "{reason}"
        );
        let status = daemon.status("web");
        assert_eq!(status["reason"]["cause"], "hook_failed");
    });
}

#[test]
fn the_end_of_the_daemon_ends_a_hook_that_runs() {
    in_both_modes(&["before_start"], |home, start| {
        let hang = "echo $$ > $HOME/hook; exec sleep 1000";
        answer(home, "before_start", hang);
        let mut daemon = start(home);
        let start = json!({"watchers": "web", "wait": false});
        daemon.call("Start", start).expect("it is begun");
        let pid = number_of(&home.path("hook"));
        assert!(daemon.stop().success());
        assert!(!runs(pid), "a hook outlives its daemon");
    });
}
