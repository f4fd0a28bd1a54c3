//! The packages, and the units in them: what they hold, and what becomes of a machine that gets
//! one, upgrades it and loses it again.
//!
//! The machine is a container with a real systemd. What circusd does under systemd beyond being
//! installed, started and replaced is looked at elsewhere.

mod built;
#[path = "../common/mod.rs"]
mod common;
mod units;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use built::{ARCH, DEB, RPM, checkout, has, newer, run};
use common::{Container, Home, eventually, facts, skip};
use serde_json::{Value, json};

const SOCKET: &str = "/run/circusd/circusd.sock";

const CGROUP: &str = "/sys/fs/cgroup/system.slice/circusd.service";

/// Where the directory of the package is in the container.
const INSIDE: &str = "/mnt";

const POOL: &str = r#"
    [watcher.web]
    cmd = ["sleep", "1000"]
    numprocesses = 3
    uid = "nobody""#;

/// A container that can see the package, and its file there; `None` after telling of a skip.
pub(crate) fn machine() -> Option<(Container, String)> {
    let deb = DEB.package()?;
    let directory = deb.parent().expect("a file is in a directory");
    let container = Container::boot_with(&[format!("--bind-ro={}:{INSIDE}", directory.display())])?;
    Some((container, inside(deb)))
}

fn inside(package: &Path) -> String {
    let name = package.file_name().and_then(OsStr::to_str);
    format!("{INSIDE}/{}", name.expect("our own names are text"))
}

/// As an administrator would, without a question.
pub(crate) fn install(container: &Container, package: &str) {
    let apt = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "-y",
    ];
    container.succeed(&[&apt[..], &["install", package]].concat());
}

/// Gives circusd something to do, and has it read it.
pub(crate) fn configure(container: &Container, config: &str) {
    container.write("/etc/circusd/conf.d/pool.toml", config);
    container.succeed(&["systemctl", "reload", "circusd"]);
    container.succeed(&["circusctl", "start", "web"]);
}

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

pub(crate) fn status(container: &Container, watcher: &str) -> Value {
    let reply = container
        .connect(SOCKET)
        .call("Status", json!({ "watchers": watcher }));
    reply.expect("root may look")["watchers"][0].clone()
}

#[test]
fn the_debian_package_is_clean() {
    let Some(deb) = DEB.package() else { return };
    if !has("lintian") {
        return skip("no lintian");
    }
    let changes = fs::read_dir(deb.parent().expect("a file is in a directory"));
    let changes = changes
        .expect("it was made")
        .flatten()
        .map(|entry| entry.path());
    let changes: Vec<_> = changes
        .filter(|path| path.extension() == Some(OsStr::new("changes")))
        .collect();
    assert_eq!(changes.len(), 1, "{changes:?}");
    let arguments = [
        "--pedantic",
        "--fail-on=error,warning,info,pedantic",
        "--allow-root",
    ];
    let arguments = arguments.map(OsStr::new);
    run(
        "lintian",
        &[&arguments[..], &[changes[0].as_os_str()]].concat(),
    );
}

