//! Limits of watchers and of processes, by the kernel's own account.
//!
//! They need the controllers of cgroup v2, so all of it runs in a virtual machine. What is said where there are
//! none is in `resources.rs`.

#[path = "../common/mod.rs"]
mod common;
mod service;

use std::fs;
use std::path::PathBuf;

use common::facts::{history, line_of, pid_of, pids, runs, topics};
use common::{Daemon, Delegated, Home, eventually, in_vm};
use serde_json::{Value, json};

pub(crate) const MIB: u64 = 1 << 20;

/// Takes all the memory it can get, the first time; its successor sleeps.
const EATER: &str = r#"
cmd = ["sh", "-c", "test -e $HOME/eaten && exec sleep 1000; touch $HOME/eaten; exec tail /dev/zero"]
"#;

/// A daemon in a group of its own, as systemd would start it.
struct Limited {
    // Before the group, which is removed when nobody is left in it.
    daemon: Daemon,
    group: Delegated,
}

fn limited(config: &str) -> Limited {
    let group = delegated();
    let daemon = Home::new(config).start_in(&group.leaf("supervisor"));
    Limited { daemon, group }
}

fn delegated() -> Delegated {
    Delegated::new().unwrap_or_else(|why| panic!("the virtual machine has what is needed: {why}"))
}

impl Limited {
    /// What a file of a group below ours says.
    fn read(&self, file: &str) -> String {
        let path = self.group.path().join("watchers").join(file);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.trim().to_owned()
    }

