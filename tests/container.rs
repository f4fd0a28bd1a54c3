//! circusd as a service of a real systemd, in a container.
//!
//! The unit is the least that works; what the packaged one promises beyond it is not looked at here.

mod common;

use std::collections::BTreeSet;

use common::{Container, eventually};
use serde_json::{Value, json};

const SOCKET: &str = "/run/circusd/circusd.sock";

const SERVICE: &str = "
Type=notify
ExecStart=/usr/local/bin/circusd --config /etc/circusd/circusd.toml
RuntimeDirectory=circusd
Delegate=yes
DelegateSubgroup=supervisor";

/// A container where circusd runs with this configuration, or `None` where there is none.
fn started(config: &str) -> Option<Container> {
    let container = Container::boot()?;
    container.write("/etc/circusd/circusd.toml", config);
    container.start_service("circusd.service", SERVICE);
    Some(container)
}

/// The cgroups of the service, but for the one systemd has made in it.
fn groups(container: &Container) -> BTreeSet<String> {
    let root = container.path("/sys/fs/cgroup/system.slice/circusd.service");
    let Ok(entries) = std::fs::read_dir(root) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_service_is_active_when_circusd_is_ready_and_leaves_nothing_when_stopped() {
    let config = r#"
        [watcher.web]
        cmd = ["sleep", "1234"]
        numprocesses = 3"#;
    let Some(container) = started(config) else {
        return;
    };
    assert_eq!(
        container.property("circusd.service", "ActiveState"),
        "active"
    );

    let status = container.succeed(&["circusctl", "--json", "status", "web"]);
    let status: Value = serde_json::from_str(&status).expect("circusctl writes JSON");
    assert_eq!(status["watchers"][0]["state"], "active", "{status}");
    let status = container
        .connect(SOCKET)
        .call("Status", json!({}))
        .expect("everyone may look");
    let processes = status["watchers"][0]["processes"].as_array();
    assert_eq!(processes.map(Vec::len), Some(3), "{status}");
    assert!(groups(&container).len() > 1, "{:?}", groups(&container));

    container.succeed(&["systemctl", "stop", "circusd.service"]);
    assert_eq!(container.property("circusd.service", "Result"), "success");
    assert_eq!(groups(&container), BTreeSet::new());
    assert!(
        !container.run(&["circusctl", "status"]).status.success(),
        "nobody answers"
    );
}

#[test]
fn the_journal_has_what_a_worker_wrote_under_its_own_name() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo served; echo '<4>slow'; echo failed >&2; exec sleep 1000"]
        stdout = "journal"
        stderr = "journal""#;
    let Some(container) = started(config) else {
        return;
    };
    let records = container.wait_for_journal(&["SYSLOG_IDENTIFIER=web"], 3);
    let text = |record: &Value, field: &str| record[field].as_str().map(str::to_owned);
    let mut lines: Vec<_> = records
        .iter()
        .map(|record| (text(record, "MESSAGE"), text(record, "PRIORITY")))
        .collect();
    // Two streams: which of them is first is nobody's promise.
    lines.sort();
    let line =
        |message: &str, priority: &str| (Some(message.to_owned()), Some(priority.to_owned()));
    assert_eq!(
        lines,
        [line("failed", "4"), line("served", "6"), line("slow", "4")]
    );
    for record in &records {
        assert_eq!(
            text(record, "_SYSTEMD_UNIT").as_deref(),
            Some("circusd.service"),
            "{record}"
        );
        // By its cgroup the journal tells one process from the other, whatever they have forked.
        let group = text(record, "_SYSTEMD_CGROUP").unwrap_or_default();
        assert!(group.ends_with("/watchers/web/1"), "{record}");
    }
}

#[test]
fn a_container_does_not_outlive_the_script_that_is_killed() {
    let Some(container) = Container::boot() else {
        return;
    };
    let init = container.path("/");
    assert!(init.exists());
    container.kill_script();
    eventually("the container is gone", || (!init.exists()).then_some(()));
}
