//! A cgroup with controllers for a daemon of a test, handed over as systemd would hand it over.
//!
//! Needs a kernel whose controllers are with version 2, and a cgroup above ours that hands them down:
//! `tests/machines` boots such a machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::eventually;

/// What every test of limits needs. Not `io`: it depends on the disks.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// The group; when it goes out of scope it is removed, with all that is in it.
#[derive(Debug)]
pub(crate) struct Delegated {
    path: PathBuf,
}

impl Delegated {
    /// Makes one, or says why it cannot be made here.
    pub(crate) fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let above = above()?;
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = above.join(format!("circusd-delegated-{}-{n}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("no cgroup can be made here: {error}"))?;
        let delegated = Self { path };
        if Path::new("/run/systemd/system").is_dir() {
            delegated.mark()?;
        }
        Ok(delegated)
    }

    /// As `Delegate=yes` leaves it.
    fn mark(&self) -> Result<(), String> {
        let marked = Command::new("setfattr")
            .args(["-n", "user.delegate", "-v", "1"])
            .arg(&self.path)
            .status();
        match marked {
            Ok(status) if status.success() => Ok(()),
            _ => Err("systemd runs here, and setfattr is needed to mark a cgroup".into()),
        }
    }

    /// The group itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A leaf of that name in it.
    pub(crate) fn leaf(&self, name: &str) -> PathBuf {
        let leaf = self.path.join(name);
        fs::create_dir(&leaf).expect("a cgroup can be made in one that is ours");
        leaf
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // It may be empty, and the kernel old.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        eventually("the removal of a cgroup of a test", || {
            remove(&self.path).ok()
        });
    }
}

fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// The nearest group from ours upwards that hands the controllers down.
fn above() -> Result<PathBuf, String> {
    let (mount, own) = (mount()?, own()?);
    let hands_down = |group: &Path| {
        let handed = fs::read_to_string(mount.join(group).join("cgroup.subtree_control"));
        let handed = handed.unwrap_or_default();
        let handed: Vec<&str> = handed.split_whitespace().collect();
        CONTROLLERS
            .iter()
            .all(|controller| handed.contains(controller))
    };
    let found = own.ancestors().find(|group| hands_down(group));
    found
        .map(|group| mount.join(group))
        .ok_or_else(|| format!("no cgroup above ours hands down {}", CONTROLLERS.join(", ")))
}

/// Where version 2 is mounted, as proc_pid_mountinfo(5) has it.
fn mount() -> Result<PathBuf, String> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let line = text.lines().find(|line| line.contains(" - cgroup2 "));
    let point = line.and_then(|line| line.split(' ').nth(4));
    point
        .map(PathBuf::from)
        .ok_or_else(|| "no cgroup v2 hierarchy is mounted".into())
}

/// Our group, relative to the mount.
fn own() -> Result<PathBuf, String> {
    let text = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    own.map(PathBuf::from)
        .ok_or_else(|| "we are in no cgroup of version 2".into())
}
