//! What a virtual machine has that tests of cgroup controllers rely on, and that circusd runs there.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Daemon, in_vm};

/// The cgroup whose processes we are.
fn own_group() -> PathBuf {
    let groups = fs::read_to_string("/proc/self/cgroup").expect("/proc can be read");
    let path = groups.trim_end().strip_prefix("0::/");
    PathBuf::from("/sys/fs/cgroup").join(path.expect("there is v2 only"))
}

#[test]
fn all_controllers_can_be_handed_down_to_groups_of_our_own() {
    in_vm(|| {
        // The service's group is ours, we are in one below it.
        let service = own_group().join("..");
        let there = fs::read_to_string(service.join("cgroup.controllers")).expect("it is there");
        for controller in ["cpu", "io", "memory", "pids"] {
            assert!(
                there.split_whitespace().any(|name| name == controller),
                "{there}"
            );
        }
        fs::write(
            service.join("cgroup.subtree_control"),
            "+cpu +io +memory +pids",
        )
        .expect("they are delegated");
        let group = service.join("try");
        fs::create_dir(&group).expect("a group can be made");
        fs::write(group.join("memory.max"), "1M").expect("its memory can be limited");
        fs::remove_dir(&group).expect("it is empty");
    });
}

#[test]
fn circusd_runs_there() {
    in_vm(|| {
        let daemon = Daemon::start(
            r#"
            [watcher.web]
            cmd = ["sleep", "1000"]
            numprocesses = 2"#,
        );
        let status = daemon.wait_until("web", |status| status["state"] == "active");
        assert_eq!(
            status["processes"].as_array().map(Vec::len),
            Some(2),
            "{status}"
        );
    });
}
