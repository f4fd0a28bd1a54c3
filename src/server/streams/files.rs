//! Files of output as the loop sees them: who writes to which, and what becomes of lines for which
//! there is no room.
//!
//! A file that is slow slows down those who write to it: of each pipe one batch at most is on its way,
//! and stays in the pipe until it is written. One that takes nothing at all does not: its pipes are
//! emptied, and what is in them is dropped and counted, until it takes something.
//! Never touches a file; `writers` does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::desks::{FileId, Losses};
use super::lines::{Batch, Lines, Lost};
use super::sink::Word;
use super::writers::Writers;
use crate::config::Keeping;

/// What may wait for one file, however many write to it; as much again may be in the hands of a thread.
/// Twice that for each file is what a disk that hangs can cost.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// A file that has taken nothing for so long while others wait for it is given up for now: they go on
/// without it. Longer than a disk takes to wake up or to write back what it has in memory.
const PATIENCE: Duration = Duration::from_secs(2);

const TAKES_NOTHING: &str = "takes nothing";

/// All files of output.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) writers: Writers,
    known: BTreeMap<FileId, Known>,
    by_path: BTreeMap<PathBuf, FileId>,
    /// Files for which somebody may have to wait.
    busy: BTreeSet<FileId>,
    /// Files that are being closed, or have lost something.
    leaving: BTreeSet<FileId>,
    last: FileId,
    /// How often the threads had taken something up when one was found to be waited for.
    lagged: Option<u64>,
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    keeping: Keeping,
    /// The pipes whose lines go there.
    pipes: usize,
    watchers: BTreeSet<String>,
    /// The pipes of which a batch is on its way, and which.
    in_flight: BTreeMap<u64, u64>,
    /// Pipes that are not read for now.
    paused: BTreeSet<u64>,
    /// Since when it has taken nothing although there is something, and how far it was then.
    still: Option<(Instant, u64)>,
    /// It has taken nothing for too long, and was so far.
    stuck: Option<u64>,
}

/// What is to be done with a pipe that has something to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is none, but it may come.
    Wait,
    /// There is none, and who writes is not to wait.
    None,
}

impl Files {
    /// # Errors
    ///
    /// The table of descriptors is full.
    pub(super) fn new() -> io::Result<Files> {
        Ok(Files {
            writers: Writers::new()?,
            known: BTreeMap::new(),
            by_path: BTreeMap::new(),
            busy: BTreeSet::new(),
            leaving: BTreeSet::new(),
            last: 0,
            lagged: None,
        })
    }

