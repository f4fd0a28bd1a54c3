//! Real trees that do their best to escape.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::unistd::pipe;

use super::*;
use crate::sys::pidfd::Pidfd;
use crate::sys::spawn::{Child, Command, spawn};
use crate::sys::testing::{alone, script, wait, wait_pidfd};

/// Starts `text`, which writes a line for each process that is to be waited for, and reads `lines` of
/// them; the rest of the pipe's life tells who still lives.
fn start(text: &str, mark: &str, lines: usize) -> (Child, Origin, File) {
    let (read, write) = pipe().unwrap();
    let mut command: Command = script(text);
    command.env.push(("CIRCUSD_TEST_MARK".into(), mark.into()));
    let child = spawn(&command, &[(write.as_fd(), 1)], None).unwrap();
    drop(write);
    let mut read = File::from(read);
    let mut byte = [0];
    for _ in 0..lines {
        while byte != *b"\n" {
            read.read_exact(&mut byte).unwrap();
        }
        byte = [0];
    }
    let origin = Origin {
        pid: child.pid,
        start_ticks: Process::read(child.pid).unwrap().start_ticks,
        mark: Some(Mark {
            name: "CIRCUSD_TEST_MARK".into(),
            value: mark.into(),
        }),
    };
    (child, origin, read)
}

/// Everybody who could write is gone.
fn assert_all_ended(mut pipe: File) {
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).unwrap();
}

fn kill_one(origin: &Origin, signal: i32) -> Killed {
    kill_trees(std::slice::from_ref(origin), signal)
        .unwrap()
        .remove(0)
}

fn kill(origin: &Origin) -> Killed {
    let killed = kill_one(origin, libc::SIGKILL);
    assert!(killed.complete && killed.refused.is_empty(), "{killed:?}");
    killed
}

#[test]
fn children_and_grandchildren_end_with_their_origin() {
    let text = "(sleep 1000 & echo; exec sleep 1000) & echo; exec sleep 1000";
    let (child, origin, pipe) = start(text, "family", 2);
    let below = |max| -> Vec<Pid> {
        let found = descendants(child.pid, max).unwrap();
        found.iter().map(|process| process.pid).collect()
    };
    let (nearest, below) = (below(1), below(usize::MAX));
    assert_eq!((below.len(), nearest.as_slice()), (2, &below[..1]));
    assert_eq!(Process::read(below[0]).unwrap().ppid, child.pid);
    let members: Vec<Pid> = members(&origin)
        .unwrap()
        .iter()
        .map(|process| process.pid)
        .collect();
    assert!(
        below.iter().all(|pid| members.contains(pid)),
        "{below:?} {members:?}"
    );
    let killed = kill(&origin);
    assert!(killed.signalled >= 3, "{killed:?}");
    assert_all_ended(pipe);
    wait(&child);
}

#[test]
fn a_daemon_with_a_session_of_its_own_is_found_by_parentage_or_mark() {
    become_subreaper().unwrap();
    let text = "(setsid sh -c 'echo; exec sleep 1000' &) ; echo; exec sleep 1000";
    let (child, origin, pipe) = start(text, "daemon", 2);
    assert_eq!(kill(&origin).signalled, 2);
    assert_all_ended(pipe);
    wait(&child);
}

#[test]
fn a_member_of_the_session_is_found_after_its_leader_has_gone() {
    become_subreaper().unwrap();
    // No mark: `env -i` has wiped it.
    let text = "env -i sh -c 'echo; exec sleep 1000' & read nothing; exit";
    let (child, origin, pipe) = start(text, "leaderless", 1);
    wait(&child);
    assert_eq!(kill(&origin).signalled, 1);
    assert_all_ended(pipe);
}

#[test]
fn a_tree_that_grows_while_it_is_killed_is_killed_all_the_same() {
    become_subreaper().unwrap();
    let text = "grow() { while :; do (sleep 1000 & exec sleep 1000) & sleep 0.001; done; }
        grow & grow & echo; grow";
    let (child, origin, pipe) = start(text, "growing", 1);
    kill(&origin);
    assert_all_ended(pipe);
    wait(&child);
}

