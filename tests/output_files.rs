//! Files of output: what stands in them, when they are turned over, and what a disk that is full or
//! hangs does to the rest, which is nothing.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::facts::{in_each_mode, line_of, pids, text_of, wait_for_text, why};
use common::{Daemon, Home, eventually};
use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn each_line_has_the_time_and_who_wrote_it_before_it() {
    let config = r#"
        [watcher.plain]
        cmd = ["sh", "-c", "echo one; printf 'two\n\nno end'; exec sleep 1000"]
        stdout = {file = "../plain.log", time_format = "%Y-%m-%d %H:%M:%S%z", utc = true}
        [watcher.named]
        cmd = ["sh", "-c", "echo one; exec sleep 1000"]
        stdout = {file = "../named.log", prefix = "$(circus.watcher).$(circus.wid) $(circus.pid): "}"#;
    let mut daemon = Daemon::start(config);
    let pid = |watcher| daemon.status(watcher)["processes"][0]["pid"].clone();
    let (plain, named) = (pid("plain"), pid("named"));
    let text = wait_for_text(&daemon.home().path("named.log"), "one\n");
    assert_eq!(text, format!("named.1 {named}: one\n"));
    daemon.stop();
    let text = text_of(&daemon.home().path("plain.log"));
    let lines: Vec<(&str, &str)> = text
        .lines()
        .map(|line| line.split_once(" [").expect("a time"))
        .collect();
    let said: Vec<&str> = lines.iter().map(|(_, said)| *said).collect();
    let wanted = ["one", "two", "", "no end"].map(|line| format!("{plain}] | {line}"));
    assert_eq!(said, wanted, "{text}");
    for (time, _) in lines {
        assert!(time.starts_with("20") && time.ends_with("+0000"), "{text}");
        assert_eq!(time.len(), "2026-01-01 00:00:00+0000".len(), "{text}");
    }
}

#[test]
fn a_file_of_the_day_before_yesterday_is_turned_over_by_the_first_line() {
    let home = Home::new(
        r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo new; echo newer; exec sleep 1000"]
        stdout = {file = "../web.log", rotate = "daily", backup_count = 3}"#,
    );
    let log = home.path("web.log");
    fs::write(&log, "old\n").expect("it can be written");
    fs::write(home.path("web.log.1"), "older\n").expect("it can be written");
    let then = SystemTime::now() - Duration::from_secs(2 * 86400);
    let file = File::options().write(true).open(&log).expect("it is there");
    file.set_modified(then).expect("its time can be set");
    let _daemon = home.start();
    assert_eq!(wait_for_text(&log, "newer\n"), "new\nnewer\n");
    assert_eq!(text_of(&home.path("web.log.1")), "old\n");
    assert_eq!(text_of(&home.path("web.log.2")), "older\n");
}

#[test]
fn a_file_that_was_moved_is_made_anew_by_itself_and_no_line_is_missing() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"]
        stdout = {file = "../web.log"}
        graceful_timeout = 0"#;
    let mut daemon = Daemon::start(config);
    let (log, moved) = (
        daemon.home().path("web.log"),
        daemon.home().path("moved.log"),
    );
    wait_for_text(&log, "\n5\n");
    fs::rename(&log, &moved).expect("it can be moved");
    let there = wait_for_text(&log, "\n");
    assert!(!there.starts_with("0\n"), "{there}");
    daemon.stop();
    let all = text_of(&moved) + &text_of(&log);
    let numbers: Vec<usize> = all
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
}