    /// A number behind a word in such a file.
    fn count(&self, file: &str, word: &str) -> u64 {
        let text = self.read(file);
        let found = text.lines().find_map(|line| line.strip_prefix(word));
        let found = found.and_then(|rest| rest.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {word} in {file}: {text}"))
    }

    fn set(&self, watcher: &str, options: Value) {
        let params = json!({"watcher": watcher, "options": options});
        let reply = self.daemon.call("Set", params).expect("it can be had");
        assert_eq!(reply["effect"], "live");
    }
}

fn why(daemon: &Daemon, watcher: &str) -> String {
    let output = daemon.ctl(&["why", watcher]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_process_that_takes_too_much_memory_is_killed_told_of_and_replaced() {
    in_vm(|| {
        let each = "resources = { each = { memory_max = '32M', memory_swap_max = 0 } }";
        let limited = limited(&format!(
            "[watcher.eater]\nautostart = false\n{EATER}{each}"
        ));
        let daemon = &limited.daemon;
        let mut events = daemon.subscribe();
        daemon.ctl(&["start", "eater"]);
        let oom = events.wait("watcher.eater.oom");
        assert_eq!(oom["data"]["wid"], 1);
        assert_eq!(oom["data"]["memory_max"], 32 * MIB);
        let reap = events.wait("watcher.eater.reap");
        assert_eq!(pid_of(&reap), pid_of(&oom));
        assert_eq!(reap["data"]["exit"]["cause"], "oom_kill");
        let spawn = events.wait("watcher.eater.spawn");
        assert_ne!(pid_of(&spawn), pid_of(&reap));
        daemon.wait_until("eater", |status| status["state"] == "active");
        let told = why(daemon, "eater");
        assert!(told.contains("for want of memory"), "{told}");
        // The successor lives in the same group, and is no suspect for what happened before.
        assert_eq!(limited.read("eater/1/memory.max"), (32 * MIB).to_string());
        let killed = daemon.call("Signal", json!({"watcher": "eater", "signal": "SIGKILL"}));
        killed.expect("it runs");
        let reap = events.wait("watcher.eater.reap");
        assert_eq!(reap["data"]["exit"]["cause"], "signaled", "{reap}");
    });
}

#[test]
fn a_watcher_is_limited_as_a_whole() {
    in_vm(|| {
        let config = r#"
[watcher.pool]
cmd = ["sh", "-c", "test $CIRCUS_WID = 2 && test ! -e $HOME/eaten && { touch $HOME/eaten; exec tail /dev/zero; }; exec sleep 1000"]
numprocesses = 2
autostart = false
[watcher.pool.resources]
memory_max = "48M"
memory_swap_max = 0
"#;
        let limited = limited(config);
        let daemon = &limited.daemon;
        let mut events = daemon.subscribe();
        daemon.ctl(&["start", "pool"]);
        let oom = events.wait("watcher.pool.oom");
        assert_eq!(oom["data"]["wid"], 2);
        assert_eq!(oom["data"]["memory_max"], 48 * MIB);
        let reap = events.wait("watcher.pool.reap");
        assert_eq!(reap["data"]["wid"], 2);
        assert_eq!(reap["data"]["exit"]["cause"], "oom_kill");
        assert_eq!(limited.read("pool/memory.max"), (48 * MIB).to_string());
        assert_eq!(limited.read("pool/1/memory.max"), "max");
    });
}

/// Its child takes all the memory it can get; it notes whether it has outlived that.
const PARENT: &str = r#"
[watcher.parent]
cmd = ["sh", "-c", "test -e $HOME/eaten && exec sleep 1000; touch $HOME/eaten; tail /dev/zero; echo here >$HOME/outlived; exec sleep 1000"]
autostart = false
resources = { each = { memory_max = "32M", memory_swap_max = 0 } }
"#;

#[test]
fn by_default_one_process_is_killed_and_the_others_live() {
    in_vm(|| {
        let limited = limited(PARENT);
        let daemon = &limited.daemon;
        let mut events = daemon.subscribe();
        daemon.ctl(&["start", "parent"]);
        let oom = events.wait("watcher.parent.oom");
        assert_eq!(line_of(&daemon.home().path("outlived")), "here");
        assert!(runs(pid_of(&oom)));
        assert_eq!(pids(&daemon.status("parent")), [pid_of(&oom)].into());
    });
}

#[test]
fn a_group_is_killed_as_one_where_that_is_asked_for() {
    in_vm(|| {
        let limited = limited(&PARENT.replace("autostart", "oom = 'group'\nautostart"));
        let daemon = &limited.daemon;
        let mut events = daemon.subscribe();
        daemon.ctl(&["start", "parent"]);
        events.wait("watcher.parent.oom");
        let reap = events.wait("watcher.parent.reap");
        assert_eq!(reap["data"]["exit"]["cause"], "oom_kill", "{reap}");
        daemon.wait_until("parent", |status| status["state"] == "active");
        assert!(!daemon.home().path("outlived").exists());
        let told = history(daemon);
        let told = topics(&told);
        let ooms = told.iter().filter(|topic| **topic == "parent.oom");
        assert_eq!(ooms.count(), 1, "they were killed as one: {told:?}");
    });
}

#[test]
fn a_fork_bomb_harms_nobody() {
    in_vm(|| {
        let config = r#"
[watcher.bomb]
cmd = ["sh", "-c", "bomb() { bomb | bomb & }; bomb 2>/dev/null; exec sleep 1000"]
autostart = false
resources = { each = { pids_max = 12 } }
[watcher.other]
cmd = "sleep 1000"
autostart = false
"#;
        let limited = limited(config);
        let daemon = &limited.daemon;
        daemon.ctl(&["start", "bomb"]);
        eventually("the kernel refuses a fork", || {
            (limited.count("bomb/1/pids.events", "max") > 0).then_some(())
        });
        assert!(daemon.ctl(&["start", "other"]).status.success());
        assert!(daemon.ctl(&["stop", "bomb"]).status.success());
        assert_eq!(daemon.status("bomb")["processes"], json!([]));
    });
}

/// Uses all the processor time it gets.
const BUSY: &str = "cmd = [\"sh\", \"-c\", \"while :; do :; done\"]\nstop_signal = \"SIGKILL\"\n";

#[test]
fn processor_time_is_limited() {
    in_vm(|| {
        let config =
            format!("[watcher.busy]\n{BUSY}resources = {{ each = {{ cpu_max = '20%' }} }}");
        let limited = limited(&config);
        eventually("it is held back", || {
            (limited.count("busy/1/cpu.stat", "nr_throttled") > 3).then_some(())
        });
        assert_eq!(limited.read("busy/1/cpu.max"), "20000 100000");
    });
}

#[test]
fn processor_time_is_shared_by_weight() {
    in_vm(|| {
        let busy = |name: &str, weight: u32| {
            format!(
                "[watcher.{name}]\n{BUSY}numprocesses = 'auto'\nresources = {{ cpu_weight = {weight} }}\n"
            )
        };
        let limited = limited(&(busy("light", 50) + &busy("heavy", 1000)));
        let used = |name: &str| limited.count(&format!("{name}/cpu.stat"), "usage_usec");
        let (light, heavy) = (used("light"), used("heavy"));
        let (light, heavy) = eventually("three seconds of processor time are used", || {
            let (light, heavy) = (used("light") - light, used("heavy") - heavy);
            (light + heavy > 3_000_000).then_some((light, heavy))
        });
        // It should be twenty times as much.
        assert!(heavy > 4 * light, "light {light} us, heavy {heavy} us");
    });
}

#[test]
fn limits_change_while_processes_run() {
    in_vm(|| {
        let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\n\
                  resources = { memory_max = '64M', cpu_weight = 50, each = { pids_max = 5 } }";
        let limited = limited(config);
        let daemon = &limited.daemon;
        let before = pids(&daemon.status("web"));
        assert_eq!(limited.read("web/memory.max"), (64 * MIB).to_string());
        assert_eq!(limited.read("web/cpu.weight"), "50");
        assert_eq!(limited.read("web/2/pids.max"), "5");

        limited.set(
            "web",
            json!({
                "resources.memory_max": "128M", "resources.memory_high": "96M",
                "resources.cpu_max": "150%", "resources.each.pids_max": 7, "oom": "group",
            }),
        );
        assert_eq!(limited.read("web/memory.max"), (128 * MIB).to_string());
        assert_eq!(limited.read("web/memory.high"), (96 * MIB).to_string());
        assert_eq!(limited.read("web/cpu.max"), "150000 100000");
        assert_eq!(limited.read("web/memory.oom.group"), "0");
        for wid in [1, 2] {
            assert_eq!(limited.read(&format!("web/{wid}/pids.max")), "7");
            assert_eq!(limited.read(&format!("web/{wid}/memory.oom.group")), "1");
        }
        assert!(daemon.ctl(&["incr", "web"]).status.success());
        assert_eq!(limited.read("web/3/pids.max"), "7");

        limited.set("web", json!({"resources": {}, "oom": null}));
        assert_eq!(limited.read("web/memory.max"), "max");
        assert_eq!(limited.read("web/cpu.weight"), "100");
        assert_eq!(limited.read("web/cpu.max"), "max 100000");
        for wid in [1, 2, 3] {
            assert_eq!(limited.read(&format!("web/{wid}/pids.max")), "max");
            assert_eq!(limited.read(&format!("web/{wid}/memory.oom.group")), "0");
        }
        assert!(pids(&daemon.status("web")).is_superset(&before));
    });
}

#[test]
fn a_limit_set_while_a_watcher_is_stopped_holds_when_it_starts() {
    in_vm(|| {
        let limited = limited("[watcher.web]\ncmd = 'sleep 1000'\nautostart = false");
        limited.set("web", json!({"resources.each.memory_max": "16M"}));
        limited.daemon.ctl(&["start", "web"]);
        assert_eq!(limited.read("web/1/memory.max"), (16 * MIB).to_string());
        limited.daemon.ctl(&["stop", "web"]);
        limited.daemon.ctl(&["start", "web"]);
        assert_eq!(
            limited.read("web/1/memory.max"),
            (16 * MIB).to_string(),
            "also in a group that was made anew"
        );
    });
}

#[test]
fn what_a_share_of_the_memory_is_depends_on_the_machine() {
    in_vm(|| {
        let config = "[watcher.web]\ncmd = 'sleep 1000'\nresources = { memory_max = '50%' }";
        let limited = limited(config);
        let text = fs::read_to_string("/proc/meminfo").expect("there is memory");
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let total = total.and_then(|rest| rest.trim().strip_suffix("kB"));
        let total: u64 = total
            .and_then(|kib| kib.trim().parse().ok())
            .expect("a number");
        let limit: u64 = limited.read("web/memory.max").parse().expect("a number");
        let half = total * 512;
        // The kernel counts in pages.
        assert!(half - limit < 65536, "{limit} of {total} KiB");
    });
}

#[test]
fn memory_and_tasks_are_counted_for_those_without_limits_too() {
    in_vm(|| {
        let config = "[watcher.web]\ncmd = ['sh', '-c', 'sleep 1000 & echo up >$HOME/up; wait']";
        let limited = limited(config);
        line_of(&limited.daemon.home().path("up"));
        let stats = limited.daemon.call("Stats", json!({"watchers": "web"}));
        let stats = &stats.expect("it runs")["processes"][0];
        assert!(stats["memory_current"].as_u64() > Some(4096), "{stats}");
        assert_eq!(stats["tasks"], 2);
        // Weights are shared out between all groups, so nobody has them who did not ask.
        let group = PathBuf::from("web");
        let shares = group.join("cpu.weight");
        assert!(!limited.group.path().join("watchers").join(shares).exists());
    });
}

#[test]
fn a_daemon_alone_in_its_group_makes_room_and_leaves_nothing() {
    in_vm(|| {
        let group = delegated();
        let config = "[watcher.web]\ncmd = 'sleep 1000'\nresources = { memory_max = '64M' }";
        let home = Home::new(config);
        let mut daemon = home.start_in(group.path());
        let status = daemon.status("web");
        let path = status["processes"][0]["cgroup"]
            .as_str()
            .expect("it has one");
        let above = PathBuf::from(path);
        let above = above.parent().expect("that of the watcher");
        let limit = fs::read_to_string(above.join("memory.max")).expect("it is limited");
        assert_eq!(limit.trim(), (64 * MIB).to_string());
        assert!(daemon.stop().success());
        let left = fs::read_dir(group.path()).expect("it is there");
        let left = left
            .filter_map(Result::ok)
            .filter(|entry| entry.path().is_dir());
        assert_eq!(
            left.map(|entry| entry.path()).collect::<Vec<_>>(),
            [] as [PathBuf; 0]
        );
    });
}
