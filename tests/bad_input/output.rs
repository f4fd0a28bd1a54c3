//! Workers that write too much, and places for it that go away.

use std::fs;

use serde_json::json;

use super::common::{Home, eventually};
use super::{assert_alive, memory};

const MIB: u64 = 1 << 20;

#[test]
fn a_flood_of_output_is_written_whole_and_turned_over() {
    const LINES: usize = 200_000;
    const FILES: usize = 10;
    let home = Home::new("");
    let log = home.path("out.log");
    // Two that write into one file, as fast as they can: all of it fits into the files kept.
    home.configure(&format!(
        "[watcher.sleeper]\ncmd = ['sleep', 'infinity']\n\
         [watcher.flood]\ncmd = ['/bin/sh', '-c', 'yes {digits}:$(circus.wid) | head -n {LINES}; exec sleep infinity']\n\
         numprocesses = 2\nstdout = {{ file = '{}', max_bytes = '4M', backup_count = {} }}\n",
        log.display(),
        FILES - 1,
        digits = "0123456789".repeat(6),
    ));
    let daemon = home.start();
    let before = memory(&daemon);
    // While it is written everybody is served.
    for _ in 0..50 {
        assert_alive(&daemon);
    }
    let files: Vec<_> = (0..FILES)
        .map(|number| match number {
            0 => log.clone(),
            number => home.path(&format!("out.log.{number}")),
        })
        .collect();
    let line = "0123456789".len() * 6 + ":1\n".len();
    let length = |file| fs::metadata(file).map_or(0, |meta| meta.len());
    eventually("all is written", || {
        let written: u64 = files.iter().map(length).sum();
        (written >= (2 * LINES * line) as u64).then_some(())
    });
    let mut counted = [0, 0];
    for file in &files {
        assert!(length(file) <= 4 * MIB, "{file:?}: {} bytes", length(file));
        let text = fs::read_to_string(file).unwrap_or_default();
        for line in text.lines() {
            match line.split_once(':') {
                Some((digits, "1")) if digits.len() == 60 => counted[0] += 1,
                Some((digits, "2")) if digits.len() == 60 => counted[1] += 1,
                _ => panic!("a torn line in {file:?}: '{line}'"),
            }
        }
    }
    assert_eq!(counted, [LINES, LINES]);
    let after = memory(&daemon);
    assert!(after < before + 8 * MIB, "{before} bytes, then {after}");
}

#[test]
fn a_line_that_never_ends_is_written_in_pieces() {
    let home = Home::new("");
    let log = home.path("out.log");
    home.configure(&format!(
        "[watcher.flood]\ncmd = ['/bin/sh', '-c', 'head -c 20000000 /dev/zero; exec sleep infinity']\nstdout = {{ file = '{}' }}\n",
        log.display()
    ));
    let daemon = home.start();
    eventually("all is written but what is not yet a piece", || {
        let length = fs::metadata(&log).ok()?.len();
        (length > 20_000_000 - 65_536).then_some(())
    });
    assert!(memory(&daemon) < 64 * MIB);
}

#[test]
fn a_directory_of_output_that_is_removed_and_comes_back() {
    let home = Home::new("");
    let directory = home.path("logs");
    fs::create_dir(&directory).expect("a directory can be made");
    home.configure(&format!(
        "[watcher.sleeper]\ncmd = ['sleep', 'infinity']\n[watcher.talker]\ncmd = ['/bin/sh', '-c', 'while read line; do echo \"$line\"; done']\nstdin = {{ file = '{}' }}\nstdout = {{ file = '{}', max_bytes = '1K', backup_count = 2 }}\n",
        home.path("words").display(),
        directory.join("out.log").display()
    ));
    // A pipe with a name: the test says when the worker speaks.
    let words = home.path("words");
    nix::unistd::mkfifo(
        &words,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .expect("a pipe can be made");
    let mut mouth = fs::File::options()
        .read(true)
        .write(true)
        .open(&words)
        .expect("it can be opened");
    let daemon = home.start();
    let mut say = |line: &str| {
        use std::io::Write;
        writeln!(mouth, "{line}").expect("the worker reads");
    };
    let read = || fs::read_to_string(directory.join("out.log")).unwrap_or_default();
    say("first");
    eventually("the first line is written", || {
        read().contains("first").then_some(())
    });
    fs::remove_dir_all(&directory).expect("it can be removed");
    // Enough for a file to be turned over, twice.
    for _ in 0..100 {
        say("012345678901234567890123456789");
    }
    eventually("the daemon says that it cannot", || {
        daemon.log().contains("failed to turn over").then_some(())
    });
    assert_alive(&daemon);
    fs::create_dir(&directory).expect("a directory can be made");
    // With the next turn the file is there again.
    eventually("it is written to again", || {
        say("012345678901234567890123456789 last");
        read().contains("last").then_some(())
    });
    let told = daemon.log().matches("failed to turn over").count();
    assert!(told < 20, "told {told} times");
    assert_eq!(daemon.status("talker")["restarts"], 0);
}

#[test]
fn a_disk_that_is_full() {
    let home = Home::new(
        "[watcher.sleeper]\ncmd = ['sleep', 'infinity']\n[watcher.talker]\ncmd = ['/bin/sh', '-c', 'while echo line; do :; done']\nautostart = false\nstdout = { file = '/dev/full' }\n",
    );
    let daemon = home.start();
    daemon
        .call("Start", json!({"watchers": "talker"}))
        .expect("it starts");
    eventually("the daemon says that it cannot", || {
        daemon.log().contains("output is lost").then_some(())
    });
    for _ in 0..20 {
        assert_alive(&daemon);
    }
    assert_eq!(daemon.log().matches("output is lost").count(), 1);
    assert_eq!(daemon.status("talker")["state"], "active");
}
