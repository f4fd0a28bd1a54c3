//! Hearing that something may have changed at some paths: in the directories that lead to them.
//!
//! Directories are watched and not files, as most who change a file put another in its place. What has
//! changed is not told, only that somebody should look.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::{LINKS_MAX, Step, step};

/// An entry has come, gone, been written or got other rights; or the directory is no longer what it was.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Looks out for changes at some paths.
#[derive(Debug)]
pub struct Directories {
    inotify: Inotify,
    watched: BTreeSet<WatchDescriptor>,
}

/// What came of turning to other paths.
#[derive(Debug, Default)]
pub struct Turned {
    /// Whether there are directories that were not watched before: what has changed there until now was
    /// not told.
    pub anew: bool,
    /// Paths that cannot be watched, and why.
    pub failures: Vec<(PathBuf, io::Error)>,
}

impl Directories {
    /// Looks out for nothing yet.
    ///
    /// # Errors
    ///
    /// `EMFILE` past the limit on descriptors or on instances (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?,
            watched: BTreeSet::new(),
        })
    }

    /// Looks out for these absolute paths, and for no others: files, of which the content matters, and
    /// directories, of which the entries do; whatever of them is not there yet, and through links.
    ///
    /// The failures are those of looking (`EACCES`, `ELOOP`), and `ENOSPC` past
    /// `fs.inotify.max_user_watches`.
    pub fn turn_to<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) -> Turned {
        let mut turned = Turned::default();
        let mut directories = BTreeSet::new();
        for path in paths {
            match leading_to(path) {
                Ok(found) => directories.extend(found),
                Err(error) => turned.failures.push((path.to_owned(), error)),
            }
        }
        let mut watched = BTreeSet::new();
        for directory in directories {
            // The same descriptor if it is watched already, by whatever path.
            match self.inotify.add_watch(&directory, CHANGES) {
                Ok(watch) => drop(watched.insert(watch)),
                // It has gone since: to be looked at once more.
                Err(Errno::ENOENT | Errno::ENOTDIR) => turned.anew = true,
                Err(errno) => turned.failures.push((directory, errno.into())),
            }
        }
        turned.anew |= watched.difference(&self.watched).next().is_some();
        for gone in self.watched.difference(&watched) {
            // The kernel has removed it already if its directory is gone.
            let _ = self.inotify.rm_watch(*gone);
        }
        self.watched = watched;
        turned
    }

    /// Takes what has been told: whether anything has changed. The descriptor is readable when there is
    /// something to take.
    ///
    /// # Errors
    ///
    /// None is expected.
    pub fn have_changed(&mut self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match self.inotify.read_events() {
                // That a watch was removed says nothing more than we know.
                Ok(events) => {
                    changed |= events
                        .iter()
                        .any(|event| !event.mask.contains(AddWatchFlags::IN_IGNORED));
                }
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Directories {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for Directories {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }
}

/// The directories in which a change may make something else of `path`: those of the links on the way,
/// and itself, or that of the file that it is, or that in which its first missing part would be.
fn leading_to(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut path = path.to_owned();
    let mut found = Vec::new();
    for _ in 0..=LINKS_MAX {
        match step(&path)? {
            Step::Missing(directory) => {
                found.push(directory);
                return Ok(found);
            }
            Step::Link { target, directory } => {
                found.push(directory);
                path = target;
            }
            Step::Here => {
                // That a directory itself goes away is told to who watches it.
                let directory = match path.is_dir() {
                    true => Some(path.as_path()),
                    false => path.parent(),
                };
                found.extend(directory.map(Path::to_owned));
                return Ok(found);
            }
        }
    }
    Err(Errno::ELOOP.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use tempfile::TempDir;

    use super::*;

    /// Lookouts for `path` in `directory`, as it is looked out for by who has just looked.
    fn looking(directory: &TempDir, path: &str) -> (Directories, PathBuf) {
        let path = directory.path().join(path);
        let mut directories = Directories::new().unwrap();
        turn(&mut directories, &path);
        (directories, path)
    }

    fn turn(directories: &mut Directories, path: &Path) {
        let turned = directories.turn_to([path]);
        assert!(turned.failures.is_empty(), "{turned:?}");
        directories.have_changed().unwrap();
        let turned = directories.turn_to([path]);
        assert!(!turned.anew, "nothing is new the second time");
    }

    /// Does `change`, of which somebody must be told.
    #[track_caller]
    fn told(directories: &mut Directories, change: impl FnOnce()) {
        assert!(!directories.have_changed().unwrap(), "too early");
        change();
        let mut fds = [PollFd::new(directories.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(10_000_u16));
        assert_eq!(ready, Ok(1), "nobody is told");
        assert!(directories.have_changed().unwrap());
    }

    #[test]
    fn a_file_that_is_written_replaced_removed_or_opened_to_others_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (mut directories, path) = looking(&directory, "a.toml");
        let other = directory.path().join("b");
        told(&mut directories, || fs::write(&path, "1").unwrap());
        told(&mut directories, || fs::write(&path, "2").unwrap());
        told(&mut directories, || {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        });
        told(&mut directories, || fs::rename(&path, &other).unwrap());
        told(&mut directories, || fs::rename(&other, &path).unwrap());
        told(&mut directories, || fs::remove_file(&path).unwrap());
    }

    #[test]
    fn a_directory_that_comes_later_is_told_and_then_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let (mut directories, path) = looking(&directory, "conf.d/sub");
        let conf_d = directory.path().join("conf.d");
        told(&mut directories, || fs::create_dir(&conf_d).unwrap());
        assert!(directories.turn_to([path.as_path()]).anew);
        told(&mut directories, || fs::create_dir(&path).unwrap());
        turn(&mut directories, &path);
        told(&mut directories, || fs::write(path.join("a"), "").unwrap());
        told(&mut directories, || fs::remove_dir_all(&conf_d).unwrap());
        turn(&mut directories, &path);
        told(&mut directories, || fs::create_dir(&conf_d).unwrap());
    }

    #[test]
    fn a_directory_that_is_replaced_as_a_whole_is_told_and_then_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("etc"), directory.path().join("new"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&new).unwrap();
        let (mut directories, path) = looking(&directory, "etc/a.toml");
        told(&mut directories, || {
            fs::rename(&old, directory.path().join("was")).unwrap();
            fs::rename(&new, &old).unwrap();
        });
        assert!(directories.turn_to([path.as_path()]).anew);
        told(&mut directories, || fs::write(&path, "").unwrap());
    }

    #[test]
    fn a_link_on_the_way_that_is_turned_elsewhere_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.toml"), version).unwrap();
        }
        symlink("1", at("now")).unwrap();
        let (mut directories, path) = looking(&directory, "now/a.toml");
        told(&mut directories, || {
            symlink("2", at("next")).unwrap();
            fs::rename(at("next"), at("now")).unwrap();
        });
        turn(&mut directories, &path);
        told(&mut directories, || {
            fs::write(at("2").join("a.toml"), "").unwrap();
        });
    }

    #[test]
    fn what_cannot_be_looked_at_is_told_and_the_rest_is_watched() {
        let directory = tempfile::tempdir().unwrap();
        let (link, path) = (directory.path().join("link"), directory.path().join("d/a"));
        symlink(&link, &link).unwrap();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let mut directories = Directories::new().unwrap();
        let turned = directories.turn_to([link.as_path(), path.as_path()]);
        let [(failed, error)] = &turned.failures[..] else {
            panic!("{turned:?}")
        };
        assert_eq!((failed, error.raw_os_error()), (&link, Some(libc::ELOOP)));
        told(&mut directories, || fs::write(&path, "").unwrap());
        assert!(!directories.turn_to([]).anew);
        fs::write(&path, "2").unwrap();
        assert!(!directories.have_changed().unwrap(), "it matters no more");
    }
}
