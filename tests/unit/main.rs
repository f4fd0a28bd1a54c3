//! circusd as a service that is killed, restarted, stopped: in a container with a real systemd.
//!
//! Here with a unit of our own, whose times are short; `deaths` has the packaged one, and a pool that
//! serves and writes meanwhile.

#[path = "../common/mod.rs"]
mod common;
mod deaths;
mod pool;

use std::collections::BTreeSet;

use common::counter::{COUNTER, counted};
use common::facts::{ended_by, pids, text_of, wait_for_text};
use common::{Container, Events, eventually};
use serde_json::{Value, json};

pub(crate) const SOCKET: &str = "/run/circusd/circusd.sock";

/// As the packaged unit has it, but for the sandbox and with shorter times.
const SERVICE: &str = "
Type=notify-reload
ExecStart=/usr/local/bin/circusd --config /etc/circusd/circusd.toml
ExecStopPost=/usr/local/bin/circusd --config /etc/circusd/circusd.toml --stop-post
Restart=on-failure
RestartSec=1ms
StartLimitInterval=0
KillMode=process
Delegate=yes
DelegateSubgroup=supervisor
FileDescriptorStoreMax=1024
FileDescriptorStorePreserve=yes
RuntimeDirectory=circusd
RuntimeDirectoryPreserve=yes
TimeoutStopSec=5s
TimeoutAbortSec=1s
";

pub(crate) const UNIT: &str = "circusd.service";

const POOL: &str = r#"
    [watcher.web]
    cmd = ["sleep", "12345"]
    numprocesses = 3
"#;

/// A container where circusd runs with this configuration, or `None` where there is none.
fn started(config: &str, service: &str) -> Option<Container> {
    let container = Container::boot()?;
    container.write("/etc/circusd/circusd.toml", config);
    container.start_service(UNIT, &format!("{SERVICE}{service}"));
    Some(container)
}

pub(crate) fn status(container: &Container, watcher: &str) -> Option<Value> {
    let mut connection = container.connect(SOCKET);
    let status = connection
        .call("Status", json!({"watchers": watcher}))
        .ok()?;
    Some(status["watchers"][0].clone())
}

/// Waits until the daemon with another pid than `before` answers, and returns that.
pub(crate) fn next_daemon(container: &Container, before: &str) -> String {
    eventually("the next circusd answers", || {
        let pid = container.property(UNIT, "MainPID");
        let active = container.property(UNIT, "ActiveState") == "active";
        (pid != before && pid != "0" && active).then_some(pid)
    })
}

pub(crate) fn kill_daemon(container: &Container, signal: &str) {
    let signal = format!("--signal={signal}");
    container.succeed(&["systemctl", "kill", &signal, "--kill-whom=main", UNIT]);
}

/// The cgroups of the service, but for the one systemd has made in it.
pub(crate) fn groups(container: &Container) -> BTreeSet<String> {
    let root = container.path("/sys/fs/cgroup/system.slice/circusd.service");
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let groups = entries.filter(|entry| entry.path().is_dir());
    let names = groups.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name != "supervisor" && name != ".control")
        .collect()
}

pub(crate) fn since(container: &Container, cursor: &Value) -> Events {
    Events::subscribe(container.connect(SOCKET), json!({"since": cursor}))
}

pub(crate) fn cursor(container: &Container) -> Value {
    let events = Events::subscribe(container.connect(SOCKET), json!({}));
    events.opening["cursor"].clone()
}

#[test]
fn who_ends_while_circusd_is_away_is_told_of_with_the_cause() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"]"#;
    // Systemd makes up for a pause of this length.
    let Some(container) = started(config, "RestartSec=1s\n") else {
        return;
    };
    let web = status(&container, "web").expect("it answers");
    let worker = pids(&web).first().copied().expect("it runs").to_string();
    let begin = cursor(&container);
    let daemon = container.property(UNIT, "MainPID");
    kill_daemon(&container, "KILL");
    container.succeed(&["sh", "-c", &format!("kill -TERM {worker}")]);
    eventually("it has gone", || {
        let gone = container.run(&["sh", "-c", &format!("kill -0 {worker}")]);
        (!gone.status.success()).then_some(())
    });
    next_daemon(&container, &daemon);
    let reap = since(&container, &begin).wait("watcher.web.reap");
    ended_by(&reap["data"]["exit"], "exited", 7);
    eventually("it is replaced", || {
        let web = status(&container, "web")?;
        (web["state"] == "active" && !pids(&web).contains(&worker.parse().ok()?)).then_some(())
    });
}

