//! What is asked of a watcher whose clocks stand still: nobody waits for a thaw.

use super::script::{check, spec};
use crate::core::{ReloadMode, WatcherSpec};

const UP: &str = "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 freeze a
          freeze a
          a: freeze
          2: ok";

#[test]
fn a_reload_of_a_frozen_watcher_is_answered_and_done_after_the_thaw() {
    let then = "
        3 reload a
          3: start failed
        4 thaw a
          thaw a
          a: thaw
          4: ok
          spawn w2 a/2
        5 spawned w2
          a: spawn 2
          a: ready 2
          signal w1 15
        6 ended w1
          a: reap 1
          a: reload
        ";
    check(&[spec("a", 1)], &format!("{UP}{then}"));
}

#[test]
fn so_is_one_that_goes_one_after_the_other() {
    let sequential = WatcherSpec {
        reload: ReloadMode::Sequential,
        ..spec("a", 1)
    };
    let then = "
        3 reload a
          3: start failed
        4 thaw a
          thaw a
          a: thaw
          4: ok
          signal w1 15
        5 ended w1
          a: reap 1
          spawn w2 a/1
        6 spawned w2
          a: spawn 1
          a: ready 1
          a: reload
        ";
    check(&[sequential], &format!("{UP}{then}"));
}

#[test]
fn who_is_frozen_during_a_reload_keeps_nobody_waiting() {
    check(
        &[spec("a", 1)],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 reload a
          spawn w2 a/2
        3 freeze a
          freeze a
          a: freeze
          3: ok
          2: start failed
        ",
    );
}

#[test]
fn those_after_a_frozen_one_have_their_turn() {
    let second = WatcherSpec {
        priority: 1,
        ..spec("b", 1)
    };
    check(
        &[spec("a", 1), second],
        "
        0 start a b
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          spawn w2 b/1
        2 spawned w2
          b: spawn 1
          b: ready 1
          b: start
          1: ok
        3 freeze a
          freeze a
          a: freeze
          2: ok
        4 reload a b
          spawn w3 b/2
        5 spawned w3
          b: spawn 2
          b: ready 2
          signal w2 15
        6 ended w2
          b: reap 1
          b: reload
          3: start failed
        ",
    );
}

#[test]
fn nor_does_a_start_wait_for_one_that_was_frozen_on_the_way() {
    let second = WatcherSpec {
        priority: 1,
        ..spec("b", 1)
    };
    check(
        &[spec("a", 1), second],
        "
        0 start a b
          spawn w1 a/1
        1 freeze a
          freeze a
          a: freeze
          2: ok
          spawn w2 b/1
        2 spawned w2
          b: spawn 1
          b: ready 1
          b: start
          1: ok
        ",
    );
}
