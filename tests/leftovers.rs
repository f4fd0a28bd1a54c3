//! What a daemon that was killed leaves behind, and what the next one on its state makes of that.

mod common;

use std::path::PathBuf;

use common::facts::{has_cgroups, number_of, runs, without_cgroups};
use common::{Home, eventually, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const SLEEPER: &str = "[watcher.web]\ncmd = ['sleep', '1000']\n";

/// The pid of the only process, and its daemon's group: the one above `watchers/web/1`.
fn worker(status: &Value) -> (u64, PathBuf) {
    let process = &status["processes"][0];
    let pid = process["pid"].as_u64().expect("it runs");
    let group = PathBuf::from(process["cgroup"].as_str().expect("it has a group"));
    let daemons = group.ancestors().nth(3).expect("it is three levels below");
    (pid, daemons.to_owned())
}

#[test]
fn what_nobody_can_take_over_is_told_and_left_alone() {
    let home = Home::new(SLEEPER);
    let mut first = home.start();
    if !has_cgroups(&first) {
        return skip("no cgroup can be made here");
    }
    let (pid, group) = worker(&first.status("web"));
    first.kill();
    forget_state(&home);
    home.configure("");

    let mut second = home.start();
    let told = format!(
        "1 process of an earlier circusd that was killed still lives in the cgroup '{}'",
        group.display()
    );
    assert!(second.log().contains(&told), "{}", second.log());
    assert!(runs(pid), "it is nobody's to end by mistake");
    second.kill();
    end(pid);
    let mut third = home.start();
    assert!(third.stop().success());
    // Only the state's last instance is known, so this one was left when the second began.
    std::fs::read_dir(&group).is_ok().then(|| remove(&group));
}

#[test]
fn what_nobody_can_take_over_is_told_without_cgroups_too() {
    let home = Home::new(SLEEPER);
    let mut first = without_cgroups(&home);
    let status = first.status("web");
    let pid = status["processes"][0]["pid"].as_u64().expect("it runs");
    first.kill();
    forget_state(&home);
    let mut second = without_cgroups(&home);
    let told = "1 process of an earlier circusd that was killed still lives with CIRCUS_WORKER=";
    assert!(second.log().contains(told), "{}", second.log());
    assert!(runs(pid), "it is nobody's to end by mistake");
    assert!(second.stop().success());
    end(pid);
}

fn forget_state(home: &Home) {
    let mut directory = home.socket().into_os_string();
    directory.push(".state");
    std::fs::remove_file(PathBuf::from(directory).join("state")).expect("there was one");
}

fn end(pid: u64) {
    let raw = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    kill(raw, Signal::SIGKILL).expect("it is ours");
    eventually("it has gone", || (!runs(pid)).then_some(()));
}

/// A worker that hides a child: it has left its session and its parent, and has no environment.
fn hider(file: &std::path::Path) -> String {
    let file = file.display();
    format!(
        "[watcher.web]\ncmd = ['/bin/sh', '-c', \"(env -i $(command -v setsid) /bin/sh -c \
         'echo $$ > {file}; exec sleep 1000' &); exec sleep 1000\"]\n"
    )
}

#[test]
fn what_has_lost_every_sign_ends_with_the_daemon_at_the_latest() {
    let home = Home::new("");
    let file = home.path("hidden");
    home.configure(&hider(&file));
    let mut daemon = without_cgroups(&home);
    let hidden = number_of(&file);
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    assert!(daemon.stop().success());
    assert!(!runs(hidden), "{hidden} lives on");
}

/// Removes a group and those in it.
fn remove(group: &std::path::Path) {
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    // What does not go is left to whoever looks at the machine.
    let _ = std::fs::remove_dir(group);
}
