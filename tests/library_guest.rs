//! What an arbiter leaves alone in the program that it is in, and what it leaves behind: nothing.
//!
//! Each looks at its whole process, so they are one test: no other may run beside it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::process::{Command, Stdio};
use std::time::Duration;

use circusd::{Arbiter, Process, Watcher, get_arbiter};
use common::{DEADLINE, eventually, facts};
use nix::sys::resource::{Resource, getrlimit};

async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("not in time")
}

/// What of a process its own status tells: masks of signals, and that it is nobody's reaper.
fn status() -> BTreeMap<String, String> {
    let text = fs::read_to_string("/proc/self/status").expect("it can be read");
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let kept = [
        "Umask",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapEff",
        "NoNewPrivs",
    ];
    let kept = pairs.filter(|(key, _)| kept.contains(key));
    kept.map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Everything about us that a daemon would change for itself.
#[derive(Debug, PartialEq)]
struct Ours {
    status: BTreeMap<String, String>,
    descriptors: (u64, u64),
    cgroup: String,
    reaper: bool,
    directory: std::path::PathBuf,
    environment: BTreeSet<(std::ffi::OsString, std::ffi::OsString)>,
}

fn ours() -> Ours {
    Ours {
        status: status(),
        descriptors: getrlimit(Resource::RLIMIT_NOFILE).expect("it can be read"),
        cgroup: fs::read_to_string("/proc/self/cgroup").expect("it can be read"),
        reaper: nix::sys::prctl::get_child_subreaper().expect("it can be read"),
        directory: std::env::current_dir().expect("there is one"),
        environment: std::env::vars_os().collect(),
    }
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).expect("it can be read").count()
}

/// How many processes [`arbiter`] has when all have come.
const WORKERS: usize = 5;

fn arbiter() -> Arbiter {
    // One that says that it is ready, so that there is a socket for it, and one that forks.
    let forks = "sleep 1000 & exec sleep 1000";
    get_arbiter([
        Watcher::builder("sleep", ["sleep", "1000"]).numprocesses(2),
        Watcher::builder("forks", ["sh", "-c", forks])
            .set("stop_children", true)
            .stdout("pipe"),
        Watcher::builder("told", ["sleep", "1000"]).set("max_requests", 10),
    ])
    .expect("it is well configured")
}

async fn pids(arbiter: &Arbiter) -> BTreeSet<u64> {
    let mut pids = BTreeSet::new();
    for watcher in soon(arbiter.watchers()).await.expect("it runs") {
        for process in soon(watcher.processes()).await.expect("it runs") {
            pids.insert(u64::from(process.pid()));
            let children = soon(Process::children(&process, true)).await;
            pids.extend(children.expect("it runs").into_iter().map(u64::from));
        }
    }
    pids
}

