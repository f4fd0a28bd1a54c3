//! What the manual promises of a watcher's life.

use super::script::{check, hooked, spec};
use crate::core::{Flapping, Hook, ReloadMode, Restart, WatcherSpec};
use std::time::Duration;

#[test]
fn a_start_proves_itself_with_one_process_before_the_others() {
    check(
        &[spec("a", 3)],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          spawn w2 a/2
          spawn w3 a/3
        2 spawned w2, spawned w3
          a: spawn 2
          a: ready 2
          a: spawn 3
          a: ready 3
          a: start
          1: ok
        ",
    );
}

#[test]
fn a_stopping_worker_holds_its_place() {
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
        2 renew a 1
          a: updated
          spawn w2 a/2
        3 spawned w2
          a: spawn 2
          a: ready 2
          signal w1 15
        103 tick
          kill w1
        104 ended w1
          a: reap 1
          a: reload
          2: ok
        ",
    );
}

#[test]
fn one_after_the_other_there_is_never_one_too_many() {
    let sequential = WatcherSpec {
        reload: ReloadMode::Sequential,
        ..spec("a", 2)
    };
    check(
        &[sequential],
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
        3 reload a
          signal w1 15
        4 ended w1
          a: reap 1
          spawn w3 a/1
        5 spawned w3
          a: spawn 1
          a: ready 1
          signal w2 15
        6 ended w2
          a: reap 2
          spawn w4 a/2
        7 spawned w4
          a: spawn 2
          a: ready 2
          a: reload
          2: ok
        ",
    );
}

#[test]
fn a_failed_reload_keeps_the_old_ones() {
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
        3 failed w2
          a: spawn_failed 2
          2: start failed
        ",
    );
}

#[test]
fn a_command_that_cannot_be_started_is_given_up() {
    check(
        &[spec("a", 3)],
        "
        0 start a
          spawn w1 a/1
        1 failed w1
          a: spawn_failed 1
          1: start failed
        101 tick
          spawn w2 a/1
        102 failed w2
          a: spawn_failed 1
          a: gave_up
        ",
    );
}

#[test]
fn what_a_crash_leaves_is_killed_before_the_successor_comes() {
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
        2 ended w1 leaving
          kill w1
          a: reap 1 unexpected
        3 emptied w1
          spawn w2 a/1
        ",
    );
}

#[test]
fn what_a_stop_leaves_has_the_rest_of_the_grace() {
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
        2 stop a
          signal w1 15
        3 ended w1 leaving
          a: reap 1
        102 tick
          kill w1
        103 emptied w1
          a: stop
          2: ok
        ",
    );
}

#[test]
fn a_stop_during_a_start_wins() {
    check(
        &[hooked("a", 1, &[Hook::BeforeStart])],
        "
        0 start a
          ask h1 a before_start
        1 stop a
          cancel h1
          1: start failed
          2: ok
        2 h1 true
        ",
    );
}

#[test]
fn priorities_go_up_level_by_level_and_down_the_other_way() {
    let low = WatcherSpec {
        priority: 1,
        ..spec("redis", 1)
    };
    let high = WatcherSpec {
        priority: 2,
        ..spec("queue", 1)
    };
    check(
        &[high, low],
        "
        0 start queue redis
          spawn w1 redis/1
        1 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
          spawn w2 queue/1
        2 spawned w2
          queue: spawn 1
          queue: ready 1
          queue: start
          1: ok
        3 stop queue redis
          signal w2 15
        4 ended w2
          queue: reap 1
          queue: stop
          signal w1 15
        5 ended w1
          redis: reap 1
          redis: stop
          2: ok
        ",
    );
}

#[test]
fn a_place_that_flaps_is_held_and_the_others_go_on() {
    let flapping = Some(Flapping {
        attempts: 2,
        window: Duration::from_secs(10),
        retry_in: Duration::from_millis(70),
        max_retry: None,
    });
    check(
        &[WatcherSpec {
            flapping,
            ..spec("a", 1)
        }],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 ended w1
          a: reap 1 unexpected
          spawn w2 a/1
        3 spawned w2
          a: spawn 1
          a: ready 1
        4 ended w2
          a: reap 1 unexpected
          a: flapping 1
        74 tick
          spawn w3 a/1
        ",
    );
}

#[test]
fn what_is_not_to_be_replaced_ends_the_watcher_with_its_last_process() {
    check(
        &[WatcherSpec {
            restart: Restart::Never,
            ..spec("a", 1)
        }],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 ended w1
          a: reap 1 unexpected
          a: stop
        3 start a
          spawn w2 a/1
        ",
    );
}

