//! A process of a watcher in another program: what it is, what it writes, what is below it, how it ends.

mod common;

use std::future::Future;
use std::time::Duration;

use circusd::api::types::ProcessState;
use circusd::arbiter::{Error, Events, Item};
use circusd::{Watcher, api, get_arbiter};
use common::{DEADLINE, facts};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Fails a wait that would never end.
async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("not in time")
}

/// The next event of this action.
async fn event(events: &mut Events, action: &str) -> api::types::Event {
    loop {
        match soon(events.next()).await {
            Some(Item::Event(event)) if event.action == action => return event,
            Some(Item::Event(_)) => {}
            other => panic!("no '{action}' but {other:?}"),
        }
    }
}
#[tokio::test]
async fn a_process_tells_of_itself_and_of_its_children() {
    // The shell waits for its children, and ends when it is told to.
    let script = "sleep 1000 & sleep 1000 & echo ready; echo oops >&2; wait";
    let arbiter = get_arbiter([Watcher::builder("tree", ["sh", "-c", script])
        .stdout("pipe")
        .stderr("pipe")
        .set("stop_children", true)]);
    let arbiter = arbiter.unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let mut events = soon(arbiter.events()).await.unwrap();
    let watcher = soon(arbiter.get_watcher("tree")).await.unwrap();
    let process = soon(watcher.processes()).await.unwrap().remove(0);
    assert_eq!((process.wid(), process.watcher()), (1, "tree"));
    let stdout = soon(process.stdout())
        .await
        .unwrap()
        .expect("nobody has it");
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    soon(stdout.read_line(&mut line)).await.unwrap();
    assert_eq!(line, "ready\n");
    let mut stderr = soon(process.stderr())
        .await
        .unwrap()
        .expect("nobody has it");
    let mut oops = [0; 5];
    soon(stderr.read_exact(&mut oops)).await.unwrap();
    assert_eq!(&oops, b"oops\n");
    assert!(
        soon(process.stdout()).await.unwrap().is_none(),
        "it was taken"
    );
    let info = soon(process.info()).await.unwrap();
    assert_eq!((info.pid, info.children), (process.pid(), 2));
    assert!(process.age() < DEADLINE);
    assert_eq!(
        soon(process.status()).await.unwrap(),
        Some(ProcessState::Running)
    );
    let children = soon(process.children(false)).await.unwrap();
    assert_eq!(children.len(), 2);
    assert!(soon(process.is_child(children[0])).await.unwrap());
    assert!(!soon(process.is_child(std::process::id())).await.unwrap());
    soon(process.send_signal_child(children[0], "TERM"))
        .await
        .unwrap();
    let stranger = soon(process.send_signal_child(1, "TERM")).await;
    assert!(matches!(stranger, Err(Error::NoChild { child: 1, .. })));
    let wrong = soon(process.send_signal("NOPE")).await;
    assert!(matches!(wrong, Err(Error::NoSignal { .. })));
    // The shell ends by itself when both are gone.
    soon(process.send_signal_children("TERM")).await.unwrap();
    let reap = event(&mut events, "reap").await;
    assert_eq!(reap.data["process_pid"], json!(process.pid()));
    let mut rest = String::new();
    soon(stdout.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "", "it is at its end");
    assert_eq!(soon(process.status()).await.unwrap(), None);
    assert!(matches!(
        soon(process.stop()).await,
        Err(Error::Gone { .. })
    ));
    event(&mut events, "ready").await;
    let process = soon(watcher.processes()).await.unwrap().remove(0);
    // A child that it starts while it is told to end would be there for the whole grace.
    let stdout = soon(process.stdout())
        .await
        .unwrap()
        .expect("it is another");
    let started = BufReader::new(stdout).lines().next_line().await;
    assert_eq!(started.unwrap().as_deref(), Some("ready"));
    soon(process.stop()).await.unwrap();
    event(&mut events, "reap").await;
    event(&mut events, "ready").await;
    let process = soon(watcher.processes()).await.unwrap().remove(0);
    soon(process.send_signal("KILL")).await.unwrap();
    event(&mut events, "reap").await;
    event(&mut events, "ready").await;
    has_children(&soon(watcher.processes()).await.unwrap()[0]).await;
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn a_signal_reaches_one_of_those_below_a_process_and_nobody_else() {
    let inner = "sleep 1000 & echo $!; wait; echo ended";
    let script = format!("sleep 1000 & sh -c '{inner}' & wait");
    let watcher = Watcher::builder("tree", ["sh", "-c", &script]).stdout("pipe");
    let arbiter = get_arbiter([watcher.set("stop_children", true)]).unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let tree = soon(arbiter.get_watcher("tree")).await.unwrap();
    let process = soon(tree.processes()).await.unwrap().remove(0);
    let stdout = soon(process.stdout()).await.unwrap().expect("it is ours");
    let mut lines = BufReader::new(stdout).lines();
    let grandchild = soon(lines.next_line()).await.unwrap().expect("its pid");
    let grandchild: u32 = grandchild.parse().unwrap();
    let children = soon(process.children(false)).await.unwrap();
    assert_eq!(children.len(), 2, "{children:?}");
    assert!(!children.contains(&grandchild), "{children:?}");
    let below = soon(process.children(true)).await.unwrap();
    assert_eq!(below.len(), 3, "{below:?}");
    assert_eq!(below.last(), Some(&grandchild), "the nearest come first");
    assert!(soon(process.is_child(grandchild)).await.unwrap());
    soon(process.send_signal_child(grandchild, "TERM"))
        .await
        .unwrap();
    let told = soon(lines.next_line()).await.unwrap();
    assert_eq!(
        told.as_deref(),
        Some("ended"),
        "who waited for it has heard"
    );
    // The inner shell has ended by now, or is about to; the other child has heard nothing.
    let left = soon(process.children(true)).await.unwrap();
    assert!(!left.contains(&grandchild), "{left:?}");
    let other = children.iter().find(|pid| left.contains(pid));
    assert!(facts::runs((*other.expect("it goes on")).into()));
    assert!(!process.age().is_zero());
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn an_end_of_a_process_is_waited_for_with_all_that_it_has_started() {
    // The child hears nothing of the stop signal, and is there until the grace is over.
    let script = "trap '' TERM; sleep 1000 & echo ready; trap - TERM; wait";
    let watcher = Watcher::builder("job", ["sh", "-c", script]).stdout("pipe");
    let arbiter = get_arbiter([watcher.graceful_timeout(Duration::from_millis(100))]).unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let job = soon(arbiter.get_watcher("job")).await.unwrap();
    let process = soon(job.processes()).await.unwrap().remove(0);
    has_children(&process).await;
    let child = soon(process.children(false)).await.unwrap()[0];
    soon(process.stop()).await.unwrap();
    assert!(!facts::runs(process.pid().into()));
    assert!(!facts::runs(child.into()), "it has had its grace");
    soon(arbiter.stop()).await.unwrap();
}

/// Waits until a process has started its children and says `ready`: one that it starts while it is
/// told to end is there for the whole grace.
async fn has_children(process: &circusd::Process) {
    let stdout = soon(process.stdout()).await.expect("it lives");
    let mut lines = BufReader::new(stdout.expect("nobody has it")).lines();
    let line = soon(lines.next_line()).await.expect("it writes text");
    assert_eq!(line.as_deref(), Some("ready"));
}

#[tokio::test]
async fn what_a_worker_has_left_is_waited_for_and_ended() {
    // It starts a child in a session of its own, and ends at once.
    let script = "setsid sleep 1000 >/dev/null 2>&1 & echo $!; exec sleep 1000";
    let arbiter = get_arbiter([Watcher::builder("left", ["sh", "-c", script])
        .stdout("pipe")
        .graceful_timeout(Duration::from_millis(100))]);
    let arbiter = arbiter.unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let watcher = soon(arbiter.get_watcher("left")).await.unwrap();
    let process = soon(watcher.processes()).await.unwrap().remove(0);
    let stdout = soon(process.stdout())
        .await
        .unwrap()
        .expect("nobody has it");
    let mut line = String::new();
    soon(BufReader::new(stdout).read_line(&mut line))
        .await
        .unwrap();
    let child: u64 = line.trim().parse().unwrap();
    assert!(facts::runs(child));
    soon(watcher.stop()).await.unwrap();
    assert!(!facts::runs(child), "stopped is when nothing is left");
    soon(arbiter.stop()).await.unwrap();
}

#[tokio::test]
async fn the_grace_of_a_kill_is_the_callers_to_say() {
    let script = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let watcher = Watcher::builder("deaf", ["sh", "-c", script]).stdout("pipe");
    let hour = Duration::from_secs(3600);
    let arbiter = get_arbiter([watcher.graceful_timeout(hour)]).unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let deaf = soon(arbiter.get_watcher("deaf")).await.unwrap();
    let process = soon(deaf.processes()).await.unwrap().remove(0);
    has_children(&process).await;
    let killed = soon(deaf.kill(Some(Duration::from_millis(50)))).await;
    assert_eq!(killed.unwrap(), [process.pid()]);
    assert!(!facts::runs(process.pid().into()));
    // Its successor would have the hour.
    soon(deaf.set("graceful_timeout", "0s")).await.unwrap();
    soon(arbiter.stop()).await.unwrap();
}
