//! The end of a pipe that a worker writes to, on its way to a file.
//!
//! What is read stays in the pipe until it is in the file (tee(2)): whoever dies in between, the next one
//! reads it again. A line without its end stays there, too, until the end has come. Only what is longer
//! than the pipe is taken out of it piece by piece, so that its writer can go on.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::desks::FileId;
use super::files::Files;
use super::lines::{Batch, Label, Lines, Partial};
use crate::config::LineFormat;
use crate::server::clock::wall_usec;
use crate::sys::epoll::{Interest, Watch};
use crate::sys::pipe;

/// How much of a pipe is read at once, so that one chatty worker does not hold up the loop; as much is on
/// its way to a file at most.
const READ_BYTES: usize = 64 * 1024;

/// What a pipe is to hold: what is on its way, and as much again and more that its worker can write
/// meanwhile, or each would wait for the other in turns. An ordinary user has 64 MiB for all pipes (pipe(7)),
/// and small ones when they are used up.
const PIPE_BYTES: i32 = 4 * READ_BYTES as i32;

/// It is read until its end, however long its worker is gone by then.
#[derive(Debug)]
pub(super) struct Pipe {
    number: u64,
    /// Its number in the epoll set.
    token: u64,
    /// It is told when something comes.
    listens: bool,
    /// Whether the next daemon can find it.
    pub(super) named: bool,
    pub(super) watcher: String,
    pub(super) from: File,
    pub(super) to: FileId,
    pub(super) format: Option<LineFormat>,
    pub(super) label: Option<Arc<Label>>,
    partial: Partial,
    in_flight: Option<InFlight>,
    batches: u64,
    /// It is to be looked at again, whatever the epoll set says.
    pub(super) due: bool,
}

/// What is on its way to the file, and still in the pipe.
#[derive(Debug)]
struct InFlight {
    batch: u64,
    bytes: usize,
}

/// What was read from a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// There may be more.
    Open,
    /// There is nothing for now, or what there is has to wait for what is on its way.
    Empty,
    /// All writers are gone, and all is read.
    Ended,
}

/// What becomes of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    Dropped,
}

/// What a pipe begins with, in so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Whole lines.
    Lines(usize),
    /// A line whose end will come.
    Beginning,
    /// The beginning of one that does not fit into the pipe.
    TooLong(usize),
    /// One without an end whose writer is gone.
    Last(usize),
    /// There is nothing, and nobody can write any more.
    End,
}

/// Where pipes are copied to, to be looked at; empty in between.
#[derive(Debug)]
pub(super) struct Scratch {
    read: File,
    write: OwnedFd,
    buffer: Vec<u8>,
}

impl Scratch {
    /// # Errors
    ///
    /// The table of descriptors is full.
    pub(super) fn new() -> io::Result<Scratch> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Scratch {
            read: read.into(),
            write,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// What a pipe begins with, all of which stays in it and is in the buffer.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: there is nothing for now.
    fn look(&mut self, from: &File) -> io::Result<Seen> {
        let mut before = 0;
        loop {
            let copied = self.copy(from)?;
            if copied == 0 {
                return Ok(Seen::End);
            }
            let bytes = &self.buffer[..copied];
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Seen::Lines(end + 1));
            }
            // Somebody may write at any moment: only what was there before it was counted is known.
            let is_last = pipe::is_hung_up(from);
            let is_full = !is_last && !pipe::has_room(from).unwrap_or(false);
            match pipe::unread(from).is_ok_and(|unread| unread <= copied) {
                true if is_last => return Ok(Seen::Last(copied)),
                true if is_full => return Ok(Seen::TooLong(copied)),
                true => return Ok(Seen::Beginning),
                // There is more, and no more than this can be copied.
                false if copied == before => return Ok(Seen::TooLong(copied)),
                false => before = copied,
            }
        }
    }

    /// Copies what a pipe begins with to the buffer; 0 at its end.
    fn copy(&mut self, from: &File) -> io::Result<usize> {
        let copied = pipe::tee(from, &self.write, READ_BYTES)?;
        self.read.read_exact(&mut self.buffer[..copied])?;
        Ok(copied)
    }

    /// Takes that many bytes out of a pipe.
    fn discard(&mut self, mut from: &File, mut bytes: usize) {
        while bytes > 0 {
            let most = bytes.min(self.buffer.len());
            match from.read(&mut self.buffer[..most]) {
                Ok(n) if n > 0 => bytes -= n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else has taken it: the worker could, as it has both ends.
                _ => return,
            }
        }
    }
}