#[test]
fn an_end_of_everything_has_its_limit() {
    let patient = WatcherSpec {
        graceful_timeout: Duration::from_secs(60),
        ..spec("a", 1)
    };
    check(
        &[patient],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 shutdown
          circusd: stopping
          signal w1 15
        1002 tick
          kill w1
        1003 ended w1
          a: reap 1
          a: stop
          exit, 0 left
        ",
    );
}

#[test]
fn hooks_stand_where_the_manual_says() {
    let hooks = [
        Hook::BeforeStart,
        Hook::AfterStart,
        Hook::BeforeSpawn,
        Hook::AfterSpawn,
        Hook::BeforeStop,
        Hook::AfterStop,
        Hook::BeforeSignal,
        Hook::BeforeReap,
        Hook::AfterReap,
    ];
    check(
        &[hooked("a", 1, &hooks)],
        "
        0 start a
          ask h1 a before_start
        1 h1 true
          ask h2 a before_spawn
        2 h2 true
          spawn w1 a/1
        3 spawned w1
          a: spawn 1
          ask h3 a after_spawn
        4 h3 true
          a: ready 1
          ask h4 a after_start
        5 h4 true
          a: start
          1: ok
        6 stop a
          ask h5 a before_stop
        7 h5 true
          ask h6 a before_signal
        8 h6 true
          signal w1 15
        9 ended w1
          ask h7 a before_reap
        10 h7 true
          a: reap 1
          ask h8 a after_reap
        11 h8 true
          ask h9 a after_stop
        12 h9 true
          a: stop
          2: ok
        ",
    );
}

#[test]
fn who_is_asked_what_follows_from_a_signal_answers_though_the_process_has_gone_by_it() {
    check(
        &[hooked("a", 1, &[Hook::AfterSignal])],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 stop a
          signal w1 15
        3 reached w1, ended w1
          a: kill 1 15
          ask h1 a after_signal
          a: reap 1
        4 h1 true
          a: stop
          2: ok
        ",
    );
}

#[test]
fn an_end_at_once_does_not_wait_for_what_follows_from_a_signal() {
    check(
        &[hooked("a", 1, &[Hook::AfterSignal])],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 stop a
          signal w1 15
        3 reached w1, ended w1
          a: kill 1 15
          ask h1 a after_signal
          a: reap 1
        4 shutdown now
          circusd: stopping
          cancel h1
          a: stop
          2: ok
          exit, 0 left
        ",
    );
}

#[test]
fn a_kill_hurries_one_that_is_on_its_way_out() {
    let patient = WatcherSpec {
        graceful_timeout: Duration::from_secs(3600),
        ..spec("a", 1)
    };
    check(
        &[patient],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok
        2 stop a
          signal w1 15
        3 kill a 70
          signal w1 9
        73 tick
          kill w1
        74 ended w1
          a: reap 1
          a: stop
          2: ok
          3: ok
        ",
    );
}

/// Two running, replaced once, so that they are at the places 3 and 4.
const REPLACED: &str = "
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
        3 reload a
          spawn w3 a/3
        4 spawned w3
          a: spawn 3
          a: ready 3
          spawn w4 a/4
        5 spawned w4
          a: spawn 4
          a: ready 4
          signal w1 15
          signal w2 15
        6 ended w1, ended w2
          a: reap 1
          a: reap 2
          a: reload
          2: ok";

#[test]
fn no_old_one_goes_before_all_new_ones_are_ready() {
    check(&[spec("a", 2)], REPLACED);
}

#[test]
fn a_reload_that_fails_half_way_keeps_just_the_old_ones() {
    let story = format!(
        "{REPLACED}
        7 reload a
          spawn w5 a/1
        8 spawned w5
          a: spawn 1
          a: ready 1
          spawn w6 a/2
        9 failed w6
          a: spawn_failed 2
          signal w5 15
          3: start failed
        10 ended w5
          a: reap 1
        "
    );
    check(&[spec("a", 2)], &story);
}

#[test]
fn that_a_critical_watcher_gave_up_is_said_and_the_end_is_somebody_elses_to_begin() {
    let bad = WatcherSpec {
        critical: true,
        max_retry: Some(0),
        ..spec("bad", 1)
    };
    check(
        &[bad, spec("b", 1)],
        "
        0 start b
          spawn w1 b/1
        1 spawned w1
          b: spawn 1
          b: ready 1
          b: start
          1: ok
        2 start bad
          spawn w2 bad/1
        3 failed w2
          bad: spawn_failed 1
          bad: gave_up
          2: start failed
          critical failure
        4 shutdown
          circusd: stopping
          signal w1 15
          bad: stop
        5 ended w1
          b: reap 1
          b: stop
          exit, 0 left
        ",
    );
}
