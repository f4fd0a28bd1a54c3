//! The packages, and the units in them: what they hold, and what becomes of a machine that gets
//! one, upgrades it and loses it again.
//!
//! The machine is a container with a real systemd. What circusd does under systemd beyond being
//! installed, started and replaced is looked at elsewhere.

mod built;
#[path = "../common/mod.rs"]
mod common;
mod life;
mod rpm;
mod units;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use built::{ARCH, DEB, Format, RPM, checkout, has, run};
use common::facts::http_worker;
use common::{Container, Home, skip};
use serde_json::{Value, json};

const SOCKET: &str = "/run/circusd/circusd.sock";

/// Where the directory of the package is in the container.
pub(crate) const INSIDE: &str = "/mnt";

/// A container that can see the Debian package, and its file there; `None` after telling of a skip.
pub(crate) fn machine() -> Option<(Container, String)> {
    machine_for(&DEB)
}

/// The same with another kind of package. The HTTP worker of the examples is there, too.
pub(crate) fn machine_for(format: &Format) -> Option<(Container, String)> {
    let package = format.package()?;
    let directory = package.parent().expect("a file is in a directory");
    let bind = |from: &Path, to: &str| format!("--bind-ro={}:{to}", from.display());
    let container = Container::boot_with(&[
        bind(directory, INSIDE),
        bind(&http_worker(), "/usr/local/bin/http_worker"),
    ])?;
    Some((container, inside(package)))
}

pub(crate) fn inside(package: &Path) -> String {
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
        let directories = ["etc/circusd", "etc/circusd/conf.d", "var/lib/circusd"];
        rpm.retain(|path| !directories.contains(&path.as_str()));
        assert_eq!(rpm, deb);
    }
    if let Some(arch) = ARCH.package() {
        let listing = run("tar", &["-tzf".as_ref(), arch.as_ref()]);
        assert_eq!(contents(&listing), deb);
    }
}
