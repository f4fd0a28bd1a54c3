//! Files of output as the loop sees them: who writes to which, and what becomes of lines for which
//! there is no room.
//!
//! A file that is slow slows down those who write to it: their pipes are not read until there is
//! room again. One that takes nothing at all does not: what does not fit is dropped and counted.
//! Never touches a file; `writers` does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::desks::{FileId, Losses};
use super::lines::{Lines, Lost};
use super::sink::Word;
use super::writers::Writers;
use crate::config::Keeping;

/// What may wait for one file; as much again may be in the hands of a thread. Twice that for each
/// file is what a disk that hangs can cost.
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
    /// Files whose writers wait for room.
    full: BTreeSet<FileId>,
    /// Files that are being closed, or have lost something.
    leaving: BTreeSet<FileId>,
    last: FileId,
    /// How often the threads had taken something up when one was found to be waited for.
    lagged: Option<u64>,
}

#[derive(Debug)]
struct Known {
    path: PathBuf,
    /// The pipes whose lines go there.
    pipes: usize,
    watchers: BTreeSet<String>,
    /// Pipes that are not read for now.
    paused: Vec<u64>,
    /// Since when it has taken nothing while somebody waited, and how far it was then.
    still: Option<(Instant, u64)>,
    /// It has taken nothing for too long.
    stuck: bool,
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
            full: BTreeSet::new(),
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
        // One that is being closed goes on under its number: there are never two that write to it.
        let id = match self.by_path.get(path) {
            Some(id) => *id,
            None => {
                self.last += 1;
                self.last
            }
        };
        self.writers.open(id, path, keeping)?;
        self.by_path.insert(path.to_owned(), id);
        let known = self.known.entry(id).or_insert_with(|| Known::new(path));
        known.pipes += 1;
        self.leaving.remove(&id);
        if !known.watchers.contains(watcher) {
            known.watchers.insert(watcher.to_owned());
        }
        Ok(id)
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
            self.full.remove(&id);
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
    /// [`Files::resumed`] or [`Files::on_time`].
    pub(super) fn admit(&mut self, id: FileId, pipe: u64) -> Room {
        let Some(known) = self.known.get_mut(&id) else {
            return Room::Free;
        };
        if self.writers.fill(id, false).bytes < QUEUE_BYTES_MAX {
            known.stuck = false;
            return Room::Free;
        }
        if known.stuck {
            return Room::None;
        }
        let fill = self.writers.fill(id, true);
        if fill.bytes < QUEUE_BYTES_MAX {
            return Room::Free;
        }
        known.paused.push(pipe);
        known.still.get_or_insert((Instant::now(), fill.progress));
        self.full.insert(id);
        Room::Wait
    }

    /// Hands lines over, whether there is room or not.
    pub(super) fn push(&mut self, id: FileId, lines: Lines) {
        self.writers.push(id, lines);
        self.lagged = self.lagged.or(self.writers.lag());
    }

    /// Counts lines that are not handed over.
    pub(super) fn skip(&mut self, id: FileId, lines: &[u8]) {
        self.writers.skip(id, Lost::all(lines), TAKES_NOTHING);
    }

    /// Whether time matters.
    pub(super) fn wants_time(&self) -> bool {
        self.lagged.is_some() || !self.full.is_empty()
    }

    /// Tells the log what the threads have found, and gives back the pipes for which there is room.
    pub(super) fn resumed(&mut self) -> Vec<u64> {
        for word in self.writers.words() {
            match word {
                Word::Bad(text) => tracing::error!("{text}"),
                Word::Good(text) => tracing::warn!("{text}"),
            }
        }
        let mut resumed = Vec::new();
        let writers = &self.writers;
        self.full.retain(|id| {
            let Some(known) = self.known.get_mut(id) else {
                return false;
            };
            let full = writers.fill(*id, true).bytes >= QUEUE_BYTES_MAX;
            if !full {
                known.still = None;
                resumed.append(&mut known.paused);
            }
            full
        });
        resumed
    }

    /// Looks whether anything moves, and gives back the pipes that are to wait no longer.
    pub(super) fn on_time(&mut self) -> Vec<u64> {
        if let Some(lagged) = self.lagged.take() {
            self.lagged = self.writers.lag();
            if self.lagged == Some(lagged)
                && let Err(error) = self.writers.help()
            {
                tracing::error!("failed to start a thread for files, trying again: {error}");
            }
        }
        let mut given_up = Vec::new();
        for id in self.full.clone() {
            let progress = self.writers.fill(id, true).progress;
            let Some(known) = self.known.get_mut(&id) else {
                continue;
            };
            if known.is_stuck(progress) {
                self.full.remove(&id);
                given_up.append(&mut known.paused);
            }
        }
        given_up
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
    fn new(path: &Path) -> Known {
        Known {
            path: path.to_owned(),
            pipes: 0,
            watchers: BTreeSet::new(),
            paused: Vec::new(),
            still: None,
            stuck: false,
        }
    }

    fn is_stuck(&mut self, progress: u64) -> bool {
        match self.still {
            Some((since, before)) if before == progress => {
                if since.elapsed() < PATIENCE {
                    return false;
                }
                let path = self.path.display();
                tracing::error!(
                    "'{path}' {TAKES_NOTHING}; what does not fit is lost until it does"
                );
                (self.stuck, self.still) = (true, None);
                true
            }
            _ => {
                self.still = Some((Instant::now(), progress));
                false
            }
        }
    }
}
