//! One file of output: opened, written to, turned over, and opened again when it was moved.
//!
//! Everything in here may take for ever, as a disk may: it is done by the threads of `writers`, never
//! by the loop. Asks no clock: lines come with their time. Logs nothing, but says what is to be told.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::calendar;
use super::lines::{LINE_BYTES_MAX, Lines, Lost};
use crate::config::{Keeping, Rotate};

/// How much is written at once, if there is so much: that a disk works at all is seen after each.
const WRITE_BYTES: usize = 256 * 1024;

/// No line that we write is longer: what the worker wrote, and what stands before it.
const TORN_BYTES_MAX: u64 = 2 * LINE_BYTES_MAX as u64;

/// What the log is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Something does not work.
    Bad(String),
    /// It works again.
    Good(String),
}

/// What came of writing.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) lost: Lost,
    /// Why, if anything was lost.
    pub(super) why: Option<String>,
    pub(super) words: Vec<Word>,
}

/// A file and when to turn it over.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    keeping: Keeping,
    file: Option<Seat>,
    /// When it was last written to, in microseconds since the Unix epoch.
    last: Option<i64>,
    /// A line of which only the beginning could be written.
    torn: Option<Torn>,
    /// What was lost and has not been told in the file.
    owed: Lost,
    /// Why nothing can be written, as it was told.
    failing: Option<String>,
    /// The last attempt to turn it over failed, and that was told.
    stuck: bool,
    /// It was moved and could not be made anew, and that was told.
    astray: bool,
}

#[derive(Debug)]
struct Seat {
    file: File,
    device: u64,
    inode: u64,
    size: u64,
    /// Not a pipe or a device, of which there are no old ones.
    regular: bool,
}

#[derive(Debug)]
struct Torn {
    line: Vec<u8>,
    /// How much of it is in the file.
    written: usize,
}

impl Sink {
    /// A file that was not opened yet.
    pub(super) fn new(path: &Path, keeping: Keeping) -> Sink {
        Sink {
            path: path.to_owned(),
            keeping,
            file: None,
            last: None,
            torn: None,
            owed: Lost::default(),
            failing: None,
            stuck: false,
            astray: false,
        }
    }

    /// From now on it is turned over like this.
    pub(super) fn keep(&mut self, keeping: Keeping) {
        self.keeping = keeping;
    }

