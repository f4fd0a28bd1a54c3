//! What a process shows of itself: readiness, signs of life, health, its share, its end.

use super::script::{check, spec};
use crate::core::{Flapping, Readiness, WatcherSpec};
use std::time::Duration;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A watcher `a` whose processes say that they are ready, within 100 ms.
fn told() -> WatcherSpec {
    WatcherSpec {
        ready: Readiness::Told {
            timeout: millis(100),
        },
        ..spec("a", 1)
    }
}

/// A watcher `a` whose processes show a sign of life every 100 ms.
fn watched() -> WatcherSpec {
    WatcherSpec {
        watchdog: Some(millis(100)),
        ..spec("a", 1)
    }
}

fn examined() -> WatcherSpec {
    WatcherSpec {
        health: true,
        ..spec("a", 1)
    }
}

/// How the stories of processes that are not waited for begin.
const UP: &str = "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          a: start
          1: ok";

const EXAMINED: &str = "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          a: ready 1
          find out w1 Health
          a: start
          1: ok";

#[track_caller]
fn check_from(spec: WatcherSpec, begin: &str, then: &str) {
    check(&[spec], &format!("{begin}{then}"));
}

#[test]
fn who_is_not_ready_in_time_goes_and_says_why() {
    check(
        &[told()],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          find out w1 Readiness
        2 not ready w1
        100 tick
        101 tick
          find out w1 no longer
          signal w1 15
          1: start failed
        101 why a
          Waiting, SpawnFailed: process 1 was not ready within 0.1 s: it loads
        102 ended w1
          a: reap 1 unexpected Timeout
        ",
    );
}

#[test]
fn who_asks_for_more_time_has_it_and_never_less_than_before() {
    check(
        &[told()],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          find out w1 Readiness
        2 extended w1 10
        101 extended w1 200
        102 extended w1 1
        300 tick
        301 tick
          find out w1 no longer
          signal w1 15
          1: start failed
        302 extended w1 1000
        1301 tick
        1302 tick
          kill w1
        1303 killed w1
          a: reap 1 unexpected Timeout
          spawn w2 a/1
        ",
    );
}

#[test]
fn another_patience_counts_from_the_same_moment() {
    check(
        &[told()],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          find out w1 Readiness
        50 patience a 1000
          a: updated
          2: ok
        101 tick
        500 patience a 400
          a: updated
          3: ok
          find out w1 no longer
          signal w1 15
          1: start failed
        ",
    );
}

#[test]
fn a_freeze_stops_the_clock_of_who_starts() {
    check(
        &[told()],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          find out w1 Readiness
        50 freeze a
          freeze a
          a: freeze
          2: ok
          1: ok
        500 tick
        600 thaw a
          thaw a
          a: thaw
          3: ok
        699 tick
        700 tick
          find out w1 no longer
          signal w1 15
        ",
    );
}

#[test]
fn who_falls_silent_is_aborted_and_replaced() {
    check_from(
        watched(),
        UP,
        "
        50 alive w1
        149 tick
        150 tick
          a: unfit 1 Watchdog
          signal w1 6
        150 alive w1
        151 ended w1
          a: reap 1 unexpected Watchdog
          spawn w2 a/1
        ",
    );
}

#[test]
fn a_process_may_choose_its_own_interval_or_none() {
    check_from(
        watched(),
        UP,
        "
        2 watchdog w1 300
        301 tick
        302 alive w1
        303 watchdog w1 0
        9000 tick
        9001 watchdog w1 10
        9011 tick
          a: unfit 1 Watchdog
          signal w1 6
        ",
    );
}

#[test]
fn the_watchdog_waits_until_a_process_is_ready() {
    check(
        &[WatcherSpec {
            watchdog: Some(millis(10)),
            ..told()
        }],
        "
        0 start a
          spawn w1 a/1
        1 spawned w1
          a: spawn 1
          find out w1 Readiness
        50 alive w1
        60 ready w1
          a: ready 1
          find out w1 no longer
          a: start
          1: ok
        69 tick
        70 tick
          a: unfit 1 Watchdog
          signal w1 6
        ",
    );
}

