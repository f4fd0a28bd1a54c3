//! `reload_on_change`: the files change, and nobody has to say so.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use common::facts::{pids, text_of, told_until_now, topics, wait_for_text};
use common::{Daemon, Events, Home};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const ON: &str = "[circusd]\nreload_on_change = true\n";

/// A file with a watcher of this name.
fn watcher(name: &str) -> String {
    format!("[watcher.{name}]\ncmd = 'sleep 1000'\ngraceful_timeout = 0\n")
}

/// As [`ON`], with more files.
fn including(patterns: &str) -> String {
    format!("{ON}include = [{patterns}]\n{}", watcher("web"))
}

/// Writes a file as a shell does, in place.
fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it can be written");
    // What others could write, root does not take.
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("its own file");
}

/// Starts, and hears of all that happens from then on.
fn start(home: &Arc<Home>) -> (Daemon, Events) {
    let daemon = home.start();
    let events = daemon.subscribe();
    (daemon, events)
}

/// Waits until a watcher of this name was added.
fn wait_added(events: &mut Events, name: &str) {
    events.wait(&format!("watcher.{name}.add"));
}

/// How many descriptors the daemon has by which it hears of files.
fn inotifies(daemon: &Daemon) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it is our child");
    let targets = open.flatten().map(|entry| fs::read_link(entry.path()));
    let ours = targets.filter(|target| {
        let target = target.as_deref().unwrap_or(Path::new(""));
        target.as_os_str() == "anon_inode:inotify"
    });
    ours.count()
}

fn names(daemon: &Daemon) -> Vec<String> {
    let reply = daemon.call("List", json!({})).expect("everyone may look");
    serde_json::from_value(reply["watchers"].clone()).expect("a list of names")
}

#[test]
fn a_file_that_is_written_in_place_or_replaced_is_read_again() {
    let home = Home::new(&(ON.to_owned() + &watcher("web")));
    let (daemon, mut events) = start(&home);
    let web = pids(&daemon.status("web"));
    let file = home.path("etc/circusd.toml");

    write(&file, &[ON, &watcher("web"), &watcher("second")].concat());
    wait_added(&mut events, "second");
    // As editors and `configure` do.
    home.configure(&[ON, &watcher("web"), &watcher("third")].concat());
    wait_added(&mut events, "third");
    events.wait("watcher.second.remove");
    fs::rename(&file, home.path("etc/backup~")).expect("it can be moved");
    home.configure(&[ON, &watcher("web"), &watcher("fourth")].concat());
    wait_added(&mut events, "fourth");
    assert_eq!(pids(&daemon.status("web")), web, "it has not changed");
}

#[test]
fn files_come_to_an_included_directory_and_go() {
    let home = Home::new(&including("'/nowhere/at/all/*.toml', '../*.d/*.toml'"));
    let (daemon, mut events) = start(&home);
    let more = home.path("more.d");
    // Neither it nor conf.d was there.
    fs::create_dir(&more).expect("it can be made");
    write(&more.join("b.toml"), &watcher("b"));
    wait_added(&mut events, "b");
    let drop_ins = home.path("etc/conf.d");
    fs::create_dir(&drop_ins).expect("it can be made");
    write(&drop_ins.join("c.toml"), &watcher("c"));
    wait_added(&mut events, "c");
    fs::remove_file(more.join("b.toml")).expect("it is there");
    events.wait("watcher.b.remove");
    fs::remove_dir_all(drop_ins).expect("it is there");
    events.wait("watcher.c.remove");
    assert_eq!(names(&daemon), ["web"]);
}

#[test]
fn a_directory_that_a_link_leads_to_is_exchanged_at_once() {
    let home = Home::new(&including("'../now/*.toml'"));
    for version in ["v1", "v2"] {
        fs::create_dir(home.path(version)).expect("it can be made");
        let file = home.path(version).join("a.toml");
        write(&file, &watcher(version));
    }
    symlink("v1", home.path("now")).expect("a link can be made");
    let (_daemon, mut events) = start(&home);
    symlink("v2", home.path("next")).expect("a link can be made");
    fs::rename(home.path("next"), home.path("now")).expect("it can be replaced");
    wait_added(&mut events, "v2");
    write(&home.path("v2/b.toml"), &watcher("b"));
    wait_added(&mut events, "b");
}

