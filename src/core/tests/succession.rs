//! A supervisor that goes on where another one was.

use super::script::{check, hooked, spec};
use crate::core::{Hook, WatcherSpec};

#[test]
fn who_runs_is_taken_over_and_nobody_is_started_beside() {
    check(
        &[spec("a", 2)],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          spawn w2 a/2
        2 spawned w2
          a: spawn 2
          a: ready 2
          a: start
          1: ok
        3 successor
          a: adopt 1
          a: adopt 2
          0: ok
          circusd: ready
          settled
        4 stop a
          signal w1 15
          signal w2 15
        5 ended w1
          a: reap 1
        6 ended w2
          a: reap 2
          a: stop
          2: ok
        ",
    );
}

#[test]
fn who_has_ended_meanwhile_is_told_of_and_replaced() {
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
        2 successor, ended w1
          a: adopt 1
          a: reap 1 unexpected
          0: ok
          spawn w2 a/1
          circusd: ready
          settled
        ",
    );
}

#[test]
fn a_start_that_was_under_way_goes_on() {
    check(
        &[hooked("a", 1, &[Hook::BeforeStart])],
        "
        0 start a
          ask h1 a before_start
        1 successor
          0: ok
          ask h2 a before_start
        2 h2 true
          spawn w1 a/1
        3 successor
          0: ok
          spawn w2 a/1
          circusd: ready
          settled
        4 spawned w2
          a: spawn 1
          a: ready 1
          a: start
        ",
    );
}

#[test]
fn a_stop_that_was_under_way_is_not_told_again_and_has_the_rest_of_its_time() {
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
        10 stop a
          signal w1 15
        60 successor
          a: adopt 1
          0: ok
          circusd: ready
          settled
        110 tick
          kill w1
        111 ended w1
          a: reap 1
          a: stop
        ",
    );
}

#[test]
fn what_was_changed_meanwhile_is_replaced() {
    let changed = WatcherSpec {
        revision: crate::core::Revision(2),
        ..spec("a", 1)
    };
    super::script::check_changed(
        &[spec("a", 1)],
        &[changed],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 successor
          a: adopt 1
          0: ok
          spawn w2 a/2
          circusd: ready
          settled
        ",
    );
}

#[test]
fn who_was_stopped_stays_so_whoever_requires_it() {
    let requiring = WatcherSpec {
        requires: vec!["a".into()],
        ..spec("b", 1)
    };
    check(
        &[spec("a", 1), requiring],
        "
        0 start b
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          spawn w2 b/1
        1 spawned w2
          b: spawn 1
          b: ready 1
          b: start
          1: ok
        2 stop a
          signal w2 15
        3 ended w2
          b: reap 1
          b: stop
          signal w1 15
        4 ended w1
          a: reap 1
          a: stop
          2: ok
        5 successor
          0: ok
          circusd: ready
          settled
        6 start b
          spawn w3 a/1
        ",
    );
}