#[test]
fn no_line_is_lost_or_torn_when_workers_are_replaced() {
    // Whoever is asked to end says how far it came, and does not end that line.
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "i=0; trap 'printf \"$$ end $i\"; exit 0' TERM; while :; do echo $$ $i; i=$((i+1)); done"]
        numprocesses = 2
        stdout = {file = "../web.log"}"#;
    in_each_mode(config, |daemon| {
        let log = daemon.home().path("web.log");
        for verb in ["Restart", "Reload", "Restart"] {
            for pid in pids(&daemon.status("web")) {
                wait_for_text(&log, &format!("{pid} 9\n"));
            }
            daemon.call(verb, json!({"watchers": "web"})).expect(verb);
        }
        daemon.stop();
        let mut next: BTreeMap<String, usize> = BTreeMap::new();
        let mut ended = 0;
        for line in text_of(&log).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let (pid, number, is_end) = match words[..] {
                [pid, number] => (pid, number, false),
                [pid, "end", number] => (pid, number, true),
                _ => panic!("torn: '{line}'"),
            };
            let number: usize = number.parse().expect("a number");
            let expected = next.entry(pid.to_owned()).or_default();
            // It may have been asked to end before it had counted its last line.
            let is_last = is_end && number + 1 == *expected;
            assert!(number == *expected || is_last, "{expected} is not '{line}'");
            *expected += 1;
            ended += usize::from(is_end);
        }
        assert!(next.len() >= 6 && ended >= 6, "{ended} of {next:?}");
    });
}

#[test]
fn a_disk_that_is_full_costs_lines_that_are_counted_and_nothing_else() {
    let home = Home::new(
        r#"
        [watcher.web]
        cmd = ["sh", "-c", """
            line=$(printf '%01000d' 0); i=0
            while [ $i -lt 400 ]; do echo $i $line; i=$((i+1)); done
            echo > $HOME/written; while [ ! -e $HOME/go ]; do sleep 0.02; done
            echo after; exec sleep 1000"""]
        stdout = {file = "../web.log"}"#,
    );
    let daemon = home.start_with_file_blocks(256);
    let log = home.path("web.log");
    line_of(&home.path("written"));
    let told = "web.log' could not be written to: File too large";
    wait_for_text(&home.path("circusd.log"), told);
    let story = eventually("losses in the story", || {
        Some(why(&daemon, "web")).filter(|story| story.contains("are lost, the last"))
    });
    assert!(story.contains("File too large"), "{story}");
    // Room again, as after somebody has cleared up.
    let full = home.path("full.log");
    fs::rename(&log, &full).expect("it can be moved");
    fs::write(home.path("go"), "").expect("it can be written");
    let text = wait_for_text(&log, "after\n");
    let missing = text.lines().find_map(|line| {
        line.strip_prefix("circusd: ")?
            .split(' ')
            .next()?
            .parse::<usize>()
            .ok()
    });
    let missing = missing.unwrap_or_else(|| panic!("it is not said what is missing: {text}"));
    let whole = |text: &str| text.matches(&format!("{:01000}\n", 0)).count();
    assert_eq!(
        whole(&text_of(&full)) + whole(&text) + missing,
        400,
        "{missing} are missing"
    );
    wait_for_text(&home.path("circusd.log"), "can be written to again");
    assert_eq!(daemon.status("web")["state"], "active");
}

/// A disk that hangs: a named pipe, and the end by which nobody reads yet.
fn hung(path: &Path) -> File {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    let mut options = File::options();
    options.read(true).custom_flags(O_NONBLOCK);
    options.open(path).expect("it can be read")
}

/// Reads until `end` comes.
fn read_until(from: &mut File, end: &str) -> String {
    let mut text = Vec::new();
    eventually(end, || {
        // That there is nothing for now is an error.
        let _ = from.read_to_end(&mut text);
        text.ends_with(end.as_bytes()).then_some(())
    });
    String::from_utf8(text).expect("text")
}

/// Writes more than anybody keeps for it, and then says so.
const FLOOD: &str = r#"
        cmd = ["sh", "-c", """
            head -c 6000000 /dev/zero | tr '\\0' x | fold -w 999; echo; echo > $HOME/written
            while [ ! -e $HOME/go ]; do sleep 0.02; done; echo after; exec sleep 1000"""]
        stdout = {file = "../pipe"}"#;

