//! The log of events on its way from one daemon to the next: the messages as subscribers get them,
//! one a line, in two files that take turns, so that nothing has to be moved.
//!
//! A line is written before anybody hears of its event; one that was cut short was heard of by
//! nobody, and is left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const NAMES: [&str; 2] = ["events.0", "events.1"];

/// What is written anew, until it takes the place of the first.
const NEW: &str = "events.new";

/// What is kept for the next lines: enough for those of a moment.
const BUFFER_BYTES: usize = 4096;

/// Whatever is larger was not written by us: a file holds as many events as are kept, and no event is
/// larger than a message.
const BYTES_MAX: u64 = 1 << 32;

/// The two files.
#[derive(Debug)]
pub(in crate::server) struct History {
    directory: PathBuf,
    /// The one that is written to, and how many events are in it.
    present: (usize, u64),
    file: File,
    buffer: Vec<u8>,
    broken: bool,
}

/// An event of an earlier daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Past {
    pub(in crate::server) seq: u64,
    pub(in crate::server) watcher: Option<String>,
    pub(in crate::server) action: String,
    /// As it was sent, without its terminator.
    pub(in crate::server) message: Vec<u8>,
}

#[derive(Deserialize)]
struct Message {
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Parameters {
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    seq: u64,
    watcher: Option<String>,
    action: String,
}

/// The events that were left, without a gap, oldest first. What cannot be read ends them.
pub(super) fn read(directory: &Path) -> Vec<Past> {
    let mut all: Vec<Past> = NAMES
        .iter()
        .flat_map(|name| read_file(&directory.join(name)))
        .collect();
    all.sort_by_key(|past| past.seq);
    all.dedup_by_key(|past| past.seq);
    let gapless = |pair: &[Past]| pair[0].seq + 1 == pair[1].seq;
    let begin = all.windows(2).rposition(|pair| !gapless(pair));
    all.split_off(begin.map_or(0, |before| before + 1))
}

fn read_file(path: &Path) -> Vec<Past> {
    let ours = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() <= BYTES_MAX);
    let text = match ours {
        true => std::fs::read(path).unwrap_or_default(),
        false => return Vec::new(),
    };
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let whole = lines.filter_map(|line| line.strip_suffix(b"\n"));
    let past = whole.filter_map(|line| {
        let Message { parameters } = serde_json::from_slice(line).ok()?;
        let Event {
            seq,
            watcher,
            action,
        } = parameters.event;
        Some(Past {
            seq,
            watcher,
            action,
            message: line.to_vec(),
        })
    });
    past.collect()
}

impl History {
    /// Goes on behind `past`, or begins anew where that is empty. The files hold that and nothing else
    /// from then on.
    ///
    /// # Errors
    ///
    /// They cannot be made.
    pub(super) fn begin(directory: &Path, past: &[Past]) -> io::Result<History> {
        let mut history = History {
            directory: directory.to_owned(),
            present: (0, past.len() as u64),
            file: create(&directory.join(NEW))?,
            buffer: Vec::new(),
            broken: false,
        };
        for past in past {
            history.buffer.extend_from_slice(&past.message);
            history.buffer.push(b'\n');
        }
        history.flush();
        // At every moment the past is in what is read: whoever is killed in here loses none of it.
        std::fs::rename(directory.join(NEW), directory.join(NAMES[0]))?;
        remove(&directory.join(NAMES[1]))?;
        Ok(history)
    }

    /// Takes in an event; `kept` is how many of them are to be had later.
    pub(in crate::server) fn push(&mut self, message: &[u8], kept: u64) {
        if self.present.1 >= kept {
            self.flush();
            self.turn();
        }
        self.present.1 += 1;
        self.buffer.extend_from_slice(message);
        self.buffer.push(b'\n');
    }

    /// Writes what was taken in; nobody may hear of it before.
    pub(in crate::server) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        // After much at once it does not stay as large as it was.
        self.buffer.shrink_to(BUFFER_BYTES);
        if let Err(error) = &written
            && !self.broken
        {
            let path = self.directory.join(NAMES[self.present.0]);
            tracing::error!(
                "failed to write events to '{}', so that they are lost should circusd be killed: \
                 {error}",
                path.display()
            );
        }
        self.broken = written.is_err();
    }

    /// Begins the other file.
    fn turn(&mut self) {
        let next = 1 - self.present.0;
        match create(&self.directory.join(NAMES[next])) {
            Ok(file) => {
                self.file = file;
                self.present = (next, 0);
            }
            Err(error) => {
                tracing::error!("failed to begin a file of events, going on with the old: {error}");
                self.present.1 = 0;
            }
        }
    }

    /// Removes them: nobody goes on from here.
    pub(in crate::server) fn remove(&self) {
        for name in [NAMES[0], NAMES[1], NEW] {
            // It may be gone already, and nobody is served by a complaint.
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// For us alone, and to append only.
fn create(path: &Path) -> io::Result<File> {
    remove(path)?;
    let mut options = OpenOptions::new();
    options.append(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64) -> Vec<u8> {
        let event = format!(
            "{{\"seq\":{seq},\"watcher\":\"web\",\"action\":\"spawn\",\"topic\":\"watcher.web.spawn\"}}"
        );
        format!(
            "{{\"parameters\":{{\"cursor\":\"x:{seq}\",\"event\":{event}}},\"continues\":true}}"
        )
        .into_bytes()
    }

    fn numbers(directory: &Path) -> Vec<u64> {
        read(directory).iter().map(|past| past.seq).collect()
    }

    #[test]
    fn as_many_as_are_kept_are_to_be_had() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::begin(dir.path(), &[]).unwrap();
        for seq in 1..=25 {
            history.push(&message(seq), 10);
        }
        history.flush();
        assert_eq!(numbers(dir.path()), (11..=25).collect::<Vec<_>>());
        let past = read(dir.path());
        assert_eq!(past[0].message, message(11));
        assert_eq!(past[0].watcher.as_deref(), Some("web"));
        let mut history = History::begin(dir.path(), &past).unwrap();
        history.push(&message(26), 10);
        history.flush();
        assert_eq!(numbers(dir.path()).last(), Some(&26));
    }

    #[test]
    fn who_is_killed_before_all_is_written_anew_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::begin(dir.path(), &[]).unwrap();
        for seq in 1..=25 {
            history.push(&message(seq), 10);
        }
        history.flush();
        let all = numbers(dir.path());
        // As it is left in the middle of the beginning.
        std::fs::write(dir.path().join(NEW), &message(11)[..20]).unwrap();
        assert_eq!(numbers(dir.path()), all);
        let past = read(dir.path());
        History::begin(dir.path(), &past).unwrap();
        assert_eq!(numbers(dir.path()), all);
        assert!(!dir.path().join(NEW).exists());
    }

    #[test]
    fn what_was_cut_short_is_left_out_and_a_gap_is_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::begin(dir.path(), &[]).unwrap();
        for seq in [1, 2, 5, 6] {
            history.push(&message(seq), 10);
        }
        history.flush();
        let whole = message(7);
        history.file.write_all(&whole[..whole.len() - 3]).unwrap();
        assert_eq!(numbers(dir.path()), [5, 6]);
    }
}