    /// Opens it, unless it is open.
    ///
    /// # Errors
    ///
    /// Those of open(2); `ENXIO` for a named pipe that nobody reads.
    pub(super) fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let seat = Seat::take(&self.path)?;
        let modified = seat.file.metadata()?;
        if seat.size > 0 {
            let usec = modified.mtime() * 1_000_000 + modified.mtime_nsec() / 1000;
            self.last.get_or_insert(usec);
        }
        self.file = Some(seat);
        Ok(())
    }

    /// Takes out a line at the end of the file of which only the beginning is there: whoever wrote it was
    /// killed, and it is written again.
    pub(super) fn mend(&mut self) -> Option<Word> {
        let seat = self.file.as_mut().filter(|seat| seat.regular)?;
        let torn = torn_bytes(&self.path, seat).ok().filter(|torn| *torn > 0)?;
        seat.file.set_len(seat.size - torn).ok()?;
        seat.size -= torn;
        let path = self.path.display();
        Some(Word::Good(format!(
            "'{path}' ended in the middle of a line, as if circusd had been killed while it wrote that; \
             took its {torn} bytes out"
        )))
    }

    /// Closes it, which on some file systems is when it is really written.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Makes the file anew if it was moved or removed.
    pub(super) fn look(&mut self, written: &mut Written) {
        let Some(seat) = &mut self.file else {
            return self.open_again(written);
        };
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (seat.device, seat.inode) => {
                // Somebody may have emptied it.
                seat.size = there.len();
            }
            _ => self.open_again(written),
        }
    }

    fn open_again(&mut self, written: &mut Written) {
        match Seat::take(&self.path) {
            Ok(seat) => {
                self.file = Some(seat);
                self.astray = false;
                if let Some(torn) = &mut self.torn {
                    torn.written = 0;
                }
            }
            Err(error) if self.file.is_none() => {
                self.fails(format!("cannot be opened: {error}"), written);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.astray, true) {
                    let path = self.path.display();
                    let word = format!(
                        "failed to open '{path}' again, going on with what it was: {error}"
                    );
                    written.words.push(Word::Bad(word));
                }
            }
        }
    }

    /// Appends lines, to as many files as they need. `progress` grows with what is done.
    pub(super) fn write(&mut self, all: &[Lines], progress: &AtomicU64) -> Written {
        let mut written = Written::default();
        self.look(&mut written);
        let mut out = Vec::new();
        for lines in all {
            if self.ends_a_period(lines.usec) {
                self.flush(&mut out, progress, &mut written);
                self.turn_over(&mut written);
            }
            self.last = Some(lines.usec);
            lines.render(&mut out);
            if out.len() >= WRITE_BYTES {
                self.flush(&mut out, progress, &mut written);
            }
        }
        self.flush(&mut out, progress, &mut written);
        written
    }

    fn ends_a_period(&self, usec: i64) -> bool {
        let (Some(rotate), Some(last)) = (self.keeping.rotate, self.last) else {
            return false;
        };
        let zone = calendar::zone(self.keeping.utc);
        let of = |usec, rotate: Rotate| calendar::period(rotate, usec, zone.clone());
        of(last, rotate) < of(usec, rotate)
    }

    fn flush(&mut self, out: &mut Vec<u8>, progress: &AtomicU64, written: &mut Written) {
        let mut lines = out.as_slice();
        while !lines.is_empty() {
            let mut fitting = self.fitting(lines);
            if fitting == 0 && self.size() > 0 {
                self.turn_over(written);
                fitting = self.fitting(lines);
            }
            if fitting == 0 {
                // Longer than a whole file: it gets one of its own.
                let end = lines.iter().position(|byte| *byte == b'\n');
                fitting = end.map_or(lines.len(), |end| end + 1);
            }
            let (now, later) = lines.split_at(fitting);
            self.append(now, progress, written);
            lines = later;
        }
        out.clear();
    }

    fn size(&self) -> u64 {
        self.file.as_ref().map_or(0, |seat| seat.size)
    }

    /// How many bytes, in whole lines, the file may still take.
    fn fitting(&self, lines: &[u8]) -> usize {
        let turns = self.file.as_ref().is_some_and(|seat| seat.regular);
        let room = match self.keeping.max_bytes {
            max if max > 0 && turns => {
                usize::try_from(max.saturating_sub(self.size())).unwrap_or(usize::MAX)
            }
            _ => lines.len(),
        };
        if lines.len() <= room {
            return lines.len();
        }
        let end = lines[..room].iter().rposition(|byte| *byte == b'\n');
        end.map_or(0, |end| end + 1)
    }

    /// Writes lines behind what is still to be said before them. What cannot be written is counted.
    fn append(&mut self, lines: &[u8], progress: &AtomicU64, written: &mut Written) {
        let appended = self.say_what_is_owed(progress).and_then(|()| {
            self.put(lines, progress).map_err(|(done, error)| {
                let whole = lines[..done].iter().rposition(|byte| *byte == b'\n');
                let whole = whole.map_or(0, |last| last + 1);
                let end = lines[done..].iter().position(|byte| *byte == b'\n');
                let end = end.map_or(lines.len(), |end| done + end + 1);
                let mut lost = whole;
                if done > whole {
                    let line = lines[whole..end].to_vec();
                    let written = done - whole;
                    self.torn = Some(Torn { line, written });
                    lost = end;
                }
                (Some(Lost::all(&lines[lost..])), error)
            })
        });
        // A failure is progress too: the disk has answered.
        progress.fetch_add(1, Ordering::Relaxed);
        match appended {
            Ok(()) => {
                if let Some(why) = self.failing.take() {
                    let path = self.path.display();
                    let word = format!("'{path}' can be written to again; before, it {why}");
                    written.words.push(Word::Good(word));
                }
            }
            Err((lost, error)) => {
                let lost = lost.unwrap_or_else(|| Lost::all(lines));
                written.lost.add(lost);
                self.owed.add(lost);
                self.fails(format!("could not be written to: {error}"), written);
            }
        }
    }

    /// Ends a line that is torn, and says how much is missing here. Of what is to come behind that,
    /// an error says nothing.
    fn say_what_is_owed(&mut self, progress: &AtomicU64) -> Result<(), (Option<Lost>, io::Error)> {
        if let Some(mut torn) = self.torn.take()
            && let Err((done, error)) = self.put(&torn.line[torn.written..], progress)
        {
            torn.written += done;
            self.torn = Some(torn);
            return Err((None, error));
        }
        if self.owed.is_none() {
            return Ok(());
        }
        let line = notice(self.owed);
        match self.put(&line, progress) {
            Ok(()) => self.owed = Lost::default(),
            Err((0, error)) => return Err((None, error)),
            Err((written, error)) => {
                // It will be said, if not at once.
                self.owed = Lost::default();
                self.torn = Some(Torn { line, written });
                return Err((None, error));
            }
        }
        Ok(())
    }

    /// Says in the file that lines are missing behind those that are in it.
    pub(super) fn owe(&mut self, lost: Lost, progress: &AtomicU64, written: &mut Written) {
        if !lost.is_none() {
            self.owed.add(lost);
            if let Err((_, error)) = self.say_what_is_owed(progress) {
                self.fails(format!("could not be written to: {error}"), written);
            }
        }
    }

    /// Writes all of it, or says how much was written.
    fn put(&mut self, bytes: &[u8], progress: &AtomicU64) -> Result<(), (usize, io::Error)> {
        let Some(seat) = &mut self.file else {
            return Err((0, io::ErrorKind::NotFound.into()));
        };
        let mut done = 0;
        while done < bytes.len() {
            match seat.file.write(&bytes[done..]) {
                Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    done += n;
                    seat.size += n as u64;
                    progress.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }

    /// Something does not work; told once until it works again.
    fn fails(&mut self, why: String, written: &mut Written) {
        if self.failing.is_none() {
            let path = self.path.display();
            let word = format!("'{path}' {why}; going on, output is lost until it works");
            written.words.push(Word::Bad(word));
            self.failing = Some(why);
        }
        // The first reason is the one that was told; what follows from it says less.
        written.why.clone_from(&self.failing);
    }

    /// Makes the file `path.1`, what was that `path.2`, and so on; the last one is overwritten.
    fn turn_over(&mut self, written: &mut Written) {
        let Some(seat) = self.file.as_mut().filter(|seat| seat.regular) else {
            return;
        };
        // Even if it fails: it is not tried again for every line.
        let size = std::mem::take(&mut seat.size);
        if size == 0 {
            return;
        }
        let turned = self.try_turn_over();
        if let Err(error) = &turned
            && !self.stuck
        {
            let path = self.path.display();
            let word = format!("failed to turn over '{path}', going on with it: {error}");
            written.words.push(Word::Bad(word));
        }
        self.stuck = turned.is_err();
    }

    fn try_turn_over(&mut self) -> io::Result<()> {
        let count = self.keeping.backup_count;
        if count == 0 {
            return self
                .file
                .as_ref()
                .map_or(Ok(()), |seat| seat.file.set_len(0));
        }
        for number in (1..count).rev() {
            rename(&self.backup(number), &self.backup(number + 1))?;
        }
        rename(&self.path, &self.backup(1))?;
        self.file = Some(Seat::take(&self.path)?);
        Ok(())
    }

    fn backup(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// How many bytes behind its last line end a file has, if that is no more than a line of ours can have.
fn torn_bytes(path: &Path, seat: &Seat) -> io::Result<u64> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let mut file = options.read(true).custom_flags(flags.bits()).open(path)?;
    let meta = file.metadata()?;
    if (meta.dev(), meta.ino()) != (seat.device, seat.inode) {
        return Ok(0);
    }
    let from = seat.size.saturating_sub(TORN_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(TORN_BYTES_MAX).read_to_end(&mut tail)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n');
    Ok(match end {
        Some(end) => (tail.len() - end - 1) as u64,
        None if from == 0 => tail.len() as u64,
        None => 0,
    })
}

/// The line in a file that stands where others are missing.
fn notice(lost: Lost) -> Vec<u8> {
    format!("circusd: {lost} of output are missing here\n").into_bytes()
}

/// What is not there need not be renamed: somebody has taken it away.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Seat {
    fn take(path: &Path) -> io::Result<Seat> {
        let file = open_file(path)?;
        // It was opened so as not to wait; who writes may wait, and must not be told EAGAIN.
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        let meta = file.metadata()?;
        Ok(Seat {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            regular: meta.is_file(),
            file,
        })
    }
}

/// To append only, and not through a symbolic link: the directory may be one where others write. Never
/// waits, as open(2) of a named pipe does until somebody reads from it.
pub(in crate::server) fn open_file(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits())
        .open(path)
}

#[cfg(test)]
mod tests;
