//! Programs that read what workers write: `stdout = {command = ...}`.

mod common;

use std::fs;

use common::facts::{
    has_cgroups, in_each_mode, line_of, number_of, pids, runs, text_of, wait_for_text, why,
};
use common::{Daemon, Home, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Reads line by line, so that it has at most one in hand; says who it is, and when there is no more.
const LOGGER: &str = r#"
#!/bin/sh
echo $$ > $HOME/logger.pid
while IFS= read -r line; do echo "$line"; done >> $HOME/web.log
echo "$1 has read all" >> $HOME/ended
"#;

/// Says that it is there, does what it is told to say, and says farewell.
const WORKER: &str = r#"
#!/bin/sh
trap 'echo "$$ farewell"; exit 0' TERM
echo "$$ up"
n=0
while :; do
    if [ -e $HOME/say.$n ]; then echo "$$ $(cat $HOME/say.$n)"; n=$((n+1)); fi
    sleep 0.02
done
"#;

/// Two of these workers and this logger.
fn home(more: &str) -> std::sync::Arc<Home> {
    let home = Home::new(&format!(
        "[watcher.web]\ncmd = ['sh', 'worker.sh']\nworking_dir = '..'\nnumprocesses = 2\n\
         stdout = {{command = 'sh logger.sh first'}}\nstderr = 'stdout'\n{more}"
    ));
    fs::write(home.path("logger.sh"), LOGGER.trim_start()).expect("it can be written");
    fs::write(home.path("worker.sh"), WORKER.trim_start()).expect("it can be written");
    home
}

fn in_both_modes(home: impl Fn() -> std::sync::Arc<Home>, check: impl Fn(&mut Daemon)) {
    let mut daemon = home().start();
    match has_cgroups(&daemon) {
        true => check(&mut daemon),
        false => common::skip("no cgroup can be made here"),
    }
    drop(daemon);
    check(&mut common::facts::without_cgroups(&home()));
}

/// Has each worker say this, and waits until both have.
fn say(daemon: &Daemon, number: usize, words: &str) {
    let home = daemon.home();
    let new = home.path("say.new");
    fs::write(&new, words).expect("it can be written");
    fs::rename(&new, home.path(&format!("say.{number}"))).expect("it can be moved");
    wait_said(daemon, words);
}

/// Waits until each worker has said this.
fn wait_said(daemon: &Daemon, words: &str) {
    for pid in pids(&daemon.status("web")) {
        wait_for_text(&daemon.home().path("web.log"), &format!("{pid} {words}\n"));
    }
}

fn end(pid: u64, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid fits"));
    kill(pid, signal).expect("it runs");
}

fn wait_gone(pid: u64) {
    eventually("the end of a process", || (!runs(pid)).then_some(()));
}

fn ok(daemon: &Daemon, verb: &str, parameters: Value) {
    daemon.call(verb, parameters).expect(verb);
}

#[test]
fn all_lines_reach_it_over_restart_and_reload_and_it_ends_when_all_is_read() {
    in_both_modes(
        || home(""),
        |daemon| {
            let pid = number_of(&daemon.home().path("logger.pid"));
            let mut seen = Vec::new();
            wait_said(daemon, "up");
            for verb in ["Reload", "Reload"] {
                seen.extend(pids(&daemon.status("web")));
                ok(daemon, verb, json!({"watchers": "web"}));
                wait_said(daemon, "up");
            }
            assert_eq!(
                number_of(&daemon.home().path("logger.pid")),
                pid,
                "it stays"
            );
            assert!(why(daemon, "web").contains(&format!("is read by a logger (pid {pid}).")));
            seen.extend(pids(&daemon.status("web")));
            ok(daemon, "Stop", json!({"watchers": "web"}));
            let ended = daemon.home().path("ended");
            assert_eq!(line_of(&ended), "first has read all");
            let text = text_of(&daemon.home().path("web.log"));
            for pid in &seen {
                assert!(text.contains(&format!("{pid} farewell\n")), "{pid}: {text}");
            }
            assert_eq!(text.lines().count(), 2 * seen.len());
            wait_gone(pid);
            ok(daemon, "Start", json!({"watchers": "web"}));
            wait_said(daemon, "up");
            daemon.stop();
            assert_eq!(text_of(&ended).lines().count(), 2);
        },
    );
}

#[test]
fn one_that_is_killed_has_a_successor_and_what_is_said_meanwhile_waits_for_it() {
    in_both_modes(
        || home(""),
        |daemon| {
            wait_said(daemon, "up");
            let path = daemon.home().path("logger.pid");
            let mut workers = pids(&daemon.status("web"));
            for number in 0..3 {
                let pid = number_of(&path);
                fs::remove_file(&path).expect("it is there");
                end(pid, Signal::SIGKILL);
                // Before that it might take what is said, and be gone with it.
                wait_gone(pid);
                say(daemon, number, &format!("words {number}"));
                assert_ne!(number_of(&path), pid);
            }
            let told = daemon.log();
            let ended =
                "web: the logger of its standard output was ended by signal 9; starting it again";
            assert_eq!(told.matches(ended).count(), 3, "{told}");
            assert_eq!(pids(&daemon.status("web")), workers, "no worker minds");
            assert!(daemon.stop().success());
            let text = text_of(&daemon.home().path("web.log"));
            workers.retain(|pid| !text.contains(&format!("{pid} farewell\n")));
            assert!(workers.is_empty(), "{workers:?}: {text}");
        },
    );
}

#[test]
fn one_that_ends_at_once_is_started_again_with_pauses_and_harms_nobody() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo up; exec sleep 1000"]
        stdout = {command = ["sh", "-c", "echo too bad >&2; exit 3"]}
        graceful_timeout = 0"#;
    in_each_mode(config, |daemon| {
        let log = daemon.home().path("circusd.log");
        wait_for_text(&log, "web: the logger of its standard output: too bad\n");
        wait_for_text(&log, "ended with exit code 3; starting it again in 0.2 s");
        let story = eventually("the pause in the story", || {
            let story = why(daemon, "web");
            story.contains("and is started again in").then_some(story)
        });
        assert!(
            story.contains("a logger that ended with exit code 3"),
            "{story}"
        );
        assert_eq!(daemon.status("web")["state"], "active");
        ok(daemon, "Stop", json!({"watchers": "web"}));
        wait_for_text(
            &log,
            "has not read all: 1 line (3 bytes) of output are lost",
        );
    });
}

