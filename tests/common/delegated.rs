//! A cgroup with controllers for a daemon of a test, handed over as systemd would hand it over.
//!
//! Needs a kernel whose controllers are with version 2, and a cgroup above ours that was delegated and has no
//! processes: the virtual machine of `machine.rs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::eventually;

/// What the tests of limits need.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// By this attribute systemd says of a cgroup that it has handed it over.
const MARK: &str = "user.delegate";

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
        setxattr(&delegated.path, MARK, b"1", XattrFlags::empty())
            .map_err(|error| format!("a cgroup cannot be marked as delegated: {error}"))?;
        Ok(delegated)
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

/// The nearest group from ours upwards that is ours to use, with the controllers handed down.
fn above() -> Result<PathBuf, String> {
    let (mount, own) = (mount()?, own()?);
    let groups = own.ancestors().map(|group| mount.join(group));
    let ours = groups.into_iter().find(|group| is_ours(group));
    let ours = ours.ok_or("no cgroup above ours was delegated")?;
    let wanted: Vec<_> = CONTROLLERS.iter().map(|name| format!("+{name}")).collect();
    fs::write(ours.join("cgroup.subtree_control"), wanted.join(" ")).map_err(|error| {
        let (group, controllers) = (ours.display(), CONTROLLERS.join(", "));
        format!("'{group}' cannot hand down {controllers}: {error}")
    })?;
    Ok(ours)
}

fn is_ours(group: &Path) -> bool {
    let mut mark = [0; 8];
    getxattr(group, MARK, &mut mark).is_ok_and(|length| &mark[..length] == b"1")
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