/// Makes room in the pipe to us.
pub(super) fn enlarge(pipe: impl AsFd) {
    // A smaller one only means that its worker waits sooner.
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
}

impl Pipe {
    /// `from` is the end by which the pipe of this number is read, without waiting. It has a name, and is in the
    /// epoll set under `token`, for its news.
    pub(super) fn new((number, token): (u64, u64), from: File, to: FileId) -> Pipe {
        Pipe {
            number,
            token,
            listens: true,
            named: true,
            watcher: String::new(),
            from,
            to,
            format: None,
            label: None,
            partial: Partial::default(),
            in_flight: None,
            batches: 0,
            due: false,
        }
    }

    /// Whose it is.
    pub(super) fn for_watcher(self, watcher: &str) -> Pipe {
        let watcher = watcher.to_owned();
        Pipe { watcher, ..self }
    }

    /// Its lines are to look like this.
    pub(super) fn formatted(self, format: Option<LineFormat>) -> Pipe {
        Pipe { format, ..self }
    }

    /// Learns who writes to it.
    pub(super) fn belongs_to(&mut self, watcher: &str, wid: u32, pid: i32) {
        let format = self.format.take();
        self.label = format.map(|format| {
            Arc::new(Label {
                prefix: format.prefix.expand(watcher, wid, pid),
                time: format.time,
                utc: format.utc,
            })
        });
    }

