//! Where a program that is asked lives: a group of its own for each run, or what stands in for one.

use std::io;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::server::homes::{Home, directory_name, tree_of};
use crate::server::state::KeptHome;
use crate::sys::cgroup::Cgroup;
use crate::sys::process;

/// Makes homes, each for one run.
#[derive(Debug)]
pub(in crate::server) struct HookHomes {
    root: Option<PathBuf>,
    instance: String,
    /// The variable by which they are known where there are no groups.
    mark: &'static str,
}

impl HookHomes {
    /// `root`: the directory for groups, if there may be any; `mark`: a variable of no other homes.
    pub(in crate::server) fn new(
        root: Option<PathBuf>,
        instance: &str,
        mark: &'static str,
    ) -> HookHomes {
        HookHomes {
            root,
            mark,
            instance: instance.to_owned(),
        }
    }

    /// A new group for a program of `watcher`: a hook of that name, or the logger of that stream.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(in crate::server) fn cgroup(
        &self,
        watcher: &str,
        what: &str,
        run: u64,
    ) -> io::Result<Option<Cgroup>> {
        let Some(root) = &self.root else {
            return Ok(None);
        };
        std::fs::create_dir_all(root)?;
        let name = format!("{}.{what}.{run}", directory_name(watcher));
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

    /// The variable by which a program and its children are known where there is no group.
    pub(in crate::server) fn mark(&self, run: u64) -> (String, String) {
        (self.mark.into(), format!("{}:{run}", self.instance))
    }

    /// The run that a process is part of, by that variable: all have it from the first, and anybody
    /// can have it.
    pub(super) fn run_of(&self, pid: Pid) -> Option<u64> {
        // Who cannot be looked at is a stranger.
        let mark = process::variable(pid, self.mark).ok().flatten()?;
        let mark = String::from_utf8(mark).ok()?;
        let run = mark.strip_prefix(&self.instance)?.strip_prefix(':')?;
        run.parse().ok()
    }

    /// The home of a program that an earlier daemon has started.
    pub(in crate::server) fn find(&self, kept: &KeptHome, pid: Pid, run: u64) -> Home {
        Home::find(kept, pid, self.mark(run))
    }

    /// The home of a program that has just been started.
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
