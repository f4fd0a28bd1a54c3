//! What the simulator has found: each was a fault, and is a story that must go well.

use super::script::{check, hooked, spec};
use crate::core::{Hook, Name, Readiness, ReloadMode, Restart, WatcherSpec};
use std::time::Duration;

/// A running watcher `a`, as most stories begin.
const UP: &str = "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok";

#[track_caller]
fn check_up(spec: WatcherSpec, then: &str) {
    check(&[spec], &format!("{UP}{then}"));
}

#[test]
fn ready_is_told_once_however_often_it_is_said() {
    let told = Readiness::Told {
        timeout: Duration::from_secs(1),
    };
    check(
        &[WatcherSpec {
            ready: told,
            ..spec("a", 1)
        }],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          find out w1 Readiness
        2 ready w1, ready w1
          a: ready 1
          find out w1 no longer
          a: start
          1: ok
        3 ready w1
        ",
    );
}

#[test]
fn a_reload_to_fewer_does_not_wait_for_room_for_ever() {
    check_up(
        spec("a", 1),
        "
        2 scale a 4
          a: updated
          spawn w2 a/2
          spawn w3 a/3
          spawn w4 a/4
        3 spawned w2, spawned w3, spawned w4
          a: spawn 2
          a: ready 2
          a: spawn 3
          a: ready 3
          a: spawn 4
          a: ready 4
          2: ok
        4 renew a 2
          a: updated
          signal w1 15
          signal w2 15
        5 ended w1, ended w2
          a: reap 1
          a: reap 2
          spawn w5 a/1
        ",
    );
}

#[test]
fn a_yes_before_a_spawn_is_no_spawn_when_fewer_are_wanted_meanwhile() {
    check(
        &[hooked("a", 1, &[Hook::BeforeSpawn])],
        "
        0 start a
          ask h1 a before_spawn
        1 h1 true, scale a 0
          a: updated
          a: start
          1: ok
          2: ok
        ",
    );
}

#[test]
fn nothing_is_born_frozen() {
    check(
        &[hooked("a", 1, &[Hook::BeforeSpawn])],
        "
        0 start a
          ask h1 a before_spawn
        1 freeze a
          freeze a
          a: freeze
          2: ok
          1: ok
        2 h1 true
        3 thaw a
          thaw a
          a: thaw
          3: ok
          spawn w1 a/1
        ",
    );
}

#[test]
fn what_was_given_up_asks_no_more() {
    check(
        &[WatcherSpec {
            max_retry: Some(1),
            ..hooked("a", 3, &[Hook::BeforeSpawn])
        }],
        "
        0 start a
          ask h1 a before_spawn
        1 h1 true
          spawn w1 a/1
        2 spawned w1
          a: spawn 1
          a: ready 1
          ask h2 a before_spawn
          ask h3 a before_spawn
        3 h2 true
          spawn w2 a/2
        4 failed w2
          a: spawn_failed 2
          cancel h3
          a: gave_up
          1: start failed
        5 h3 true
        ",
    );
}

#[test]
fn a_start_takes_no_removal_back() {
    check_up(
        spec("a", 1),
        "
        2 remove a
          signal w1 15
        3 start a
          3: start failed
        4 ended w1
          a: reap 1
          a: stop
          a: remove
          2: ok
          removed a
        ",
    );
}

#[test]
fn the_dead_get_no_signal_from_a_late_hook() {
    check_up(
        hooked("a", 1, &[Hook::BeforeSignal, Hook::AfterReap]),
        "
        2 usr1 a
          ask h1 a before_signal
        3 ended w1
          a: reap 1 unexpected
          ask h2 a after_reap
        4 h1 true
          2: ok
        ",
    );
}

#[test]
fn a_stop_of_what_waits_for_its_turn_is_no_shutdown() {
    let second = WatcherSpec {
        priority: 1,
        ..spec("b", 1)
    };
    check(
        &[hooked("a", 1, &[Hook::BeforeStart]), second],
        "
        0 start a b
          ask h1 a before_start
        1 stop b
          2: ok
        2 h1 false
          1: start failed
        ",
    );
}

#[test]
fn fewer_are_allowed_where_a_limit_is_passed() {
    check(
        &[spec("a", 12), spec("b", 8)],
        "
        0 scale a 13
          1: too many
        1 scale a 11
          a: updated
          2: ok
        ",
    );
}

