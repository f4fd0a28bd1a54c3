//! What workers write, and what they are given: their descriptors and their environment.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::facts::{in_each_mode, line_of, text_of, wait_for_text};
use common::{Daemon, eventually};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn output_reaches_its_file_after_a_respawn_and_a_restart_still() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo out of $$; echo err of $$ >&2; exec sleep 1000"]
        stdout = {file = "../web.log"}
        stderr = "stdout"
        graceful_timeout = 0"#;
    in_each_mode(config, |daemon| {
        let log = daemon.home().path("web.log");
        let pid = |daemon: &Daemon| daemon.status("web")["processes"][0]["pid"].clone();
        for act in ["Kill", "Restart"] {
            let pid = pid(daemon);
            wait_for_text(&log, &format!("out of {pid}\n"));
            wait_for_text(&log, &format!("err of {pid}\n"));
            let mut events = daemon.subscribe();
            match act {
                "Kill" => daemon
                    .call("Kill", json!({"watcher": "web"}))
                    .expect("it runs"),
                _ => daemon.call("Restart", json!({})).expect("it restarts"),
            };
            events.wait("watcher.web.spawn");
        }
        let last = pid(daemon);
        wait_for_text(&log, &format!("err of {last}\n"));
        assert_eq!(text_of(&log).lines().count(), 6);
    });
}

#[test]
fn a_file_is_turned_over_by_size_between_two_lines() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "i=100; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000"]
        stdout = {file = "../web.log", max_bytes = 100, backup_count = 2}"#;
    let daemon = Daemon::start(config);
    let home = daemon.home();
    let files = ["web.log", "web.log.1", "web.log.2"].map(|name| home.path(name));
    wait_for_text(&files[0], "line 199\n");
    assert!(!home.path("web.log.3").exists());
    for file in &files[1..] {
        let text = text_of(file);
        assert!(
            text.ends_with('\n') && text.starts_with("line "),
            "{text:?}"
        );
    }
    let all: String = files.iter().rev().map(|file| text_of(file)).collect();
    let lines: Vec<&str> = all.lines().collect();
    let first: usize = lines[0]
        .trim_start_matches("line ")
        .parse()
        .expect("a number");
    let expected: Vec<String> = (first..200)
        .map(|number| format!("line {number}"))
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn lines_of_two_workers_in_one_file_stay_whole() {
    // Each line is written in two pieces.
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do printf '%s begins ' $CIRCUS_WID; sleep 0.01; echo and $CIRCUS_WID ends; done; exec sleep 1000"]
        numprocesses = 4
        stdout = {file = "../web.log"}"#;
    let daemon = Daemon::start(config);
    let log = daemon.home().path("web.log");
    let text = eventually("all lines", || {
        Some(text_of(&log)).filter(|text| text.lines().count() == 36)
    });
    for line in text.lines() {
        let wid = line.split(' ').next().expect("a word");
        assert_eq!(line, format!("{wid} begins and {wid} ends"));
    }
}

#[test]
fn a_line_without_an_end_is_not_lost() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "printf 'no end'"]
        respawn = false
        stdout = {file = "../web.log"}"#;
    let daemon = Daemon::start(config);
    wait_for_text(&daemon.home().path("web.log"), "no end");
}

#[test]
fn the_last_words_of_a_worker_are_written_before_the_daemon_ends() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "trap 'echo farewell; exit 0' TERM; echo up > $HOME/up; while :; do sleep 0.02; done"]
        stdout = {file = "../web.log"}"#;
    in_each_mode(config, |daemon| {
        line_of(&daemon.home().path("up"));
        daemon.stop();
        assert_eq!(text_of(&daemon.home().path("web.log")), "farewell\n");
    });
}

#[test]
fn a_file_that_was_moved_is_made_anew_at_sighup() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "while :; do echo tick; sleep 0.02; done"]
        stdout = {file = "../web.log"}
        graceful_timeout = 0"#;
    let daemon = Daemon::start(config);
    let (log, moved) = (
        daemon.home().path("web.log"),
        daemon.home().path("moved.log"),
    );
    wait_for_text(&log, "tick\n");
    fs::rename(&log, &moved).expect("it can be moved");
    let mut events = daemon.subscribe();
    daemon.signal(Signal::SIGHUP);
    events.wait("circusd.config_changed");
    wait_for_text(&log, "tick\n");
    assert!(!daemon.status("web")["processes"][0]["pid"].is_null());
}

