//! Where the output of workers goes, and where their input comes from.
//!
//! ```text
//!  worker ──► fifo ──► pipe ──► files ─┊─► writers ──► sink       a file: lines pass through us
//!               ▲        └────── done ─┊──────┘
//!               └── taken out          ┊
//!  worker ──► fifo ──► logger          ┊                          a program reads the very pipe
//!  worker ──► journal, null, ours      ┊                          nothing passes through us
//!                                loop  ┊  threads
//! ```
//!
//! What is written to a file or a program outlives us: it stays in a named pipe until it is where it was
//! to go, and `kept` tells the next daemon which pipe is whose. Only what a killed daemon had written and
//! not yet taken out is written again.
//!
//! Whatever it is that does not take what is written, a disk or a program, the loop never waits for
//! it: only threads touch files once they are open, and who reads too slowly slows down nobody but
//! those who write to him.

mod calendar;
mod desks;
mod fifo;
mod files;
mod flow;
mod heirs;
mod kept;
mod lines;
mod logger;
mod loggers;
mod offered;
mod outlet;
mod pipe;
mod sink;
mod writers;

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Instant;

use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use crate::config::{Input, Stream};
use crate::core::SpawnFailure;
use crate::server::program;
use crate::server::recipes::Recipe;
use crate::sys::epoll::{Interest, Watch};
use crate::sys::journal;

use fifo::Made;
pub(super) use fifo::{Fifos, forget};
use files::Files;
pub(super) use kept::{Heritage, IN_STORE_OF_OUTPUT, KeptOutput, output_name};
pub(crate) use loggers::Which;
pub(super) use loggers::{Lease, Loggers};
pub(super) use offered::Offered;
pub(super) use outlet::Outlet;
use outlet::{open_input, open_journal};
use pipe::{Pipe, Scratch};
pub(super) use sink::open_file;

/// Numbers in the epoll set that no pipe has: theirs begin with 1.
const NEWS: u64 = 0;
const TIME: u64 = u64::MAX >> 3;

/// All output that passes through us, and what workers are connected to.
#[derive(Debug)]
pub(super) struct Streams {
    pipes: HashMap<u64, Pipe>,
    fifos: Rc<Fifos>,
    /// Made when the first file is.
    files: Option<Open>,
    pub(super) loggers: Loggers,
    null: File,
    journal_connected: bool,
    /// What the next daemon is to be told.
    pub(super) changes: Rc<kept::Changes>,
    /// What the program that we are in may read.
    pub(super) offered: Rc<Offered>,
}

/// Files, and what wakes us for their sake.
#[derive(Debug)]
struct Open {
    files: Files,
    scratch: Scratch,
    timer: TimerFd,
    ticking: bool,
    /// Pipes that are looked at without news of them.
    due: VecDeque<u64>,
}

impl Streams {
    /// # Errors
    ///
    /// `/dev/null` cannot be opened.
    pub(super) fn new(loggers: Loggers) -> io::Result<Streams> {
        Ok(Streams {
            pipes: HashMap::new(),
            fifos: Rc::clone(&loggers.fifos),
            changes: Rc::clone(&loggers.changes),
            files: None,
            loggers,
            null: OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")?,
            journal_connected: journal::connected_to_journal(io::stderr()),
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
        if !matches!(stream, Some(Stream::Command(_))) {
            self.loggers.outdate(watcher, which);
        }
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
                let open = self.open_files(watch, &token);
                let open = open.map_err(|error| told(None, &error))?;
                let to = match open.files.open(path, *keeping, watcher) {
                    Ok(to) => to,
                    Err(error) => {
                        self.close_files(watch);
                        return Err(told(Some(path), &error));
                    }
                };
                let pipe = self.pipe(to, watch, token, |pipe| {
                    pipe.for_watcher(watcher).formatted(format.clone())
                });
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
            self.files = Some(Open {
                files,
                scratch: Scratch::new()?,
                timer,
                ticking: false,
                due: VecDeque::new(),
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
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
        describe: impl FnOnce(Pipe) -> Pipe,
    ) -> io::Result<Outlet> {
        let Made {
            number,
            named,
            reader,
            writer,
        } = self.fifos.make()?;
        let watched = watch.add(&reader, token(number), Interest::News);
        watched.inspect_err(|_| self.fifos.remove(number))?;
        pipe::enlarge(&reader);
        let mut pipe = describe(Pipe::new((number, token(number)), reader, to));
        pipe.named = named;
        self.pipes.insert(number, pipe);
        Ok(Outlet::Pipe(writer, number))
    }

    fn leave(&mut self, to: desks::FileId) {
        if let Some(open) = &mut self.files {
            open.files.leave(to);
        }
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
            self.changes.push(*id);
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
