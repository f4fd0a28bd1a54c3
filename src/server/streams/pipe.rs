//! The end of a pipe that a worker writes to, on its way to a file.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::desks::FileId;
use super::files::Files;
use super::lines::{Label, Lines, Partial};
use crate::config::LineFormat;
use crate::server::clock::wall_usec;

/// How much of a pipe is read at once, so that one chatty worker does not hold up the loop.
const READ_BYTES: usize = 64 * 1024;

/// It is read until its end, however long its worker is gone by then.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) from: File,
    pub(super) to: FileId,
    format: Option<LineFormat>,
    label: Option<Arc<Label>>,
    partial: Partial,
}

/// What was read from a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pumped {
    /// There may be more.
    Open,
    /// There is nothing for now.
    Empty,
    /// All writers are gone.
    Ended,
}

/// What becomes of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    Dropped,
}

impl Pipe {
    /// A pipe, and the end for the worker.
    ///
    /// # Errors
    ///
    /// The table of descriptors is full.
    pub(super) fn new(to: FileId, format: Option<LineFormat>) -> io::Result<(Pipe, OwnedFd)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        // Only our end: a worker that meets a full pipe is to wait, not to fail.
        fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let pipe = Pipe {
            from: read.into(),
            to,
            format,
            label: None,
            partial: Partial::default(),
        };
        Ok((pipe, write))
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

    /// Reads once.
    pub(super) fn pump(&mut self, files: &mut Files, fate: Fate) -> Pumped {
        let mut buffer = [0; READ_BYTES];
        match self.from.read(&mut buffer) {
            Ok(0) => Pumped::Ended,
            Ok(n) => {
                let lines = self.partial.take(&buffer[..n]);
                self.pass_on(lines, files, fate);
                Pumped::Open
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pumped::Empty,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Pumped::Open,
            Err(_) => Pumped::Ended,
        }
    }

    /// Passes on what is left at its end.
    pub(super) fn finish(&mut self, files: &mut Files, fate: Fate) {
        let last = self.partial.finish();
        self.pass_on(last, files, fate);
    }

    /// Reads no more than can have been in it, as there may be somebody who writes without end.
    pub(super) fn drain(&mut self, files: &mut Files) {
        let capacity = fcntl(&self.from, FcntlArg::F_GETPIPE_SZ);
        let capacity = capacity
            .ok()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(READ_BYTES);
        for _ in 0..capacity.div_ceil(READ_BYTES) {
            if self.pump(files, Fate::Written) != Pumped::Open {
                break;
            }
        }
        self.finish(files, Fate::Written);
    }

    fn pass_on(&mut self, bytes: Vec<u8>, files: &mut Files, fate: Fate) {
        match fate {
            _ if bytes.is_empty() => {}
            Fate::Dropped => files.skip(self.to, &bytes),
            Fate::Written => {
                let lines = Lines {
                    usec: i64::try_from(wall_usec()).unwrap_or(i64::MAX),
                    label: self.label.clone(),
                    bytes,
                };
                files.push(self.to, lines);
            }
        }
    }
}
