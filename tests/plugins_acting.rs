//! The plugins that act on watchers, against what they are to notice.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::facts::pids;
use common::{Events, Home};
use serde_json::json;

/// Puts a program there as an installer does: whole, and with one move.
fn install(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file can be written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it may be run");
    fs::rename(&new, path).expect("it can be moved");
}

const PROGRAM: &str = "#!/bin/sh\nexec sleep 1000 # ";

fn started(events: &mut Events, watcher: &str) {
    events.wait(&format!("watcher.{watcher}.start"));
}

#[test]
fn a_watcher_is_restarted_when_its_program_is_replaced() {
    let home = Home::new("");
    install(&home.path("server"), &format!("{PROGRAM}1"));
    fs::create_dir_all(home.path("releases/1")).expect("a directory can be made");
    fs::create_dir_all(home.path("releases/2")).expect("a directory can be made");
    for release in ["1", "2"] {
        install(
            &home.path(&format!("releases/{release}/linked")),
            &format!("{PROGRAM}{release}"),
        );
    }
    symlink("releases/1", home.path("current")).expect("a link can be made");
    let root = home.root().display();
    home.configure(&format!(
        "[watcher.direct]\ncmd = \"{root}/server\"\n\
         [watcher.linked]\ncmd = \"current/linked\"\nworking_dir = \"{root}\"\n\
         [watcher.searched]\ncmd = \"server -x\"\nenv = {{ PATH = \"{root}:/usr/bin:/bin\" }}\n\
         [watcher.other]\ncmd = \"sleep 1000\"\n\
         [watcher.stopped]\ncmd = \"{root}/server\"\nautostart = false\n\
         [plugin.reload]\nuse = \"command_reloader\"\nloop_rate = \"50ms\"\n"
    ));
    let daemon = home.start();
    let other = pids(&daemon.status("other"));
    // It looks at the watchers when they have started: what happens before that is no change.
    common::eventually("it has looked", || {
        let log = daemon.status("plugin:reload");
        let pid = pids(&log).first().copied()?;
        watches(pid).then_some(())
    });
    let mut events = daemon.subscribe();
    install(&home.path("server"), &format!("{PROGRAM}2"));
    let mut restarted = [(); 2].map(|()| events.wait("watcher.*.start")["watcher"].clone());
    restarted.sort_by_key(ToString::to_string);
    assert_eq!(restarted, ["direct", "searched"]);

    fs::remove_file(home.path("current")).expect("a link can be removed");
    symlink("releases/2", home.path("current")).expect("a link can be made");
    started(&mut events, "linked");
    assert_eq!(pids(&daemon.status("other")), other);
    assert_eq!(daemon.status("stopped")["state"], "stopped");
}

/// Whether a process watches directories.
fn watches(pid: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return false;
    };
    descriptors
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .any(|info| {
            info.lines()
                .filter(|line| line.starts_with("inotify"))
                .count()
                > 2
        })
}

#[test]
fn a_watcher_can_be_reloaded_instead() {
    let home = Home::new("");
    install(&home.path("server"), &format!("{PROGRAM}1"));
    let root = home.root().display();
    home.configure(&format!(
        "[watcher.web]\ncmd = \"{root}/server\"\nnumprocesses = 2\n\
         [plugin.reload]\nuse = \"command_reloader\"\nloop_rate = \"50ms\"\naction = \"reload\"\n"
    ));
    let daemon = home.start();
    common::eventually("it has looked", || {
        let pid = pids(&daemon.status("plugin:reload")).first().copied()?;
        watches(pid).then_some(())
    });
    let before = pids(&daemon.status("web"));
    let mut events = daemon.subscribe();
    install(&home.path("server"), &format!("{PROGRAM}2"));
    let reload = events.wait_where("watcher.web.reload", |data| data["pids"] != json!([]));
    let after = pids(&daemon.status("web"));
    assert!(before.is_disjoint(&after), "{reload}");
}
