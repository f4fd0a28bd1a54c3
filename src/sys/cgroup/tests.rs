//! Real groups below our own.

use super::*;
use crate::sys::pidfd::ExitStatus;
use crate::sys::spawn::{Command, spawn};
use crate::sys::testing::{PATIENCE, group, script, wait};

#[test]
fn a_group_is_populated_while_somebody_lives_in_it() {
    let Some(group) = group("populated") else {
        return;
    };
    let events = group.events_fd().unwrap();
    assert!(!group.is_populated().unwrap());
    let child = spawn(&script("exec sleep 1000"), &[], Some(&group)).unwrap();
    assert!(events.state().unwrap().populated);
    assert_eq!(group.procs().unwrap(), [child.pid]);
    assert_eq!(group.remove().unwrap(), Removal::Busy);
    group.kill().unwrap();
    let state = events.wait(PATIENCE, |state| !state.populated).unwrap();
    assert!(state.is_some(), "still populated: {:?}", group.procs());
    let killed = ExitStatus::Signaled {
        signal: libc::SIGKILL,
        dumped: false,
    };
    assert_eq!(wait(&child), killed);
    assert_eq!(group.remove().unwrap(), Removal::Done);
    assert_eq!(
        group.remove().unwrap(),
        Removal::Done,
        "removing twice is no error"
    );
}

#[test]
fn groups_that_a_worker_made_are_seen_and_removed() {
    let Some(group) = group("below") else { return };
    let inner = Cgroup::create(&Cgroup::create(&group, "a").unwrap(), "b").unwrap();
    let child = spawn(&script("exec sleep 1000"), &[], Some(&inner)).unwrap();
    assert_eq!(group.procs().unwrap(), [child.pid]);
    assert_eq!(group.remove().unwrap(), Removal::Busy);
    let events = group.events_fd().unwrap();
    group.kill().unwrap();
    assert!(
        events
            .wait(PATIENCE, |state| !state.populated)
            .unwrap()
            .is_some()
    );
    wait(&child);
    assert_eq!(group.remove().unwrap(), Removal::Done);
    assert!(!group.path().exists());
}

#[test]
fn a_zombie_does_not_hold_a_group() {
    let Some(group) = group("zombie") else { return };
    let events = group.events_fd().unwrap();
    let child = spawn(&script("exit 3"), &[], Some(&group)).unwrap();
    assert!(
        events
            .wait(PATIENCE, |state| !state.populated)
            .unwrap()
            .is_some()
    );
    assert_eq!(group.remove().unwrap(), Removal::Done);
    assert_eq!(wait(&child), ExitStatus::Exited(3));
}

#[test]
fn a_frozen_group_stands_still_until_it_is_thawed_or_killed() {
    let Some(group) = group("frozen") else { return };
    let child = spawn(&script("exec sleep 1000"), &[], Some(&group)).unwrap();
    let events = group.events_fd().unwrap();
    group.freeze().unwrap();
    assert!(
        events
            .wait(PATIENCE, |state| state.frozen)
            .unwrap()
            .is_some()
    );
    group.thaw().unwrap();
    assert!(
        events
            .wait(PATIENCE, |state| !state.frozen)
            .unwrap()
            .is_some()
    );
    group.freeze().unwrap();
    group.kill().unwrap();
    assert!(
        events
            .wait(PATIENCE, |state| !state.populated)
            .unwrap()
            .is_some()
    );
    wait(&child);
    group.remove().unwrap();
}

#[test]
fn waiting_for_what_does_not_come_ends() {
    let Some(group) = group("limit") else { return };
    let events = group.events_fd().unwrap();
    assert_eq!(
        events
            .wait(Duration::ZERO, |state| state.populated)
            .unwrap(),
        None
    );
    group.remove().unwrap();
    let gone = events.state().unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
    assert_eq!(
        group.state().unwrap_err().raw_os_error(),
        Some(libc::ENODEV)
    );
}

#[test]
fn a_name_is_one_directory() {
    let Some(group) = group("names") else { return };
    for name in ["", ".", "..", "a/b", "/tmp"] {
        let error = Cgroup::create(&group, name).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{name:?}");
    }
    group.remove().unwrap();
}

#[test]
fn a_program_that_cannot_start_leaves_the_group_empty() {
    let Some(group) = group("failed") else { return };
    spawn(&Command::new("/proc/none"), &[], Some(&group)).unwrap_err();
    assert!(!group.is_populated().unwrap());
    assert_eq!(group.remove().unwrap(), Removal::Done);
}