#[test]
fn a_process_that_ends_its_work_does_not_hold_up_the_start() {
    check(
        &[WatcherSpec {
            restart: Restart::Never,
            ..spec("a", 2)
        }],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          spawn w2 a/2
        2 ended w1
          a: reap 1 unexpected
        3 spawned w2
          a: spawn 2
          a: ready 2
          a: start
          1: ok
        ",
    );
}

#[test]
fn what_was_given_up_and_scaled_away_is_tried_again_when_it_is_wanted() {
    check(
        &[WatcherSpec {
            max_retry: Some(1),
            ..spec("a", 1)
        }],
        "
        0 start a
          spawn w1 a/1
        1 failed w1
          a: spawn_failed 1
          a: gave_up
          1: start failed
        2 scale a 0
          a: updated
          a: start
          2: ok
        200 scale a 1
          a: updated
          spawn w2 a/1
        ",
    );
}

#[test]
fn at_once_spares_nobody_who_is_still_being_made() {
    check(
        &[spec("a", 1)],
        "
        0 start a
          spawn w1 a/1
        1 stop a, shutdown now
          circusd: stopping
          1: start failed
        2 spawned w1
          a: spawn 1
          kill w1
        3 ended w1
          a: reap 1
          a: stop
          2: ok
          exit, 0 left
        ",
    );
}

#[test]
fn what_is_left_when_a_hook_hangs_is_killed_at_the_end() {
    let patient = WatcherSpec {
        graceful_timeout: Duration::from_secs(60),
        ..hooked("a", 1, &[Hook::BeforeReap])
    };
    check_up(
        patient,
        "
        2 stop a
          signal w1 15
        3 ended w1 leaving
          ask h1 a before_reap
        4 shutdown now
          circusd: stopping
          cancel h1
          a: reap 1
          kill w1
        5 emptied w1
          a: stop
          2: ok
          exit, 0 left
        ",
    );
}

#[test]
fn one_after_the_other_and_fewer_meanwhile_comes_to_an_end() {
    let sequential = WatcherSpec {
        reload: ReloadMode::Sequential,
        ..hooked("a", 1, &[Hook::BeforeSpawn])
    };
    check(
        &[sequential],
        "
        0 start a
          ask h1 a before_spawn
        1 h1 true
          spawn w1 a/1
        2 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        3 renew a 2
          a: updated
          ask h2 a before_spawn
        4 scale a 1
          a: updated
          signal w1 15
        5 h2 true
        6 ended w1
          a: reap 1
          spawn w2 a/2
        7 spawned w2
          a: spawn 2
          a: ready 2
          a: reload
          2: ok
          3: ok
        ",
    );
}

#[test]
fn what_is_to_be_removed_goes_even_if_its_work_is_done_meanwhile() {
    let once = WatcherSpec {
        restart: Restart::Never,
        ..spec("a", 1)
    };
    check(
        &[
            once,
            WatcherSpec {
                priority: 1,
                ..spec("b", 1)
            },
        ],
        "
        0 start a
          spawn w1 a/1
        0 start b
          spawn w2 b/1
        1 spawned w1, spawned w2
          a: spawn 1
          a: ready 1
          b: spawn 1
          b: ready 1
          a: start
          1: ok
          b: start
          2: ok
        2 remove a, stop a b
          signal w2 15
        3 done w1
          a: reap 1 unexpected
          a: stop
          a: remove
          3: ok
          removed a
        4 ended w2
          b: reap 1
          b: stop
          4: ok
        ",
    );
}

#[test]
fn why_it_stops_is_not_forgotten_over_what_fails_meanwhile() {
    let web = WatcherSpec {
        requires: vec![Name::from("a")],
        ..spec("web", 1)
    };
    check(
        &[spec("a", 1), web],
        "
        0 start web
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          spawn w2 web/1
        2 spawned w2
          web: spawn 1
          web: ready 1
          web: start
          1: ok
        3 stop a
          signal w2 15
        4 ended w1
          a: reap 1 unexpected
        4 why a
          Stopping, Operator: stopped by an operator
        ",
    );
    check(
        &[hooked("a", 2, &[Hook::AfterStart])],
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
          ask h1 a after_start
        3 h1 false, ended w2
          a: reap 2 unexpected
          signal w1 15
          1: hook refused
        3 why a
          Stopping, HookRefused: hook after_start said no: no
        ",
    );
}
