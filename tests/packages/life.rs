//! The life of the Debian package in a machine: installed, used, upgraded, removed.

use circusd::api::action::ACTIONS;

use crate::built::{DEB, newer};
use crate::common::load::Load;
use crate::common::{Container, eventually, facts};
use crate::{INSIDE, SOCKET, configure, inside, install, machine, status};

pub(crate) const CGROUP: &str = "/sys/fs/cgroup/system.slice/circusd.service";

const POOL: &str = r#"
    [watcher.web]
    cmd = ["sleep", "1000"]
    numprocesses = 3
    uid = "nobody""#;

/// The same, and it serves.
pub(crate) const SERVING: &str = r#"
    [socket.http]
    host = "127.0.0.1"
    port = 8080
    [watcher.web]
    cmd = ["http_worker", "--listen-fds"]
    use_sockets = ["http"]
    numprocesses = 3
    uid = "nobody""#;

pub(crate) const PORT: u16 = 8080;

/// Runs `circusctl` as this user, with all groups that are his.
fn circusctl_as(container: &Container, user: &str, arguments: &[&str]) -> Result<(), String> {
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    let setpriv = ["setpriv", &uid, &gid, "--init-groups", "circusctl"];
    let output = container.run(&[&setpriv, arguments].concat());
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn an_installed_package_serves_root_and_the_group() {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    for unit in ["circusd.service", "circusd.socket"] {
        assert_eq!(container.property(unit, "ActiveState"), "active", "{unit}");
        assert_eq!(
            container.property(unit, "UnitFileState"),
            "enabled",
            "{unit}"
        );
    }
    let socket = container.succeed(&["stat", "--format=%A %U %G", SOCKET]);
    assert_eq!(socket.trim(), "srw-rw---- root circus");
    configure(&container, POOL);

    container.succeed(&["useradd", "--groups=circus", "alice"]);
    container.succeed(&["useradd", "bob"]);
    container.succeed(&["circusctl", "status"]);
    for command in [&["status"][..], &["incr", "web"], &["restart", "web"]] {
        assert_eq!(
            circusctl_as(&container, "alice", command),
            Ok(()),
            "{command:?}"
        );
    }
    let refused = circusctl_as(&container, "alice", &["set", "web", "numprocesses=9"]);
    let refused = refused.expect_err("that is for administrators");
    assert!(refused.contains("[access]"), "{refused}");
    let refused = circusctl_as(&container, "bob", &["status"]);
    let refused = refused.expect_err("the socket is not for others");
    assert!(refused.contains("ermission denied"), "{refused}");

    // The service alone: a client would start it again, as with every socket of systemd's.
    container.succeed(&["systemctl", "stop", "circusd.socket"]);
    for unit in ["circusd.service", "circusd.socket"] {
        assert_eq!(
            container.property(unit, "ActiveState"),
            "inactive",
            "{unit}"
        );
    }
    assert!(!container.path(CGROUP).exists(), "workers end with it");
    container.succeed(&["systemctl", "start", "circusd"]);
    container.succeed(&["circusctl", "status"]);
}

/// How many of our records `journalctl -x` explains.
pub(crate) fn explained(container: &Container) -> usize {
    let catalog = container.succeed(&["journalctl", "--list-catalog"]);
    let ids = ACTIONS.iter().map(|action| action.message.id);
    ids.filter(|id| catalog.contains(id)).count()
}

#[test]
fn what_a_user_looks_for_is_in_place() {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    configure(&container, POOL);
    eventually("all is well, and told", || {
        let told = container.run(&["systemctl", "status", "circusd"]).stdout;
        let told = String::from_utf8_lossy(&told).into_owned();
        let text = "Status: \"3 of 3 processes of 1 watcher\"";
        told.contains(text).then_some(())
    });
    // "man:circusd(8)" "man:circusctl(1)"
    let documentation = container.property("circusd.service", "Documentation");
    for named in documentation.split(' ') {
        let named = named.trim_matches('"').strip_prefix("man:");
        let (page, section) = named
            .and_then(|page| page.strip_suffix(')')?.split_once('('))
            .unwrap_or_else(|| panic!("not a page: {named:?}"));
        let path = format!("/usr/share/man/man{section}/{page}.{section}.gz");
        assert!(container.path(&path).exists(), "{path}");
    }
    for program in ["circusctl", "circusd", "circus-plugin"] {
        let script = format!("/usr/share/bash-completion/completions/{program}");
        let complete = format!(". {script} && complete -p {program}");
        container.succeed(&["bash", "-c", &complete]);
    }
    assert_eq!(explained(&container), ACTIONS.len());
}

/// Files of the package or of circusd that are still there, but for what is kept in memory.
pub(crate) fn left(container: &Container) -> String {
    container.succeed(&[
        "find", "/", "-xdev", "(", "-path", INSIDE, "-o", "-path", "/proc", "-o", "-path",
        "/var/log", ")", "-prune", "-o", "-name", "*circus*", "-print",
    ])
}

/// Nothing runs or is kept any more, and systemd has forgotten the unit when it finds the time.
pub(crate) fn is_forgotten(container: &Container) {
    eventually("nothing of it is left in memory", || {
        let find = ["find", "/run", "/sys/fs/cgroup", "-name", "*circus*"];
        container.succeed(&find).is_empty().then_some(())
    });
    assert_eq!(explained(container), 0);
    let unit = container.run(&["systemctl", "cat", "circusd.service"]);
    assert!(!unit.status.success());
}

#[test]
fn a_purge_leaves_nothing() {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    configure(&container, POOL);
    container.succeed(&["dpkg", "--remove", "circusd"]);
    assert!(
        container.path("/etc/circusd/circusd.toml").exists(),
        "it may be installed again"
    );
    assert!(!container.path(CGROUP).exists(), "workers end with it");

    // What the administrator has written is his.
    container.succeed(&["rm", "/etc/circusd/conf.d/pool.toml"]);
    container.succeed(&["dpkg", "--purge", "circusd"]);
    assert_eq!(left(&container), "");
    is_forgotten(&container);
    let group = container.run(&["getent", "group", "circus"]);
    assert!(!group.status.success());
}

/// Upgrades by `upgrade` while the pool serves; nobody notices, and the new program runs.
pub(crate) fn nobody_notices(container: &Container, upgrade: impl FnOnce()) {
    configure(container, SERVING);
    let before = facts::pids(&status(container, "web"));
    let daemon = container.property("circusd.service", "MainPID");
    let load = Load::in_network(&container.network(), PORT);
    load.more(50);
    upgrade();
    load.more(50);
    assert_eq!(facts::pids(&status(container, "web")), before);
    let failed = load.failed();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(container.property("circusd.service", "MainPID"), daemon);
    let program = container.succeed(&["readlink", &format!("/proc/{daemon}/exe")]);
    assert_eq!(program.trim(), "/usr/bin/circusd", "and not a deleted one");
    let state = container.property("circusd.service", "ActiveState");
    assert_eq!(state, "active");
}

#[test]
fn an_upgrade_hands_the_workers_over() {
    let Some((container, package)) = machine() else {
        return;
    };
    let newer = newer(DEB.package().expect("it is installed next"));
    install(&container, &package);
    nobody_notices(&container, || install(&container, &inside(&newer)));

    // Who has stopped it does not want it back.
    container.succeed(&["systemctl", "stop", "circusd"]);
    container.succeed(&["dpkg", "--install", &package]);
    assert_eq!(
        container.property("circusd.service", "ActiveState"),
        "inactive"
    );
}

/// A restart in its place would find the mistake, too, and the workers would be left without a daemon.
#[test]
fn an_upgrade_over_a_mistake_in_the_configuration_leaves_the_daemon_as_it_is() {
    let Some((container, package)) = machine() else {
        return;
    };
    install(&container, &package);
    configure(&container, POOL);
    let daemon = container.property("circusd.service", "MainPID");
    let before = facts::pids(&status(&container, "web"));
    container.write(
        "/etc/circusd/conf.d/pool.toml",
        "[watcher.web]\ncmd = = 1\n",
    );
    let output = container.run(&["dpkg", "--install", &package]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("pool.toml:2:7"), "{said}");
    assert!(said.contains("goes on as the old program"), "{said}");
    assert_eq!(container.property("circusd.service", "MainPID"), daemon);
    assert_eq!(facts::pids(&status(&container, "web")), before);
}
