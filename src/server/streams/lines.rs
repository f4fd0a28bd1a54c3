//! Lines on their way from a worker to a file, and those that did not get there.
//!
//! Only whole lines go further than this. Nothing in here reads or writes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::calendar;

/// A line that is longer is broken into lines of this length: it must not cost more memory.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// What stands before each line of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Label {
    /// A format of strftime(3).
    pub(super) time: Option<String>,
    pub(super) utc: bool,
    pub(super) prefix: String,
}

/// Whole lines of one process, with the moment at which they were read.
#[derive(Debug)]
pub(super) struct Lines {
    /// Since the Unix epoch.
    pub(super) usec: i64,
    pub(super) label: Option<Arc<Label>>,
    pub(super) bytes: Vec<u8>,
    /// Who waits to hear that they are written, or lost.
    pub(super) batch: Option<Batch>,
}

/// What was read from a pipe at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) pipe: u64,
    /// Its number among those of this pipe.
    pub(super) batch: u64,
}

/// Output that is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

impl Lines {
    /// Appends them as they are to stand in the file.
    pub(super) fn render(&self, out: &mut Vec<u8>) {
        let Some(label) = &self.label else {
            out.extend_from_slice(&self.bytes);
            return;
        };
        let mut head = match &label.time {
            Some(format) => {
                let told = calendar::told(format, self.usec, calendar::zone(label.utc));
                told + " "
            }
            None => String::new(),
        };
        head.push_str(&label.prefix);
        for line in self.bytes.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(line);
        }
    }
}

impl Lost {
    /// All of these lines.
    pub(super) fn all(lines: &[u8]) -> Lost {
        Lost {
            lines: count(lines),
            bytes: lines.len() as u64,
        }
    }

    pub(super) fn is_none(self) -> bool {
        self == Lost::default()
    }

    pub(super) fn add(&mut self, other: Lost) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Lost { lines, bytes } = self;
        match lines {
            1 => write!(f, "1 line ({bytes} bytes)"),
            _ => write!(f, "{lines} lines ({bytes} bytes)"),
        }
    }
}

fn count(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Partial(Vec<u8>);

impl Partial {
    /// Takes what was read; gives back the lines that are whole now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        let (lines, rest) = bytes.split_at(end.map_or(0, |last| last + 1));
        let mut whole = Vec::new();
        if !lines.is_empty() {
            whole = std::mem::take(&mut self.0);
            whole.extend_from_slice(lines);
        }
        self.0.extend_from_slice(rest);
        while self.0.len() >= LINE_BYTES_MAX {
            let rest = self.0.split_off(LINE_BYTES_MAX);
            whole.append(&mut self.0);
            whole.push(b'\n');
            self.0 = rest;
        }
        whole
    }

    /// What is left at the end of the stream, as a line: or the next one, of another process, would
    /// become part of it.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut last = std::mem::take(&mut self.0);
        if !last.is_empty() {
            last.push(b'\n');
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_go_further() {
        let mut partial = Partial::default();
        assert_eq!(partial.take(b"on"), b"");
        assert_eq!(partial.take(b"e\ntwo\nth"), b"one\ntwo\n");
        assert_eq!(partial.take(b"ree"), b"");
        assert_eq!(partial.finish(), b"three\n");
        assert_eq!(partial.finish(), b"");
    }

    #[test]
    fn a_line_that_is_too_long_is_broken() {
        let mut partial = Partial::default();
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let whole = partial.take(&long);
        assert_eq!(
            (whole.len(), whole.last()),
            (LINE_BYTES_MAX + 1, Some(&b'\n'))
        );
        assert_eq!(partial.finish(), b"xxxxxxxxxx\n");
    }

    #[test]
    fn each_line_has_its_label() {
        let label = Label {
            time: Some("%H:%M".into()),
            utc: true,
            prefix: "[7] | ".into(),
        };
        let lines = Lines {
            usec: 3_600_000_000,
            label: Some(Arc::new(label)),
            bytes: b"one\n\ntwo\n".to_vec(),
            batch: None,
        };
        let mut out = Vec::new();
        lines.render(&mut out);
        assert_eq!(out, b"01:00 [7] | one\n01:00 [7] | \n01:00 [7] | two\n");
    }

    #[test]
    fn what_is_lost_is_counted_in_lines_and_bytes() {
        let mut lost = Lost::all(b"one\n");
        assert_eq!(lost.to_string(), "1 line (4 bytes)");
        lost.add(Lost::all(b"two\nthree\n"));
        assert_eq!(lost.to_string(), "3 lines (14 bytes)");
    }
}
