//! A daemon that was killed before it had written down what runs, or that could not write: the next
//! one finds it by its cgroups.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use common::facts::{has_cgroups, pids, runs, why, wids, without_cgroups};
use common::{Daemon, Home, eventually, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const THREE: &str = "[watcher.web]\ncmd = ['sleep', '1000']\nnumprocesses = 3\n";

/// A daemon with cgroups, all of whose watchers run.
fn start(home: &Arc<Home>) -> Option<Daemon> {
    let daemon = home.start();
    if !has_cgroups(&daemon) {
        skip("no cgroup can be made here");
        return None;
    }
    Some(daemon)
}

fn active(daemon: &Daemon) -> Value {
    daemon.wait_until("web", |web| web["state"] == "active")
}

/// Where the daemon of this home keeps its state.
fn state(home: &Home) -> PathBuf {
    let mut directory = home.socket().into_os_string();
    directory.push(".state");
    PathBuf::from(directory).join("state")
}

fn written(home: &Home) -> String {
    std::fs::read_to_string(state(home)).expect("there is a state")
}

/// Takes out of the state what is said of a process.
fn unwrite(home: &Home, pid: u64) {
    let pid = format!("\"pid\":{pid},");
    let is_other = |line: &&str| !(line.starts_with("{\"worker\"") && line.contains(&pid));
    let text = written(home);
    let kept: Vec<&str> = text.split_inclusive('\n').filter(is_other).collect();
    assert!(kept.len() < text.lines().count(), "it was written down");
    std::fs::write(state(home), kept.concat()).expect("it can be changed");
}

/// Everybody who lives in the groups of the daemon's watchers, besides hooks and loggers.
fn living(web: &Value) -> BTreeSet<u64> {
    let group = web["processes"][0]["cgroup"].as_str();
    let watchers = Path::new(group.expect("it has a group")).ancestors().nth(2);
    let mut found = BTreeSet::new();
    let mut groups = vec![watchers.expect("it is two levels below").to_owned()];
    while let Some(group) = groups.pop() {
        let procs = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(
            procs
                .lines()
                .map(|line| line.parse::<u64>().expect("a pid")),
        );
        let below = std::fs::read_dir(&group).expect("it is there").flatten();
        groups.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found
}

#[test]
fn who_was_not_written_down_is_taken_over() {
    let home = Home::new(THREE);
    let Some(mut first) = start(&home) else {
        return;
    };
    let before = active(&first);
    first.kill();
    let two: Vec<u64> = pids(&before).into_iter().take(2).collect();
    two.iter().for_each(|pid| unwrite(&home, *pid));
    let mut second = home.start();
    let after = active(&second);
    assert_eq!(pids(&before), pids(&after), "{}", second.log());
    assert_eq!(living(&after), pids(&after));
    assert_eq!(wids(&after), BTreeSet::from([1, 2, 3]));
    let told = "is not in the state of the earlier circusd, and was found in its cgroup";
    assert_eq!(second.log().matches(told).count(), 2, "{}", second.log());
    // They are as good as any: replaced by a reload, and gone with the daemon.
    let reload = second.call("Reload", json!({"watchers": "web"}));
    reload.expect("it reloads");
    let renewed = second.wait_until("web", |web| {
        web["state"] == "active" && pids(web).len() == 3
    });
    assert!(pids(&renewed).is_disjoint(&pids(&before)));
    assert_eq!(living(&renewed), pids(&renewed));
    assert!(second.stop().success());
    assert!(pids(&renewed).into_iter().all(|pid| !runs(pid)));
}

#[test]
fn whoever_is_too_many_is_told_to_end() {
    let home = Home::new("");
    let ended = home.path("ended");
    let patient = format!(
        "[watcher.web]\ncmd = ['sh', '-c', 'trap \"echo >>{}; exit\" TERM; while :; do sleep 0.01; done']\n",
        ended.display()
    );
    home.configure(&format!("{patient}numprocesses = 3\n"));
    let Some(mut first) = start(&home) else {
        return;
    };
    let before = active(&first);
    first.kill();
    let last = before["processes"][2]["pid"].as_u64().expect("a pid");
    unwrite(&home, last);
    home.configure(&format!("{patient}numprocesses = 2\n"));
    let second = home.start();
    let after = second.wait_until("web", |web| {
        web["state"] == "active" && pids(web).len() == 2 && !pids(web).contains(&last)
    });
    assert!(pids(&before).is_superset(&pids(&after)));
    eventually("it has gone", || (!runs(last)).then_some(()));
    let heard = std::fs::read_to_string(&ended).unwrap_or_default();
    assert_eq!(heard.lines().count(), 1, "it was asked, and no other was");
}

#[test]
fn who_took_a_place_unwritten_keeps_it() {
    let home = Home::new(THREE);
    let Some(mut first) = start(&home) else {
        return;
    };
    let early = active(&first);
    let stale = written(&home);
    let victim = *pids(&early).first().expect("there are three");
    end(victim, Signal::SIGKILL);
    let before = first.wait_until("web", |web| {
        web["state"] == "active" && pids(web).len() == 3 && !pids(web).contains(&victim)
    });
    first.kill();
    // As if the disk had been full since.
    std::fs::write(state(&home), stale).expect("it can be changed");
    let second = home.start();
    let after = active(&second);
    assert_eq!(pids(&before), pids(&after), "{}", second.log());
    assert_eq!(living(&after), pids(&after));
    assert_eq!(after["restarts"], 0, "nobody ended that anybody knew of");
}

#[test]
fn who_was_let_go_stays_free() {
    let home = Home::new(&format!("{THREE}[watcher.free]\ncmd = 'sleep 1000'\n"));
    let Some(first) = start(&home) else {
        return;
    };
    let web = active(&first);
    let free = first.wait_until("free", |free| free["state"] == "active");
    let free = *pids(&free).first().expect("there is one");
    let remove = first.call("Remove", json!({"watcher": "free", "keep_processes": true}));
    remove.expect("it can be let go");
    home.configure(THREE);
    let mut daemons = vec![first];
    for _ in 0..2 {
        daemons.last_mut().expect("there is one").kill();
        daemons.push(home.start());
        let last = daemons.last().expect("there is one");
        assert_eq!(pids(&active(last)), pids(&web));
        assert!(runs(free), "{}", last.log());
        assert!(!last.log().contains("not in the state"), "{}", last.log());
    }
    end(free, Signal::SIGKILL);
    eventually("it has gone", || (!runs(free)).then_some(()));
    // Only the last of them still runs, and it ends what it has.
    drop(daemons.pop());
}

/// Where there are no cgroups, each worker and what it has forked is known by its environment.
#[test]
fn without_cgroups_who_was_not_written_down_is_taken_over() {
    let home = Home::new(THREE);
    let mut first = without_cgroups(&home);
    let before = active(&first);
    first.kill();
    let lost = *pids(&before).first().expect("there is one");
    unwrite(&home, lost);
    let second = without_cgroups(&home);
    let after = active(&second);
    assert_eq!(pids(&before), pids(&after), "{}", second.log());
    let told = format!("(pid {lost}) is not in the state");
    assert!(second.log().contains(&told), "{}", second.log());
    end(lost, Signal::SIGKILL);
    second.wait_until("web", |web| {
        web["state"] == "active" && !pids(web).contains(&lost)
    });
}

/// A daemon without cgroups that has let a process go, and the pid of that.
fn with_one_let_go(home: &Arc<Home>) -> (Daemon, u64) {
    let daemon = without_cgroups(home);
    active(&daemon);
    let free = daemon.wait_until("free", |free| free["state"] == "active");
    let free = *pids(&free).first().expect("there is one");
    let remove = daemon.call("Remove", json!({"watcher": "free", "keep_processes": true}));
    remove.expect("it can be let go");
    (daemon, free)
}

#[test]
fn without_cgroups_who_was_let_go_stays_free() {
    let free = "[watcher.free]\ncmd = 'sleep 1000'\n";
    let home = Home::new(&format!("{THREE}{free}"));
    let (mut first, free_one) = with_one_let_go(&home);
    home.configure(&format!("{THREE}{free}autostart = false\n"));
    first.kill();
    let mut second = without_cgroups(&home);
    active(&second);
    assert!(
        !second.log().contains("not in the state"),
        "{}",
        second.log()
    );
    assert!(second.stop().success());
    assert!(runs(free_one), "{}", second.log());
    end(free_one, Signal::SIGKILL);
    eventually("it has gone", || (!runs(free_one)).then_some(()));
}

#[test]
fn without_cgroups_another_program_spares_who_was_let_go() {
    let home = Home::new(&format!("{THREE}[watcher.free]\ncmd = 'sleep 1000'\n"));
    let (mut daemon, free) = with_one_let_go(&home);
    home.configure(THREE);
    daemon.call("Reexec", json!({})).expect("it can go on");
    eventually("the next program", || {
        daemon.log().contains("circusd taken over").then_some(())
    });
    // It is a child of this one still, as nobody else is.
    active(&daemon);
    assert!(daemon.stop().success());
    assert!(runs(free), "{}", daemon.log());
    end(free, Signal::SIGKILL);
    eventually("it has gone", || (!runs(free)).then_some(()));
}

#[test]
fn whoever_belongs_to_nobody_is_left_alone() {
    let home = Home::new(THREE);
    let Some(mut first) = start(&home) else {
        return;
    };
    let web = active(&first);
    let stale = written(&home);
    let add = || json!({"watcher": "new", "options": {"cmd": "sleep 1000"}, "start": true});
    first.call("Add", add()).expect("it can be added");
    let new = first.wait_until("new", |new| new["state"] == "active");
    let new = *pids(&new).first().expect("there is one");
    first.kill();
    std::fs::write(state(&home), stale).expect("it can be changed");
    let mut second = home.start();
    assert_eq!(pids(&active(&second)), pids(&web));
    let told = "is of no watcher that is known, and is left alone";
    assert!(second.log().contains(told), "{}", second.log());
    // Nor has anybody who comes later to do with it.
    second.call("Add", add()).expect("it can be added");
    let other = second.wait_until("new", |new| new["state"] == "active");
    second.kill();
    let third = home.start();
    assert_eq!(pids(&active(&third)), pids(&web));
    let same = third.wait_until("new", |new| new["state"] == "active");
    assert_eq!(pids(&same), pids(&other));
    assert!(runs(new) && !pids(&other).contains(&new));
    end(new, Signal::SIGKILL);
    eventually("it has gone", || (!runs(new)).then_some(()));
}

#[test]
fn without_a_state_an_old_process_is_known_as_well_as_a_young_one() {
    let home = Home::new(THREE);
    let Some(mut first) = start(&home) else {
        return;
    };
    // The kernel's clock and ours agree within two seconds; that alone must not be what helps.
    let before = eventually("they are older than that", || {
        let web = active(&first);
        let started = web["processes"][0]["started_usec"].as_u64();
        let started = UNIX_EPOCH + Duration::from_micros(started.expect("a time"));
        let age = started.elapsed();
        age.is_ok_and(|age| age > Duration::from_millis(2500))
            .then_some(web)
    });
    first.kill();
    std::fs::remove_file(state(&home)).expect("there is one");
    let second = home.start();
    let after = active(&second);
    assert_eq!(pids(&before), pids(&after), "{}", second.log());
    assert_eq!(after["restarts"], 0, "{}", why(&second, "web"));
}

fn end(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).expect("a pid fits");
    kill(Pid::from_raw(pid), signal).expect("it is ours, and runs");
}

#[test]
fn a_state_that_could_not_be_written_is_tried_again_by_itself() {
    let many: String = (0..40)
        .map(|number| format!("[watcher.w{number}]\ncmd = 'sleep 1000'\nnumprocesses = 0\n"))
        .collect();
    let home = Home::new(&format!("{THREE}{many}"));
    // A file that may not grow is as good as a disk that is full. 32 blocks: the log has room.
    let circusd = home.circusd();
    let mut shell = home.program("/bin/sh");
    shell
        .args(["-c", "ulimit -S -f 32 && exec \"$0\" \"$@\""])
        .arg(circusd.get_program())
        .args(circusd.get_args());
    let mut first = home.start_command(shell, |_| {});
    let before = active(&first);
    let told = "failed to write the state";
    assert_eq!(first.log().matches(told).count(), 1, "{}", first.log());
    let refused = first.call("Reexec", json!({}));
    let refused = refused.expect_err("the next program could not go on");
    assert_eq!(refused.error, "io.circusd.ReexecFailed");
    assert_eq!(pids(&before), pids(&active(&first)), "{}", first.log());
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited:unlimited", "--pid"])
        .arg(first.pid().to_string())
        .status();
    match raised {
        Ok(status) if status.success() => {}
        _ => return skip("no prlimit(1) that may raise a limit"),
    }
    eventually("it is written again", || {
        let log = first.log();
        log.contains("the state is written again").then_some(())
    });
    first.kill();
    let second = home.start();
    assert_eq!(pids(&before), pids(&active(&second)), "{}", second.log());
}
