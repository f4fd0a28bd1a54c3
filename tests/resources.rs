//! What is said and done where a limit cannot be had. Limits that can be are in `limits.rs`.

mod common;

use common::Daemon;
use common::facts::{in_each_mode, pids};
use serde_json::json;

fn why(daemon: &Daemon, watcher: &str) -> String {
    let output = daemon.ctl(&["why", watcher]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_limit_that_cannot_be_had_is_told_and_nothing_is_started() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nmax_retry = 2\nautostart = false\n\
                  resources = { memory_max = '1G' }\n\
                  [watcher.job]\ncmd = 'sleep 1000'";
    // Where the daemon shares its group with the tests it could hand down nothing either.
    in_each_mode(config, |daemon| {
        let mut events = daemon.subscribe();
        let refused = daemon.call("Start", json!({"watchers": "web"}));
        let refused = refused.expect_err("it is not limited");
        assert_eq!(refused.error, "io.circusd.StartFailed");
        let failed = events.wait("watcher.web.spawn_failed");
        let error = failed["data"]["error"].as_str().expect("a sentence");
        assert!(
            error.starts_with("failed to start: limiting its memory: ")
                && error.contains("the controller 'memory'"),
            "{error}"
        );
        assert_eq!(failed["data"]["stage"], "limiting its memory");
        let given_up = daemon.wait_until("web", |status| status["state"] == "failed");
        assert_eq!(given_up["reason"]["cause"], "gave_up");

        let before = pids(&daemon.status("job"));
        for (option, value) in [
            ("resources.each.pids_max", json!(9)),
            ("oom", json!("group")),
        ] {
            let params = json!({"watcher": "job", "options": {option: value}});
            let refused = daemon.call("Set", params).expect_err("it cannot be had");
            assert_eq!(refused.error, "io.circusd.InvalidOption");
            assert_eq!(
                refused.parameters["option"],
                option.split('.').next().expect("a key")
            );
        }
        let kept = daemon
            .call("Get", json!({"watcher": "job"}))
            .expect("it is there");
        assert_eq!(kept["options"]["resources"], json!({}));
        assert_eq!(pids(&daemon.status("job")), before);
        let restarted = daemon.ctl(&["restart", "job"]);
        assert!(restarted.status.success(), "nothing of it is in force");
    });
}

#[test]
fn a_file_that_asks_for_what_cannot_be_had_changes_nothing() {
    let config = "[watcher.job]\ncmd = 'sleep 1000'\n";
    in_each_mode(config, |daemon| {
        let before = pids(&daemon.status("job"));
        daemon.home().configure(&format!(
            "{config}priority = 3\n[watcher.job.resources.each]\npids_max = 9\n"
        ));
        let refused = daemon.call("ReloadConfig", json!({}));
        let refused = refused.expect_err("it cannot be had");
        let told = refused.parameters.to_string();
        assert!(told.contains("watcher.job.resources"), "{told}");
        assert_eq!(daemon.status("job")["priority"], 0);
        assert_eq!(pids(&daemon.status("job")), before);
        daemon.home().configure(config);
    });
}

#[test]
fn what_can_do_without_a_limit_starts_and_says_so() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\n\
                  resources = { memory_max = '50%', optional = true }";
    in_each_mode(config, |daemon| {
        let told = why(daemon, "web");
        assert!(
            told.contains("goes on without limiting its memory: ") && told.contains("'memory'"),
            "{told}"
        );
        daemon.ctl(&["restart", "web"]);
        let log = daemon.log();
        assert_eq!(log.matches("goes on without").count(), 1, "{log}");
        let params = json!({"watcher": "web", "options": {"resources": {}}});
        daemon.call("Set", params).expect("no limit can be had");
        assert!(!why(daemon, "web").contains("without"));
    });
}
