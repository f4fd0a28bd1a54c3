//! Who may do what, by the credentials that the kernel tells; and a daemon that is not root's.
//!
//! To be somebody else one must be root: without that, all here is skipped.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::sync::Arc;

use common::facts::{line_of, pids, runs};
use common::{Daemon, Home, copy_program, skip};
use nix::unistd::geteuid;
use serde_json::{Value, json};

/// Nobody; there is no other user whose number is the same everywhere.
const NOBODY: u32 = 65534;

/// A home that nobody may enter, and a daemon in it to whose socket everybody may connect.
fn open_daemon(access: &str) -> Option<Daemon> {
    if !geteuid().is_root() {
        skip("only root can be somebody else");
        return None;
    }
    let home = Home::new(&format!(
        "[circusd]\nsocket_mode = '0666'\n{access}\n[watcher.web]\ncmd = 'sleep 1000'\n"
    ));
    fs::set_permissions(home.root(), fs::Permissions::from_mode(0o711)).expect("it is ours");
    Some(home.start())
}

/// Runs a command as nobody.
fn as_nobody(mut command: Command) -> Output {
    // Where nobody may go, whatever the tests were started in.
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    common::output(command)
}

/// Where a program is that everybody may run: a checkout may be where only its owner can enter.
fn program_for_all(home: &Home, program: &str) -> std::path::PathBuf {
    let copy = home.path(program);
    let built = match program {
        "circusd" => env!("CARGO_BIN_EXE_circusd"),
        _ => env!("CARGO_BIN_EXE_circusctl"),
    };
    copy_program(built, &copy);
    copy
}

/// What `circusctl` says to nobody: nothing wrong, or the name of the error.
fn outcome(daemon: &Daemon, program: &std::path::Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .env_clear()
        .arg("--socket")
        .arg(daemon.home().socket())
        .arg("--json")
        .args(arguments);
    let output = as_nobody(command);
    if output.status.success() {
        return "granted".to_owned();
    }
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let error: Value = serde_json::from_slice(&output.stdout).expect("a document");
    error["error"].as_str().expect("a name").to_owned()
}

const DENIED: &str = "org.varlink.service.PermissionDenied";
const OBSERVE: &[&str] = &["status"];
const OPERATE: &[&str] = &["restart", "web"];
const ADMIN: &[&str] = &["set", "web", "graceful_timeout=5s"];
const QUIT: &[&str] = &["quit"];

/// What nobody may do with these rules: observing, operating, administrating.
fn check(access: &str, expected: [&str; 3]) {
    let Some(daemon) = open_daemon(access) else {
        return;
    };
    let program = program_for_all(daemon.home(), "circusctl");
    let before = pids(&daemon.status("web"));
    let told = [OBSERVE, OPERATE, ADMIN].map(|arguments| outcome(&daemon, &program, arguments));
    assert_eq!(told, expected, "{access}");
    if expected[1] == DENIED {
        assert_eq!(pids(&daemon.status("web")), before);
        assert!(
            daemon.log().contains("65534"),
            "a denial is told in the log"
        );
    }
    if expected[2] == DENIED {
        assert_eq!(outcome(&daemon, &program, QUIT), DENIED);
        assert_eq!(
            outcome(&daemon, &program, &["add", "x", "--", "true"]),
            DENIED
        );
        assert_eq!(outcome(&daemon, &program, &["reloadconfig"]), DENIED);
        assert_eq!(outcome(&daemon, &program, &["rm", "web"]), DENIED);
    }
    // Root may do everything.
    assert!(daemon.ctl(ADMIN).status.success());
}

#[test]
fn who_may_connect_may_observe_and_no_more() {
    check("", ["granted", DENIED, DENIED]);
}

#[test]
fn an_operator_may_act_and_not_change() {
    check(
        "[access]\noperate = ['nobody']",
        ["granted", "granted", DENIED],
    );
    check(
        "[access]\noperate = ['65534']",
        ["granted", "granted", DENIED],
    );
}

