//! How a process becomes ready, and what is told of one that does not.

mod common;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use common::facts::{
    in_each_mode, pid_of, pids, runs, told_until_now, topics, variable_of, without_cgroups,
};
use common::teller::{self, pid, say, wait_said};
use common::{Daemon, Home, eventually, skip};
use serde_json::{Value, json};

/// A daemon that is up; its watcher may be starting still.
fn start(home: &Arc<Home>) -> Daemon {
    // With the watcher started by hand, as the daemon is ready only when all its watchers have settled.
    let daemon = home.start();
    let started = daemon.call("Start", json!({"watchers": "web", "wait": false}));
    started.expect("it is started");
    daemon
}

fn starting(daemon: &Daemon) -> u64 {
    daemon.wait_until("web", |status| {
        status["processes"][0]["state"] == "starting"
    });
    pid(daemon)
}

fn why(daemon: &Daemon) -> String {
    let reply = daemon.call("Explain", json!({"watcher": "web"}));
    let reply = reply.expect("a watcher has a story");
    reply["text"].as_str().expect("it is a text").to_owned()
}

/// An address that nobody but this test uses.
fn address(last: u8) -> String {
    let id = std::process::id();
    let (high, middle) = (id >> 8 & 0x3f | 0x40, id & 0xff);
    format!("127.{high}.{middle}.{last}")
}

/// Checks that a process that is asked in this way is not ready until it has done this, and that
/// meanwhile it is told why.
#[track_caller]
fn check(ready: &str, reason: &str, deed: &str) {
    let home = teller::home(&format!("ready = {ready}\nautostart = false"));
    let daemon = start(&home);
    let mut events = daemon.subscribe();
    let pid = starting(&daemon);
    let expected = format!("Process 1 (pid {pid}) is not ready: ");
    eventually(reason, || {
        let text = why(&daemon);
        (text.contains(&expected) && text.contains(reason)).then_some(())
    });
    say(&daemon, pid, deed);
    let told = events.wait("watcher.web.ready");
    assert_eq!(pid_of(&told), pid);
    assert!(
        told["data"]["after_usec"]
            .as_u64()
            .is_some_and(|after| after > 0)
    );
    daemon.wait_until("web", |status| status["state"] == "active");
    assert!(!why(&daemon).contains("not ready"));
}

#[test]
fn by_a_word() {
    check("\"notify\"", "it has not said READY=1", "STATUS=up|READY=1");
}

#[test]
fn by_a_line() {
    check(
        "\"fd\"",
        "it has not written a line to its descriptor NOTIFY_FD",
        "!fd = int(os.environ['NOTIFY_FD']); os.write(fd, b'up'); os.write(fd, b'\\n'); os.close(fd)",
    );
}

#[test]
fn by_a_port() {
    let host = address(1);
    let deed = format!("!s = socket.create_server(('{host}', 18001))");
    check(
        &format!("{{ tcp = \"{host}:1800$(circus.wid)\" }}"),
        "refused",
        &deed,
    );
}

#[test]
fn by_a_socket() {
    let home = tempfile::tempdir().expect("a directory can be made");
    let path = home.path().join("web.1");
    let deed = format!(
        "!s = socket.socket(socket.AF_UNIX); s.bind('{}'); s.listen()",
        path.display()
    );
    let ready = format!(
        "{{ unix = \"{}/web.$(circus.wid)\" }}",
        home.path().display()
    );
    check(&ready, "No such file", &deed);
}

#[test]
fn by_a_page() {
    let host = address(2);
    let deed = format!(
        "!import http.server as h, threading; \
         H = type('H', (h.BaseHTTPRequestHandler,), {{'do_GET': lambda r: (r.send_response(204), r.end_headers())}}); \
         threading.Thread(target=h.HTTPServer(('{host}', 18001), H).serve_forever, daemon=True).start()"
    );
    let ready = format!("{{ http = \"http://{host}:1800$(circus.wid)/up\", expect = [204] }}");
    check(&ready, "refused", &deed);
}

#[test]
fn by_a_file() {
    let home = tempfile::tempdir().expect("a directory can be made");
    let deed = format!("!open('{}/run.1', 'w')", home.path().display());
    let ready = format!(
        "{{ file = \"{}/run.$(circus.wid)\" }}",
        home.path().display()
    );
    check(&ready, "does not exist", &deed);
}

#[test]
fn by_a_program_that_is_run_again_and_again_as_a_process_of_the_watcher() {
    let home = tempfile::tempdir().expect("a directory can be made");
    let root = home.path().display();
    let deed = format!("!open('{root}/up', 'w')");
    // Without what only hooks are told, and with what a process of the watcher has.
    let script = format!(
        "test -z \\\"$CIRCUS_HOOK\\\" && test \\\"$CIRCUS_WID\\\" = 1 && test -n \\\"$CIRCUS_PID\\\" && \
         test -n \\\"$TELLER_HOME\\\" || exit 9; test -e {root}/up || {{ echo not up yet >&2; exit 3; }}"
    );
    let ready = format!("{{ exec = [\"sh\", \"-c\", \"{script}\"] }}");
    check(&ready, "not up yet (it ended with exit code 3)", &deed);
}