const FLOOD_LINES: usize = 6007;

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_what_it_misses_is_counted() {
    let home = Home::new(&format!(
        "[watcher.web]\n{FLOOD}\n[watcher.other]\nstdout = {{file = '../other.log'}}\n\
         cmd = ['sh', '-c', 'echo $$; exec sleep 1000']\ngraceful_timeout = 0"
    ));
    let mut reader = hung(&home.path("pipe"));
    let mut daemon = home.start();
    let other = |daemon: &Daemon| daemon.status("other")["processes"][0]["pid"].clone();
    for _ in 0..3 {
        let log = home.path("other.log");
        wait_for_text(&log, &format!("{}\n", other(&daemon)));
        daemon
            .call("Restart", json!({"watchers": "other"}))
            .expect("it restarts");
    }
    // The flood goes on without the disk, when it has waited for a while.
    line_of(&home.path("written"));
    let story = why(&daemon, "web");
    assert!(
        story.contains("are lost") && story.contains("takes nothing"),
        "{story}"
    );
    assert!(
        daemon
            .log()
            .contains("takes nothing; what does not fit is lost")
    );
    let mut text = read_until(&mut reader, "are missing here\n");
    fs::write(home.path("go"), "").expect("it can be written");
    text += &read_until(&mut reader, "after\n");
    let missing = text
        .lines()
        .filter_map(|line| line.strip_prefix("circusd: "));
    let missing = missing.map(|rest| rest.split(' ').next().and_then(|count| count.parse().ok()));
    let missing: usize = missing
        .map(|count: Option<usize>| count.expect("a number"))
        .sum();
    let there = text
        .lines()
        .filter(|line| line.is_empty() || line.starts_with('x'));
    for line in there.clone() {
        assert!([0, 6, 999].contains(&line.len()), "torn: {line}");
    }
    assert_eq!(
        there.count() + missing,
        FLOOD_LINES,
        "{missing} are missing"
    );
    assert!(daemon.stop().success());
}

#[test]
fn a_disk_that_is_slow_loses_nothing() {
    let home = Home::new(&format!("[watcher.web]\n{FLOOD}"));
    let mut reader = hung(&home.path("pipe"));
    fs::write(home.path("go"), "").expect("it can be written");
    let daemon = home.start();
    let text = read_until(&mut reader, "after\n");
    assert_eq!(text.lines().count(), FLOOD_LINES + 1);
    assert!(!why(&daemon, "web").contains("lost"));
}

#[test]
fn a_disk_that_hangs_does_not_keep_the_daemon_from_ending() {
    let home = Home::new(&format!("[watcher.web]\n{FLOOD}\ngraceful_timeout = 0"));
    let reader = hung(&home.path("pipe"));
    let mut daemon = home.start();
    wait_for_text(&home.path("circusd.log"), "takes nothing");
    assert!(daemon.stop().success());
    assert!(
        daemon.log().contains("have not taken their output"),
        "{}",
        daemon.log()
    );
    drop(reader);
}

#[test]
fn a_file_that_cannot_be_opened_is_a_start_that_failed_and_says_why() {
    let config = r#"
        [watcher.web]
        cmd = ["sleep", "1000"]
        stdout = {file = "../nowhere/web.log"}
        max_retry = 0
        [watcher.pipe]
        cmd = ["sleep", "1000"]
        stdout = {file = "../pipe"}
        max_retry = 0"#;
    let home = Home::new(config);
    drop(hung(&home.path("pipe")));
    let daemon = home.start();
    for (watcher, wanted) in [
        ("web", "opening its standard output '"),
        ("web", "nowhere/web.log': No such file or directory"),
        ("pipe", "pipe': No such device or address"),
    ] {
        daemon.wait_until(watcher, |status| status["state"] == "failed");
        let story = why(&daemon, watcher);
        assert!(story.contains(wanted), "{story}");
    }
}

#[test]
fn sighup_lets_go_of_a_file_that_was_moved_although_nobody_writes() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "echo up; exec sleep 1000"]
        stdout = {file = "../web.log"}"#;
    let daemon = Daemon::start(config);
    let log = daemon.home().path("web.log");
    wait_for_text(&log, "up\n");
    fs::remove_file(&log).expect("it can be removed");
    daemon.signal(Signal::SIGHUP);
    eventually("a new file", || log.exists().then_some(()));
}
