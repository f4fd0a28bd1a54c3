//! The pipes that workers write to, as named ones (fifo(7)) in the state directory: so that the next daemon
//! finds them, and nobody is told that there is none in between.
//!
//! ```text
//! STATE/output/INSTANCE.N
//! ```
//!
//! A worker has its end open for reading, too, which it never does: a pipe that has a reader takes what is
//! written to it, and lets the writer wait when it is full, where one without would end the writer with
//! SIGPIPE. It is at its end all the same when the last worker has closed it. What is in a pipe is
//! gone when nobody has it open any more, whatever its name. Where no names can be given, pipes are without
//! one, and end with us. Nothing in here reads or writes.

use std::cell::Cell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;

/// The directory of the pipes.
#[derive(Debug)]
pub(in crate::server) struct Fifos {
    directory: PathBuf,
    instance: String,
    last: Cell<u64>,
    /// That there are no names was told.
    nameless: Cell<bool>,
    /// There will be no next daemon.
    without_names: bool,
}

/// A pipe that was just made.
#[derive(Debug)]
pub(super) struct Made {
    /// Its number, which no other has.
    pub(super) number: u64,
    /// Whether the next daemon can find it.
    pub(super) named: bool,
    /// The end by which it is read, without waiting.
    pub(super) reader: File,
    /// An end for who writes to it, who may have to wait.
    pub(super) writer: OwnedFd,
}

impl Fifos {
    /// `state` is the directory in which theirs is made.
    pub(in crate::server) fn new(state: &Path, instance: &str) -> Fifos {
        let mut fifos = Fifos {
            directory: directory_in(state),
            instance: instance.to_owned(),
            last: Cell::new(0),
            nameless: Cell::new(false),
            without_names: false,
        };
        let mut options = DirBuilder::new();
        // If it cannot be made, nothing can be made in it, and that is told.
        let _ = options.recursive(true).mode(0o700).create(&fifos.directory);
        // As the kernel tells it of an open file.
        if let Ok(real) = fifos.directory.canonicalize() {
            fifos.directory = real;
        }
        let numbers = fifos.names().filter_map(|name| fifos.number(&name));
        fifos.last.set(numbers.max().unwrap_or(0));
        fifos
    }

    /// For a guest in another program, after whom nobody goes on: nothing is made in `state`.
    pub(in crate::server) fn without_names(state: &Path, instance: &str) -> Fifos {
        Fifos {
            directory: directory_in(state),
            instance: instance.to_owned(),
            last: Cell::new(0),
            nameless: Cell::new(true),
            without_names: true,
        }
    }

    /// Makes a pipe.
    ///
    /// # Errors
    ///
    /// The table of descriptors is full.
    pub(super) fn make(&self) -> io::Result<Made> {
        let number = self.last.get() + 1;
        self.last.set(number);
        if self.without_names {
            return make_nameless(number);
        }
        if let Err(errno) = nix::unistd::mkfifo(&self.path(number), Mode::S_IRUSR | Mode::S_IWUSR) {
            self.tell_nameless(errno);
            return make_nameless(number);
        }
        let made = self.open(number).and_then(|reader| {
            Ok(Made {
                number,
                named: true,
                writer: self.open_writer(number)?,
                reader,
            })
        });
        made.inspect_err(|_| self.remove(number))
    }

    fn tell_nameless(&self, why: Errno) {
        if !self.nameless.replace(true) {
            let directory = self.directory.display();
            tracing::warn!(
                "no named pipe can be made in '{directory}', so that output is lost should circusd be \
                 killed: {why}"
            );
        }
    }