#[test]
fn a_real_program_says_so_with_systemd_notify() {
    if Command::new("systemd-notify")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("there is no systemd-notify here");
    }
    // It is a child of the worker, ends at once, and waits behind a barrier before that.
    let config = "[watcher.web]\ncmd = [\"sh\", \"-c\", \"systemd-notify --ready --status='all well'; \
                  exec sleep 1000\"]\nready = \"notify\"\n";
    in_each_mode(config, |daemon| {
        daemon.wait_until("web", |status| status["state"] == "active");
        wait_said(daemon, "all well");
    });
}

#[test]
fn who_is_not_ready_in_time_has_failed_to_start_and_it_is_said_why() {
    for (ready, limit, reason) in [
        ("\"notify\"", 0.5, "it has not said READY=1"),
        ("\"fd\"", 0.5, "it has not written a line"),
        (
            "{ file = \"/nowhere/$(circus.wid)\" }",
            0.5,
            "'/nowhere/1' does not exist",
        ),
        // Time for a program to be run at all, on whatever machine.
        (
            "{ exec = [\"sh\", \"-c\", \"exit 7\"] }",
            4.0,
            "'sh': it ended with exit code 7",
        ),
    ] {
        let daemon = Daemon::start(&format!(
            "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\nmax_retry = 1\nready = {ready}\n\
             start_timeout = {limit}\n"
        ));
        let mut events = daemon.subscribe();
        let failed = daemon.call("Start", json!({"watchers": "web"}));
        let failed = failed.expect_err("it never becomes ready");
        assert_eq!(failed.error, "io.circusd.StartFailed", "{failed:?}");
        let kill = events.wait("watcher.web.kill");
        assert_eq!(kill["data"]["by"], "start_timeout", "{kill}");
        let reap = events.wait("watcher.web.reap");
        assert_eq!(reap["data"]["exit"]["cause"], "timeout", "{reap}");
        let status = daemon.status("web");
        let text = status["reason"]["text"].as_str().unwrap_or_default();
        assert!(text.contains("was not ready within "), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn who_closes_its_descriptor_without_a_line_is_not_ready() {
    let home = teller::home("ready = \"fd\"\nautostart = false");
    let daemon = start(&home);
    let pid = starting(&daemon);
    say(&daemon, pid, "!os.close(int(os.environ['NOTIFY_FD']))");
    eventually("the end of file is told", || {
        why(&daemon).contains("without a line").then_some(())
    });
    assert_eq!(daemon.status("web")["state"], "starting");
}

#[test]
fn who_needs_longer_may_ask_for_it() {
    // Past the time that it had at first. Without asking it would never be ready; with it, an attempt
    // at which the machine is too slow is followed by another.
    let script = "out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
                  out.connect(os.environ['NOTIFY_SOCKET']); \
                  out.send(b'EXTEND_TIMEOUT_USEC=3600000000'); time.sleep(3); \
                  out.send(b'READY=1'); time.sleep(1000)";
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = [\"python3\", \"-c\", \"import os, socket, time; {script}\"]\n\
         ready = \"notify\"\nstart_timeout = 2\nmax_retry = -1\n"
    ));
    daemon.wait_until("web", |status| status["state"] == "active");
}

#[test]
fn the_hook_after_spawn_comes_before_readiness() {
    let home = teller::home(
        "ready = \"notify\"\nautostart = false\nhooks.after_spawn = [\"sh\", \"-c\", \
         \"until [ -e $HOME/go ]; do sleep 0.05; done\"]",
    );
    let daemon = start(&home);
    let mut events = daemon.subscribe();
    let worker = starting(&daemon);
    say(&daemon, worker, "READY=1|STATUS=said");
    wait_said(&daemon, "said");
    assert_eq!(daemon.status("web")["state"], "starting");
    std::fs::write(home.path("go"), "").expect("a file can be written");
    let told: Vec<_> = std::iter::from_fn(|| Some(events.next()))
        .map(|event| event["action"].as_str().unwrap_or_default().to_owned())
        .take_while(|action| action != "start")
        .collect();
    let place = |wanted: &str| told.iter().position(|action| action == wanted);
    assert!(place("hook_success").is_some(), "{told:?}");
    assert!(place("hook_success") < place("ready"), "{told:?}");
}

#[test]
fn a_reload_that_does_not_become_ready_keeps_the_old_ones_and_says_why() {
    let config = "[watcher.web]\ncmd = [\"sh\", \"-c\", \"test -e $HOME/broken || echo >&$NOTIFY_FD; \
                  exec sleep 1000\"]\nready = \"fd\"\nnumprocesses = 3\nstart_timeout = 5\n";
    in_each_mode(config, |daemon| {
        let before = pids(&daemon.status("web"));
        std::fs::write(daemon.home().path("broken"), "").expect("a file can be written");
        let mut events = daemon.subscribe();
        let output = daemon.ctl(&["reload", "web"]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("was not ready within "), "{said}");
        let told = told_until_now(daemon, &mut events);
        assert!(
            !topics(&told).contains(&"web.reload"),
            "{:?}",
            topics(&told)
        );
        let status = daemon.wait_until("web", |status| pids(status) == before);
        assert_eq!(status["state"], "active", "{status}");
        std::fs::remove_file(daemon.home().path("broken")).expect("it can be removed");
        assert!(daemon.ctl(&["reload", "web"]).status.success());
        assert!(pids(&daemon.status("web")).is_disjoint(&before));
    });
}

#[test]
fn a_change_of_readiness_replaces_and_one_of_the_time_does_not() {
    let home = teller::home("ready = \"spawn\"");
    let daemon = home.start();
    let worker = pid(&daemon);
    let set = |options: Value| {
        let reply = daemon.call("Set", json!({"watcher": "web", "options": options}));
        reply.expect("it can be set")
    };
    assert_eq!(set(json!({"start_timeout": "1h"}))["effect"], "live");
    assert_eq!(pid(&daemon), worker);
    assert_eq!(set(json!({"ready": {"exec": "true"}}))["effect"], "reload");
    assert_ne!(pid(&daemon), worker);
}

#[test]
fn a_worker_of_another_user_reaches_its_socket() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root has workers of other users");
    }
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return skip("there is no python3 here that another user may run");
    }
    let home = teller::home(
        "ready = \"notify\"\nuid = \"nobody\"\nautostart = false\nenv.PATH = \"/usr/bin:/bin\"",
    );
    // What a private directory would keep from it.
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(home.root(), open).expect("its mode can be set");
    let daemon = start(&home);
    let worker = starting(&daemon);
    say(&daemon, worker, "READY=1");
    daemon.wait_until("web", |status| status["state"] == "active");
    // Nobody else can even write to it.
    let sockets = std::fs::read_dir(home.path("circusd.sock.state/notify")).expect("it is there");
    for socket in sockets.flatten() {
        let mode = socket.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_peer_that_accepts_and_never_answers_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    let port = listener.local_addr().expect("it has one").port();
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\nmax_retry = 1\nstart_timeout = 7\n\
         ready = {{ http = \"http://127.0.0.1:{port}/\" }}\n[watcher.other]\ncmd = \"sleep 1000\"\n"
    ));
    let failed = daemon.call("Start", json!({"watchers": "web"}));
    assert_eq!(
        failed.expect_err("it never answers").error,
        "io.circusd.StartFailed"
    );
    let text = daemon.status("web")["reason"]["text"].to_string();
    assert!(text.contains("no answer within 5 s"), "{text}");
    assert_eq!(daemon.status("other")["state"], "active");
}

