//! Each way in which circusd ends or is replaced, while a pool serves and writes.

use std::fs;

use crate::common::{eventually, put_program};
use crate::pool::{PROGRAM, Pool, runs_what_is_there};
use crate::{UNIT, kill_daemon};

#[test]
fn a_pool_does_not_notice_twenty_kills_in_a_row() {
    let Some(pool) = Pool::start("") else { return };
    for _ in 0..20 {
        pool.replace_daemon(|pool| kill_daemon(&pool.container, "KILL"));
    }
    assert_eq!(pool.container.property(UNIT, "NRestarts"), "20");
    let taken_over = pool
        .container
        .wait_for_journal(&["CIRCUS_ACTION=adopt", "CIRCUS_WATCHER=web"], 20 * 4);
    assert_eq!(taken_over.len(), 20 * 4, "once each time");
    pool.has_noticed_nothing();
}

#[test]
fn a_pool_does_not_notice_restarts() {
    let Some(pool) = Pool::start("") else { return };
    for _ in 0..5 {
        pool.replace_daemon(|pool| {
            pool.container.succeed(&["systemctl", "restart", UNIT]);
        });
    }
    pool.has_noticed_nothing();
}

#[test]
fn a_pool_does_not_notice_the_watchdog() {
    let Some(pool) = Pool::start("WatchdogSec=2s") else {
        return;
    };
    pool.replace_daemon(|pool| kill_daemon(&pool.container, "STOP"));
    let told = pool
        .container
        .journal(&["UNIT=circusd.service", "UNIT_RESULT=watchdog"]);
    assert!(!told.is_empty(), "it was the watchdog");
    pool.has_noticed_nothing();
}

fn install(pool: &Pool, program: &[u8]) {
    put_program(program, &pool.container.path(PROGRAM));
}

#[test]
fn a_pool_does_not_notice_a_new_build() {
    let Some(pool) = Pool::start("") else { return };
    let daemon = pool.daemon();
    let mut program = fs::read(pool.container.path(PROGRAM)).expect("it is there");
    for build in 1..=3 {
        // What lies behind the end of a program is nothing to it.
        program.push(build);
        install(&pool, &program);
        assert!(!runs_what_is_there(&pool));
        pool.container.succeed(&["circusctl", "reexec"]);
        pool.load.more(10);
        eventually("the new build runs", || {
            runs_what_is_there(&pool).then_some(())
        });
        pool.load.more(10);
    }
    assert_eq!(pool.daemon(), daemon);
    assert_eq!(pool.container.property(UNIT, "NRestarts"), "0");
    pool.has_noticed_nothing();
}

#[test]
fn a_build_that_is_broken_changes_nothing() {
    let Some(pool) = Pool::start("") else { return };
    let daemon = pool.daemon();
    let good = fs::read(pool.container.path(PROGRAM)).expect("it is there");
    for (broken, why) in [
        (
            &b"#!/bin/sh\necho 'not today' >&2\nexit 1\n"[..],
            "not today",
        ),
        // A download that broke off.
        (&good[..good.len() / 16], "circusd"),
    ] {
        install(&pool, broken);
        let reexec = pool.container.run(&["circusctl", "reexec"]);
        let said = String::from_utf8_lossy(&reexec.stderr).into_owned();
        assert_eq!(reexec.status.code(), Some(3), "{said}");
        assert!(said.contains(why), "{said}");
        pool.load.more(10);
    }
    assert_eq!(pool.daemon(), daemon);
    let pid = format!("_PID={daemon}");
    let told = pool.container.wait_for_journal(&[&pid, "PRIORITY=3"], 2);
    for record in &told {
        let text = record["MESSAGE"].as_str().expect("it is text");
        assert!(
            text.starts_with("not replaced by another program, going on"),
            "{text}"
        );
    }
    install(&pool, &good);
    pool.has_noticed_nothing();
}