#[test]
fn a_restart_hands_over_and_a_stop_stops() {
    let Some(container) = started(POOL, "") else {
        return;
    };
    let before = pids(&status(&container, "web").expect("it answers"));
    for _ in 0..3 {
        let daemon = container.property(UNIT, "MainPID");
        container.succeed(&["systemctl", "restart", UNIT]);
        next_daemon(&container, &daemon);
        let after = pids(&status(&container, "web").expect("it answers"));
        assert_eq!(before, after);
    }
    container.succeed(&["systemctl", "stop", UNIT]);
    assert_eq!(container.property(UNIT, "Result"), "success");
    assert_eq!(groups(&container), BTreeSet::new());
    container.succeed(&["systemctl", "start", UNIT]);
    let fresh = pids(&status(&container, "web").expect("it answers"));
    assert!(fresh.is_disjoint(&before));
}

#[test]
fn a_stop_leaves_nothing_even_if_circusd_cannot_take_part() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "trap 'sleep 0.2; touch /tmp/graceful; exit' TERM; while :; do sleep 0.05; done"]
        graceful_timeout = "20s""#;
    let Some(container) = started(config, "TimeoutStopSec=2s\n") else {
        return;
    };
    kill_daemon(&container, "STOP");
    container.run(&["systemctl", "stop", UNIT]);
    assert_eq!(groups(&container), BTreeSet::new());
    assert!(container.path("/tmp/graceful").exists(), "it had its grace");

    container.succeed(&["rm", "/tmp/graceful"]);
    container.succeed(&["systemctl", "start", UNIT]);
    container.succeed(&["systemctl", "stop", "--no-block", UNIT]);
    kill_daemon(&container, "KILL");
    eventually("the unit is down", || {
        let state = container.property(UNIT, "ActiveState");
        matches!(state.as_str(), "inactive" | "failed").then_some(())
    });
    assert_eq!(groups(&container), BTreeSet::new());
    assert!(container.path("/tmp/graceful").exists(), "it had its grace");
}

/// Nobody is left to go on with workers of a unit that is down.
#[test]
fn a_stop_leaves_nothing_even_if_the_configuration_is_wrong_by_then() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "trap 'sleep 0.2; touch /tmp/graceful; exit' TERM; while :; do sleep 0.05; done"]
        graceful_timeout = "20s""#;
    let Some(container) = started(config, "TimeoutStopSec=2s\n") else {
        return;
    };
    container.write("/etc/circusd/circusd.toml", "[watcher.web]\ncmd = = 1\n");
    container.succeed(&["systemctl", "stop", "--no-block", UNIT]);
    kill_daemon(&container, "KILL");
    eventually("the unit is down", || {
        let state = container.property(UNIT, "ActiveState");
        matches!(state.as_str(), "inactive" | "failed").then_some(())
    });
    assert_eq!(groups(&container), BTreeSet::new());
    assert!(container.path("/tmp/graceful").exists(), "it had its grace");
}

#[test]
fn systemd_hears_how_all_is_and_when_a_reload_is_done() {
    let Some(container) = started(POOL, "") else {
        return;
    };
    let text = |wanted: &str| {
        eventually(wanted, || {
            (container.property(UNIT, "StatusText") == wanted).then_some(())
        });
    };
    text("3 of 3 processes of 1 watcher");
    container.write("/etc/circusd/circusd.toml", &POOL.replace("= 3", "= 2"));
    container.succeed(&["systemctl", "reload", UNIT]);
    text("2 of 2 processes of 1 watcher");
    container.write("/etc/circusd/circusd.toml", "nonsense");
    container.succeed(&["systemctl", "reload", UNIT]);
    let told = container.property(UNIT, "StatusText");
    assert!(
        told.starts_with("the new configuration is refused"),
        "{told}"
    );
    assert_eq!(container.property(UNIT, "ActiveState"), "active");
}