#[test]
fn one_that_cannot_be_started_is_a_start_that_failed_and_says_why() {
    let config = r#"
        [watcher.web]
        cmd = ["sleep", "1000"]
        stderr = {command = ["/nowhere/logger"]}
        max_retry = 0"#;
    in_each_mode(config, |daemon| {
        daemon.wait_until("web", |status| status["state"] == "failed");
        let story = why(daemon, "web");
        assert!(
            story.contains("starting the logger of its standard error"),
            "{story}"
        );
        assert!(
            story.contains("/nowhere/logger") && story.contains("No such file"),
            "{story}"
        );
    });
}

#[test]
fn one_that_never_reads_stops_its_workers_and_nothing_else() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo up > $HOME/up; exec yes"]
        numprocesses = 2
        stdout = {command = ["sh", "-c", "trap '' TERM; echo $$ > $HOME/deaf; while :; do sleep 1000; done"]}
        graceful_timeout = "200ms"
        [watcher.other]
        cmd = ["sleep", "1000"]"#;
    in_each_mode(config, |daemon| {
        line_of(&daemon.home().path("up"));
        let deaf = number_of(&daemon.home().path("deaf"));
        for verb in ["Restart", "Reload", "Kill"] {
            let parameters = match verb {
                "Kill" => json!({"watcher": "web"}),
                _ => json!({"watchers": "*"}),
            };
            ok(daemon, verb, parameters);
        }
        assert_eq!(daemon.status("other")["state"], "active");
        ok(daemon, "Stop", json!({"watchers": "web"}));
        wait_for_text(
            &daemon.home().path("circusd.log"),
            "has not ended in time, and is killed",
        );
        wait_gone(deaf);
        let log = daemon.home().path("circusd.log");
        wait_for_text(&log, "the logger of its standard output has not read all: ");
    });
}

