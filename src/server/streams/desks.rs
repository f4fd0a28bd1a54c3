//! What is to be done about files of output, and by whom: the list that the loop and the threads of
//! `writers` share.
//!
//! Whoever holds it touches no file: what a thread takes from it is carried out without it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::lines::{Batch, Lines, Lost};
use super::sink::{Sink, Word, Written};
use crate::config::Keeping;

/// The number of a file.
pub(super) type FileId = u64;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) desks: HashMap<FileId, Desk>,
    /// Files with something to do that nobody does yet.
    pub(super) ready: VecDeque<FileId>,
    pub(super) threads: usize,
    /// Threads that have nothing to do, and those of them that have been called since.
    pub(super) idle: usize,
    pub(super) called: usize,
    /// How often something was taken from `ready`.
    pub(super) taken: u64,
    /// Files that were not opened in time, and are not yet.
    pub(super) overdue: usize,
    pub(super) words: Vec<Word>,
    /// What is written, or lost, and was not told yet.
    pub(super) settled: VecDeque<Batch>,
    pub(super) ending: bool,
}

/// What is to be done about one file.
#[derive(Debug)]
pub(super) struct Desk {
    /// `None` while a thread has it.
    pub(super) sink: Option<Sink>,
    pub(super) keeping: Keeping,
    pub(super) lines: Vec<Lines>,
    pub(super) bytes: usize,
    /// What a thread has of it.
    pub(super) in_hand: usize,
    /// Lines that did not fit, behind all of `lines`.
    pub(super) dropped: Lost,
    /// It is in `ready`.
    pub(super) queued: bool,
    pub(super) opened: Opened,
    /// It may have been moved.
    pub(super) look: bool,
    /// An earlier daemon may not have come to the end of a line.
    pub(super) mend: bool,
    /// Nobody writes to it any more.
    pub(super) closing: bool,
    /// No descriptor of it is open.
    pub(super) closed: bool,
    pub(super) progress: Arc<AtomicU64>,
    pub(super) losses: Losses,
}

/// All that was lost of one file, and the last time.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    pub(super) lost: Lost,
    pub(super) last: Option<(Instant, String)>,
}

#[derive(Debug)]
pub(super) enum Opened {
    Wanted,
    /// Wanted, and nobody waits any more.
    Overdue,
    Failed(io::Error),
    Done,
}

/// How full the queue of a file is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill {
    pub(super) bytes: usize,
    /// Grows as long as the file takes anything.
    pub(super) progress: u64,
}

/// What a thread takes from a desk.
pub(super) struct Order {
    pub(super) lines: Vec<Lines>,
    pub(super) dropped: Lost,
    pub(super) keeping: Keeping,
    pub(super) open: bool,
    pub(super) look: bool,
    pub(super) mend: bool,
    pub(super) close: bool,
    pub(super) progress: Arc<AtomicU64>,
}

pub(super) struct Outcome {
    pub(super) opened: Option<io::Result<()>>,
    pub(super) closed: bool,
    pub(super) written: Written,
    /// All that there is nothing more to be done about.
    pub(super) settled: Vec<Batch>,
}

impl Order {
    pub(super) fn take(desk: &mut Desk) -> Order {
        desk.in_hand = std::mem::take(&mut desk.bytes);
        Order {
            lines: std::mem::take(&mut desk.lines),
            dropped: std::mem::take(&mut desk.dropped),
            keeping: desk.keeping,
            open: desk.wants_to_be_open(),
            look: std::mem::take(&mut desk.look),
            mend: std::mem::take(&mut desk.mend),
            close: desk.closing,
            progress: Arc::clone(&desk.progress),
        }
    }

    pub(super) fn carry_out(self, sink: &mut Sink) -> Outcome {
        sink.keep(self.keeping);
        let opened = self.open.then(|| sink.open());
        let mended = self.mend.then(|| sink.mend()).flatten();
        let mut written = Written::default();
        if !self.lines.is_empty() {
            written = sink.write(&self.lines, &self.progress);
        } else if self.look {
            sink.look(&mut written);
        }
        sink.owe(self.dropped, &self.progress, &mut written);
        written.words.extend(mended);
        if self.close {
            sink.close();
        }
        Outcome {
            opened,
            closed: self.close,
            written,
            settled: self.lines.iter().filter_map(|lines| lines.batch).collect(),
        }
    }
}

impl State {
    /// Puts a file on the list of what is to be done, unless it is there or a thread has it.
    pub(super) fn put_on(&mut self, id: FileId) {
        if let Some(desk) = self.desks.get_mut(&id)
            && !desk.queued
            && desk.sink.is_some()
        {
            desk.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Takes back what a thread had.
    pub(super) fn settle(&mut self, id: FileId, sink: Sink, outcome: Outcome) {
        let Written { lost, why, words } = outcome.written;
        self.words.extend(words);
        self.settled.extend(outcome.settled);
        let Some(desk) = self.desks.get_mut(&id) else {
            return;
        };
        desk.in_hand = 0;
        (desk.sink, desk.closed) = (Some(sink), outcome.closed);
        if let Some(why) = why {
            desk.losses.add(lost, &why);
        }
        if let Some(opened) = outcome.opened {
            let was_overdue = matches!(desk.opened, Opened::Overdue);
            desk.opened = match opened {
                // Whoever writes tries again, and has told why it failed.
                Err(error) if !was_overdue => Opened::Failed(error),
                _ => Opened::Done,
            };
            self.overdue -= usize::from(was_overdue);
        }
        if outcome.closed {
            desk.opened = Opened::Wanted;
        }
        if desk.has_work() {
            self.put_on(id);
        }
    }

    pub(super) fn progress(&self) -> u64 {
        let progress = self.desks.values().map(|desk| &desk.progress);
        progress
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<u64>()
            + self.taken
    }

    pub(super) fn is_done(&self) -> bool {
        self.ready.is_empty() && self.desks.values().all(|desk| desk.sink.is_some())
    }

    /// How many bytes of how many files are not written, at most.
    pub(super) fn unwritten(&self) -> (usize, usize) {
        let behind = self
            .desks
            .values()
            .filter(|desk| desk.sink.is_none() || desk.bytes > 0);
        behind.fold((0, 0), |(bytes, files), desk| {
            (bytes + desk.in_hand + desk.bytes, files + 1)
        })
    }
}

impl Desk {
    pub(super) fn new(path: &Path, keeping: Keeping) -> Desk {
        Desk {
            sink: Some(Sink::new(path, keeping)),
            keeping,
            lines: Vec::new(),
            bytes: 0,
            in_hand: 0,
            dropped: Lost::default(),
            queued: false,
            opened: Opened::Wanted,
            look: false,
            mend: false,
            closing: false,
            closed: true,
            progress: Arc::default(),
            losses: Losses::default(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.lines.is_empty()
            || !self.dropped.is_none()
            || self.look
            || self.wants_to_be_open()
            || (self.closing && !self.closed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closing && self.sink.is_some() && !self.queued && !self.has_work()
    }

    pub(super) fn wants_to_be_open(&self) -> bool {
        match self.opened {
            Opened::Wanted => !self.closing,
            // Whoever counts those waits for the answer.
            Opened::Overdue => true,
            Opened::Failed(_) | Opened::Done => false,
        }
    }
}

impl Losses {
    pub(super) fn add(&mut self, lost: Lost, why: &str) {
        self.lost.add(lost);
        self.last = Some((Instant::now(), why.to_owned()));
    }
}
