//! The plugins that act on watchers, against what they are to notice.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use common::facts::{pid_of, pids, wait_for_text};
use common::{Daemon, Events, Home, skip};
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

#[test]
fn a_program_that_was_replaced_while_circusd_was_away_is_run_when_it_is_back() {
    let home = Home::new("");
    install(&home.path("server"), &format!("{PROGRAM}1"));
    let root = home.root().display();
    home.configure(&format!(
        "[watcher.web]\ncmd = \"{root}/server\"\n\
         [plugin.reload]\nuse = \"command_reloader\"\nloop_rate = \"50ms\"\n\
         [plugin.reload.watcher]\npriority = 1\n"
    ));
    // The plugin starts last, and has no reason to look twice.
    let mut daemon = home.start();
    common::eventually("it has looked", || {
        let pid = pids(&daemon.status("plugin:reload")).first().copied()?;
        watches(pid).then_some(())
    });
    let before = pids(&daemon.status("web"));
    daemon.kill();
    install(&home.path("server"), &format!("{PROGRAM}2"));
    wait_for_text(&home.path("circusd.log"), "has changed: cannot reach");
    let daemon = home.start();
    daemon.wait_until("web", |status| {
        status["state"] == "active" && pids(status).is_disjoint(&before)
    });
}

/// The plugin that looks after `web`, with these limits.
fn resource_watcher(watcher: &str, limits: &str) -> String {
    format!(
        "{watcher}[plugin.limits]\nuse = \"resource_watcher\"\nwatchers = \"web\"\n\
         loop_rate = \"100ms\"\nmax_count = 2\n{limits}"
    )
}

/// Two processes of which the second does something that the first does not.
fn pair(second: &str) -> String {
    format!(
        "[watcher.web]\nnumprocesses = 2\n\
         cmd = ['sh', '-c', 'test $(circus.wid) != 2 || {{ {second}; }}; exec sleep 1000']\n"
    )
}

fn killed(events: &mut Events) -> serde_json::Value {
    events.wait_where("watcher.web.kill", |data| data["by"] == "operator")["data"]["wid"].clone()
}

#[test]
fn only_the_process_that_burns_cpu_is_replaced() {
    let config = resource_watcher(&pair("while :; do :; done"), "max_cpu = 15\n");
    let daemon = Daemon::start(&config);
    let idle = daemon.status("web")["processes"][0]["pid"].clone();
    let mut events = daemon.subscribe();
    // It burns again, and is replaced again.
    for _ in 0..2 {
        assert_eq!(killed(&mut events), 2);
        events.wait_where("watcher.web.spawn", |data| data["wid"] == 2);
    }
    assert_eq!(daemon.status("web")["processes"][0]["pid"], idle);
}

#[test]
fn a_process_that_holds_too_much_memory_is_replaced_or_one_that_holds_too_little() {
    // 32 MB in a variable of the shell; what one of them has by itself is about one.
    let second =
        "x=$(head -c 32000000 /dev/zero | tr \"\\\\0\" x); while :; do sleep 1; done; echo $x";
    for (limit, expected) in [
        ("max_mem = \"16M\"", 2),
        ("max_mem = 0\nmin_mem = \"16M\"", 1),
    ] {
        let limits = format!("max_cpu = 0\nhealth_threshold = 0\n{limit}\n");
        let daemon = Daemon::start(&resource_watcher(&pair(second), &limits));
        let mut events = daemon.subscribe();
        // The second is small at first, too, but it was started, and is looked at, after the first.
        assert_eq!(killed(&mut events), expected, "{limit}");
    }
}

#[test]
fn a_process_that_does_too_little_is_replaced_and_so_is_one_that_does_much_of_everything() {
    let burns = "while :; do :; done";
    for (limit, expected) in [
        ("health_threshold = 0\nmin_cpu = 2", 1),
        ("health_threshold = 5", 2),
    ] {
        let limits = format!("max_cpu = 0\nmax_mem = 0\n{limit}\n");
        let daemon = Daemon::start(&resource_watcher(&pair(burns), &limits));
        let mut events = daemon.subscribe();
        assert_eq!(killed(&mut events), expected, "{limit}");
    }
}

#[test]
fn the_whole_watcher_can_be_restarted_instead() {
    let config = resource_watcher(
        &pair("while :; do :; done"),
        "max_cpu = 15\nrestart = \"watcher\"\n",
    );
    let daemon = Daemon::start(&config);
    let before = pids(&daemon.status("web"));
    let mut events = daemon.subscribe();
    events.wait("watcher.web.stop");
    started(&mut events, "web");
    assert!(before.is_disjoint(&pids(&daemon.status("web"))));
}