/// The same when there are so many: who forks has not done so at once.
async fn pids_when(arbiter: &Arbiter, count: usize) -> BTreeSet<u64> {
    let there = async {
        loop {
            let pids = pids(arbiter).await;
            if pids.len() == count {
                return pids;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(there).await
}

async fn nothing_of_ours_is_touched() {
    let before = ours();
    // It ends while the arbiter runs, and is waited for only after that.
    let mut child = Command::new("true").spawn().expect("it starts");
    let orphaned = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn();
    let mut orphaned = orphaned.expect("it starts");
    let arbiter = arbiter();
    soon(arbiter.start_in_background())
        .await
        .expect("it starts");
    let workers = pids_when(&arbiter, WORKERS).await;
    eventually("the end of a child", || {
        let path = format!("/proc/{}/stat", child.id());
        fs::read_to_string(path)
            .ok()?
            .contains(") Z ")
            .then_some(())
    });
    assert_eq!(ours(), before, "while it runs");
    // Ends of workers come beside that of the child.
    let sleep = soon(arbiter.get_watcher("sleep"))
        .await
        .expect("it is there");
    soon(sleep.restart()).await.expect("it starts");
    soon(arbiter.stop()).await.expect("it ends");
    let status = child.wait().expect("nobody has waited for it");
    assert!(status.success());
    assert!(
        facts::runs(orphaned.id().into()),
        "a child of ours lives on"
    );
    orphaned.kill().expect("it is ours");
    orphaned.wait().expect("nobody has waited for it");
    drop(arbiter);
    assert_eq!(ours(), before, "after it");
    assert!(workers.iter().all(|pid| !facts::runs(*pid)));
}

async fn dropped_without_a_stop_it_leaves_nothing() {
    let arbiter = arbiter();
    let handle = arbiter.handle();
    soon(arbiter.start_in_background())
        .await
        .expect("it starts");
    let workers = pids_when(&arbiter, WORKERS).await;
    drop(arbiter);
    for pid in workers {
        // It was told to die, and so it does, whoever waits for it.
        eventually("the end of a worker", || (!facts::runs(pid)).then_some(()));
    }
    soon(handle.ended()).await.expect("somebody wanted it");
    soon(handle.numprocesses()).await.expect_err("it has ended");
    drop(self::arbiter());
}

/// The name of an arbiter, as its cursors have it.
async fn instance(arbiter: &Arbiter) -> String {
    let events = soon(arbiter.events()).await.expect("it runs");
    let instance = events.cursor().split(':').next();
    instance.expect("it is in every cursor").to_owned()
}

/// Where an arbiter has what its workers are to find.
fn private(instance: &str) -> std::path::PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let runtime = runtime.filter(|_| !nix::unistd::Uid::effective().is_root());
    let above = runtime.map_or_else(std::env::temp_dir, Into::into);
    above.join(format!("circusd-{instance}"))
}

async fn a_hundred_lives_leak_nothing() {
    let mut counts = Vec::new();
    for round in 0..100 {
        let sleep = Watcher::builder("sleep", ["sleep", "1000"])
            .set("max_requests", 10)
            .stdout("pipe");
        let arbiter = get_arbiter([sleep]).expect("it is well configured");
        soon(arbiter.start_in_background())
            .await
            .expect("it starts");
        let mut events = soon(arbiter.events()).await.expect("it runs");
        let instance = instance(&arbiter).await;
        assert!(
            private(&instance).exists(),
            "there is a socket for its worker"
        );
        match round % 3 {
            0 => soon(arbiter.stop()).await.expect("it ends"),
            1 => {}
            _ => {
                let handle = arbiter.handle();
                let (stopped, _) = tokio::join!(handle.stop(), arbiter.ended());
                stopped.expect("it ends");
            }
        }
        // Its thread is waited for.
        drop(arbiter);
        while soon(events.next()).await.is_some() {}
        assert!(!private(&instance).exists());
        // What looks after servers runs on our runtime, and has its turn now.
        tokio::task::yield_now().await;
        counts.push((count("/proc/self/fd"), count("/proc/self/task")));
    }
    let (first, last) = (counts[2], counts[counts.len() - 1]);
    assert!(last <= first, "descriptors and threads: {counts:?}");
}

/// Two at once, as they would be in each other's way. Where no groups can be made there is nothing to
/// see.
async fn each_has_groups_of_its_own() {
    let Ok(base) = circusd::sys::abilities::probe().cgroup_base else {
        return;
    };
    let escapes = "setsid sleep 1000 >/dev/null 2>&1 & exec sleep 1000";
    let build = || {
        let job = Watcher::builder("job", ["sh", "-c", escapes])
            .graceful_timeout(Duration::from_millis(100));
        let arbiter = Arbiter::builder().cgroups(&base).watcher(job);
        arbiter.build().expect("it is well configured")
    };
    let (one, other) = (build(), build());
    soon(one.start_in_background()).await.expect("it starts");
    soon(other.start_in_background()).await.expect("it starts");
    let group_of = |instance: String| base.join(format!("circusd-{instance}"));
    let own = group_of(instance(&one).await);
    let others = group_of(instance(&other).await);
    let of_one = soon(one.get_watcher("job")).await.expect("it runs");
    let status = soon(of_one.status()).await.expect("it runs");
    let group = status.processes[0].cgroup.as_ref().expect("it has one");
    assert!(std::path::Path::new(group).starts_with(&own), "{group}");
    let workers = pids_when(&one, 2).await;
    soon(of_one.kill(Some(std::time::Duration::ZERO)))
        .await
        .expect("it runs");
    soon(one.stop()).await.expect("it ends");
    assert!(workers.iter().all(|pid| !facts::runs(*pid)));
    assert_eq!(soon(other.numprocesses()).await.expect("it runs"), 1);
    let workers = pids_when(&other, 2).await;
    drop(other);
    assert!(workers.iter().all(|pid| !facts::runs(*pid)));
    assert!(!own.exists() && !others.exists());
}

#[test]
fn an_arbiter_is_a_guest() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("there is a runtime");
    runtime.block_on(async {
        // What a runtime makes only once is made now: the test counts what comes later.
        let first = arbiter();
        soon(first.start_in_background()).await.expect("it starts");
        soon(first.stop()).await.expect("it ends");
        drop(first);
        nothing_of_ours_is_touched().await;
        dropped_without_a_stop_it_leaves_nothing().await;
        a_hundred_lives_leak_nothing().await;
        each_has_groups_of_its_own().await;
    });
}
