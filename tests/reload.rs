//! Replacing the processes without stopping the service.

mod common;

use common::Daemon;
use common::facts::{in_each_mode, line_of, pid_of, pids, runs, told_until_now, topics};
use serde_json::{Value, json};

/// How many processes serve after each event, of those that tell of one that begins or ends.
///
/// Told to end is as good as gone: it takes no more work.
fn serving(before: usize, told: &[Value]) -> Vec<usize> {
    let mut ready = before;
    let mut counts = Vec::new();
    for event in told {
        match event["action"].as_str() {
            Some("ready") => ready += 1,
            Some("kill") => ready -= 1,
            _ => continue,
        }
        counts.push(ready);
    }
    counts
}

#[test]
fn new_first_never_serves_with_fewer() {
    in_each_mode(
        "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3",
        |daemon| {
            let before = pids(&daemon.status("web"));
            let mut events = daemon.subscribe();
            assert!(daemon.ctl(&["reload", "web"]).status.success());
            let told = told_until_now(daemon, &mut events);
            let counts = serving(3, &told);
            assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
            assert_eq!(counts.last(), Some(&3));
            assert_eq!(
                topics(&told)
                    .iter()
                    .filter(|topic| **topic == "web.reload")
                    .count(),
                1
            );
            assert!(!topics(&told).contains(&"web.stop"));
            let after = daemon.wait_until("web", |status| pids(status).len() == 3);
            assert!(pids(&after).is_disjoint(&before));
            assert!(
                after["processes"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .all(|p| p["generation"] == 2),
                "{after}"
            );
            daemon.wait_until("web", |_| !before.iter().any(|pid| runs(*pid)));
        },
    );
}

#[test]
fn sequential_is_one_at_a_time() {
    in_each_mode(
        "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3",
        |daemon| {
            let before = pids(&daemon.status("web"));
            let mut events = daemon.subscribe();
            assert!(
                daemon
                    .ctl(&["reload", "--sequential", "web"])
                    .status
                    .success()
            );
            let told = told_until_now(daemon, &mut events);
            let counts = serving(3, &told);
            assert!(
                counts.iter().all(|count| (2..=3).contains(count)),
                "{counts:?}"
            );
            assert!(pids(&daemon.status("web")).is_disjoint(&before));
        },
    );
}

#[test]
fn the_configuration_may_ask_for_sequential() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3\nreload = 'sequential'";
    let daemon = Daemon::start(config);
    let mut events = daemon.subscribe();
    assert!(daemon.ctl(&["reload", "web"]).status.success());
    let counts = serving(3, &told_until_now(&daemon, &mut events));
    assert!(
        counts.iter().all(|count| (2..=3).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn with_send_hup_the_processes_stay_and_each_gets_the_signal() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "trap 'echo hup > $HOME/hup.$CIRCUS_WID' HUP; echo up > $HOME/up.$CIRCUS_WID; while :; do sleep 0.05; done"]
        numprocesses = 2
        send_hup = true
        graceful_timeout = 0"#;
    in_each_mode(config, |daemon| {
        let home = daemon.home();
        for wid in [1, 2] {
            line_of(&home.path(&format!("up.{wid}")));
        }
        let before = pids(&daemon.status("web"));
        let mut events = daemon.subscribe();
        assert!(daemon.ctl(&["reload", "web"]).status.success());
        let kills: std::collections::BTreeSet<u64> = (0..2)
            .map(|_| {
                let kill = events.wait("watcher.web.kill");
                assert_eq!(
                    (&kill["data"]["signal"], &kill["data"]["by"]),
                    (&json!("SIGHUP"), &json!("reload"))
                );
                pid_of(&kill)
            })
            .collect();
        assert_eq!(kills, before);
        for wid in [1, 2] {
            assert_eq!(line_of(&home.path(&format!("hup.{wid}"))), "hup");
        }
        assert_eq!(pids(&daemon.status("web")), before);
    });
}

#[test]
fn a_stopped_watcher_is_started() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'\nautostart = false");
    assert!(daemon.ctl(&["reload", "web"]).status.success());
    let status = daemon.status("web");
    assert_eq!(
        (&status["state"], pids(&status).len()),
        (&json!("active"), 1)
    );
}

#[test]
fn a_singleton_never_runs_twice() {
    in_each_mode(
        "[watcher.one]\ncmd = 'sleep 1000'\nsingleton = true",
        |daemon| {
            let before = pids(&daemon.status("one"));
            let mut events = daemon.subscribe();
            assert!(daemon.ctl(&["reload", "one"]).status.success());
            let told = told_until_now(daemon, &mut events);
            let mut running = 1;
            for event in &told {
                match event["action"].as_str() {
                    Some("spawn") => running += 1,
                    Some("reap") => running -= 1,
                    _ => {}
                }
                assert!(running <= 1, "{:?}", topics(&told));
            }
            assert!(pids(&daemon.status("one")).is_disjoint(&before));
        },
    );
}

#[test]
fn a_reload_that_fails_keeps_the_old_ones() {
    // A program whose file goes away while it runs.
    let config = "[watcher.web]\ncmd = './worker 1000'\nnumprocesses = 3\nworking_dir = '..'\nautostart = false";
    in_each_mode(config, |daemon| {
        let program = daemon.home().path("worker");
        std::os::unix::fs::symlink("/bin/sleep", &program).expect("a link can be made");
        assert!(daemon.ctl(&["start", "web"]).status.success());
        let before = pids(&daemon.status("web"));
        std::fs::remove_file(&program).expect("it can be removed");
        for arguments in [&["reload", "web"][..], &["reload", "--sequential", "web"]] {
            let mut events = daemon.subscribe();
            let output = daemon.ctl(arguments);
            assert_eq!(output.status.code(), Some(3), "{output:?}");
            let told = told_until_now(daemon, &mut events);
            assert!(
                topics(&told).contains(&"web.spawn_failed"),
                "{:?}",
                topics(&told)
            );
            let status = daemon.status("web");
            assert_eq!(status["state"], "active", "{status}");
            let kept = pids(&status).intersection(&before).count();
            assert!(kept >= 2, "{arguments:?}: {kept} of 3 are left");
            assert!(
                kept == 3 || arguments.len() > 2,
                "new first: {kept} of 3 are left"
            );
        }
    });
}

#[test]
fn a_new_one_that_ends_at_once_fails_the_reload() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "test -e $HOME/broken && exit 5; exec sleep 1000"]
        numprocesses = 2"#;
    let daemon = Daemon::start(config);
    let before = pids(&daemon.status("web"));
    std::fs::write(daemon.home().path("broken"), "").expect("a file can be made");
    // Ready is what has been started (`ready = "spawn"`), so whether the reload hears of its end
    // in time is the scheduler's affair; that the service goes on is not.
    let _ = daemon.ctl(&["reload", "web"]);
    std::fs::remove_file(daemon.home().path("broken")).expect("it can be removed");
    let after = daemon.wait_until("web", |status| {
        status["state"] == "active" && pids(status).len() == 2
    });
    assert!(after["processes"].is_array(), "{before:?} {after}");
}

#[test]
fn not_gracefully_is_a_restart() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'");
    let mut events = daemon.subscribe();
    assert!(
        daemon
            .ctl(&["reload", "--terminate", "web"])
            .status
            .success()
    );
    let told = told_until_now(&daemon, &mut events);
    let told = topics(&told);
    assert!(told.contains(&"web.stop"), "{told:?}");
}