#[test]
fn a_mistake_is_told_once_and_mended_where_it_was_or_where_something_was_missing() {
    let home = Home::new(&(ON.to_owned() + &watcher("web")));
    let (daemon, mut events) = start(&home);
    home.configure("nonsense");
    let error = events.wait("circusd.config_error");
    let told = error["data"]["error"].as_str().expect("a sentence");
    assert!(told.contains("circusd.toml:1:"), "{told}");
    assert_eq!(names(&daemon), ["web"]);

    // What is missing is in a directory that nobody has heard of before.
    fs::create_dir(home.path("other")).expect("it can be made");
    home.configure(&including("'../other/missing.toml'"));
    let error = events.wait("circusd.config_error");
    let told = error["data"]["error"].as_str().expect("a sentence");
    assert!(told.contains("no such file"), "{told}");
    write(&home.path("other/missing.toml"), &watcher("found"));
    wait_added(&mut events, "found");
    assert_eq!(names(&daemon), ["web", "found"]);
    let log = daemon.log();
    assert_eq!(log.matches("is refused").count(), 2, "{log}");
}

#[test]
fn the_file_of_an_environment_is_one_of_them() {
    let home = Home::new(&format!(
        "{ON}[watcher.web]\ncmd = ['sh', '-c', 'echo $COLOUR >> $HOME/colours; exec sleep 1000']\n\
         env_file = 'colour.env'\ngraceful_timeout = 0\n"
    ));
    write(&home.path("etc/colour.env"), "COLOUR=red\n");
    let (_daemon, _events) = start(&home);
    let colours = home.path("colours");
    wait_for_text(&colours, "red\n");
    write(&home.path("etc/colour.env"), "COLOUR=blue\n");
    wait_for_text(&colours, "blue\n");
    assert_eq!(text_of(&colours), "red\nblue\n");
}

#[test]
fn nothing_is_read_anew_of_which_nothing_has_changed() {
    let config = ON.to_owned() + &watcher("web");
    let home = Home::new(&config);
    let (daemon, mut events) = start(&home);
    // The same once more, and what an editor leaves beside it.
    home.configure(&config);
    write(&home.path("etc/.circusd.toml.swp"), "b0VIM");
    write(&home.path("etc/notes.toml"), "not one of them");
    home.configure(&(config + &watcher("second")));
    wait_added(&mut events, "second");
    let told = told_until_now(&daemon, &mut events);
    assert!(!topics(&told).contains(&"circusd.reloading"), "{told:?}");
    let log = daemon.log();
    assert_eq!(
        log.matches("have changed, and are read").count(),
        1,
        "{log}"
    );
}

#[test]
fn many_changes_at_once_are_few_reloads() {
    let home = Home::new(&(ON.to_owned() + &watcher("web")));
    fs::create_dir(home.path("etc/conf.d")).expect("it can be made");
    let (daemon, mut events) = start(&home);
    for number in 0..100 {
        let file = home.path(&format!("etc/conf.d/{number:03}.toml"));
        write(&file, &watcher(&format!("w{number:03}")));
    }
    wait_added(&mut events, "w099");
    let log = daemon.log();
    let reloads = log.matches("have changed, and are read").count();
    assert!((1..=20).contains(&reloads), "{reloads}");
}

#[test]
fn it_is_turned_on_and_off_while_circusd_runs() {
    let home = Home::new(&watcher("web"));
    let (daemon, mut events) = start(&home);
    let config = |on: bool, name: &str| {
        home.configure(&[if on { ON } else { "" }, &watcher(name)].concat());
    };
    assert_eq!(inotifies(&daemon), 0, "nobody has asked for it");
    config(true, "first");
    daemon.signal(Signal::SIGHUP);
    wait_added(&mut events, "first");
    config(true, "second");
    wait_added(&mut events, "second");
    assert_eq!(inotifies(&daemon), 1);
    config(false, "third");
    wait_added(&mut events, "third");
    assert_eq!(inotifies(&daemon), 0);

    config(false, "fourth");
    let settings = daemon.call(
        "GetSettings",
        json!({"names": ["circusd.reload_on_change"]}),
    );
    let settings = settings.expect("everyone may look");
    assert_eq!(settings["settings"][0]["value"], json!(false), "{settings}");
    assert_eq!(names(&daemon), ["third"]);
    let reply: Value = daemon.call("ReloadConfig", json!({})).expect("it is right");
    assert_eq!(reply["changes"].as_array().map(Vec::len), Some(2));
}
