//! Credentials that the service manager has given to circusd, handed on to its workers.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::facts::{line_of, pids, variable_of};
use common::{Container, Daemon, Home, eventually, skip};
use nix::unistd::geteuid;
use serde_json::json;

/// A worker that tells what it finds, and waits.
const TELLER: &str = "cd $CREDENTIALS_DIRECTORY && ls | paste -sd, > $OUT/names && cat $WHICH > \
                      $OUT/secret && exec sleep 1000";

/// Starts circusd with three credentials, as a service manager would.
fn start(home: &Arc<Home>) -> Daemon {
    let given = home.path("given");
    fs::create_dir_all(&given).expect("a directory can be made");
    for (name, secret) in [
        ("db", "secret\n"),
        ("tls.key", "key\n"),
        ("tls.crt", "crt\n"),
    ] {
        fs::write(given.join(name), secret).expect("it can be written");
    }
    home.start_with(|circusd| {
        circusd.env("CREDENTIALS_DIRECTORY", given);
    })
}

fn home(keys: &str, which: &str) -> Arc<Home> {
    let home = Home::new("");
    let out = home.path("out");
    fs::create_dir(&out).expect("a directory can be made");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).expect("it is ours");
    // Other users get there.
    fs::set_permissions(home.root(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    home.configure(&format!(
        "[watcher.web]\ncmd = [\"sh\", \"-c\", '{TELLER}']\ngraceful_timeout = 0\n\
         env = {{ OUT = \"{}\", WHICH = \"{which}\" }}\n{keys}\n",
        out.display()
    ));
    home
}

/// Where the one worker of `web` finds its credentials.
fn directory(daemon: &Daemon) -> PathBuf {
    let web = daemon.wait_until("web", |status| status["state"] == "active");
    let pid = pids(&web).first().copied().expect("it runs");
    variable_of(pid, "CREDENTIALS_DIRECTORY").into()
}

fn wait_gone(path: &Path) {
    eventually(&format!("{} is gone", path.display()), || {
        (!path.exists()).then_some(())
    });
}

#[test]
fn a_worker_finds_those_that_it_is_to_have_and_no_others() {
    let home = home("credentials = [\"tls.*\"]", "tls.key");
    let daemon = start(&home);
    let directory = directory(&daemon);
    assert_eq!(line_of(&home.path("out/secret")), "key");
    assert_eq!(line_of(&home.path("out/names")), "tls.crt,tls.key");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!(mode(&directory), 0o500);
    assert_eq!(mode(&directory.join("tls.key")), 0o400);
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    wait_gone(&directory);
}

#[test]
fn nothing_else_is_told_where_those_of_circusd_are() {
    let daemon = start(&home("copy_env = true\nautostart = false", ""));
    let script = "[watcher.web]\ncmd = \"sleep 1000\"\ncopy_env = true\ngraceful_timeout = 0\n";
    daemon.home().configure(script);
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    daemon
        .call("Start", json!({"watchers": "web"}))
        .expect("it starts");
    let web = daemon.wait_until("web", |status| status["state"] == "active");
    let pid = pids(&web).first().copied().expect("it runs");
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("it runs");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("CIRCUS_WATCHER=web"), "{environment}");
    assert!(
        !environment.contains("CREDENTIALS_DIRECTORY"),
        "{environment}"
    );
}

#[test]
fn one_that_circusd_does_not_have_is_said_by_its_name() {
    let home = home(
        "credentials = [\"db\", \"bd\", \"none.*\"]\nautostart = false",
        "db",
    );
    let daemon = start(&home);
    let refused = daemon
        .call("Start", json!({"watchers": "web"}))
        .expect_err("it cannot");
    let text = refused.parameters.to_string();
    let told = "looking for the credential 'bd': circusd was given none of this name";
    assert!(text.contains(told), "{text}");
    let parent = home
        .socket()
        .with_extension("sock.state")
        .join("credentials");
    assert!(!parent.exists(), "nothing was copied");
}

#[test]
fn a_worker_keeps_its_own_when_circusd_is_killed_and_no_others_stay() {
    let home = home("credentials = [\"db\"]", "db");
    let mut daemon = start(&home);
    let kept = directory(&daemon);
    daemon.kill();
    // Of one who has ended meanwhile.
    let stale = kept.with_file_name(format!(
        "{}99",
        kept.file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
    ));
    fs::create_dir(&stale).expect("it is ours");
    fs::write(stale.join("db"), "secret").expect("it is ours");
    let daemon = start(&home);
    assert_eq!(directory(&daemon), kept);
    let secret = fs::read_to_string(kept.join("db")).expect("it is still there");
    assert_eq!(secret, "secret\n");
    assert!(!stale.exists());
    daemon
        .call("Reload", json!({"watchers": "web"}))
        .expect("it works");
    wait_gone(&kept);
    assert_ne!(directory(&daemon), kept);
}

#[test]
fn they_are_for_the_user_of_the_worker() {
    if !geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    let home = home("credentials = [\"db\"]\nuid = \"nobody\"", "db");
    let daemon = start(&home);
    let directory = directory(&daemon);
    assert_eq!(line_of(&home.path("out/secret")), "secret");
    for path in [&directory, &directory.join("db")] {
        let found = fs::metadata(path).expect("root may look");
        assert_ne!(found.uid(), 0, "{}", path.display());
        assert_eq!(found.mode() & 0o077, 0, "{}", path.display());
    }
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    wait_gone(&directory);
}

#[test]
fn the_service_manager_gives_them_to_circusd_and_circusd_to_a_worker() {
    let Some(container) = Container::boot() else {
        return;
    };
    container.write(
        "/etc/circusd/circusd.toml",
        "[watcher.web]\ncredentials = [\"db.*\"]\nuid = \"nobody\"\nstdout = \"journal\"\n\
         cmd = [\"sh\", \"-c\", 'id -un; cat $CREDENTIALS_DIRECTORY/*; echo; exec sleep 1000']\n",
    );
    container.start_service(
        "circusd.service",
        "Type=notify-reload\nRuntimeDirectory=circusd\nKillMode=mixed\n\
         SetCredential=db.password:open sesame\nSetCredential=other:hidden\n\
         ExecStart=/usr/local/bin/circusd --config /etc/circusd/circusd.toml",
    );
    let records = container.wait_for_journal(&["SYSLOG_IDENTIFIER=web"], 2);
    let lines: Vec<_> = records.iter().map(|record| &record["MESSAGE"]).collect();
    assert_eq!(lines, ["nobody", "open sesame"]);
}