#[test]
fn an_admin_may_do_everything() {
    check(
        "[access]\nadmin = ['nobody', 'root']",
        ["granted", "granted", "granted"],
    );
}

#[test]
fn everybody_is_everybody() {
    check("[access]\noperate = ['*']", ["granted", "granted", DENIED]);
}

#[test]
fn who_may_not_even_observe_is_told_nothing() {
    check("[access]\nobserve = ['root']", [DENIED, DENIED, DENIED]);
}

#[test]
fn the_socket_is_not_open_to_all_unless_that_is_configured() {
    if !geteuid().is_root() {
        return skip("only root can be somebody else");
    }
    let home = Home::new("[watcher.web]\ncmd = 'sleep 1000'\n");
    fs::set_permissions(home.root(), fs::Permissions::from_mode(0o711)).expect("it is ours");
    let daemon = home.start();
    let mut command = Command::new(program_for_all(&home, "circusctl"));
    command
        .env_clear()
        .arg("--socket")
        .arg(home.socket())
        .arg("status");
    assert_eq!(as_nobody(command).status.code(), Some(1));
    drop(daemon);
}

/// A home of nobody, where nobody's daemon may live.
fn home_of_nobody(config: &str) -> Arc<Home> {
    let home = Home::new(config);
    for path in [
        home.path("etc/circusd.toml"),
        home.path("etc"),
        home.root().to_owned(),
    ] {
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may give away");
    }
    home
}

#[test]
fn a_daemon_of_an_ordinary_user_does_its_work() {
    if !geteuid().is_root() {
        return skip(
            "only root can be somebody else; the other tests are run as an ordinary user here",
        );
    }
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "(setsid sh -c 'id -u > $HOME/uid; exec sleep 1000' &); exec sleep 1000"]
        graceful_timeout = "200ms"
        numprocesses = 2
        [watcher.other]
        cmd = "sleep 1000"
        uid = "root"
        max_retry = 0"#;
    let home = home_of_nobody(config);
    let program = program_for_all(&home, "circusd");
    let mut daemon = home.start_with(|circusd| {
        let mut own = Command::new(&program);
        own.env_clear();
        for (name, value) in circusd.get_envs() {
            own.env(name, value.expect("nothing is removed"));
        }
        chown(home.notify_socket(), Some(NOBODY), Some(NOBODY)).expect("root may give away");
        own.args(circusd.get_args())
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/");
        own.stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null());
        let log = fs::File::options()
            .append(true)
            .open(home.path("circusd.log"));
        own.stderr(log.expect("the log is there"));
        *circusd = own;
    });
    assert_eq!(line_of(&home.path("uid")), "65534");
    // It cannot become root, and says so.
    let status = daemon.wait_until("other", |status| status["state"] == "failed");
    assert!(
        status["reason"]["text"]
            .to_string()
            .contains("not permitted"),
        "{status}"
    );
    let before = daemon.wait_until("web", |status| pids(status).len() == 2);
    let mut events = daemon.subscribe();
    daemon
        .call(
            "Signal",
            json!({"watcher": "web", "wid": 1, "signal": "KILL"}),
        )
        .expect("it is its own");
    events.wait("watcher.web.spawn");
    assert!(daemon.ctl(&["restart", "web"]).status.success());
    assert!(!pids(&before).into_iter().any(runs));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_name_that_nobody_has_is_told_at_the_start() {
    let daemon = Daemon::start(
        "[access]\nadmin = ['*', 'nobody-has-this']\noperate = ['@circus', '@nobodies', 0]\n",
    );
    let log = daemon.log();
    for (key, name) in [("admin", "nobody-has-this"), ("operate", "nobodies")] {
        let told = log
            .lines()
            .find(|line| line.contains(&format!("access.{key}: ")));
        assert!(told.is_some_and(|line| line.contains(name)), "{log}");
    }
    assert!(
        !log.contains("@circus") && !log.contains("'circus'"),
        "{log}"
    );
}
