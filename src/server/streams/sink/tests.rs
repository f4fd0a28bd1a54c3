//! A file of output on real files, devices and pipes; the time comes with the lines.

use super::*;
use crate::server::streams::lines::Label;
use std::sync::Arc;

const HOUR: i64 = 3_600_000_000;

fn keeping(max_bytes: u64, backup_count: u32) -> Keeping {
    Keeping {
        max_bytes,
        rotate: None,
        utc: true,
        backup_count,
    }
}

fn lines(text: &str, usec: i64) -> Lines {
    Lines {
        usec,
        label: None,
        bytes: text.into(),
        batch: None,
    }
}

/// A file in a directory of its own.
struct Bench {
    dir: tempfile::TempDir,
    sink: Sink,
    progress: AtomicU64,
}

impl Bench {
    fn new(keeping: Keeping) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink::new(&dir.path().join("web.log"), keeping);
        sink.open().unwrap();
        Bench {
            dir,
            sink,
            progress: AtomicU64::new(0),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&mut self, text: &str) -> Written {
        self.write_at(text, 0)
    }

    fn write_at(&mut self, text: &str, usec: i64) -> Written {
        self.sink.write(&[lines(text, usec)], &self.progress)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

#[test]
fn a_file_is_turned_over_between_two_lines() {
    let mut bench = Bench::new(keeping(12, 2));
    for line in ["first\n", "second\n", "third\n", "fourth\n"] {
        bench.write(line);
    }
    assert_eq!(bench.read("web.log"), "fourth\n");
    assert_eq!(bench.read("web.log.1"), "third\n");
    assert_eq!(bench.read("web.log.2"), "second\n");
    assert!(!bench.path("web.log.3").exists());
}

#[test]
fn what_comes_at_once_is_spread_over_as_many_files_as_it_needs() {
    let mut bench = Bench::new(keeping(12, 9));
    bench.write("one\ntwo\na line that is too long\nthree\nfour\nlast\n");
    assert_eq!(bench.read("web.log.3"), "one\ntwo\n");
    assert_eq!(bench.read("web.log.2"), "a line that is too long\n");
    assert_eq!(bench.read("web.log.1"), "three\nfour\n");
    assert_eq!(bench.read("web.log"), "last\n");
}

#[test]
fn without_old_files_it_is_emptied() {
    let mut bench = Bench::new(keeping(12, 0));
    bench.write("one\ntwo\nthree\nfour\n");
    assert_eq!(bench.read("web.log"), "three\nfour\n");
    assert!(!bench.path("web.log.1").exists());
}

#[test]
fn the_first_line_of_a_period_begins_a_new_file() {
    let mut bench = Bench::new(Keeping {
        rotate: Some(Rotate::Every(3600)),
        ..keeping(0, 2)
    });
    bench.write_at("first\n", HOUR);
    bench.write_at("last of the hour\n", 2 * HOUR - 1);
    let two = [lines("next\n", 2 * HOUR), lines("much later\n", 9 * HOUR)];
    bench.sink.write(&two, &bench.progress);
    // The clock was set back: that begins nothing.
    bench.write_at("earlier\n", HOUR);
    assert_eq!(bench.read("web.log.2"), "first\nlast of the hour\n");
    assert_eq!(bench.read("web.log.1"), "next\n");
    assert_eq!(bench.read("web.log"), "much later\nearlier\n");
}

#[test]
fn a_file_of_an_earlier_period_is_turned_over_when_it_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    std::fs::write(&path, "of an earlier run\n").unwrap();
    let mut sink = Sink::new(
        &path,
        Keeping {
            rotate: Some(Rotate::Every(3600)),
            ..keeping(0, 2)
        },
    );
    sink.open().unwrap();
    let now = std::fs::metadata(&path).unwrap().mtime() * 1_000_000;
    sink.write(&[lines("new\n", now + HOUR)], &AtomicU64::new(0));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    let old = std::fs::read_to_string(dir.path().join("web.log.1")).unwrap();
    assert_eq!(old, "of an earlier run\n");
}

#[test]
fn a_file_that_was_moved_is_made_anew_and_one_that_was_not_stays() {
    let mut bench = Bench::new(keeping(0, 0));
    bench.write("first\n");
    bench.sink.look(&mut Written::default());
    bench.write("second\n");
    std::fs::rename(bench.path("web.log"), bench.path("moved.log")).unwrap();
    bench.write("third\n");
    assert_eq!(bench.read("moved.log"), "first\nsecond\n");
    assert_eq!(bench.read("web.log"), "third\n");
}

#[test]
fn a_file_that_cannot_be_made_anew_goes_on_as_it_was() {
    let mut bench = Bench::new(keeping(0, 0));
    std::fs::rename(bench.path("web.log"), bench.path("moved.log")).unwrap();
    std::fs::create_dir(bench.path("web.log")).unwrap();
    let words = [bench.write("first\n"), bench.write("second\n")].map(|written| written.words);
    assert_eq!(bench.read("moved.log"), "first\nsecond\n");
    assert!(matches!(&words[0][..], [Word::Bad(_)]), "{words:?}");
    assert_eq!(words[1], [], "it is told once");
}

#[test]
fn a_file_that_somebody_has_emptied_is_as_large_as_it_is() {
    let mut bench = Bench::new(keeping(12, 1));
    bench.write("first\n");
    File::create(bench.path("web.log")).unwrap();
    bench.write("second\n");
    assert_eq!(bench.read("web.log"), "second\n");
    assert!(!bench.path("web.log.1").exists());
}

#[test]
fn what_a_full_disk_does_not_take_is_counted_and_told_once() {
    let mut sink = Sink::new(Path::new("/dev/full"), keeping(1, 1));
    sink.open().unwrap();
    let progress = AtomicU64::new(0);
    let first = sink.write(&[lines("one\ntwo\n", 0)], &progress);
    let second = sink.write(&[lines("three\n", 0)], &progress);
    assert_eq!(first.lost, Lost { lines: 2, bytes: 8 });
    assert_eq!(second.lost, Lost { lines: 1, bytes: 6 });
    let why = first.why.unwrap();
    assert!(why.contains("No space left on device"), "{why}");
    assert!(matches!(&first.words[..], [Word::Bad(_)]));
    assert_eq!(second.words, []);
    assert!(!Path::new("/dev/full.1").exists());
}

/// A disk that takes so many bytes and no more: a pipe of one page that nobody reads.
#[test]
fn a_line_that_was_torn_is_ended_and_what_is_missing_is_said_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let mut reader = options.open(&path).unwrap();
    let mut sink = Sink::new(&path, keeping(0, 0));
    sink.open().unwrap();
    let seat = sink.file.as_ref().unwrap();
    let capacity = fcntl(&seat.file, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    fcntl(&seat.file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let progress = AtomicU64::new(0);
    let long = format!("{}\n", "x".repeat(usize::try_from(capacity).unwrap() + 9));
    let text = format!("first\n{long}second\nthird\n");
    let written = sink.write(&[lines(&text, 0)], &progress);
    assert_eq!(
        written.lost,
        Lost {
            lines: 2,
            bytes: 13
        }
    );
    let mut told = String::new();
    let _ = io::Read::read_to_string(&mut reader, &mut told);
    let written = sink.write(&[lines("fourth\n", 0)], &progress);
    assert!(matches!(&written.words[..], [Word::Good(_)]), "{written:?}");
    assert!(written.lost.is_none());
    let _ = io::Read::read_to_string(&mut reader, &mut told);
    let expected =
        format!("first\n{long}circusd: 2 lines (13 bytes) of output are missing here\nfourth\n");
    assert_eq!(told, expected);
}

#[test]
fn a_torn_line_is_whole_in_the_file_that_comes_after() {
    let mut bench = Bench::new(keeping(0, 0));
    let line = b"torn\n".to_vec();
    bench.sink.torn = Some(Torn { line, written: 2 });
    std::fs::rename(bench.path("web.log"), bench.path("moved.log")).unwrap();
    bench.write("next\n");
    assert_eq!(bench.read("web.log"), "torn\nnext\n");
}

#[test]
fn each_line_has_its_label() {
    let mut bench = Bench::new(keeping(0, 0));
    let label = Arc::new(Label {
        time: Some("%H:%M:%S".into()),
        utc: true,
        prefix: "web.1: ".into(),
    });
    let text = Lines {
        usec: HOUR,
        label: Some(label),
        bytes: b"one\ntwo\n".to_vec(),
        batch: None,
    };
    bench.sink.write(&[text], &bench.progress);
    assert_eq!(
        bench.read("web.log"),
        "01:00:00 web.1: one\n01:00:00 web.1: two\n"
    );
}

#[test]
fn only_what_is_behind_the_last_line_end_is_taken_out() {
    for (before, after) in [
        ("one\ntw", "one\n"),
        ("one\n", "one\n"),
        ("on", ""),
        ("", ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        std::fs::write(&path, before).unwrap();
        let mut sink = Sink::new(&path, keeping(0, 0));
        assert_eq!(sink.mend(), None, "it is not open");
        sink.open().unwrap();
        assert_eq!(sink.mend().is_some(), before != after);
        sink.write(&[lines("next\n", 0)], &AtomicU64::new(0));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{after}next\n"));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.log");
    let foreign = "x".repeat(TORN_BYTES_MAX as usize + 1);
    std::fs::write(&path, &foreign).unwrap();
    let mut sink = Sink::new(&path, keeping(0, 0));
    sink.open().unwrap();
    assert_eq!(sink.mend(), None, "no line of ours is so long");
}
