//! Where the output of workers goes, and where their input comes from.
//!
//! ```text
//!  worker ──► pipe ──► lines ──► files ─┊─► writers ──► sink      a file: lines pass through us
//!  worker ──► logger                    ┊                         a program reads the very pipe
//!  worker ──► journal, null, ours       ┊                         nothing passes through us
//!                                 loop  ┊  threads
//! ```
//!
//! Whatever it is that does not take what is written, a disk or a program, the loop never waits for
//! it: only threads touch files once they are open, and who reads too slowly slows down nobody but
//! those who write to him.

mod calendar;
mod desks;
mod files;
mod lines;
mod logger;
mod loggers;
mod offered;
mod outlet;
mod pipe;
mod sink;
mod writers;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::config::{Input, Stream};
use crate::core::SpawnFailure;
use crate::server::program;
use crate::server::recipes::Recipe;
use crate::sys::epoll::{Interest, Watch};
use crate::sys::journal;

use files::{Files, Room};
pub(crate) use loggers::Which;
pub(super) use loggers::{Lease, Loggers};
pub(super) use offered::Offered;
pub(super) use outlet::Outlet;
use outlet::{open_input, open_journal};
use pipe::{Fate, Pipe, Pumped};
pub(super) use sink::open_file;

/// How often it is looked whether anything moves, while somebody waits for a file.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Numbers in the epoll set that no pipe has.
const NEWS: u64 = 0;
const TIME: u64 = 1;

/// All output that passes through us, and what workers are connected to.
#[derive(Debug)]
pub(super) struct Streams {
    pipes: HashMap<u64, Pipe>,
    /// Made when the first file is.
    files: Option<Open>,
    pub(super) loggers: Loggers,
    null: File,
    journal_connected: bool,
    next: u64,
    /// What the program that we are in may read.
    pub(super) offered: Rc<Offered>,
}

/// Files, and what wakes us for their sake.
#[derive(Debug)]
struct Open {
    files: Files,
    timer: TimerFd,
    ticking: bool,
}

