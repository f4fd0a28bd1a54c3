//! Watchers that start after others, and stop before them.

use super::script::{check, hooked, spec};
use crate::core::{Hook, Name, Restart, WatcherSpec};

fn after(name: &str, others: &[&str]) -> WatcherSpec {
    let after = others.iter().map(|other| Name::from(*other)).collect();
    WatcherSpec {
        after,
        ..spec(name, 1)
    }
}

fn requires(name: &str, others: &[&str]) -> WatcherSpec {
    let requires = others.iter().map(|other| Name::from(*other)).collect();
    WatcherSpec {
        requires,
        ..spec(name, 1)
    }
}

/// A redis and a web that requires it, both running.
const UP: &str = "
        0 start web
          spawn w1 redis/1
        1 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
          spawn w2 web/1
        2 spawned w2
          web: spawn 1
          web: ready 1
          web: start
          1: ok";

#[track_caller]
fn check_up(then: &str) {
    let specs = [requires("web", &["redis"]), spec("redis", 1)];
    check(&specs, &format!("{UP}{then}"));
}

#[test]
fn a_start_starts_first_what_it_requires() {
    let specs = [
        requires("web", &["queue"]),
        requires("queue", &["redis"]),
        spec("redis", 1),
    ];
    check(
        &specs,
        "
        0 start web
          spawn w1 redis/1
        0 why web
          Waiting, Dependency: waiting for queue, which is waiting for redis
        0 why queue
          Waiting, Dependency: waiting for redis, which is starting
        1 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
          spawn w2 queue/1
        2 spawned w2
          queue: spawn 1
          queue: ready 1
          queue: start
          spawn w3 web/1
        3 spawned w3
          web: spawn 1
          web: ready 1
          web: start
          1: ok
        ",
    );
}

#[test]
fn a_start_starts_nobody_it_only_comes_after() {
    check(
        &[after("web", &["redis"]), spec("redis", 1)],
        "
        0 start web
          1: start failed
        0 why web
          Waiting, Dependency: waiting for redis, which is stopped: autostart is off and nobody has started it
        1 start redis
          spawn w1 redis/1
        2 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
          2: ok
          spawn w2 web/1
        3 spawned w2
          web: spawn 1
          web: ready 1
          web: start
        ",
    );
}

#[test]
fn whoever_comes_after_stays_when_the_other_stops() {
    check(
        &[after("web", &["redis"]), spec("redis", 1)],
        "
        0 start redis web
          spawn w1 redis/1
        1 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
          spawn w2 web/1
        2 spawned w2
          web: spawn 1
          web: ready 1
          web: start
          1: ok
        3 stop redis
          signal w1 15
        4 ended w1
          redis: reap 1
          redis: stop
          2: ok
        4 why web
          Active, simply
        ",
    );
}

#[test]
fn a_stop_stops_first_who_requires_it_and_who_starts_again_with_it() {
    check_up(
        "
        3 stop redis
          signal w2 15
        3 why redis
          Stopping, Operator: stopped by an operator
        3 why web
          Stopping, Dependency: redis, which it requires, is about to stop
        4 ended w2
          web: reap 1
          web: stop
          signal w1 15
        5 ended w1
          redis: reap 1
          redis: stop
          2: ok
        5 why web
          Waiting, Dependency: waiting for redis, which is stopped: stopped by an operator
        6 start redis
          spawn w3 redis/1
        7 spawned w3
          redis: spawn 1
          redis: ready 1
          redis: start
          3: ok
          spawn w4 web/1
        ",
    );
}

#[test]
fn a_restart_takes_who_requires_it_down_and_up_again() {
    check_up(
        "
        3 restart redis
          signal w2 15
        3 why redis
          Stopping, Dependency: web, which depends on it, stops first
        4 ended w2
          web: reap 1
          web: stop
          signal w1 15
        5 ended w1
          redis: reap 1
          redis: stop
          spawn w3 redis/1
        6 spawned w3
          redis: spawn 1
          redis: ready 1
          redis: start
          2: ok
          spawn w4 web/1
        7 spawned w4
          web: spawn 1
          web: ready 1
          web: start
        ",
    );
}

#[test]
fn a_crash_is_no_stop() {
    check_up(
        "
        3 ended w1
          redis: reap 1 unexpected
          spawn w3 redis/1
        3 why web
          Active, simply
        4 failed w3
          redis: spawn_failed 1
        104 tick
          spawn w4 redis/1
        105 failed w4
          redis: spawn_failed 1
          redis: gave_up
        105 why web
          Active, simply
        ",
    );
}

#[test]
fn a_reload_is_no_stop() {
    check_up(
        "
        3 reload redis
          spawn w3 redis/2
        4 spawned w3
          redis: spawn 2
          redis: ready 2
          signal w1 15
        5 ended w1
          redis: reap 1
          redis: reload
          2: ok
        5 why web
          Active, simply
        ",
    );
}

