//! Where the output of workers goes. A file is written by us, so that it can be turned over by
//! size between two lines; everything else the worker writes to itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use nix::fcntl::OFlag;

use crate::config::{Input, Stream};
use crate::sys::epoll::{Interest, Watch};
use crate::sys::journal;

/// How much of a pipe is read at once, so that one chatty worker does not hold up the loop.
const READ_BYTES: usize = 64 * 1024;

/// A line that is longer is written in pieces: it must not cost more memory than this.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// All output that passes through us, and what workers are connected to.
#[derive(Debug)]
pub(super) struct Streams {
    pipes: HashMap<u64, Pipe>,
    files: BTreeMap<PathBuf, Weak<RefCell<Sink>>>,
    null: File,
    journal_connected: bool,
    next: u64,
}

/// The end of a pipe that a worker writes to.
#[derive(Debug)]
struct Pipe {
    from: File,
    to: Rc<RefCell<Sink>>,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
}

/// A file and when to turn it over.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: File,
    size: u64,
    max_bytes: u64,
    backup_count: u32,
    /// Bytes that could not be written, since the last time this was told.
    lost: u64,
    /// The last attempt to turn it over failed, and that was told.
    stuck: bool,
}

/// What a worker gets as one of its descriptors.
#[derive(Debug)]
pub(super) enum Outlet {
    Inherit,
    Null,
    Owned(OwnedFd),
    /// The same as standard output.
    AsStdout,
}

impl Outlet {
    /// The descriptor to be passed on.
    pub(super) fn descriptor<'a>(
        &'a self,
        null: BorrowedFd<'a>,
        ours: BorrowedFd<'a>,
        stdout: BorrowedFd<'a>,
    ) -> BorrowedFd<'a> {
        match self {
            Outlet::Inherit => ours,
            Outlet::Null => null,
            Outlet::Owned(fd) => fd.as_fd(),
            Outlet::AsStdout => stdout,
        }
    }
}

/// What was read from a pipe.
#[derive(Debug, PartialEq, Eq)]
enum Pumped {
    /// There may be more.
    Open,
    /// All writers are gone.
    Ended,
}