impl Streams {
    /// # Errors
    ///
    /// `/dev/null` cannot be opened.
    pub(super) fn new(loggers: Loggers) -> io::Result<Streams> {
        Ok(Streams {
            pipes: HashMap::new(),
            files: None,
            loggers,
            null: OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")?,
            journal_connected: journal::connected_to_journal(io::stderr()),
            next: TIME,
            offered: Rc::default(),
        })
    }

    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Opens what a worker writes to. `token` makes the number for the epoll set.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, its logger does not start, or there is no journal.
    pub(super) fn open(
        &mut self,
        stream: Option<&Stream>,
        recipe: &Recipe,
        which: Which,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> Result<Outlet, SpawnFailure> {
        let told = |path: Option<&std::path::Path>, error: &io::Error| {
            program::failure_at(&format!("opening its {}", which.name()), path, error)
        };
        let watcher = recipe.watcher.name.as_str();
        let journal = || open_journal(watcher, which.priority()).map_err(|e| told(None, &e));
        match stream {
            None if self.journal_connected => journal(),
            None | Some(Stream::Inherit) => Ok(Outlet::Inherit),
            Some(Stream::Journal) => journal(),
            Some(Stream::Null) => Ok(Outlet::Null),
            Some(Stream::Stdout) => Ok(Outlet::AsStdout),
            Some(Stream::Pipe) => offered::open(which).map_err(|error| told(None, &error)),
            Some(Stream::Command(argv)) => self.loggers.open(recipe, which, argv),
            Some(Stream::File {
                path,
                keeping,
                format,
            }) => {
                let open = self.open_files(watch, &token).map_err(|e| told(None, &e))?;
                let to = match open.files.open(path, *keeping, watcher) {
                    Ok(to) => to,
                    Err(error) => {
                        self.close_files(watch);
                        return Err(told(Some(path), &error));
                    }
                };
                let pipe = self.pipe(to, format.clone(), watch, token);
                pipe.map_err(|error| {
                    self.leave(to);
                    told(None, &error)
                })
            }
        }
    }

    fn open_files(
        &mut self,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<&mut Open> {
        if self.files.is_none() {
            let files = Files::new()?;
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            watch.add(files.writers.news(), token(NEWS), Interest::Read)?;
            watch.add(&timer, token(TIME), Interest::Read)?;
            let ticking = false;
            self.files = Some(Open {
                files,
                timer,
                ticking,
            });
        }
        Ok(self.files.as_mut().expect("they were just made"))
    }

    /// Gives back what was opened for files, if there are none: the first could not be opened.
    fn close_files(&mut self, watch: &mut Watch) {
        if let Some(open) = self.files.take_if(|open| open.files.is_empty()) {
            // A thread may have it open for another moment.
            let _ = watch.remove(open.files.writers.news());
            let _ = watch.remove(&open.timer);
        }
    }

    fn pipe(
        &mut self,
        to: desks::FileId,
        format: Option<crate::config::LineFormat>,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<Outlet> {
        let (pipe, write) = Pipe::new(to, format)?;
        self.next += 1;
        watch.add(&pipe.from, token(self.next), Interest::Read)?;
        self.pipes.insert(self.next, pipe);
        Ok(Outlet::Pipe(write, self.next))
    }

    /// Learns who writes to what was opened.
    pub(super) fn belongs_to(&mut self, outlet: &Outlet, watcher: &str, wid: u32, pid: i32) {
        if let Outlet::Offered(_, which, end) = outlet {
            self.offered.offer(pid, *which, end.borrow_mut().take());
        }
        if let Outlet::Pipe(_, id) = outlet
            && let Some(pipe) = self.pipes.get_mut(id)
        {
            pipe.belongs_to(watcher, wid, pid);
        }
    }

    /// Opens what a worker reads from.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub(super) fn input(&self, input: &Input) -> io::Result<Outlet> {
        match input {
            Input::Null => Ok(Outlet::Null),
            Input::Inherit => Ok(Outlet::Inherit),
            Input::File(path) => open_input(path).map(Outlet::Owned),
        }
    }

    /// Does what is to be done about a number in the epoll set: mostly, moves what a worker has
    /// written to its file.
    pub(super) fn pump(&mut self, id: u64, watch: &mut Watch, token: impl Fn(u64) -> u64) {
        match id {
            NEWS | TIME => self.resume(id, watch, token),
            pipe => self.pump_pipe(pipe, watch),
        }
        self.tick();
    }

    fn pump_pipe(&mut self, id: u64, watch: &mut Watch) {
        let (Some(pipe), Some(open)) = (self.pipes.get_mut(&id), &mut self.files) else {
            return;
        };
        let fate = match open.files.admit(pipe.to, id) {
            Room::Free => Fate::Written,
            Room::None => Fate::Dropped,
            Room::Wait => {
                // Not in the set any more means only that nobody would have been woken.
                let _ = watch.remove(&pipe.from);
                return;
            }
        };
        if pipe.pump(&mut open.files, fate) == Pumped::Ended {
            pipe.finish(&mut open.files, fate);
            let to = pipe.to;
            let _ = watch.remove(&pipe.from);
            self.pipes.remove(&id);
            self.leave(to);
        }
    }

    fn leave(&mut self, to: desks::FileId) {
        if let Some(open) = &mut self.files {
            open.files.leave(to);
        }
    }

    /// Reads again from the pipes that have waited.
    fn resume(&mut self, id: u64, watch: &mut Watch, token: impl Fn(u64) -> u64) {
        let Some(open) = &mut self.files else {
            return;
        };
        let mut resumed = open.files.resumed();
        if id == TIME {
            // It has rung, or somebody else has read that it has.
            let _ = open.timer.wait();
            open.ticking = false;
            resumed.extend(open.files.on_time());
        }
        for id in resumed {
            if let Some(pipe) = self.pipes.get(&id)
                && let Err(error) = watch.add(&pipe.from, token(id), Interest::Read)
            {
                tracing::error!("failed to read on what a worker writes: {error}");
            }
        }
    }

    /// Sets the timer if time matters.
    fn tick(&mut self) {
        if let Some(open) = &mut self.files
            && !open.ticking
            && open.files.wants_time()
        {
            let pause = Expiration::OneShot(TimeSpec::from_duration(LOOK_PAUSE));
            match open.timer.set(pause, TimerSetTimeFlags::empty()) {
                Ok(()) => open.ticking = true,
                Err(error) => tracing::error!("failed to set a timer for files: {error}"),
            }
        }
    }

    /// Makes files anew that were moved away or removed.
    pub(super) fn reopen(&self) {
        if let Some(open) = &self.files {
            open.files.look();
        }
    }

    /// Forgets what was told of a watcher.
    pub(super) fn forget_watcher(&mut self, watcher: &str) {
        if let Some(open) = &mut self.files {
            open.files.forget_watcher(watcher);
        }
    }

    /// Writes what is in the pipes, at the end; what somebody who was left goes on to write is not
    /// waited for, nor a file that does not take it.
    pub(super) fn drain(&mut self) {
        let Some(open) = &mut self.files else {
            return;
        };
        for pipe in self.pipes.values_mut() {
            pipe.drain(&mut open.files);
        }
        let (bytes, files) = open.files.writers.finish();
        // What the threads have found meanwhile.
        open.files.resumed();
        if files > 0 {
            tracing::error!(
                "{files} files have not taken their output: {bytes} bytes are lost, or most of them"
            );
        }
    }

    /// What there is to say about the output of a watcher, a sentence each.
    pub(super) fn story(&self, watcher: &str) -> Vec<String> {
        let mut told = self.loggers.story(watcher);
        let losses = self
            .files
            .iter()
            .flat_map(|open| open.files.losses(watcher));
        told.extend(losses.map(|(path, losses)| {
            let (path, lost) = (path.display(), losses.lost);
            let last = losses.last.map(|(at, why)| {
                let ago = Instant::now().saturating_duration_since(at).as_secs_f64();
                format!(", the last {ago:.1} s ago, as it {why}")
            });
            format!(
                "Of its output to '{path}' {lost} are lost{}.",
                last.unwrap_or_default()
            )
        }));
        told
    }
}

impl Which {
    /// Of its lines in the journal; see syslog(3).
    fn priority(self) -> u8 {
        match self {
            Which::Stdout => 6,
            Which::Stderr => 4,
        }
    }
}
