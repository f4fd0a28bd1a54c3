//! Signals that an operator sends: whom they are for, and what is told of them.

use super::script::{check, hooked, spec};
use crate::core::{Hook, WatcherSpec};

fn check_up(spec: WatcherSpec, script: &str) {
    let up = "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok";
    check(&[spec], &format!("{up}{script}"));
}

#[test]
fn a_child_alone_is_signalled_and_told_of() {
    check_up(
        spec("a", 1),
        "
        2 usr1 a child 7
          signal w1 child 7 10
        3 reached w1
          a: kill 1 child 7 10
          2: ok
        ",
    );
}

#[test]
fn of_a_child_that_has_gone_meanwhile_nothing_is_told() {
    check_up(
        spec("a", 1),
        "
        2 usr1 a child 7
          signal w1 child 7 10
        3 missed w1
          2: ok
        ",
    );
}

#[test]
fn the_hooks_of_a_worker_are_asked_about_its_children_too() {
    check_up(
        hooked("a", 1, &[Hook::BeforeSignal, Hook::AfterSignal]),
        "
        2 usr1 a child 7
          ask h1 a before_signal
        3 h1 true
          signal w1 child 7 10
        4 reached w1
          a: kill 1 child 7 10
          ask h2 a after_signal
          2: ok
        5 h2 true
        6 usr1 a child 7
          ask h3 a before_signal
        7 h3 false
          3: ok
        ",
    );
}