#[test]
fn another_process_under_the_same_number_is_left_alone() {
    let (child, origin, _pipe) = start("echo; exec sleep 1000", "mine", 1);
    let other = Origin {
        start_ticks: origin.start_ticks + 1,
        mark: None,
        ..origin.clone()
    };
    assert_eq!(kill(&other).signalled, 0);
    let later = Origin {
        start_ticks: origin.start_ticks - 1,
        mark: None,
        ..origin
    };
    assert_eq!(kill(&later).signalled, 0);
    assert_eq!(child.pidfd.try_wait().unwrap(), None);
    child.pidfd.signal(libc::SIGKILL).unwrap();
    wait(&child);
}

#[test]
fn several_trees_are_killed_together_and_told_apart() {
    become_subreaper().unwrap();
    let family = "(setsid sh -c 'echo; exec sleep 1000' &) ; echo; exec sleep 1000";
    let (first, one, pipe) = start(family, "first", 2);
    let (second, other, other_pipe) = start("echo; exec sleep 1000", "second", 1);
    let (spared, _, _pipe) = start("echo; exec sleep 1000", "spared", 1);
    let killed = kill_trees(&[one, other], libc::SIGKILL).unwrap();
    let told = killed
        .iter()
        .map(|killed| (killed.signalled, killed.complete));
    assert_eq!(told.collect::<Vec<_>>(), [(2, true), (1, true)]);
    assert_all_ended(pipe);
    assert_all_ended(other_pipe);
    wait(&first);
    wait(&second);
    assert_eq!(spared.pidfd.try_wait().unwrap(), None);
    spared.pidfd.signal(libc::SIGKILL).unwrap();
    wait(&spared);
}

#[test]
fn a_softer_signal_reaches_each_once() {
    let text = "trap 'echo term; exit 0' TERM; (trap 'echo term; exit 0' TERM; echo; while :; do sleep 0.01; done) &
        echo; while :; do sleep 0.01; done";
    let (child, origin, mut pipe) = start(text, "soft", 2);
    let killed = kill_one(&origin, libc::SIGTERM);
    assert!(killed.complete, "{killed:?}");
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).unwrap();
    assert_eq!(
        rest.lines().filter(|line| *line == "term").count(),
        2,
        "{rest:?}"
    );
    wait(&child);
}

#[test]
fn orphans_are_waited_for_and_workers_are_not() {
    if !alone(
        "sys::tree::tests::orphans_are_waited_for_and_workers_are_not",
        Vec::new(),
    ) {
        return;
    }
    become_subreaper().unwrap();
    let worker = spawn(&script("exit 7"), &[], None).unwrap();
    wait_pidfd(&worker.pidfd);
    let is_known = |pid| pid == worker.pid;
    // The worker is a zombie already, and stands before the orphan that comes now.
    let (read, write) = pipe().unwrap();
    let text = "(sh -c 'echo $$; exit 9' &)";
    let maker = spawn(&script(text), &[(write.as_fd(), 1)], None).unwrap();
    drop(write);
    assert_eq!(wait(&maker), ExitStatus::Exited(0));
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    let orphan = Pid::from_raw(text.trim().parse().unwrap());
    // Its end of the pipe closes a little before it has ended.
    wait_pidfd(&Pidfd::open(orphan).unwrap());
    assert_eq!(
        reap_orphans(is_known).unwrap(),
        [(orphan, ExitStatus::Exited(9))]
    );
    assert_eq!(reap_orphans(is_known).unwrap(), []);
    assert_eq!(
        worker.pidfd.try_wait().unwrap(),
        Some(ExitStatus::Exited(7))
    );
    assert_eq!(reap_orphans(is_known).unwrap(), []);
}

#[test]
fn a_thousand_children_are_listed_at_the_cost_of_a_thousand() {
    let name = "sys::tree::tests::a_thousand_children_are_listed_at_the_cost_of_a_thousand";
    if !alone(name, Vec::new()) {
        return;
    }
    let mut command = script("exec sleep 1000");
    command.program = "/bin/sleep".into();
    command.argv = vec!["sleep".into(), "1000".into()];
    let workers: Vec<Child> = (0..1000)
        .map(|_| spawn(&command, &[], None).unwrap())
        .collect();
    let begin = Instant::now();
    let listed = children().unwrap();
    let took = begin.elapsed();
    eprintln!("measured: {} children listed in {took:?}", listed.len());
    for worker in &workers {
        assert!(listed.contains(&worker.pid), "{} is missing", worker.pid);
        worker.pidfd.signal(libc::SIGKILL).unwrap();
    }
    for worker in &workers {
        wait(worker);
    }
}
