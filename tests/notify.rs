//! What a process may say on its notify socket, and what becomes of what others say there.

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;

use common::facts::{in_each_mode, pid_of, runs, variable_of, without_cgroups};
use common::teller::{self, pid, say, wait_said};
use common::{Daemon, Home, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The notify socket of a process.
fn socket_of(pid: u64) -> PathBuf {
    let path = variable_of(pid, "NOTIFY_SOCKET");
    PathBuf::from(path)
}

/// Runs `check` with daemons on `home`, with cgroups where they can be had and without.
fn in_both(keys: &str, check: impl Fn(&Daemon, u64)) {
    let homes: [fn(&Arc<Home>) -> Daemon; 2] = [Home::start, without_cgroups];
    for start in homes {
        let daemon = start(&teller::home(keys));
        let started = daemon.call("Start", json!({"watchers": "web", "wait": false}));
        started.expect("it is started");
        let up = |status: &Value| status["processes"][0]["state"] == "starting";
        let status = daemon.wait_until("web", up);
        let worker = status["processes"][0]["pid"].as_u64();
        check(&daemon, worker.expect("a pid"));
    }
}

const NOTIFY: &str = "ready = \"notify\"\nautostart = false\n";

#[test]
fn what_comes_from_nobody_of_the_workers_changes_nothing() {
    in_both(NOTIFY, |daemon, worker| {
        let path = socket_of(worker);
        say(daemon, worker, "STATUS=up");
        wait_said(daemon, "up");
        let foreign = UnixDatagram::unbound().expect("a socket can be had");
        foreign.connect(&path).expect("it is the same user's");
        for text in ["READY=1", "STATUS=hacked", "STOPPING=1", "MAINPID=1"] {
            foreign.send(text.as_bytes()).expect("it can be written to");
        }
        // Read in order, so that the others were read when this is.
        say(daemon, worker, "STATUS=still up");
        wait_said(daemon, "still up");
        let status = daemon.status("web");
        assert_eq!(status["processes"][0]["state"], "starting", "{status}");
        let log = daemon.log();
        let told = log.matches("which is none of its own").count();
        assert_eq!(told, 1, "once, whatever comes: {log}");
        say(daemon, worker, "READY=1");
        daemon.wait_until("web", |status| status["state"] == "active");
    });
}

#[test]
fn a_child_may_speak_for_its_parent_and_wait_behind_a_barrier() {
    in_both(NOTIFY, |daemon, worker| {
        let script = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                      s.connect(os.environ[\"NOTIFY_SOCKET\"]); s.send(b\"READY=1\"); \
                      r, w = os.pipe(); socket.send_fds(s, [b\"BARRIER=1\"], [w]); os.close(w); \
                      assert os.read(r, 1) == b\"\"";
        let line = format!(
            "!subprocess.run([sys.executable, '-c', '{script}'], check=True); tell('STATUS=done')"
        );
        say(daemon, worker, &line);
        wait_said(daemon, "done");
        daemon.wait_until("web", |status| status["state"] == "active");
    });
}

#[test]
fn another_worker_may_not_speak_for_it() {
    in_both(&format!("{NOTIFY}numprocesses = 2\n"), |daemon, worker| {
        let status = daemon.wait_until("web", |status| {
            let processes = status["processes"].as_array().expect("a list");
            processes.len() == 2
                && processes
                    .iter()
                    .all(|process| process["state"] == "starting")
        });
        let pids: Vec<u64> = (0..2)
            .filter_map(|n| status["processes"][n]["pid"].as_u64())
            .collect();
        let other = pids
            .into_iter()
            .find(|pid| *pid != worker)
            .expect("there are two");
        let path = socket_of(worker);
        say(
            daemon,
            other,
            &format!("!out.sendto(b'READY=1', '{}')", path.display()),
        );
        say(daemon, other, "READY=1");
        let ready = |pid: u64, state: &'static str| {
            move |status: &Value| {
                let processes = status["processes"].as_array().expect("a list");
                processes
                    .iter()
                    .any(|process| process["pid"] == pid && process["state"] == state)
            }
        };
        daemon.wait_until("web", ready(other, "running"));
        say(daemon, worker, "STATUS=mine");
        eventually("its own word is heard", || {
            daemon
                .status("web")
                .to_string()
                .contains("mine")
                .then_some(())
        });
        assert!(ready(worker, "starting")(&daemon.status("web")));
        say(daemon, worker, "READY=1");
        daemon.wait_until("web", |status| status["state"] == "active");
    });
}

#[test]
fn what_it_says_of_itself_is_shown_and_cannot_do_harm() {
    in_both(NOTIFY, |daemon, worker| {
        say(daemon, worker, "READY=1|STATUS=serving \u{1b}[2J 100%");
        wait_said(daemon, "serving  [2J 100%");
        let told = daemon.ctl(&["why", "web"]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(
            told.contains(&format!("Process 1 (pid {worker}) says: serving")),
            "{told}"
        );
        let table = daemon.ctl(&["status", "web"]);
        assert!(String::from_utf8_lossy(&table.stdout).contains("serving"));
        say(daemon, worker, "RELOADING=1|MONOTONIC_USEC=1");
        wait_said(daemon, "reloading: serving  [2J 100%");
        say(daemon, worker, "READY=1|STATUS=");
        eventually("nothing is said any more", || {
            daemon.status("web")["processes"][0]["status_text"]
                .is_null()
                .then_some(())
        });
        say(daemon, worker, "STOPPING=1|STATUS=draining");
        wait_said(daemon, "draining");
        assert_eq!(daemon.status("web")["processes"][0]["state"], "stopping");
        let told = daemon.ctl(&["why", "web"]);
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("says that it is on its way out"), "{told}");
    });
}

#[test]
fn a_flood_holds_up_nobody() {
    let home = teller::home(&format!(
        "{NOTIFY}\n[watcher.other]\ncmd = \"sleep 1000\"\n\
         backoff = false\nflapping = false\n"
    ));
    let daemon = home.start();
    let started = daemon.call("Start", json!({"watchers": "web", "wait": false}));
    started.expect("it is started");
    let worker = pid(&daemon);
    let other = daemon.status("other")["processes"][0]["pid"]
        .as_u64()
        .expect("a pid");
    let mut events = daemon.subscribe_with(json!({"topics": ["watcher.other.*"]}));
    say(
        &daemon,
        worker,
        "![tell(f'STATUS={n}') for n in range(10000)]; tell('READY=1|STATUS=done'); \
         [tell('WATCHDOG=1') for n in range(10000)]; tell('STATUS=over')",
    );
    // In the middle of it, or not long before or after: whoever floods must be read all the while.
    for _ in 0..20 {
        let victim = match events_pid(&daemon) {
            Some(pid) => pid,
            None => other,
        };
        let _ = kill(Pid::from_raw(victim as i32), Signal::SIGKILL);
        let spawned = events.wait("watcher.other.spawn");
        assert_ne!(pid_of(&spawned), victim);
    }
    wait_said(&daemon, "over");
    daemon.wait_until("web", |status| status["state"] == "active");
}

fn events_pid(daemon: &Daemon) -> Option<u64> {
    daemon.status("other")["processes"][0]["pid"].as_u64()
}

#[test]
fn another_process_of_its_own_becomes_the_main_one() {
    in_both(
        &format!("{NOTIFY}graceful_timeout = 60\n"),
        |daemon, worker| {
            let mut events = daemon.subscribe();
            say(
                daemon,
                worker,
                "!child = subprocess.Popen(['sleep', '1000']); tell(f'MAINPID={child.pid}|READY=1')",
            );
            let main = pid_of(&events.wait("watcher.web.ready"));
            assert_ne!(main, worker);
            assert_eq!(daemon.status("web")["processes"][0]["pid"], main);
            // The end of the one that was started is not the worker's.
            say(daemon, worker, "!os._exit(0)");
            eventually("it has ended and was waited for", || {
                (!std::path::Path::new(&format!("/proc/{worker}")).exists()).then_some(())
            });
            assert_eq!(daemon.status("web")["processes"][0]["pid"], main);
            assert!(runs(main));
            // That of the other is, with its cause, as it is our child by now.
            kill(Pid::from_raw(main as i32), Signal::SIGKILL).expect("it runs");
            let reap = events.wait("watcher.web.reap");
            assert_eq!(pid_of(&reap), main);
            assert_eq!(reap["data"]["exit"]["status"], 9, "{reap}");
            let next = pid_of(&events.wait("watcher.web.spawn"));
            say(daemon, next, "READY=1");
            daemon.wait_until("web", |status| status["state"] == "active");
        },
    );
}

#[test]
fn who_ends_right_after_it_has_named_another_is_followed_by_that() {
    let script = "sleep 1000 & systemd-notify --ready MAINPID=$!";
    if std::process::Command::new("systemd-notify")
        .arg("--version")
        .output()
        .is_err()
    {
        return common::skip("there is no systemd-notify here");
    }
    let config =
        format!("[watcher.web]\ncmd = [\"sh\", \"-c\", \"{script}\"]\nready = \"notify\"\n");
    in_each_mode(&config, |daemon| {
        daemon.wait_until("web", |status| status["state"] == "active");
        let status = daemon.status("web");
        assert_eq!(status["restarts"], 0, "{status}");
        let main = status["processes"][0]["pid"].as_u64().expect("a pid");
        eventually("it is the child", || {
            // Just forked, it is still the shell.
            let command = std::fs::read(format!("/proc/{main}/cmdline")).ok()?;
            command.starts_with(b"sleep").then_some(())
        });
        daemon
            .call("Stop", json!({"watchers": "web"}))
            .expect("it stops");
        assert!(!runs(main));
    });
}

#[test]
fn a_main_process_that_is_not_its_own_or_not_there_is_refused() {
    in_both(NOTIFY, |daemon, worker| {
        let ours = std::process::id();
        say(daemon, worker, &format!("MAINPID={ours}|STATUS=first"));
        wait_said(daemon, "first");
        say(
            daemon,
            worker,
            "!gone = subprocess.Popen(['true']); gone.wait(); tell(f'MAINPID={gone.pid}|STATUS=second')",
        );
        wait_said(daemon, "second");
        say(
            daemon,
            worker,
            &format!("MAINPID={worker}|MAINPIDFDID=1|STATUS=third"),
        );
        wait_said(daemon, "third");
        assert_eq!(daemon.status("web")["processes"][0]["pid"], worker);
        let log = daemon.log();
        assert!(
            log.contains(&format!(
                "names {ours} as its main process, which is refused"
            )),
            "{log}"
        );
        say(daemon, worker, "READY=1");
        daemon.wait_until("web", |status| status["state"] == "active");
    });
}

#[test]
fn who_needs_longer_to_stop_may_ask_for_it() {
    let script = "out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                  out.connect(os.environ['NOTIFY_SOCKET']); \
                  signal.signal(signal.SIGTERM, lambda *_: \
                  (out.send(b'EXTEND_TIMEOUT_USEC=3600000000'), time.sleep(5), os._exit(7))); \
                  out.send(b'READY=1'); time.sleep(1000)";
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = [\"python3\", \"-c\", \"import os, signal, socket, time; {script}\"]\n\
         ready = \"notify\"\ngraceful_timeout = 3\n"
    ));
    let mut events = daemon.subscribe();
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    let reap = events.wait("watcher.web.reap");
    assert_eq!(reap["data"]["exit"]["cause"], "exited", "{reap}");
    assert_eq!(reap["data"]["exit"]["status"], 7, "{reap}");
}

#[test]
fn nobody_who_needs_none_has_a_socket_and_none_is_left() {
    let daemon = Daemon::start(
        "[watcher.plain]\ncmd = \"sleep 1000\"\n\
         [watcher.counted]\ncmd = \"sleep 1000\"\nmax_requests = 10\nnumprocesses = 2\n",
    );
    let sockets = || {
        let entries = std::fs::read_dir(daemon.home().path("circusd.sock.state/notify"));
        entries.expect("it is there").count()
    };
    assert_eq!(sockets(), 2);
    daemon
        .call("Restart", json!({}))
        .expect("they are replaced");
    assert_eq!(sockets(), 2);
    daemon.call("Stop", json!({})).expect("they stop");
    assert_eq!(sockets(), 0);
}

#[test]
fn what_a_killed_daemon_has_left_there_is_cleared() {
    let home = Home::new("[watcher.web]\ncmd = \"sleep 1000\"\nmax_requests = 10\n");
    let mut killed = home.start();
    let worker = killed.status("web")["processes"][0]["pid"]
        .as_u64()
        .expect("a pid");
    killed.kill();
    kill(Pid::from_raw(worker as i32), Signal::SIGKILL).expect("it lives on");
    let daemon = home.start();
    let entries = std::fs::read_dir(home.path("circusd.sock.state/notify"));
    assert_eq!(entries.expect("it is there").count(), 1);
    drop(daemon);
}
