//! The threads, with pipes that nobody reads in the place of disks that hang.

use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

const KEEPING: Keeping = Keeping {
    max_bytes: 0,
    rotate: None,
    utc: true,
    backup_count: 0,
};

fn lines(text: &str) -> Lines {
    Lines {
        usec: 0,
        label: None,
        bytes: text.into(),
        batch: None,
    }
}

/// A disk that hangs, as a pipe that nobody reads, and the end by which it could be read.
fn hung(dir: &Path, name: &str) -> (PathBuf, File) {
    let path = dir.join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let reader = options.open(&path).unwrap();
    (path, reader)
}

fn hang(writers: &Writers, id: FileId, path: &Path) {
    writers.open(id, path, KEEPING).unwrap();
    writers.push(id, lines(&("x".repeat(100_000) + "\n")));
}

fn await_news(writers: &Writers) {
    let mut fds = [PollFd::new(writers.news(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(Duration::from_secs(60)).unwrap();
    assert_eq!(poll(&mut fds, limit), Ok(1), "no news");
}

/// Waits until these have been told to be settled.
fn await_settled(writers: &Writers, wanted: &[Batch]) {
    let mut settled = Vec::new();
    while settled.len() < wanted.len() {
        await_news(writers);
        // One after the other, so that those that are left are news again.
        settled.extend(writers.take_news(1).1);
    }
    assert_eq!(settled, wanted);
}

#[test]
fn all_is_written_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let paths = ["a", "b", "c"].map(|name| dir.path().join(name));
    for (id, path) in (1..).zip(&paths) {
        writers.open(id, path, KEEPING).unwrap();
    }
    for number in 0..100 {
        for id in 1..=3 {
            writers.push(id, lines(&format!("{number}\n")));
        }
    }
    writers.close(2);
    assert_eq!(writers.finish(), (0, 0));
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn a_file_that_cannot_be_opened_says_why_and_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let path = dir.path().join("sub/web.log");
    for _ in 0..2 {
        let error = writers.open(1, &path, KEEPING).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    writers.open(1, &path, KEEPING).unwrap();
    writers.push(1, lines("there\n"));
    assert_eq!(writers.finish(), (0, 0));
    assert_eq!(std::fs::read_to_string(path).unwrap(), "there\n");
}

#[test]
fn files_that_hang_hold_up_no_other_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let hung: Vec<_> = (1..=3)
        .map(|id| {
            let (path, reader) = hung(dir.path(), &format!("pipe.{id}"));
            hang(&writers, id, &path);
            reader
        })
        .collect();
    let path = dir.path().join("web.log");
    writers.open(9, &path, KEEPING).unwrap();
    writers.push(9, lines("not held up\n"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read(&path).unwrap() != b"not held up\n" {
        // As the loop does when its timer rings.
        if writers.lag().is_some() {
            writers.help().unwrap();
        }
        assert!(Instant::now() < deadline, "{writers:?}");
        std::thread::yield_now();
    }
    assert_eq!(writers.finish().1, 3);
    drop(hung);
}

#[test]
fn threads_that_were_called_in_go_again() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let hung: Vec<_> = (1..=3)
        .map(|id| {
            let (path, reader) = hung(dir.path(), &format!("pipe.{id}"));
            hang(&writers, id, &path);
            reader
        })
        .collect();
    assert_eq!(writers.state().threads, 3);
    // Writing to a pipe that nobody can read any more is an error, and answers.
    drop(hung);
    let mut state = writers.state();
    while !(state.is_done() && state.threads == 1) {
        let waited = writers
            .shared
            .done
            .wait_timeout(state, Duration::from_millis(10));
        (state, _) = waited.unwrap();
    }
}

#[test]
fn what_is_written_is_told_and_what_was_skipped_stands_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let (path, mut reader) = hung(dir.path(), "pipe");
    hang(&writers, 1, &path);
    while writers.fill(1).bytes > 0 {
        std::thread::yield_now();
    }
    let batches = [1, 2].map(|batch| Batch { pipe: 7, batch });
    for batch in batches {
        let batch = Some(batch);
        writers.push(
            1,
            Lines {
                batch,
                ..lines("more\n")
            },
        );
    }
    writers.skip(1, Lost::all(b"skipped\n"), "takes nothing");
    assert_eq!(writers.fill(1).bytes, 10, "the thread has the first lines");
    assert_eq!(writers.take_news(9).1, []);
    let mut text = Vec::new();
    let end = b"more\nmore\ncircusd: 1 line (8 bytes) of output are missing here\n";
    while !text.ends_with(end) {
        // That there is nothing for now is an error.
        let _ = reader.read_to_end(&mut text);
    }
    await_settled(&writers, &batches);
    assert_eq!(writers.fill(1).bytes, 0);
    let losses = writers.losses(1);
    assert_eq!(losses.lost, Lost { lines: 1, bytes: 8 });
    assert_eq!(losses.last.unwrap().1, "takes nothing");
}

#[test]
fn what_cannot_be_written_is_settled_too() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let path = dir.path().join("nowhere/web.log");
    writers.open_later(1, &path, KEEPING).unwrap();
    let batch = Batch { pipe: 7, batch: 1 };
    writers.push(
        1,
        Lines {
            batch: Some(batch),
            ..lines("lost\n")
        },
    );
    await_settled(&writers, &[batch]);
    assert_eq!(writers.losses(1).lost.lines, 1);
}

#[test]
fn a_file_is_closed_by_a_thread_and_opened_again_under_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let writers = Writers::new().unwrap();
    let (path, mut reader) = hung(dir.path(), "pipe");
    hang(&writers, 1, &path);
    writers.close(1);
    assert!(!writers.is_closed(1), "it has not written all");
    let mut text = Vec::new();
    while !writers.is_closed(1) {
        let _ = reader.read_to_end(&mut text);
    }
    let _ = reader.read_to_end(&mut text);
    assert_eq!(text.len(), 100_001);
    // Nobody has it open for writing, so that it is at its end.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    writers.open(1, &path, KEEPING).unwrap();
    writers.push(1, lines("again\n"));
    assert_eq!(writers.finish(), (0, 0));
    let _ = reader.read_to_end(&mut text);
    assert!(text.ends_with(b"again\n"));
}