#[test]
fn inherited_output_is_the_daemons_and_null_is_nowhere() {
    let config = r#"
        [watcher.loud]
        cmd = ["sh", "-c", "echo heard; echo heard too >&2; echo up > $HOME/up.loud; exec sleep 1000"]
        stdout = "inherit"
        stderr = "inherit"
        [watcher.quiet]
        cmd = ["sh", "-c", "echo never; echo never >&2; readlink /proc/self/fd/0 > $HOME/up.quiet; exec sleep 1000"]
        stdout = "null"
        stderr = "null""#;
    let daemon = Daemon::start(config);
    for name in ["up.loud", "up.quiet"] {
        line_of(&daemon.home().path(name));
    }
    assert_eq!(line_of(&daemon.home().path("up.quiet")), "/dev/null");
    let log = daemon.log();
    assert!(
        log.contains("heard\n") && log.contains("heard too\n"),
        "{log}"
    );
    assert!(!log.contains("never"), "{log}");
}

#[test]
fn a_worker_has_no_descriptors_but_its_own_three() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "ls /proc/self/fd | tr '\\n' ' ' > $HOME/fds; echo >> $HOME/fds; exec sleep 1000"]
        stdout = {file = "../web.log"}"#;
    let daemon = Daemon::start(config);
    // 3 is the directory that ls reads.
    assert_eq!(line_of(&daemon.home().path("fds")).trim(), "0 1 2 3");
}

/// The environment that a worker wrote to a file, by `env`.
fn environment(path: &Path) -> BTreeMap<String, String> {
    let text = wait_for_text(path, "END=1\n");
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn the_environment_is_what_was_configured_and_ours() {
    let config = r#"
        [env]
        EVERYWHERE = "all"
        LEVEL = "env"
        [env."we*"]
        LEVEL = "pattern"
        MINE = "pattern"
        [watcher.web]
        cmd = ["sh", "-c", "(env; echo END=1) > $HOME/env.$(circus.wid); exec sleep 1000"]
        numprocesses = 2
        [watcher.web.env]
        MINE = "own $(circus.wid)"
        PATH = "$(circus.env.PATH):/opt/bin"
        ONCE = "$(circus.env.TRICK)"
        [watcher.other]
        cmd = ["sh", "-c", "(env; echo END=1) > $HOME/env.other; exec sleep 1000"]
        copy_env = true"#;
    let daemon = common::Home::new(config).start_with(|circusd| {
        circusd.env("TRICK", "$(circus.wid)").env("SECRET", "s");
    });
    let home = daemon.home();
    for wid in ["1", "2"] {
        let env = environment(&home.path(&format!("env.{wid}")));
        assert_eq!(env["EVERYWHERE"], "all");
        assert_eq!(env["LEVEL"], "pattern");
        assert_eq!(env["MINE"], format!("own {wid}"));
        assert!(env["PATH"].ends_with(":/opt/bin"), "{}", env["PATH"]);
        assert_eq!(
            env["ONCE"], "$(circus.wid)",
            "nothing inherited is expanded a second time"
        );
        assert_eq!(
            (env["CIRCUS_WATCHER"].as_str(), env["CIRCUS_WID"].as_str()),
            ("web", wid)
        );
        assert_eq!(env["CIRCUS_SOCKET"], home.socket().to_string_lossy());
        assert!(
            !env.contains_key("SECRET") && !env.contains_key("NOTIFY_SOCKET"),
            "{env:?}"
        );
    }
    let env = environment(&home.path("env.other"));
    assert_eq!(
        (env["LEVEL"].as_str(), env["SECRET"].as_str()),
        ("env", "s")
    );
    assert!(
        !env.contains_key("MINE") && !env.contains_key("NOTIFY_SOCKET"),
        "{env:?}"
    );
}

#[test]
fn a_worker_that_asks_is_answered_by_the_daemon_that_has_started_it() {
    let circusctl = env!("CARGO_BIN_EXE_circusctl");
    let daemon = Daemon::start(&format!(
        "[watcher.asker]\ncmd = ['sh', '-c', '\"$0\" list > $HOME/answer', '{circusctl}']\n\
         respawn = false\n[watcher.other]\ncmd = 'true'\nautostart = false\n"
    ));
    let answer = wait_for_text(&daemon.home().path("answer"), "other\n");
    assert_eq!(answer, "asker\nother\n");
}

#[test]
fn what_a_process_is_to_be_like_it_is() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "(umask; nice; ulimit -n; ulimit -Hn; pwd; grep NoNewPrivs /proc/self/status | tr -d '\\t'; echo $(circus.wid) $0 $1) > $HOME/is", "zero"]
        args = ["one $(circus.wid)"]
        umask = "027"
        nice = 5
        rlimits = {nofile = 100}
        working_dir = "/usr"
        respawn = false"#;
    let daemon = Daemon::start(config);
    let text = wait_for_text(&daemon.home().path("is"), "zero");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("027"), "{text}");
    assert_eq!(
        lines[1..],
        ["5", "100", "100", "/usr", "NoNewPrivs:1", "1 zero one 1"]
    );
}