#[test]
fn a_program_that_hangs_or_floods_or_forks_a_daemon_leaves_nothing() {
    let scripts = [
        "sleep 1000",
        // Faster together than anybody reads.
        "yes & yes & yes & exec yes",
        "yes >&2 & yes >&2 & yes >&2 & exec yes >&2",
        "(setsid sleep 1000 >/dev/null 2>&1 &); exit 1",
    ];
    for script in scripts {
        let config = format!(
            "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\nmax_retry = 1\nstart_timeout = 1\n\
             ready = {{ exec = [\"sh\", \"-c\", \"{script}\"] }}\n"
        );
        let home = Home::new(&config);
        for daemon in [home.start(), without_cgroups(&Home::new(&config))] {
            let failed = daemon.call("Start", json!({"watchers": "web"}));
            failed.expect_err("it is never ready");
            // What was killed takes a moment to go.
            eventually(&format!("nothing is left of '{script}'"), || {
                processes_with(&format!("HOME={}", daemon.home().root().display()))
                    .is_empty()
                    .then_some(())
            });
            let log = daemon.log();
            assert!(log.len() < 100_000, "{} bytes in the log", log.len());
        }
    }
}

/// Those that have this variable, except the daemon.
fn processes_with(variable: &str) -> Vec<u64> {
    let entries = std::fs::read_dir("/proc")
        .expect("/proc can be read")
        .flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u64| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let has = read("environ")
            .split(|byte| *byte == 0)
            .any(|v| v == variable.as_bytes());
        has && runs(*pid) && !read("cmdline").starts_with(env!("CARGO_BIN_EXE_circusd").as_bytes())
    })
    .collect()
}

#[test]
fn threads_are_passed_on() {
    let daemon = Daemon::start(
        "[watcher.web]\ncmd = [\"sh\", \"-c\", \"test $CIRCUS_THREAD_WORKERS = 4 && exec sleep 1000\"]\n\
         thread_workers = 4\nready = { exec = [\"sh\", \"-c\", \"test $CIRCUS_THREAD_WORKERS = 4\"] }\nrespawn = false\n",
    );
    assert_eq!(daemon.status("web")["state"], "active");
    assert_eq!(variable_of(pid(&daemon), "CIRCUS_THREAD_WORKERS"), "4");
}
