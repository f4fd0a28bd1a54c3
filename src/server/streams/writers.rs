//! The threads that write files of output, so that the loop never waits for a disk.
//!
//! The one exception to "one thread": write(2), open(2), rename(2) and close(2) may stay in the
//! kernel for ever where a disk or a server has gone away, and nothing else can be done about that.
//! One thread, as a rule, which does whatever file has something to write. Where it does not come
//! back, another is called in, so that each file that hangs costs a thread and no other file. A
//! thread for each file would cost memory for each; one for all would let one hold up the others.
//!
//! A lock is held only to hand lines over, never while a file is touched. Nothing in here logs: the
//! log may be as stuck as a disk.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::desks::{Desk, FileId, Fill, Losses, Opened, Order, State};
use super::lines::{Batch, Lines, Lost};
use super::sink::Word;
use crate::config::Keeping;

/// How many threads there are at most: so many files may hang before others wait for them.
const THREADS_MAX: usize = 16;

/// How long the loop waits for a file to be opened, so that whoever starts a worker is told what is
/// wrong with it. While one has not come back, no other is waited for.
const OPEN_MAX: Duration = Duration::from_millis(100);

/// The end of the daemon waits as long as something is still written, looked at this often.
const DRAIN_PAUSE: Duration = Duration::from_secs(1);

/// And never for longer.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The loop's end.
#[derive(Debug)]
pub(super) struct Writers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is work.
    work: Condvar,
    /// Some work is done.
    done: Condvar,
    /// Something that the loop waits for has happened.
    news: EventFd,
}