#[test]
fn in_a_freeze_nobody_is_silent_or_ill() {
    check_from(
        WatcherSpec {
            watchdog: Some(millis(100)),
            ..examined()
        },
        EXAMINED,
        "
        50 freeze a
          freeze a
          a: freeze
          find out w1 no longer
          2: ok
        51 unfit w1, alive w1
        500 tick
        600 thaw a
          thaw a
          a: thaw
          find out w1 Health
          3: ok
        699 tick
        700 tick
          a: unfit 1 Watchdog
          find out w1 no longer
          signal w1 6
        ",
    );
}

#[test]
fn who_is_ill_is_replaced_and_flaps_if_it_is_ill_again() {
    let flapping = Flapping {
        attempts: 2,
        window: millis(10_000),
        retry_in: millis(1000),
        max_retry: None,
    };
    check_from(
        WatcherSpec {
            flapping: Some(flapping),
            ..examined()
        },
        EXAMINED,
        "
        2 unfit w1
          a: unfit 1 Health
          find out w1 no longer
          signal w1 15
        3 unfit w1
        4 done w1
          a: reap 1 unexpected Health
          spawn w2 a/1
        5 spawned w2
          a: spawn 1
          a: ready 1
          find out w2 Health
        6 unfit w2
          a: unfit 1 Health
          find out w2 no longer
          signal w2 15
        7 done w2
          a: reap 1 unexpected Health
          a: flapping 1
        7 why a
          Waiting, Flapping: process 1 was not healthy: answered 500, 2 times within 10 s
        ",
    );
}

#[test]
fn who_has_done_its_share_goes_when_its_successor_is_there() {
    check_from(
        WatcherSpec {
            max_requests: Some(10),
            ..spec("a", 1)
        },
        UP,
        "
        2 served w1 9
        3 served w1 10
          spawn w2 a/2
        4 served w1 12
        5 spawned w2
          a: spawn 2
          a: ready 2
          signal w1 15
        6 ended w1
          a: reap 1
        ",
    );
}

#[test]
fn a_singleton_that_has_done_its_share_goes_first() {
    check_from(
        WatcherSpec {
            max_requests: Some(10),
            singleton: true,
            ..spec("a", 1)
        },
        UP,
        "
        2 served w1 10
          signal w1 15
        3 ended w1
          a: reap 1
          spawn w2 a/1
        ",
    );
}

#[test]
fn a_share_that_was_done_is_done_after_a_failed_reload() {
    check_from(
        WatcherSpec {
            max_requests: Some(10),
            ..spec("a", 1)
        },
        UP,
        "
        2 reload a
          spawn w2 a/2
        3 served w1 10
        4 failed w2
          a: spawn_failed 2
          2: start failed
        104 tick
          spawn w3 a/2
        105 spawned w3
          a: spawn 2
          a: ready 2
          signal w1 15
        ",
    );
}

#[test]
fn the_kernel_kills_for_want_of_memory() {
    check_from(
        spec("a", 1),
        UP,
        "
        2 oom w1, killed w1
          a: oom 1
          a: reap 1 unexpected OutOfMemory
          spawn w2 a/1
        3 spawned w2
          a: spawn 1
          a: ready 1
        4 oom w2
          a: oom 1
        60000 killed w2
          a: reap 1 unexpected
          spawn w3 a/1
        ",
    );
}

#[test]
fn memory_may_run_out_on_the_way_down() {
    check_from(
        spec("a", 1),
        UP,
        "
        2 stop a
          signal w1 15
        3 oom w1, killed w1
          a: oom 1
          a: reap 1 OutOfMemory
          a: stop
          2: ok
        ",
    );
}

#[test]
fn a_kill_without_grace_is_no_time_out() {
    check_from(
        WatcherSpec {
            graceful_timeout: Duration::ZERO,
            ..spec("a", 1)
        },
        UP,
        "
        2 stop a
          kill w1
        1002 tick
          kill w1
        1003 killed w1
          a: reap 1
          a: stop
          2: ok
        ",
    );
}