impl Streams {
    /// # Errors
    ///
    /// `/dev/null` cannot be opened.
    pub(super) fn new() -> io::Result<Streams> {
        Ok(Streams {
            pipes: HashMap::new(),
            files: BTreeMap::new(),
            null: OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/null")?,
            journal_connected: journal::connected_to_journal(io::stderr()),
            next: 0,
        })
    }

    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Opens what a worker writes to. `token` makes the number for the epoll set.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or there is no journal.
    pub(super) fn open(
        &mut self,
        stream: Option<&Stream>,
        watcher: &str,
        priority: u8,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<Outlet> {
        match stream {
            None if self.journal_connected => open_journal(watcher, priority),
            None | Some(Stream::Inherit) => Ok(Outlet::Inherit),
            Some(Stream::Journal) => open_journal(watcher, priority),
            Some(Stream::Null) => Ok(Outlet::Null),
            Some(Stream::Stdout) => Ok(Outlet::AsStdout),
            Some(Stream::File {
                path,
                max_bytes,
                backup_count,
            }) => {
                let to = self.sink(path, *max_bytes, *backup_count)?;
                self.pipe(to, watch, token)
            }
        }
    }

    fn sink(
        &mut self,
        path: &Path,
        max_bytes: u64,
        backup_count: u32,
    ) -> io::Result<Rc<RefCell<Sink>>> {
        if let Some(sink) = self.files.get(path).and_then(Weak::upgrade) {
            let mut open = sink.borrow_mut();
            (open.max_bytes, open.backup_count) = (max_bytes, backup_count);
            drop(open);
            return Ok(sink);
        }
        let file = open_file(path)?;
        let size = file.metadata()?.len();
        let (path, lost, stuck) = (path.to_owned(), 0, false);
        let sink = Sink {
            path: path.clone(),
            file,
            size,
            max_bytes,
            backup_count,
            lost,
            stuck,
        };
        let sink = Rc::new(RefCell::new(sink));
        self.files.retain(|_, sink| sink.strong_count() > 0);
        self.files.insert(path, Rc::downgrade(&sink));
        Ok(sink)
    }

    fn pipe(
        &mut self,
        to: Rc<RefCell<Sink>>,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<Outlet> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // Only our end: a worker that meets a full pipe is to wait, not to fail.
        nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.next += 1;
        watch.add(&read, token(self.next), Interest::Read)?;
        self.pipes.insert(
            self.next,
            Pipe {
                from: read.into(),
                to,
                partial: Vec::new(),
            },
        );
        Ok(Outlet::Owned(write))
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

    /// Moves what a worker has written to its file.
    pub(super) fn pump(&mut self, id: u64, watch: &mut Watch) {
        let ended = self
            .pipes
            .get_mut(&id)
            .is_some_and(|pipe| pipe.pump() == Pumped::Ended);
        if ended && let Some(pipe) = self.pipes.remove(&id) {
            // Not in the set any more means only that nobody would have been woken.
            let _ = watch.remove(&pipe.from);
        }
    }

    /// Makes files anew that were moved away or removed.
    pub(super) fn reopen(&self) {
        for sink in self.files.values().filter_map(Weak::upgrade) {
            sink.borrow_mut().reopen();
        }
    }

    /// Moves what is in the pipes, at the end; what somebody who was left goes on to write is not
    /// waited for.
    pub(super) fn drain(&mut self) {
        for pipe in self.pipes.values_mut() {
            pipe.drain();
            pipe.finish();
        }
    }
}

impl Pipe {
    fn pump(&mut self) -> Pumped {
        match self.pump_some() {
            None | Some(Pumped::Open) => Pumped::Open,
            Some(Pumped::Ended) => {
                self.finish();
                Pumped::Ended
            }
        }
    }

    /// Reads no more than can have been in it, as there may be somebody who writes without end.
    fn drain(&mut self) {
        let capacity = nix::fcntl::fcntl(&self.from, nix::fcntl::FcntlArg::F_GETPIPE_SZ);
        let capacity = capacity
            .ok()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(READ_BYTES);
        for _ in 0..capacity.div_ceil(READ_BYTES) {
            if self.pump_some() != Some(Pumped::Open) {
                return;
            }
        }
    }

    /// Reads once; `None` if there was nothing to read.
    fn pump_some(&mut self) -> Option<Pumped> {
        let mut buffer = [0; READ_BYTES];
        match self.from.read(&mut buffer) {
            Ok(0) => Some(Pumped::Ended),
            Ok(n) => {
                self.take(&buffer[..n]);
                Some(Pumped::Open)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Some(Pumped::Open),
            Err(_) => Some(Pumped::Ended),
        }
    }

    /// Writes whole lines, so that the lines of several workers in one file stay whole.
    fn take(&mut self, bytes: &[u8]) {
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        let (lines, rest) = bytes.split_at(end);
        if !lines.is_empty() {
            self.partial.extend_from_slice(lines);
            self.to.borrow_mut().write(&self.partial);
            self.partial.clear();
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() >= LINE_BYTES_MAX {
            self.to.borrow_mut().write(&self.partial);
            self.partial = Vec::new();
        }
    }

    fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.to
                .borrow_mut()
                .write(&std::mem::take(&mut self.partial));
        }
    }
}

impl Sink {
    /// Appends lines, to as many files as they need.
    fn write(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let mut fitting = self.fitting(lines);
            if fitting == 0 && self.size > 0 {
                self.turn_over();
                fitting = self.fitting(lines);
            }
            if fitting == 0 {
                // Longer than a whole file: it gets one of its own.
                let end = lines.iter().position(|byte| *byte == b'\n');
                fitting = end.map_or(lines.len(), |end| end + 1);
            }
            let (now, later) = lines.split_at(fitting);
            self.append(now);
            lines = later;
        }
    }

    /// How many bytes, in whole lines, the file may still take.
    fn fitting(&self, lines: &[u8]) -> usize {
        let room = match self.max_bytes {
            0 => lines.len(),
            max => usize::try_from(max.saturating_sub(self.size)).unwrap_or(usize::MAX),
        };
        if lines.len() <= room {
            return lines.len();
        }
        let end = lines[..room].iter().rposition(|byte| *byte == b'\n');
        end.map_or(0, |end| end + 1)
    }

    /// What cannot be written is counted and told, and the worker goes on.
    fn append(&mut self, lines: &[u8]) {
        let length = lines.len() as u64;
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += length;
                self.tell_lost();
            }
            Err(error) => {
                if self.lost == 0 {
                    let path = self.path.display();
                    tracing::error!(
                        "failed to write to '{path}', output is lost until it works again: {error}"
                    );
                }
                self.lost += length;
            }
        }
    }

    fn tell_lost(&mut self) {
        if self.lost > 0 {
            let (path, lost) = (self.path.display(), self.lost);
            tracing::warn!("'{path}' can be written to again; {lost} bytes of output were lost");
            self.lost = 0;
        }
    }

    fn reopen(&mut self) {
        let same = match (std::fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            _ => false,
        };
        if same {
            return;
        }
        let opened = open_file(&self.path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((size, file)) => (self.size, self.file) = (size, file),
            Err(error) => {
                let path = self.path.display();
                tracing::error!(
                    "failed to open '{path}' again, going on with what it was: {error}"
                );
            }
        }
    }

    /// Makes the file `path.1`, what was that `path.2`, and so on; the last one is overwritten.
    fn turn_over(&mut self) {
        let turned = self.try_turn_over();
        if let Err(error) = &turned
            && !self.stuck
        {
            let path = self.path.display();
            tracing::error!("failed to turn over '{path}', going on with it: {error}");
        }
        self.stuck = turned.is_err();
        // Even if it failed: it is not tried again for every line.
        self.size = 0;
    }

    fn try_turn_over(&mut self) -> io::Result<()> {
        if self.backup_count == 0 {
            return self.file.set_len(0);
        }
        for number in (1..self.backup_count).rev() {
            match std::fs::rename(self.backup(number), self.backup(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match std::fs::rename(&self.path, self.backup(1)) {
            // Somebody has taken the file away; with a new one it is as it should be.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = open_file(&self.path)?;
        Ok(())
    }

    fn backup(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// To append only, and not through a symbolic link: the directory may be one where others write. Never
/// waits, as open(2) of a named pipe does until somebody reads from it.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits())
        .open(path)
}

/// Never waits, as open(2) of a named pipe does until somebody writes to it.
fn open_input(path: &Path) -> io::Result<OwnedFd> {
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let mut file = options.open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        // A pipe without a writer is at its end: with both ends open the worker waits instead.
        file = options.write(true).open(path)?;
    }
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(file.into())
}

fn open_journal(watcher: &str, priority: u8) -> io::Result<Outlet> {
    let stream = journal::Stream {
        identifier: watcher.to_owned(),
        unit: String::new(),
        priority,
        level_prefix: true,
    };
    stream.open().map(Outlet::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(path: &Path, max_bytes: u64, backup_count: u32) -> Rc<RefCell<Sink>> {
        Streams::new()
            .unwrap()
            .sink(path, max_bytes, backup_count)
            .unwrap()
    }

    #[test]
    fn a_file_is_turned_over_between_two_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let sink = sink(&path, 12, 2);
        for line in ["first\n", "second\n", "third\n", "fourth\n"] {
            sink.borrow_mut().write(line.as_bytes());
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("web.log"), "fourth\n");
        assert_eq!(read("web.log.1"), "third\n");
        assert_eq!(read("web.log.2"), "second\n");
        assert!(!dir.path().join("web.log.3").exists());
    }

    #[test]
    fn what_comes_at_once_is_spread_over_as_many_files_as_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let sink = sink(&path, 12, 9);
        sink.borrow_mut()
            .write(b"one\ntwo\na line that is too long\nthree\nfour\nno end");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("web.log.3"), "one\ntwo\n");
        assert_eq!(read("web.log.2"), "a line that is too long\n");
        assert_eq!(read("web.log.1"), "three\nfour\n");
        assert_eq!(read("web.log"), "no end");
    }

    #[test]
    fn a_file_that_was_moved_is_made_anew_and_one_that_was_not_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let sink = sink(&path, 0, 0);
        sink.borrow_mut().write(b"first\n");
        sink.borrow_mut().reopen();
        sink.borrow_mut().write(b"second\n");
        let moved = dir.path().join("moved.log");
        std::fs::rename(&path, &moved).unwrap();
        sink.borrow_mut().reopen();
        sink.borrow_mut().write(b"third\n");
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "first\nsecond\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "third\n");
    }

    #[test]
    fn lines_of_two_workers_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.log");
        let to = sink(&path, 0, 0);
        let nowhere = || File::open("/dev/null").unwrap();
        let pipe = |to: &Rc<_>| Pipe {
            from: nowhere(),
            to: Rc::clone(to),
            partial: Vec::new(),
        };
        let (mut one, mut two) = (pipe(&to), pipe(&to));
        one.take(b"on");
        two.take(b"two\n");
        one.take(b"e\nlast");
        one.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\none\nlast");
    }

    #[test]
    fn what_is_written_without_end_is_not_read_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let from = options.open(&path).unwrap();
        // Whatever is read from the pipe is written into it again.
        let to = sink(&path, 0, 0);
        to.borrow_mut().write(b"again\n");
        let mut streams = Streams::new().unwrap();
        let partial = Vec::new();
        streams.pipes.insert(1, Pipe { from, to, partial });
        streams.drain();
        let mut left = [0; 16];
        let read = streams.pipes.get_mut(&1).unwrap().from.read(&mut left);
        assert_eq!(&left[..read.unwrap()], b"again\n");
    }
}