impl Writers {
    /// No thread is started yet.
    ///
    /// # Errors
    ///
    /// The table of descriptors is full.
    pub(super) fn new() -> io::Result<Writers> {
        let news = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Writers {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                done: Condvar::new(),
                news,
            }),
        })
    }

    /// Readable when there are news.
    pub(super) fn news(&self) -> BorrowedFd<'_> {
        self.shared.news.as_fd()
    }

    /// What the log is to be told, and so many at most of what is written by now, or lost. If there are
    /// more, there are news.
    pub(super) fn take_news(&self, max: usize) -> (Vec<Word>, Vec<Batch>) {
        // Nothing to read means that somebody was quicker.
        let _ = self.shared.news.read();
        let mut state = self.state();
        let count = max.min(state.settled.len());
        let settled = state.settled.drain(..count).collect();
        if !state.settled.is_empty() {
            self.shared.tell();
        }
        (std::mem::take(&mut state.words), settled)
    }

    /// Makes news, so that the loop comes round.
    pub(super) fn poke(&self) {
        self.shared.tell();
    }

    /// Opens a file, unless it is open; and waits for that, but not for long: lines may come before it
    /// is open.
    ///
    /// # Errors
    ///
    /// Those of open(2), or of starting a thread.
    pub(super) fn open(&self, id: FileId, path: &Path, keeping: Keeping) -> io::Result<()> {
        let mut state = self.state();
        let desk = state
            .desks
            .entry(id)
            .or_insert_with(|| Desk::new(path, keeping));
        (desk.keeping, desk.closing) = (keeping, false);
        if matches!(desk.opened, Opened::Done | Opened::Overdue) {
            return Ok(());
        }
        desk.opened = Opened::Wanted;
        state.put_on(id);
        if state.idle == 0 && state.threads < THREADS_MAX {
            self.hire(&mut state)?;
        }
        self.shared.call(&mut state);
        let limit = Instant::now() + OPEN_MAX;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let overdue = state.overdue > 0 || left.is_zero();
            let desk = state.desks.get_mut(&id).expect("it was put there");
            match std::mem::replace(&mut desk.opened, Opened::Done) {
                Opened::Done | Opened::Overdue => return Ok(()),
                Opened::Failed(error) => {
                    (desk.closing, desk.opened) = (true, Opened::Wanted);
                    state.put_on(id);
                    self.shared.call(&mut state);
                    return Err(error);
                }
                Opened::Wanted if overdue => {
                    desk.opened = Opened::Overdue;
                    state.overdue += 1;
                    return Ok(());
                }
                Opened::Wanted => desk.opened = Opened::Wanted,
            }
            let waited = self.shared.done.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has a file opened, if it is not, without waiting for that: if it cannot be, lines are lost until it
    /// can.
    ///
    /// # Errors
    ///
    /// Those of starting a thread.
    pub(super) fn open_later(&self, id: FileId, path: &Path, keeping: Keeping) -> io::Result<()> {
        let mut state = self.state();
        let desk = state.desks.entry(id).or_insert_with(|| Desk {
            mend: true,
            ..Desk::new(path, keeping)
        });
        desk.closing = false;
        state.put_on(id);
        if state.threads == 0 {
            self.hire(&mut state)?;
        }
        self.shared.call(&mut state);
        Ok(())
    }

    /// Hands lines over.
    pub(super) fn push(&self, id: FileId, lines: Lines) {
        self.change(id, |desk| {
            desk.bytes += lines.bytes.len();
            desk.lines.push(lines);
        });
    }

    /// Says that lines were not handed over.
    pub(super) fn skip(&self, id: FileId, lost: Lost, why: &str) {
        self.change(id, |desk| {
            desk.dropped.add(lost);
            desk.losses.add(lost, why);
        });
    }

    /// Has a file made anew if it was moved or removed.
    pub(super) fn look(&self, id: FileId) {
        self.change(id, |desk| desk.look = true);
    }

    /// Closes a file when all is written.
    pub(super) fn close(&self, id: FileId) {
        self.change(id, |desk| desk.closing = true);
    }

    fn change(&self, id: FileId, change: impl FnOnce(&mut Desk)) {
        let mut state = self.state();
        if let Some(desk) = state.desks.get_mut(&id) {
            change(desk);
            state.put_on(id);
            self.shared.call(&mut state);
        }
    }

    /// How full the queue of a file is.
    pub(super) fn fill(&self, id: FileId) -> Fill {
        let state = self.state();
        let Some(desk) = state.desks.get(&id) else {
            let (bytes, progress) = (0, 0);
            return Fill { bytes, progress };
        };
        Fill {
            bytes: desk.bytes,
            progress: desk.progress.load(Ordering::Relaxed),
        }
    }

    /// What was lost of a file so far.
    pub(super) fn losses(&self, id: FileId) -> Losses {
        let state = self.state();
        let desk = state.desks.get(&id);
        desk.map(|desk| desk.losses.clone()).unwrap_or_default()
    }

    /// Whether nothing is left to be done about a file, and it is closed.
    pub(super) fn is_closed(&self, id: FileId) -> bool {
        self.state().desks.get(&id).is_none_or(Desk::is_closed)
    }

    /// Forgets a file that is closed.
    pub(super) fn forget(&self, id: FileId) {
        let mut state = self.state();
        // To drop what is open would be to close it, which is not for us to do.
        if state.desks.get(&id).is_some_and(Desk::is_closed) {
            state.desks.remove(&id);
        }
    }

    /// How often a file was taken care of, if one waits for that for whom no thread is free.
    pub(super) fn lag(&self) -> Option<u64> {
        let state = self.state();
        // Each that was called takes one, and may not come back from it.
        (state.ready.len() > state.called).then_some(state.taken)
    }

    /// Calls in another thread, as those that are there do not come back.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub(super) fn help(&self) -> io::Result<()> {
        let mut state = self.state();
        match state.threads < THREADS_MAX {
            true => self.hire(&mut state),
            false => Ok(()),
        }
    }

    fn hire(&self, state: &mut State) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        // A stack of the usual size costs nothing but what is used of it; reading time zones uses much.
        let thread = std::thread::Builder::new().name("circusd-files".into());
        thread.spawn(move || shared.serve())?;
        state.threads += 1;
        Ok(())
    }

    /// Waits until all is written, as long as something still is. Says how many bytes of how many
    /// files are not.
    pub(super) fn finish(&self) -> (usize, usize) {
        let limit = Instant::now() + DRAIN_MAX;
        let mut state = self.state();
        if state.threads == 0 && !state.ready.is_empty() && self.hire(&mut state).is_err() {
            return state.unwritten();
        }
        let mut before = state.progress();
        let mut looked = Instant::now();
        while !state.is_done() && Instant::now() < limit {
            let left = DRAIN_PAUSE.saturating_sub(looked.elapsed());
            if left.is_zero() {
                let now = state.progress();
                // What waits behind a file that hangs has a thread of its own by now.
                if now == before && self.hire_for(&mut state).is_err() {
                    break;
                }
                (before, looked) = (now, Instant::now());
                continue;
            }
            let waited = self.shared.done.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.ending = true;
        self.shared.work.notify_all();
        state.unwritten()
    }

    /// A thread for those who wait while nothing moves.
    fn hire_for(&self, state: &mut State) -> Result<(), ()> {
        match !state.ready.is_empty() && state.threads < THREADS_MAX {
            true => self.hire(state).map_err(|_| ()),
            false => Err(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.state().ending = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// Whoever panicked has left nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a thread if one sleeps while there is something to do.
    fn call(&self, state: &mut State) {
        if state.idle > 0 && state.ready.len() > state.called {
            state.idle -= 1;
            state.called += 1;
            self.work.notify_one();
        }
    }

    /// The life of a thread: one file after the other. One waits for more; others that were called
    /// in go when there is no more.
    fn serve(&self) {
        let mut state = self.state();
        loop {
            if let Some(id) = state.ready.pop_front() {
                state = self.serve_one(id, state);
                continue;
            }
            if state.ending || state.idle > 0 {
                state.threads -= 1;
                return;
            }
            state.idle += 1;
            while state.called == 0 && !state.ending {
                state = self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            match state.called > 0 {
                true => state.called -= 1,
                false => state.idle -= 1,
            }
        }
    }

    fn serve_one<'a>(
        &'a self,
        id: FileId,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        state.taken += 1;
        let Some(desk) = state.desks.get_mut(&id) else {
            return state;
        };
        desk.queued = false;
        let Some(mut sink) = desk.sink.take() else {
            return state;
        };
        let order = Order::take(desk);
        drop(state);
        let outcome = order.carry_out(&mut sink);
        let mut state = self.state();
        let told = !outcome.written.words.is_empty() || !outcome.settled.is_empty();
        state.settle(id, sink, outcome);
        if told {
            self.tell();
        }
        self.done.notify_all();
        state
    }

    fn tell(&self) {
        // It can only be full of news that nobody has read.
        let _ = self.news.write(1);
    }
}

#[cfg(test)]
mod tests;