#[test]
fn another_command_is_another_logger_and_the_old_one_ends_with_the_old_workers() {
    in_both_modes(
        || home(""),
        |daemon| {
            wait_said(daemon, "up");
            let path = daemon.home().path("logger.pid");
            let first = number_of(&path);
            let set = json!({"stdout": {"command": "sh logger.sh second"}});
            ok(daemon, "Set", json!({"watcher": "web", "options": set}));
            wait_said(daemon, "up");
            let ended = daemon.home().path("ended");
            assert_eq!(line_of(&ended), "first has read all");
            wait_gone(first);
            let second = eventually("another logger", || {
                Some(number_of(&path)).filter(|pid| *pid != first)
            });
            // A live option leaves it alone.
            let set = json!({"graceful_timeout": "9s"});
            ok(daemon, "Set", json!({"watcher": "web", "options": set}));
            ok(daemon, "Restart", json!({"watchers": "web"}));
            wait_said(daemon, "up");
            ok(daemon, "Remove", json!({"watcher": "web"}));
            wait_for_text(&ended, "second has read all\n");
            wait_gone(second);
            let text = text_of(&daemon.home().path("web.log"));
            assert_eq!(text.matches(" farewell\n").count(), 6, "{text}");
        },
    );
}

#[test]
fn who_is_let_go_keeps_his_logger() {
    in_both_modes(
        || home("graceful_timeout = 0\n"),
        |daemon| {
            wait_said(daemon, "up");
            let logger = number_of(&daemon.home().path("logger.pid"));
            let workers = pids(&daemon.status("web"));
            let parameters = json!({"watcher": "web", "keep_processes": true});
            ok(daemon, "Remove", parameters);
            assert!(daemon.stop().success());
            let log = daemon.home().path("web.log");
            fs::write(daemon.home().path("say.0"), "still here").expect("it can be written");
            for pid in &workers {
                wait_for_text(&log, &format!("{pid} still here\n"));
            }
            for pid in workers {
                end(pid, Signal::SIGTERM);
                wait_for_text(&log, &format!("{pid} farewell\n"));
            }
            assert_eq!(line_of(&daemon.home().path("ended")), "first has read all");
            wait_gone(logger);
        },
    );
}

#[test]
fn a_frozen_watcher_has_a_logger_that_is_not() {
    let home = home("");
    let daemon = home.start();
    if !has_cgroups(&daemon) {
        return common::skip("no cgroup can be made here");
    }
    wait_said(&daemon, "up");
    ok(&daemon, "Freeze", json!({"watchers": "web"}));
    let path = home.path("logger.pid");
    let pid = number_of(&path);
    fs::remove_file(&path).expect("it is there");
    end(pid, Signal::SIGTERM);
    wait_gone(pid);
    assert_ne!(number_of(&path), pid);
    ok(&daemon, "Thaw", json!({"watchers": "web"}));
}

#[test]
fn it_is_started_as_the_workers_are_and_knows_what_it_reads() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo up; exec sleep 1000"]
        stdout = {command = ["sh", "-c", "(umask; pwd; echo $MINE $CIRCUS_WATCHER $CIRCUS_STREAM ${CIRCUS_WID-none}; ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/1) > $HOME/is; exec cat > $HOME/web.log"]}
        umask = "027"
        working_dir = "/usr"
        env = {MINE = "own"}"#;
    let daemon = Daemon::start(config);
    wait_for_text(&daemon.home().path("web.log"), "up\n");
    let text = text_of(&daemon.home().path("is"));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("027"), "{text}");
    assert_eq!(lines[1..3], ["/usr", "own web stdout none"]);
    assert!(
        lines[3].starts_with("0 1 2 3 "),
        "3 is the directory that ls reads: {text}"
    );
}

#[test]
fn the_end_waits_for_one_that_still_reads_unless_it_is_to_be_at_once() {
    let config = r#"
        [watcher.web]
        cmd = ["sleep", "1000"]
        stdout = {command = ["sh", "-c", "echo $$ > $HOME/deaf; exec sleep 1000"]}
        graceful_timeout = "1h""#;
    in_each_mode(config, |daemon| {
        let deaf = number_of(&daemon.home().path("deaf"));
        daemon.signal(Signal::SIGINT);
        wait_for_text(&daemon.home().path("circusd.log"), "web: stopped");
        assert!(runs(deaf));
        daemon.signal(Signal::SIGINT);
        daemon.wait_end();
        assert!(!runs(deaf));
    });
}
