//! What starts when somebody demands it.

use super::script::{check, demanded, spec};

#[test]
fn it_is_awaited_and_starts_at_the_first_demand() {
    check(
        &[spec("a", 1)],
        "
        0 add b
          b: add
          1: ok
          await b
        1 demand b
          spawn w1 b/1
          await b no longer
        2 spawned w1
          b: spawn 1
          b: ready 1
          b: start
        3 demand b
        ",
    );
}

#[test]
fn who_is_not_awaited_is_not_started_by_a_demand() {
    check(
        &[spec("a", 1)],
        "
        0 demand a, demand ghost
        1 add b, stop b, demand b
          b: add
          1: ok
          2: ok
        2 tick
        ",
    );
}

#[test]
fn an_operator_who_starts_it_is_quicker() {
    check(
        &[spec("a", 1)],
        "
        0 add b
          b: add
          1: ok
          await b
        1 start b, demand b
          spawn w1 b/1
          await b no longer
        2 spawned w1
          b: spawn 1
          b: ready 1
          b: start
          2: ok
        ",
    );
}

#[test]
fn an_operator_who_stops_it_has_it_stopped() {
    check(
        &[spec("a", 1)],
        "
        0 add b
          b: add
          1: ok
          await b
        1 stop b
          await b no longer
          2: ok
        2 demand b
        3 remove b
          b: remove
          3: ok
          removed b
        ",
    );
}

#[test]
fn what_is_gone_is_awaited_no_longer() {
    check(
        &[spec("a", 1)],
        "
        0 add b
          b: add
          1: ok
          await b
        1 remove b
          await b no longer
          b: remove
          2: ok
          removed b
        ",
    );
}

#[test]
fn it_is_not_a_part_of_the_boot_that_is_waited_for() {
    check(
        &[demanded("b")],
        "
        0 demand b
          spawn w1 b/1
          await b no longer
        1 spawned w1
          b: spawn 1
          b: ready 1
          b: start
        2 shutdown
          circusd: stopping
          signal w1 15
        3 ended w1
          b: reap 1
          b: stop
          exit, 0 left
        ",
    );
}

#[test]
fn nobody_is_served_while_everything_ends() {
    check(
        &[demanded("b")],
        "
        0 shutdown, demand b
          circusd: stopping
          await b no longer
          exit, 0 left
        ",
    );
}