    /// The end by which a pipe is read that is there already.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub(super) fn open(&self, number: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        options.read(true).custom_flags(flags.bits());
        let reader = options.open(self.path(number))?;
        match reader.metadata()?.file_type().is_fifo() {
            true => Ok(reader),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// An end of a pipe for who writes to it.
    ///
    /// # Errors
    ///
    /// It is not there, or the table of descriptors is full.
    pub(super) fn open_writer(&self, number: u64) -> io::Result<OwnedFd> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits());
        Ok(options.open(self.path(number))?.into())
    }

    /// Takes over a pipe of which only an open end is known, as a file in /proc, and gives it a number of
    /// ours. `None` if it is none of these pipes, or one whose number `is_known`, or closed.
    ///
    /// # Errors
    ///
    /// It has no name any more, or we may not look.
    pub(super) fn claim(
        &self,
        end: &Path,
        is_known: impl Fn(u64) -> bool,
    ) -> io::Result<Option<(u64, File)>> {
        let path = match std::fs::read_link(end) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            path => path?,
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| path.parent() == Some(&self.directory)) else {
            return Ok(None);
        };
        if self.number(name).is_some_and(is_known) {
            return Ok(None);
        }
        let number = self.last.get() + 1;
        self.last.set(number);
        std::fs::rename(&path, self.path(number))?;
        Ok(Some((number, self.open(number)?)))
    }

    /// Takes its name from a pipe that nobody is to find any more.
    pub(super) fn remove(&self, number: u64) {
        // It may be gone already; another of this name is not made before the next daemon.
        let _ = std::fs::remove_file(self.path(number));
    }

    /// No number up to this one is given to another pipe.
    pub(super) fn is_taken(&self, number: u64) {
        self.last.set(self.last.get().max(number));
    }

    /// Removes the names of all but these: they are those of daemons that nobody goes on with.
    pub(in crate::server) fn retain(&self, is_known: impl Fn(u64) -> bool) {
        for name in self.names() {
            if !self.number(&name).is_some_and(&is_known) {
                let _ = std::fs::remove_file(self.directory.join(name));
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
    }

    fn number(&self, name: &str) -> Option<u64> {
        let (instance, number) = name.split_once('.')?;
        (instance == self.instance).then(|| number.parse().ok())?
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}.{number}", self.instance))
    }
}

/// Removes what is left of the pipes of a daemon that nobody goes on with.
pub(in crate::server) fn forget(state: &Path) {
    // It may be gone already.
    let _ = std::fs::remove_dir_all(directory_in(state));
}

fn directory_in(state: &Path) -> PathBuf {
    state.join("output")
}

/// One that ends with whoever reads it.
fn make_nameless(number: u64) -> io::Result<Made> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // Only our end: who meets a full pipe is to wait, not to fail.
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Made {
        number,
        named: false,
        reader: reader.into(),
        writer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const OURS: &str = "0123456789abcdef";

    #[test]
    fn who_writes_needs_no_reader_and_the_next_one_reads_all() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = Fifos::new(dir.path(), OURS);
        let Made {
            number,
            named,
            reader,
            writer,
        } = fifos.make().unwrap();
        assert!(named);
        let mut writer = File::from(writer);
        writer.write_all(b"one ").unwrap();
        drop(reader);
        writer.write_all(b"two").unwrap();
        let next = Fifos::new(dir.path(), OURS);
        let mut reader = next.open(number).unwrap();
        let mut read = [0; 7];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one two");
        drop(writer);
        assert_eq!(
            reader.read(&mut read).unwrap(),
            0,
            "the last writer is gone"
        );
        assert!(next.make().unwrap().number > number);
    }

    #[test]
    fn what_nobody_goes_on_with_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let before = Fifos::new(dir.path(), "fedcba9876543210");
        before.make().unwrap();
        let fifos = Fifos::new(dir.path(), OURS);
        let kept = fifos.make().unwrap().number;
        let other = fifos.make().unwrap().number;
        fifos.retain(|number| number == kept);
        fifos.open(kept).unwrap();
        fifos.open(other).unwrap_err();
        assert_eq!(fifos.names().count(), 1);
    }

    #[test]
    fn without_a_directory_there_are_pipes_without_names() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("output"), "in the way").unwrap();
        let fifos = Fifos::new(dir.path(), OURS);
        let Made {
            number,
            named,
            mut reader,
            writer,
        } = fifos.make().unwrap();
        assert!(!named);
        File::from(writer).write_all(b"one").unwrap();
        let mut read = [0; 3];
        reader.read_exact(&mut read).unwrap();
        assert!(fifos.make().unwrap().number > number);
    }
}