#[test]
fn sockets_are_kept_over_a_kill_and_free_after_a_stop() {
    let config = r#"
        [socket.web]
        path = "/run/web.sock"
        [socket.port]
        host = "127.0.0.1"
        port = 8099
        [watcher.web]
        cmd = ["sleep", "12345"]
        use_sockets = true"#;
    let Some(container) = started(config, "") else {
        return;
    };
    let stored = || container.property(UNIT, "NFileDescriptorStore");
    let inode = || {
        let file = std::fs::metadata(container.path("/run/web.sock")).expect("it is there");
        std::os::unix::fs::MetadataExt::ino(&file)
    };
    eventually("two sockets and a process are kept", || {
        (stored() == "3").then_some(())
    });
    let before = inode();
    let daemon = container.property(UNIT, "MainPID");
    kill_daemon(&container, "KILL");
    next_daemon(&container, &daemon);
    assert_eq!(before, inode());
    container.succeed(&["systemctl", "stop", UNIT]);
    assert_eq!(stored(), "0");
    container.succeed(&["systemctl", "start", UNIT]);

    // A stop that circusd does not live to see leaves them with systemd; the next start does not mind.
    kill_daemon(&container, "STOP");
    container.run(&["systemctl", "stop", UNIT]);
    container.succeed(&["systemctl", "start", UNIT]);
    eventually("no more than what is used is kept", || {
        (stored() == "3").then_some(())
    });
}

#[test]
fn what_a_worker_says_last_while_circusd_is_away_is_written() {
    let config = r#"
        [watcher.file]
        cmd = ["sh", "-c", "trap 'echo last words; exit 7' TERM; echo up; while :; do sleep 0.05; done"]
        stdout = {file = "/var/log/file.log"}
        [watcher.logger]
        cmd = ["sh", "-c", "trap 'echo last words; exit 7' TERM; echo up; while :; do sleep 0.05; done"]
        stdout = {command = ["sh", "-c", "exec cat >> /var/log/logger.log"]}"#;
    // Systemd makes up for a pause of this length.
    let Some(container) = started(config, "RestartSec=1s\n") else {
        return;
    };
    let log = |watcher: &str| container.path(&format!("/var/log/{watcher}.log"));
    let stored = || container.property(UNIT, "NFileDescriptorStore");
    eventually("two processes and two pipes are kept", || {
        (stored() == "4").then_some(())
    });
    let worker = |watcher| {
        wait_for_text(&log(watcher), "up\n");
        let web = status(&container, watcher).expect("it answers");
        pids(&web).first().copied().expect("it runs").to_string()
    };
    let workers = ["file", "logger"].map(worker);
    let daemon = container.property(UNIT, "MainPID");
    kill_daemon(&container, "KILL");
    for worker in workers {
        container.succeed(&["sh", "-c", &format!("kill -TERM {worker}")]);
        eventually("it has gone", || {
            let gone = container.run(&["sh", "-c", &format!("kill -0 {worker}")]);
            (!gone.status.success()).then_some(())
        });
    }
    next_daemon(&container, &daemon);
    for watcher in ["file", "logger"] {
        let text = wait_for_text(&log(watcher), "last words\n");
        assert_eq!(text.matches("last words\n").count(), 1, "{watcher}: {text}");
    }
    eventually("no more than what is used is kept", || {
        (stored() == "4").then_some(())
    });
    container.succeed(&["systemctl", "stop", UNIT]);
    assert_eq!(stored(), "0");
}

#[test]
fn a_restart_loses_and_doubles_no_line() {
    let config = r#"
        [watcher.file]
        cmd = ["sh", "/etc/circusd/counter.sh"]
        stdout = {file = "/var/log/file.log"}
        [watcher.logger]
        cmd = ["sh", "/etc/circusd/counter.sh"]
        stdout = {command = ["sh", "-c", "exec cat >> /var/log/logger.log"]}"#;
    let Some(container) = Container::boot() else {
        return;
    };
    container.write("/etc/circusd/counter.sh", COUNTER.trim_start());
    container.write("/etc/circusd/circusd.toml", config);
    container.start_service(UNIT, SERVICE);
    let logs = ["file", "logger"].map(|name| container.path(&format!("/var/log/{name}.log")));
    let size = |log| std::fs::metadata(log).map_or(0, |file| file.len());
    for _ in 0..3 {
        for log in &logs {
            let before = size(log);
            eventually("more output", || (size(log) > before).then_some(()));
        }
        container.succeed(&["systemctl", "restart", UNIT]);
    }
    container.succeed(&["systemctl", "stop", UNIT]);
    for log in &logs {
        let counts = counted(&text_of(log));
        assert_eq!(counts.len(), 1, "{counts:?}");
        for count in counts.values() {
            assert!(count.ended && count.repeated.is_empty(), "{count:?}");
        }
    }
}
