//! Where a program that is asked lives: a group of its own for each run, or what stands in for one.

use std::io;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::server::homes::{Home, directory_name, tree_of};
use crate::sys::cgroup::Cgroup;

/// The variable that a hook and its children carry.
pub(super) const MARK: &str = "CIRCUS_HOOK_RUN";

/// Makes homes, each for one run.
#[derive(Debug)]
pub(in crate::server) struct HookHomes {
    root: Option<PathBuf>,
    instance: String,
}

impl HookHomes {
    /// `root`: the directory for groups, if there may be any.
    pub(in crate::server) fn new(root: Option<PathBuf>, instance: &str) -> HookHomes {
        HookHomes {
            root,
            instance: instance.to_owned(),
        }
    }

    /// A new group for a hook of `watcher`.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) fn cgroup(&self, watcher: &str, hook: &str, run: u64) -> io::Result<Option<Cgroup>> {
        let Some(root) = &self.root else {
            return Ok(None);
        };
        std::fs::create_dir_all(root)?;
        let name = format!("{}.{hook}.{run}", directory_name(watcher));
        // One of that name is a killed daemon's: it is not ours, and into one that was killed nobody
        // can be born (see `Homes`).
        let names = std::iter::once(name.clone()).chain((1..).map(|n: u64| format!("{name}.{n}")));
        for name in names {
            let path = root.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Cgroup::open(path).map(Some),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("there are more numbers than groups")
    }

    /// The variable by which a hook and its children are known where there is no group.
    pub(super) fn mark(&self, run: u64) -> (String, String) {
        (MARK.into(), format!("{}:{run}", self.instance))
    }

    /// The home of a hook that has just been started.
    ///
    /// # Errors
    ///
    /// It has ended already and cannot be looked at.
    pub(super) fn home(&self, cgroup: Option<Cgroup>, pid: Pid, run: u64) -> io::Result<Home> {
        match cgroup {
            Some(cgroup) => Ok(Home::Cgroup(cgroup.path().to_owned())),
            None => tree_of(pid, self.mark(run)),
        }
    }
}
