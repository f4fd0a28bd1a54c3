//! `circusctl --host` by way of a real sshd, in a container.
//!
//! The machine is its own other one: what differs is the way there.

mod common;

use std::process::Output;

use common::Container;

const SERVICE: &str = "
Type=notify
ExecStart=/usr/local/bin/circusd --config /etc/circusd/circusd.toml
RuntimeDirectory=circusd
Delegate=yes
DelegateSubgroup=supervisor";

/// Where a shell looks for it.
const PROGRAM: &str = "/usr/local/bin/circusctl";

/// Where none does.
const ELSEWHERE: &str = "/opt/circusctl";

/// A container in which a daemon and an sshd run, which root may enter by a key of his own.
fn machine() -> Option<Container> {
    let circusd = env!("CARGO_BIN_EXE_circusd");
    let circusctl = env!("CARGO_BIN_EXE_circusctl");
    let container = Container::boot_with(&[
        format!("--bind-ro={circusd}:/usr/local/bin/circusd"),
        format!("--bind-ro={circusctl}:{ELSEWHERE}"),
    ])?;
    container.succeed(&["ln", "--symbolic", ELSEWHERE, PROGRAM]);
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\n";
    container.write("/etc/circusd/circusd.toml", config);
    container.start_service("circusd.service", SERVICE);

    container.write("/etc/hosts", "127.0.0.1 localhost\n");
    let quietly = "StrictHostKeyChecking accept-new\nLogLevel ERROR\n";
    container.write("/root/.ssh/config", quietly);
    let key = "/root/.ssh/id_ed25519";
    container.succeed(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
    let public = format!("{key}.pub");
    container.succeed(&["cp", &public, "/root/.ssh/authorized_keys"]);
    container.succeed(&["systemctl", "unmask", "ssh.service"]);
    container.succeed(&["systemctl", "start", "ssh.service"]);
    Some(container)
}

fn on(container: &Container, host: &str, words: &[&str]) -> Output {
    container.run(&[&[ELSEWHERE, "--host", host], words].concat())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const THERE: &str = "root@localhost";

#[test]
fn another_machine_answers_as_if_it_were_this_one() {
    let Some(container) = machine() else { return };
    for words in [
        &["list", "w*"][..],
        &["get", "web", "numprocesses"],
        &["--json", "options", "web"],
    ] {
        let here = container.run(&[&[PROGRAM], words].concat());
        let there = on(&container, THERE, words);
        assert!(there.status.success(), "{words:?}: {there:?}");
        assert_eq!(here.stdout, there.stdout, "{words:?}");
    }
    let started = on(&container, THERE, &["incr", "web"]);
    assert!(started.status.success(), "{started:?}");
    let pids = container.succeed(&[PROGRAM, "list", "web"]);
    assert_eq!(pids.lines().count(), 3, "{pids}");
}

#[test]
fn what_goes_wrong_there_has_the_same_exit_code_here() {
    let Some(container) = machine() else { return };
    for words in [&["stop", "nobody"][..], &["validate", "/etc/hosts"]] {
        let here = container.run(&[&[PROGRAM], words].concat());
        let there = on(&container, THERE, words);
        assert!(!there.status.success(), "{words:?}: {there:?}");
        assert_eq!(here.status.code(), there.status.code(), "{words:?}");
        assert_eq!(told(&here), told(&there), "{words:?}");
    }
    container.succeed(&["systemctl", "stop", "circusd.service"]);
    let alone = on(&container, THERE, &["status"]);
    assert_eq!(alone.status.code(), Some(1), "{alone:?}");
}

#[test]
fn a_machine_that_cannot_be_reached_is_told_of() {
    let Some(container) = machine() else { return };
    let nowhere = on(&container, "root@nowhere.invalid", &["status"]);
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    assert!(told(&nowhere).contains("nowhere.invalid"), "{nowhere:?}");
    // Nobody else has that key.
    container.succeed(&["rm", "/root/.ssh/authorized_keys"]);
    let refused = on(&container, THERE, &["status"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(told(&refused).contains("ermission denied"), "{refused:?}");
}

#[test]
fn a_machine_without_circusctl_is_told_of() {
    let Some(container) = machine() else { return };
    container.succeed(&["rm", PROGRAM]);
    let without = on(&container, THERE, &["status"]);
    assert_eq!(without.status.code(), Some(1), "{without:?}");
    assert!(told(&without).contains(THERE), "{without:?}");
}
