//! What of root's powers circusd keeps, and what its processes have: as the kernel tells it.

mod common;

use common::facts::pids;
use common::{Daemon, Home, skip};
use serde_json::{Value, json};

/// Of capabilities(7), by their numbers.
const CHOWN: u64 = 1 << 0;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;

/// A line of /proc/PID/status, such as `CapEff`.
fn set(status: &str, name: &str) -> u64 {
    let mut lines = status.lines().filter_map(|line| line.split_once(":\t"));
    let (_, set) = lines.find(|(key, _)| *key == name).expect("it is told");
    u64::from_str_radix(set, 16).expect("a number in base 16")
}

fn status_of(pid: u64) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs")
}

/// In force, permitted, and the most that it can ever have.
fn sets(status: &str) -> [u64; 3] {
    ["CapEff", "CapPrm", "CapBnd"].map(|name| set(status, name))
}

/// Whether we may give and take what these tests are about.
fn is_powerful() -> bool {
    let [effective, ..] = sets(&status_of(std::process::id().into()));
    let powerful = effective & (CHOWN | NET_RAW | SYS_ADMIN) == CHOWN | NET_RAW | SYS_ADMIN;
    if !powerful {
        skip("capabilities can be given and taken by root alone");
    }
    powerful
}

fn process_of(daemon: &Daemon, watcher: &str) -> u64 {
    let status = daemon.wait_until(watcher, |status| {
        status["state"] == "active" && pids(status).len() == 1
    });
    *pids(&status).first().expect("there is one")
}

fn kept(daemon: &Daemon) -> Vec<String> {
    let reply = daemon.call("DaemonStats", json!({})).expect("figures");
    let kept = &reply["stats"]["capabilities"];
    serde_json::from_value(kept.clone()).expect("a list of names")
}

const WATCHERS: &str = r#"
    [watcher.roots]
    cmd = ["sleep", "1000"]
    [watcher.nobodys]
    cmd = ["sleep", "1000"]
    uid = "nobody"
    [watcher.named]
    cmd = ["sleep", "1000"]
    uid = "nobody"
    capabilities = ["CAP_NET_RAW"]
"#;

#[test]
fn what_nobody_needs_is_given_up() {
    if !is_powerful() {
        return;
    }
    let home = Home::new("");
    let file = home.path("hooked");
    let hook = format!("'cp /proc/self/status {}'", file.display());
    home.configure(&format!("{WATCHERS}[hooks]\npre_start = {hook}\n"));
    let daemon = home.start();
    let named = process_of(&daemon, "named");
    let [whole, ..] = sets(&status_of(std::process::id().into()));
    let [effective, permitted, bounding] = sets(&status_of(daemon.pid().into()));
    assert_eq!((effective, bounding), (permitted, whole));
    assert_eq!(effective & (CHOWN | NET_RAW | SYS_ADMIN), CHOWN | NET_RAW);
    let told = kept(&daemon);
    assert_eq!(told.len(), effective.count_ones() as usize, "{told:?}");
    assert!(told.contains(&"CAP_CHOWN".to_owned()) && told.contains(&"CAP_NET_RAW".to_owned()));
    let told = daemon.ctl(&["dstats"]).stdout;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("capabilities     CAP_CHOWN "), "{told}");

    assert_eq!(sets(&status_of(named)), [NET_RAW; 3]);
    for watcher in ["roots", "nobodys"] {
        let pid = process_of(&daemon, watcher);
        assert_eq!(sets(&status_of(pid)), [0; 3], "{watcher}");
    }
    // A hook of circusd itself has what its user would have without it.
    let hooked = std::fs::read_to_string(file).expect("it was asked");
    assert_eq!(sets(&hooked), [whole; 3]);
}

#[test]
fn what_is_named_later_takes_a_restart_that_nobody_notices() {
    if !is_powerful() {
        return;
    }
    let home = Home::new(WATCHERS);
    let daemon = home.start();
    let before = process_of(&daemon, "nobodys");
    let later = WATCHERS.replace("CAP_NET_RAW", "CAP_SYS_ADMIN");
    home.configure(&later);
    let old = process_of(&daemon, "named");
    let reload = daemon.call("ReloadConfig", json!({}));
    let told = reload.expect_err("it cannot be had").parameters.to_string();
    let lacks = "circusd does not have CAP_SYS_ADMIN, which no watcher named when it started";
    assert!(told.contains(lacks), "{told}");
    assert_eq!(process_of(&daemon, "named"), old, "the old one stays");

    daemon.call("Reexec", json!({})).expect("it goes on anew");
    let reload = json!({"watchers": "named"});
    daemon.call("Reload", reload).expect("it can be had");
    let after = daemon.wait_until("named", |named| is_another(named, old));
    let named = *pids(&after).first().expect("there is one");
    assert_eq!(sets(&status_of(named)), [SYS_ADMIN; 3]);
    assert_eq!(process_of(&daemon, "nobodys"), before);
    let [effective, ..] = sets(&status_of(daemon.pid().into()));
    assert_eq!(effective & (NET_RAW | SYS_ADMIN), SYS_ADMIN);
}

fn is_another(status: &Value, old: u64) -> bool {
    status["state"] == "active" && pids(status).len() == 1 && !pids(status).contains(&old)
}

#[test]
fn who_has_none_keeps_none() {
    if !is_powerful() {
        return;
    }
    let home = Home::new("[watcher.web]\ncmd = ['sleep', '1000']\n");
    let circusd = home.circusd();
    let mut setpriv = home.program("setpriv");
    setpriv
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(circusd.get_program())
        .args(circusd.get_args());
    let daemon = home.start_command(setpriv, |_| {});
    assert_eq!(sets(&status_of(daemon.pid().into())), [0; 3]);
    assert_eq!(kept(&daemon), Vec::<String>::new());
    let told = daemon.ctl(&["dstats"]).stdout;
    assert!(String::from_utf8_lossy(&told).contains("capabilities     none"));
    process_of(&daemon, "web");
}