    /// Reads once, unless what was read before is still on its way.
    pub(super) fn pump(&mut self, files: &mut Files, scratch: &mut Scratch, fate: Fate) -> Pumped {
        if self.in_flight.is_some() {
            return Pumped::Empty;
        }
        let seen = match scratch.look(&self.from) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pumped::Empty,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Pumped::Open,
            Err(_) => return Pumped::Ended,
        };
        let (taken, lines) = match seen {
            Seen::End => return Pumped::Ended,
            Seen::Beginning => return Pumped::Empty,
            Seen::Lines(bytes) | Seen::TooLong(bytes) => {
                (bytes, self.partial.take(&scratch.buffer[..bytes]))
            }
            Seen::Last(bytes) => {
                let mut lines = self.partial.take(&scratch.buffer[..bytes]);
                lines.extend(self.partial.finish());
                (bytes, lines)
            }
        };
        if lines.is_empty() || fate == Fate::Dropped {
            files.skip(self.to, &lines);
            scratch.discard(&self.from, taken);
            return Pumped::Open;
        }
        self.batches += 1;
        let (batch, bytes) = (self.batches, taken);
        self.in_flight = Some(InFlight { batch, bytes });
        self.hand_over(lines, files, batch);
        Pumped::Empty
    }

    /// Hears of what comes only while nothing is on its way: all else has to wait anyway, and whoever writes
    /// line by line would wake the loop for each.
    pub(super) fn listen(&mut self, watch: &mut Watch) {
        let listens = self.in_flight.is_none();
        let interest = match listens {
            true => Interest::News,
            false => Interest::End,
        };
        if listens != self.listens && watch.change(&self.from, self.token, interest).is_ok() {
            self.listens = listens;
        }
    }

    /// A batch has come where it was to go, or will never: it is taken out of the pipe.
    pub(super) fn settle(&mut self, batch: u64, scratch: &mut Scratch) {
        if let Some(settled) = self.in_flight.take_if(|flying| flying.batch == batch) {
            scratch.discard(&self.from, settled.bytes);
        }
    }

    /// Takes out of the pipe what is on its way, although it may never come there: whoever writes is to
    /// wait no longer.
    pub(super) fn give_up(&mut self, scratch: &mut Scratch) {
        if let Some(flying) = self.in_flight.take() {
            scratch.discard(&self.from, flying.bytes);
        }
    }

    /// Whether its writer has to wait while something is on its way.
    pub(super) fn is_waited_for(&self) -> bool {
        // Who cannot tell lets nobody wait.
        self.in_flight.is_some() && !pipe::has_room(&self.from).unwrap_or(false)
    }

    /// Hands over what was taken out of the pipe and has no end.
    pub(super) fn finish(&mut self, files: &mut Files) {
        let last = self.partial.finish();
        if !last.is_empty() {
            self.hand_over(last, files, 0);
        }
    }

    /// Hands over all that is left, of which nothing stays in the pipe. No more than can have been in it,
    /// as there may be somebody who writes without end.
    pub(super) fn drain(&mut self, files: &mut Files, scratch: &mut Scratch) {
        self.give_up(scratch);
        let capacity = fcntl(&self.from, FcntlArg::F_GETPIPE_SZ);
        let capacity = capacity
            .ok()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(READ_BYTES);
        for _ in 0..capacity.div_ceil(READ_BYTES) {
            match self.from.read(&mut scratch.buffer) {
                Ok(n) if n > 0 => {
                    let lines = self.partial.take(&scratch.buffer[..n]);
                    if !lines.is_empty() {
                        self.hand_over(lines, files, 0);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.finish(files);
    }

    fn hand_over(&self, bytes: Vec<u8>, files: &mut Files, batch: u64) {
        let pipe = self.number;
        let lines = Lines {
            usec: i64::try_from(wall_usec()).unwrap_or(i64::MAX),
            label: self.label.clone(),
            bytes,
            batch: (batch > 0).then_some(Batch { pipe, batch }),
        };
        files.push(self.to, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pipe() -> (File, File) {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        (read.into(), write.into())
    }

    #[test]
    fn a_beginning_waits_in_the_pipe_for_the_rest_of_its_line() {
        let mut scratch = Scratch::new().unwrap();
        let (from, mut writer) = pipe();
        let nothing = scratch.look(&from).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(scratch.look(&from).unwrap(), Seen::Lines(4));
        assert_eq!(&scratch.buffer[..4], b"one\n");
        scratch.discard(&from, 4);
        assert_eq!(scratch.look(&from).unwrap(), Seen::Beginning);
        writer.write_all(b"o\n").unwrap();
        assert_eq!(scratch.look(&from).unwrap(), Seen::Lines(4));
        assert_eq!(&scratch.buffer[..4], b"two\n");
        scratch.discard(&from, 4);
        writer.write_all(b"th").unwrap();
        drop(writer);
        assert_eq!(scratch.look(&from).unwrap(), Seen::Last(2));
        scratch.discard(&from, 2);
        assert_eq!(scratch.look(&from).unwrap(), Seen::End);
    }

    #[test]
    fn a_line_that_does_not_fit_into_the_pipe_is_taken_in_pieces() {
        let mut scratch = Scratch::new().unwrap();
        let (from, mut writer) = pipe();
        let mut written = 0;
        while let Ok(n) = writer.write(&[b'x'; 3000]) {
            written += n;
        }
        assert_eq!(scratch.look(&from).unwrap(), Seen::TooLong(written));
        // One that is larger than what is looked at once.
        if fcntl(&from, FcntlArg::F_SETPIPE_SZ(4 * READ_BYTES as i32)).is_ok() {
            writer.write_all(&[b'x'; READ_BYTES]).unwrap();
            let Seen::TooLong(seen) = scratch.look(&from).unwrap() else {
                panic!("there is no end of a line");
            };
            assert!(seen <= READ_BYTES, "{seen}");
        }
    }
}