#[test]
fn a_removal_is_a_stop() {
    check_up(
        "
        3 remove redis
          signal w2 15
        4 ended w2
          web: reap 1
          web: stop
          signal w1 15
        5 ended w1
          redis: reap 1
          redis: stop
          redis: remove
          2: ok
          removed redis
        5 why web
          Waiting, Dependency: waiting for redis, which does not exist
        6 start web
          3: start failed
        ",
    );
}

#[test]
fn the_end_stops_dependents_first_whatever_the_priorities() {
    let redis = WatcherSpec {
        priority: 9,
        ..spec("redis", 1)
    };
    check(
        &[after("web", &["redis"]), redis],
        "
        0 start redis web
          spawn w1 redis/1
        1 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
          spawn w2 web/1
        2 spawned w2
          web: spawn 1
          web: ready 1
          web: start
          1: ok
        3 shutdown
          circusd: stopping
          signal w2 15
        4 ended w2
          web: reap 1
          web: stop
          signal w1 15
        5 ended w1
          redis: reap 1
          redis: stop
          exit, 0 left
        ",
    );
}

#[test]
fn who_is_told_to_stop_before_it_has_started_waits_no_longer() {
    let specs = [
        requires("web", &["redis"]),
        hooked("redis", 1, &[Hook::BeforeStart]),
    ];
    check(
        &specs,
        "
        0 start web
          ask h1 redis before_start
        1 stop web
          1: start failed
          2: ok
        2 h1 true
          spawn w1 redis/1
        3 spawned w1
          redis: spawn 1
          redis: ready 1
          redis: start
        ",
    );
}

#[test]
fn a_request_waits_while_there_is_hope_and_no_longer() {
    check(
        &[requires("web", &["redis"]), spec("redis", 1)],
        "
        0 start web
          spawn w1 redis/1
        1 failed w1
          redis: spawn_failed 1
        1 why web
          Waiting, Dependency: waiting for redis, which is waiting: no
        101 tick
          spawn w2 redis/1
        102 failed w2
          redis: spawn_failed 1
          redis: gave_up
          1: start failed
        102 why web
          Waiting, Dependency: waiting for redis, which is failed: given up after 2 failed attempts: no
        103 start web
          spawn w3 redis/1
        104 spawned w3
          redis: spawn 1
          redis: ready 1
          redis: start
          spawn w4 web/1
        105 spawned w4
          web: spawn 1
          web: ready 1
          web: start
          2: ok
        ",
    );
}

#[test]
fn whose_work_is_done_is_ready() {
    let migrate = WatcherSpec {
        restart: Restart::Never,
        ..spec("migrate", 1)
    };
    check(
        &[requires("web", &["migrate"]), migrate],
        "
        0 start migrate
          spawn w1 migrate/1
        1 spawned w1
          migrate: spawn 1
          migrate: ready 1
          migrate: start
          1: ok
        2 done w1
          migrate: reap 1 unexpected
          migrate: stop
        3 start web
          spawn w2 web/1
        4 spawned w2
          web: spawn 1
          web: ready 1
          web: start
          2: ok
        5 start migrate
          spawn w3 migrate/1
        6 spawned w3
          migrate: spawn 1
          migrate: ready 1
          migrate: start
          3: ok
        7 ended w3
          migrate: reap 1 unexpected
          migrate: stop
        7 why web
          Active, simply
        ",
    );
}

#[test]
fn who_waits_for_the_first_connection_is_started_by_who_requires_it() {
    check(
        &[spec("a", 1)],
        "
        0 add redis
          redis: add
          1: ok
          await redis
        1 requires a redis, start a
          a: updated
          2: ok
          await redis no longer
          spawn w1 redis/1
        ",
    );
}

#[test]
fn nobody_in_a_circle_starts_and_everybody_stops() {
    check(
        &[spec("a", 1), requires("b", &["a"])],
        "
        0 start b
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
        3 requires a b
          a: updated
          2: ok
        4 stop a
          signal w1 15
        5 ended w1
          a: reap 1
          a: stop
          3: ok
        6 stop b
          signal w2 15
        7 ended w2
          b: reap 1
          b: stop
          4: ok
        8 start a
          5: start failed
        8 why a
          Waiting, Dependency: waiting for b, which is waiting for a
        ",
    );
}

#[test]
fn what_is_required_from_now_on_counts_from_now_on() {
    check(
        &[spec("redis", 1), spec("web", 1)],
        "
        0 start redis
          spawn w1 redis/1
        0 start web
          spawn w2 web/1
        1 spawned w1, spawned w2
          redis: spawn 1
          redis: ready 1
          web: spawn 1
          web: ready 1
          redis: start
          1: ok
          web: start
          2: ok
        2 requires web redis
          web: updated
          3: ok
        3 stop redis
          signal w2 15
        4 requires web
          web: updated
          5: ok
          signal w1 15
        5 ended w2
          web: reap 1
          web: stop
          spawn w3 web/1
        ",
    );
}
