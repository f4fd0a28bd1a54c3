//! What nobody should send, configure or run: each ends in a clear error at the right place,
//! nothing is lost, nothing is stuck, and the daemon goes on.
//!
//! Every theme has its file. What a mistake in the configuration is told as is tested with the
//! configuration; here it is only met by the daemon.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod clients;
mod commands;
mod descriptors;
mod limits;
mod messages;
mod names;
mod output;
mod private;
mod processes;
mod startup;
mod subscribers;

use std::process::Output;

use common::Daemon;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// A watcher with one process that does nothing.
const SLEEPER: &str = r#"
[watcher.sleeper]
cmd = ["sleep", "infinity"]
"#;

/// What the daemon says of itself.
fn daemon_stats(daemon: &Daemon) -> Value {
    let reply = daemon.call("DaemonStats", json!({}));
    reply.expect("everyone may look")["stats"].clone()
}

/// The memory of the daemon that is not shared with others, in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let stats = daemon_stats(daemon);
    let bytes = stats["memory_rss"].as_u64().expect("a number");
    assert!(bytes > 0, "{stats}");
    bytes
}

/// The daemon serves a client that behaves, and its workers run.
fn assert_alive(daemon: &Daemon) {
    assert_eq!(daemon.status("sleeper")["state"], "active");
}

/// What a program that was run to its end complained of.
fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Lets this test program hold `wanted` descriptors; false where the machine does not allow it.
fn may_hold_descriptors(wanted: u64) -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit can be read");
    if hard < wanted {
        return false;
    }
    // Other tests may do the same at the same moment: all raise it, nobody lowers it.
    soft >= wanted || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok()
}
