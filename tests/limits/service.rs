//! Limits under the packaged unit: they hold whoever circusd is by now, and so does the pool when it
//! is circusd that runs out of memory.
//!
//! One test, as there is one such unit in the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::MIB;
use crate::common::facts::{ended_by, http_worker, pid_of, pids};
use crate::common::load::Load;
use crate::common::{Connection, Events, copy_program, eventually, in_vm, output};

const SOCKET: &str = "/run/circusd/circusd.sock";

const UNIT: &str = "circusd.service";

const UNITS: [(&str, &str); 2] = [
    (UNIT, include_str!("../../systemd/circusd.service")),
    (
        "circusd.socket",
        include_str!("../../systemd/circusd.socket"),
    ),
];

const GROUP: &str = "/sys/fs/cgroup/system.slice/circusd.service";

const PORT: u16 = 8080;

/// What the groups below `watchers` are held to, as the kernel writes it.
const LIMITS: [(&str, &str); 7] = [
    ("web/memory.max", "268435456"),
    ("web/pids.max", "50"),
    ("web/cpu.max", "300000 100000"),
    ("web/2/memory.max", "67108864"),
    ("web/2/pids.max", "9"),
    ("web/2/cpu.max", "90000 100000"),
    ("eater/1/memory.max", "33554432"),
];

/// Two that serve, and one that eats when it is told to.
fn config() -> String {
    format!(
        r#"
        [socket.http]
        host = "127.0.0.1"
        port = {PORT}

        [watcher.web]
        cmd = ["{}", "--listen-fds"]
        use_sockets = ["http"]
        numprocesses = 2
        [watcher.web.resources]
        memory_max = "256M"
        pids_max = 50
        cpu_max = "300%"
        each = {{ memory_max = "64M", pids_max = 9, cpu_max = "90%" }}

        [watcher.eater]
        cmd = ["sh", "-c", "trap 'exec tail /dev/zero' USR1; while :; do sleep 0.1; done"]
        resources = {{ each = {{ memory_max = "32M", memory_swap_max = 0 }} }}
        "#,
        http_worker().display()
    )
}

fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    let done = output(command);
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

fn systemctl(arguments: &[&str]) -> String {
    run("systemctl", arguments)
}

fn property(name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, UNIT])
}

/// As a package would.
fn install() {
    copy_program(env!("CARGO_BIN_EXE_circusd"), Path::new("/usr/bin/circusd"));
    fs::create_dir_all("/etc/circusd").expect("root may");
    fs::write("/etc/circusd/circusd.toml", config()).expect("root may");
    for (unit, text) in UNITS {
        let to = Path::new("/etc/systemd/system").join(unit);
        fs::write(to, text).expect("root may");
    }
    run("groupadd", &["--system", "circus"]);
}

fn status(watcher: &str) -> Option<Value> {
    let mut connection = Connection::open(Path::new(SOCKET));
    let reply = connection.call("Status", json!({"watchers": watcher}));
    Some(reply.ok()?["watchers"][0].clone())
}

fn everybody() -> BTreeMap<&'static str, Value> {
    let of = |watcher| {
        let status = eventually("it is up", || {
            status(watcher).filter(|status| status["state"] == "active")
        });
        (watcher, json!(pids(&status)))
    };
    ["web", "eater"].map(of).into()
}

fn limits() -> Vec<(&'static str, String)> {
    let read = |(file, _): (&'static str, _)| {
        let text = fs::read_to_string(PathBuf::from(GROUP).join("watchers").join(file));
        (file, text.expect("the group is there").trim().to_owned())
    };
    LIMITS.into_iter().map(read).collect()
}

fn kill() {
    systemctl(&["kill", "--signal=KILL", "--kill-whom=main", UNIT]);
}

fn restart() {
    systemctl(&["restart", UNIT]);
}

/// Lets circusd have less memory than it uses, until the kernel has killed it.
fn starve() {
    let group = PathBuf::from(GROUP).join("supervisor");
    let kills = || {
        let events = fs::read_to_string(group.join("memory.events")).expect("it is there");
        let kills = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        kills
            .and_then(|count| count.parse::<u64>().ok())
            .expect("a number")
    };
    fs::write(group.join("memory.max"), "1M").expect("root may");
    eventually("the kernel kills circusd", || (kills() > 0).then_some(()));
    fs::write(group.join("memory.max"), "max").expect("root may");
}

#[test]
fn limits_and_service_outlive_every_circusd() {
    in_vm(|| {
        install();
        systemctl(&["daemon-reload"]);
        systemctl(&["start", UNIT]);
        let before = everybody();
        let expected = LIMITS.map(|(file, limit)| (file, limit.to_owned()));
        assert_eq!(limits(), expected);
        let load = Load::on(PORT);
        for (how, replace) in [
            ("kill", kill as fn()),
            ("restart", restart),
            ("starve", starve),
        ] {
            load.more(10);
            let daemon = property("MainPID");
            replace();
            eventually(&format!("the next circusd after {how}"), || {
                let pid = property("MainPID");
                let up = property("ActiveState") == "active" && pid != "0" && pid != daemon;
                up.then_some(())
            });
            assert_eq!(everybody(), before, "{how}");
            assert_eq!(limits(), expected, "{how}");
            load.more(10);
        }
        let failed = load.failed();
        assert!(failed.is_empty(), "{failed:#?}");
        drop(load);
        who_eats_too_much_is_told_of();
        systemctl(&["stop", "circusd.socket", UNIT]);
        assert!(!Path::new(GROUP).exists(), "workers end with it");
    });
}

/// By a circusd that has not started it.
fn who_eats_too_much_is_told_of() {
    let mut events = Events::subscribe(Connection::open(Path::new(SOCKET)), json!({}));
    let eat = json!({"watcher": "eater", "signal": "SIGUSR1"});
    let told = Connection::open(Path::new(SOCKET)).call("Signal", eat);
    told.expect("it runs");
    let oom = events.wait("watcher.eater.oom");
    assert_eq!(oom["data"]["memory_max"], 32 * MIB, "{oom}");
    let reap = events.wait("watcher.eater.reap");
    assert_eq!(pid_of(&reap), pid_of(&oom));
    ended_by(&reap["data"]["exit"], "oom_kill", 9);
    let ready = events.wait("watcher.eater.ready");
    assert_ne!(pid_of(&ready), pid_of(&reap));
}
