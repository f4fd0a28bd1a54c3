//! Hearing that a file has come into being, wherever in the tree its path is still missing; and, in
//! [`Directories`], that files have changed.
//!
//! Told by inotify(7), so nothing is looked at until something has happened. A directory that is moved
//! away from above the one we watch is not seen; nor is what happens on another machine (a network file
//! system), of which no kernel tells.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

mod directories;

pub use directories::{Directories, Turned};

/// As many links as the kernel follows in one path (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// How often a directory may vanish while we turn to it, before we take it for an error.
const TURNS_MAX: usize = 100;

/// Something was put there, or what we watch is no longer what it was.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Looks out for one path.
#[derive(Debug)]
pub struct Lookout {
    inotify: Inotify,
    path: PathBuf,
    watched: Option<(PathBuf, WatchDescriptor)>,
}

impl Lookout {
    /// Looks out for `path`, which must be absolute. Its links are followed.
    ///
    /// # Errors
    ///
    /// `EMFILE` past the limit on descriptors or on instances (`fs.inotify.max_user_instances`).
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?,
            path: path.to_owned(),
            watched: None,
        })
    }

    /// Whether it is there. If it is not, the descriptor becomes readable when that may have changed, and this
    /// is to be asked again.
    ///
    /// # Errors
    ///
    /// Those of looking (`EACCES`, `ELOOP`), and `ENOSPC` past `fs.inotify.max_user_watches`.
    pub fn look(&mut self) -> io::Result<bool> {
        self.drain()?;
        for _ in 0..TURNS_MAX {
            let Some(directory) = nearest(&self.path)? else {
                return Ok(true);
            };
            if matches!(&self.watched, Some((watched, _)) if *watched == directory) {
                return Ok(false);
            }
            // Looked at once more after this: it may have come before we began to watch.
            self.turn_to(directory)?;
        }
        Err(Errno::EAGAIN.into())
    }

    fn turn_to(&mut self, directory: PathBuf) -> io::Result<()> {
        if let Some((_, watch)) = self.watched.take() {
            // It is gone already if its directory is.
            let _ = self.inotify.rm_watch(watch);
        }
        match self.inotify.add_watch(&directory, CHANGES) {
            Ok(watch) => self.watched = Some((directory, watch)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// Takes what has been told, and forgets a watch that has lost its directory.
    fn drain(&mut self) -> io::Result<()> {
        let lost = AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_UNMOUNT;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    let current = self.watched.as_ref().map(|(_, watch)| *watch);
                    let is_lost = events
                        .iter()
                        .any(|event| Some(event.wd) == current && event.mask.intersects(lost));
                    if is_lost {
                        self.watched = None;
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Lookout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for Lookout {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }
}

/// The directory in which the first missing part of `path` would be; `None` if nothing is missing.
fn nearest(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS_MAX {
        match step(&path)? {
            Step::Here => return Ok(None),
            Step::Missing(directory) => return Ok(Some(directory)),
            Step::Link { target, .. } => path = target,
        }
    }
    Err(Errno::ELOOP.into())
}

enum Step {
    Here,
    Missing(PathBuf),
    Link {
        /// The whole path with its first link replaced.
        target: PathBuf,
        /// Where the link is.
        directory: PathBuf,
    },
}

fn step(path: &Path) -> io::Result<Step> {
    let mut here = PathBuf::from("/");
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        if matches!(part, Component::RootDir | Component::CurDir) {
            continue;
        }
        let next = here.join(part);
        let found = match std::fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Step::Missing(here));
            }
            // A file is where a directory should be: it has to be replaced first.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                here.pop();
                return Ok(Step::Missing(here));
            }
            Err(error) => return Err(error),
        };
        if found.is_symlink() {
            let target = here.join(std::fs::read_link(&next)?);
            return Ok(Step::Link {
                target: target.join(parts.as_path()),
                directory: here,
            });
        }
        here = next;
    }
    Ok(Step::Here)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// Does `change`, which must wake the lookout, and says what it sees then.
    fn after(lookout: &mut Lookout, change: impl FnOnce()) -> bool {
        assert!(!lookout.look().unwrap(), "it is there too early");
        change();
        let mut fds = [PollFd::new(lookout.as_fd(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut fds, PollTimeout::from(10_000_u16)),
            Ok(1),
            "nobody is told"
        );
        lookout.look().unwrap()
    }

    #[test]
    fn a_file_is_seen_though_its_directories_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/app/ready");
        let mut lookout = Lookout::new(&path).unwrap();
        assert!(!after(&mut lookout, || fs::create_dir(
            directory.path().join("run")
        )
        .unwrap()));
        assert!(!after(&mut lookout, || fs::create_dir(
            path.parent().unwrap()
        )
        .unwrap()));
        assert!(after(&mut lookout, || fs::write(&path, "").unwrap()));
        assert!(Lookout::new(&path).unwrap().look().unwrap());
    }

    #[test]
    fn a_directory_may_be_replaced_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let (run, other) = (directory.path().join("run"), directory.path().join("other"));
        fs::create_dir(&run).unwrap();
        let mut lookout = Lookout::new(&run.join("ready")).unwrap();
        assert!(!after(&mut lookout, || fs::remove_dir(&run).unwrap()));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("ready"), "").unwrap();
        assert!(after(&mut lookout, || fs::rename(&other, &run).unwrap()));
    }

    #[test]
    fn a_link_is_followed_to_what_is_not_there_yet() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (
            directory.path().join("link"),
            directory.path().join("target"),
        );
        let mut lookout = Lookout::new(&link).unwrap();
        assert!(!after(&mut lookout, || std::os::unix::fs::symlink(
            "target", &link
        )
        .unwrap()));
        assert!(after(&mut lookout, || fs::write(&target, "").unwrap()));
    }

    #[test]
    fn a_loop_of_links_is_an_error_and_a_file_in_the_way_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (link, file) = (directory.path().join("link"), directory.path().join("file"));
        std::os::unix::fs::symlink(&link, &link).unwrap();
        let error = Lookout::new(&link).unwrap().look().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        fs::write(&file, "").unwrap();
        assert!(!Lookout::new(&file.join("ready")).unwrap().look().unwrap());
    }
}