/// Every setting in it is commented out: in force they are right, too.
#[test]
fn the_examples_in_the_configuration_are_good() {
    let text = fs::read_to_string(checkout("packaging/circusd.toml")).expect("it is there");
    let set = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let config: Vec<String> = text.lines().map(set).collect();
    assert!(
        config.iter().filter(|line| line.starts_with('[')).count() > 4,
        "{config:#?}"
    );
    let home = Home::new(&config.join("\n"));
    let output = home.run_to_end(&["--check"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
}

/// What is in a package, under the one name that all of them could have for it: completions and
/// documentation have other places in other distributions, manual pages may be compressed.
fn contents(listing: &str) -> BTreeSet<String> {
    let path = |line: &str| {
        let path = line.strip_prefix("./").unwrap_or(line);
        let path = path.trim_start_matches('/');
        let path = path.trim_end_matches(".gz").to_owned();
        let path = match path.strip_prefix("lib/") {
            Some(rest) => format!("usr/lib/{rest}"),
            None => path,
        };
        path.replace("zsh/vendor-completions", "zsh/site-functions")
    };
    let of_ours = |path: &String| {
        let elsewhere = [
            "usr/share/doc",
            "usr/share/licenses",
            "usr/share/lintian",
            "usr/lib/.build-id",
        ];
        !path.starts_with('.') && !elsewhere.iter().any(|place| path.starts_with(place))
    };
    let files = listing.lines().map(path).filter(of_ours);
    files
        .filter(|path| !path.is_empty() && !path.ends_with('/'))
        .collect()
}

fn deb_contents(deb: &Path) -> BTreeSet<String> {
    let listing = run("dpkg-deb", &["--contents".as_ref(), deb.as_ref()]);
    let names: Vec<&str> = listing
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .collect();
    contents(&names.join("\n"))
}

#[test]
fn every_kind_of_package_holds_the_same() {
    let Some(deb) = DEB.package() else { return };
    let deb = deb_contents(deb);
    for page in fs::read_dir(checkout("man"))
        .expect("the pages are there")
        .flatten()
    {
        let name = page
            .file_name()
            .into_string()
            .expect("our own names are text");
        let section = name.rsplit('.').next().expect("a page has a section");
        let installed = format!("usr/share/man/man{section}/{name}");
        assert!(deb.contains(&installed), "no {installed} in {deb:#?}");
    }
    if let Some(rpm) = RPM.package() {
        let listing = run("rpm", &["-qpl".as_ref(), rpm.as_ref()]);
        // The directories are told like the files.
        let mut rpm = contents(&listing);
        rpm.retain(|path| !["etc/circusd", "etc/circusd/conf.d"].contains(&path.as_str()));
        assert_eq!(rpm, deb);
    }
    if let Some(arch) = ARCH.package() {
        let listing = run("tar", &["-tzf".as_ref(), arch.as_ref()]);
        assert_eq!(contents(&listing), deb);
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
    let catalog = checkout("systemd/circusd.catalog").exists();
    assert_eq!(
        container
            .path("/usr/lib/systemd/catalog/circusd.catalog")
            .exists(),
        catalog
    );
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
    let left = container.succeed(&[
        "find", "/", "-xdev", "(", "-path", INSIDE, "-o", "-path", "/proc", "-o", "-path",
        "/var/log", ")", "-prune", "-o", "-name", "*circus*", "-print",
    ]);
    assert_eq!(left, "");
    // systemd forgets a unit when it finds the time.
    eventually("nothing of it is left in memory", || {
        let find = ["find", "/run", "/sys/fs/cgroup", "-name", "*circus*"];
        container.succeed(&find).is_empty().then_some(())
    });
    assert!(
        !container
            .run(&["getent", "group", "circus"])
            .status
            .success()
    );
    assert!(
        !container
            .run(&["systemctl", "cat", "circusd.service"])
            .status
            .success()
    );
}

#[test]
fn an_upgrade_hands_the_workers_over() {
    let Some((container, package)) = machine() else {
        return;
    };
    let newer = newer(DEB.package().expect("it is installed next"));
    install(&container, &package);
    configure(&container, POOL);
    let before = facts::pids(&status(&container, "web"));
    let daemon = container.property("circusd.service", "MainPID");
    install(&container, &inside(&newer));
    container.succeed(&["circusctl", "status"]);
    assert_eq!(facts::pids(&status(&container, "web")), before);
    assert_eq!(container.property("circusd.service", "MainPID"), daemon);
    assert_eq!(
        container.property("circusd.service", "ActiveState"),
        "active"
    );

    // Who has stopped it does not want it back.
    container.succeed(&["systemctl", "stop", "circusd"]);
    container.succeed(&["dpkg", "--install", &package]);
    assert_eq!(
        container.property("circusd.service", "ActiveState"),
        "inactive"
    );
}