    /// Opens a file for one more pipe of this watcher.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(super) fn open(
        &mut self,
        path: &Path,
        keeping: Keeping,
        watcher: &str,
    ) -> io::Result<FileId> {
        self.forget_closed();
        let id = self.id_of(path);
        self.writers.open(id, path, keeping)?;
        self.join(id, path, keeping, watcher);
        Ok(id)
    }

    /// Goes on with a file for a pipe of an earlier daemon, whether it can be opened or not.
    pub(super) fn resume(&mut self, path: &Path, keeping: Keeping, watcher: &str) -> FileId {
        let id = self.id_of(path);
        if let Err(error) = self.writers.open_later(id, path, keeping) {
            tracing::error!("failed to start a thread for files, trying again: {error}");
            self.lagged = self.lagged.or(self.writers.lag());
        }
        self.join(id, path, keeping, watcher);
        id
    }

    /// One that is being closed goes on under its number: there are never two that write to it.
    fn id_of(&mut self, path: &Path) -> FileId {
        match self.by_path.get(path) {
            Some(id) => *id,
            None => {
                self.last += 1;
                self.last
            }
        }
    }

    fn join(&mut self, id: FileId, path: &Path, keeping: Keeping, watcher: &str) {
        self.by_path.insert(path.to_owned(), id);
        let known = self.known.entry(id);
        let known = known.or_insert_with(|| Known::new(path, keeping));
        known.pipes += 1;
        known.keeping = keeping;
        self.leaving.remove(&id);
        if !known.watchers.contains(watcher) {
            known.watchers.insert(watcher.to_owned());
        }
    }

    /// Where a file is, and how it is kept.
    pub(super) fn place(&self, id: FileId) -> Option<(&Path, Keeping)> {
        let known = self.known.get(&id)?;
        Some((&known.path, known.keeping))
    }

    /// Whether there is no file.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// One pipe less.
    pub(super) fn leave(&mut self, id: FileId) {
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        known.pipes -= 1;
        if known.pipes == 0 {
            self.writers.close(id);
            self.leaving.insert(id);
        }
    }

    /// Forgets what is closed and has lost nothing that anybody may ask for.
    fn forget_closed(&mut self) {
        let writers = &self.writers;
        let known = &self.known;
        let is_over = |id: &FileId| {
            let asked = known
                .get(id)
                .is_some_and(|known| !known.watchers.is_empty());
            writers.is_closed(*id) && (!asked || writers.losses(*id).lost.is_none())
        };
        let over: Vec<FileId> = self.leaving.iter().copied().filter(is_over).collect();
        over.into_iter().for_each(|id| self.forget(id));
    }

    fn forget(&mut self, id: FileId) {
        if let Some(known) = self.known.remove(&id) {
            self.by_path.remove(&known.path);
            self.busy.remove(&id);
            self.leaving.remove(&id);
            self.writers.forget(id);
        }
    }

    /// Forgets what a watcher has lost.
    pub(super) fn forget_watcher(&mut self, watcher: &str) {
        for known in self.known.values_mut() {
            known.watchers.remove(watcher);
        }
        self.forget_closed();
    }

    /// Whether there is room for what is in this pipe. Where it has to wait, it is given back by
    /// [`Files::settled`] or [`Files::give_up`].
    pub(super) fn admit(&mut self, id: FileId, pipe: u64) -> Room {
        let Some(known) = self.known.get_mut(&id) else {
            return Room::Free;
        };
        let fill = self.writers.fill(id);
        if known.stuck == Some(fill.progress) {
            return Room::None;
        }
        known.stuck = None;
        if fill.bytes < QUEUE_BYTES_MAX {
            return Room::Free;
        }
        known.paused.insert(pipe);
        Room::Wait
    }

    /// Hands lines over, whether there is room or not.
    pub(super) fn push(&mut self, id: FileId, lines: Lines) {
        if let (Some(known), Some(batch)) = (self.known.get_mut(&id), lines.batch) {
            known.in_flight.insert(batch.pipe, batch.batch);
            if known.still.is_none() {
                known.still = Some((Instant::now(), self.writers.fill(id).progress));
                self.busy.insert(id);
            }
        }
        self.writers.push(id, lines);
        self.lagged = self.lagged.or(self.writers.lag());
    }

    /// Counts lines that are not handed over.
    pub(super) fn skip(&mut self, id: FileId, lines: &[u8]) {
        if !lines.is_empty() {
            self.writers.skip(id, Lost::all(lines), TAKES_NOTHING);
        }
    }

    /// Whether time matters.
    pub(super) fn wants_time(&self) -> bool {
        self.lagged.is_some() || !self.busy.is_empty()
    }

    /// Tells the log what the threads have found, and says what they are done with, so many at most.
    pub(super) fn take_news(&mut self, max: usize) -> Vec<Batch> {
        let (words, settled) = self.writers.take_news(max);
        for word in words {
            match word {
                Word::Bad(text) => tracing::error!("{text}"),
                Word::Good(text) => tracing::warn!("{text}"),
            }
        }
        settled
    }

    /// A batch is no longer on its way to this file; gives back the pipes that have waited for that.
    pub(super) fn settled(&mut self, id: FileId, batch: Batch) -> BTreeSet<u64> {
        let Some(known) = self.known.get_mut(&id) else {
            return BTreeSet::new();
        };
        if known.in_flight.get(&batch.pipe) == Some(&batch.batch) {
            known.in_flight.remove(&batch.pipe);
        }
        known.still = None;
        match known.in_flight.is_empty() {
            true => {
                self.busy.remove(&id);
            }
            false => known.still = Some((Instant::now(), self.writers.fill(id).progress)),
        }
        std::mem::take(&mut known.paused)
    }

    /// Looks whether anything moves, and says which files have taken nothing for too long.
    pub(super) fn on_time(&mut self) -> Vec<FileId> {
        if let Some(lagged) = self.lagged.take() {
            self.lagged = self.writers.lag();
            if self.lagged == Some(lagged)
                && let Err(error) = self.writers.help()
            {
                tracing::error!("failed to start a thread for files, trying again: {error}");
            }
        }
        let (known, writers) = (&mut self.known, &self.writers);
        let busy = self.busy.iter().copied();
        let motionless = busy.filter(|id| {
            let progress = writers.fill(*id).progress;
            known
                .get_mut(id)
                .is_some_and(|known| known.is_motionless(progress))
        });
        motionless.collect()
    }

    /// The pipes of which something is on its way to this file, and whether others wait for room.
    pub(super) fn waiting(&self, id: FileId) -> (impl Iterator<Item = u64>, bool) {
        let known = self.known.get(&id);
        let in_flight = known.into_iter().flat_map(|known| known.in_flight.keys());
        let others = known.is_some_and(|known| !known.paused.is_empty());
        (in_flight.copied(), others)
    }

    /// Lets nobody wait for this file until it takes something; gives back the pipes that have waited.
    pub(super) fn give_up(&mut self, id: FileId) -> BTreeSet<u64> {
        let progress = self.writers.fill(id).progress;
        let Some(known) = self.known.get_mut(&id) else {
            return BTreeSet::new();
        };
        let path = known.path.display();
        tracing::error!("'{path}' {TAKES_NOTHING}; what does not fit is lost until it does");
        (known.stuck, known.still) = (Some(progress), None);
        self.busy.remove(&id);
        let mut waited = std::mem::take(&mut known.paused);
        waited.extend(std::mem::take(&mut known.in_flight).into_keys());
        waited
    }

    /// Has all files made anew that were moved away or removed.
    pub(super) fn look(&self) {
        for (id, _) in self.known.iter().filter(|(_, known)| known.pipes > 0) {
            self.writers.look(*id);
        }
    }

    /// The files to which this watcher has lost something, and what.
    pub(super) fn losses(&self, watcher: &str) -> Vec<(&Path, Losses)> {
        let known = self.known.iter();
        let own = known.filter(|(_, known)| known.watchers.contains(watcher));
        own.map(|(id, known)| (known.path.as_path(), self.writers.losses(*id)))
            .filter(|(_, losses)| !losses.lost.is_none())
            .collect()
    }
}

impl Known {
    fn new(path: &Path, keeping: Keeping) -> Known {
        Known {
            path: path.to_owned(),
            keeping,
            pipes: 0,
            watchers: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            paused: BTreeSet::new(),
            still: None,
            stuck: None,
        }
    }

    /// Whether it is as far as it was long ago.
    fn is_motionless(&mut self, progress: u64) -> bool {
        match self.still {
            Some((since, before)) if before == progress => since.elapsed() >= PATIENCE,
            _ => {
                self.still = Some((Instant::now(), progress));
                false
            }
        }
    }
}