/// A worker with a child that does nothing and one that burns CPU, of which there is another as soon
/// as one has ended; how each has is noted.
const PARENT: &str = "[watcher.web]\ngraceful_timeout = 0\n\
     cmd = ['sh', '-c', 'sleep 1000 & \
     while :; do sh -c \"while :; do :; done\"; echo $? >> $HOME/ended; done']\n";

#[test]
fn a_child_that_burns_cpu_is_signalled_and_its_parent_stays() {
    let limits = "max_cpu = 5\nprocess_children = true\n";
    let daemon = Daemon::start(&resource_watcher(PARENT, limits));
    let mut events = daemon.subscribe();
    let worker = pids(&daemon.status("web"));
    let mut signalled = BTreeSet::new();
    for _ in 0..2 {
        let kill = events.wait("watcher.web.kill");
        let told = [&kill["data"]["signal"], &kill["data"]["by"]];
        assert_eq!(told, ["SIGTERM", "operator"]);
        assert!(worker.contains(&pid_of(&kill)), "{kill}");
        let child = kill["data"]["child_pid"].as_u64();
        assert!(signalled.insert(child.expect("it is of a child")), "{kill}");
    }
    // 128 and SIGTERM.
    wait_for_text(&daemon.home().path("ended"), "143\n143\n");
    assert_eq!(pids(&daemon.status("web")), worker);
    assert_eq!(daemon.status("web")["restarts"], 0);
}

#[test]
fn a_child_gets_the_signal_of_the_settings_and_none_where_nobody_looks_at_children() {
    let blind = resource_watcher(PARENT, "max_cpu = 5\n");
    let looking = "[plugin.children]\nuse = \"resource_watcher\"\nwatchers = \"web\"\n\
        loop_rate = \"200ms\"\nmax_count = 5\nmax_cpu = 5\n\
        process_children = true\nchild_signal = \"KILL\"\n";
    let daemon = Daemon::start(&format!("{blind}{looking}"));
    let worker = pids(&daemon.status("web"));
    // The other has seen as much long before.
    let ended = wait_for_text(&daemon.home().path("ended"), "\n");
    // 128 and SIGKILL.
    assert!(ended.starts_with("137\n"), "{ended}");
    assert_eq!(pids(&daemon.status("web")), worker);
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("it is bound").port()
}

/// A worker that says that it lives, until a file is there; the first of several lets another speak
/// for it instead.
fn heartbeats(port: u16, home: &Home) -> String {
    let script = format!(
        "import os, socket, time\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         while not os.path.exists('{}'):\n\
         \x20   s.sendto(b'%d;%f' % (os.getpid(), time.time()), ('127.0.0.1', {port}))\n\
         \x20   time.sleep(0.05)\n\
         time.sleep(1000)\n",
        home.path("silent").display()
    );
    fs::write(home.path("worker.py"), script).expect("a file can be written");
    let worker = home.path("worker.py").display().to_string();
    format!(
        "[watcher.web]\ncmd = \"python3 {worker}\"\n[watcher.other]\ncmd = \"sleep 1000\"\n\
         [plugin.dog]\nuse = \"watchdog\"\nport = {port}\nloop_rate = \"200ms\"\nmax_count = 10\n\
         watchers_regex = \"we.\"\nstop_signal = \"SIGKILL\"\n"
    )
}

#[test]
fn a_worker_that_goes_silent_is_replaced_and_nobody_else_can_speak_for_it() {
    if std::process::Command::new("python3")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("no python3");
    }
    let home = Home::new("");
    let port = free_port();
    home.configure(&heartbeats(port, &home));
    let daemon = home.start();
    let mut events = daemon.subscribe();
    let pid = *pids(&daemon.status("web")).first().expect("it runs");
    // Longer than it may be silent: so its heartbeats are what keeps it.
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let lie = |pid: u64| {
        let message = format!("{pid};0");
        stranger
            .send_to(message.as_bytes(), ("127.0.0.1", port))
            .expect("it can be sent");
    };
    wait_for_text(&home.path("circusd.log"), "plugin:dog: started");
    let until = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < until {
        lie(pid);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        pids(&daemon.status("web")).contains(&pid),
        "it spoke, and was replaced"
    );
    fs::write(home.path("silent"), "").expect("a file can be written");
    let killed = common::eventually("it is replaced, though somebody else speaks for it", || {
        lie(pid);
        let status = daemon.status("web");
        (!pids(&status).contains(&pid)).then_some(status)
    });
    let killed = killed["last_exit"].clone();
    assert_eq!(
        (&killed["pid"], &killed["status"]),
        (&json!(pid), &json!(9))
    );
    let kill = events.wait("watcher.web.kill");
    assert_eq!(kill["data"]["process_pid"], pid);
    assert_eq!(daemon.status("other")["restarts"], 0);
    assert!(
        daemon.log().contains("came from somebody else"),
        "{}",
        daemon.log()
    );
}
