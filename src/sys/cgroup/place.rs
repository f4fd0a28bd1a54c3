//! Finds the place in the hierarchy below which we may make groups, or says why there is none.
//!
//! Only looks: makes no group and moves no process.

use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The group that systemd puts us into, below the one that is ours (`DelegateSubgroup=supervisor`).
const DELEGATE_SUBGROUP: &str = "supervisor";

/// Why we may not make groups: each a whole plain sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotDelegated {
    /// Nothing of version 2 is mounted.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoMount,
    /// /proc could not be read, or says nothing of version 2.
    #[error("our own cgroup could not be found out")]
    OwnUnknown(#[source] io::Error),
    /// Our own group is not below what is mounted here.
    #[error("our own cgroup '{}' is not visible under '{}'", own.display(), mount.display())]
    OutOfSight {
        /// As `/proc/self/cgroup` has it.
        own: PathBuf,
        /// Where the hierarchy is mounted.
        mount: PathBuf,
    },
    /// The file system's permissions are against it.
    #[error("the cgroup '{}' may not be written", base.display())]
    NotWritable {
        /// The group in question.
        base: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Writable, but systemd's: it did not hand it over and will tidy it up.
    #[error("the cgroup '{}' belongs to systemd and is not delegated to us (Delegate=yes)", base.display())]
    Undelegated {
        /// The group in question.
        base: PathBuf,
    },
}

/// A mounted cgroup v2 hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The group that is visible at `point`.
    root: PathBuf,
    point: PathBuf,
}

/// Where the v2 hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on machines that keep
/// version 1 beside it, or elsewhere.
///
/// # Errors
///
/// Those of reading `/proc/self/mountinfo`; `ENOENT` if it is mounted nowhere.
pub fn mount() -> io::Result<PathBuf> {
    find_mount().map(|mount| mount.point)
}

fn find_mount() -> io::Result<Mount> {
    parse_mountinfo(&fs::read("/proc/self/mountinfo")?)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// The directory of the group that we are in.
///
/// # Errors
///
/// See [`NotDelegated`]; only the first three come from here.
pub fn own() -> Result<PathBuf, NotDelegated> {
    let mount = find_mount().map_err(|_| NotDelegated::NoMount)?;
    let text = fs::read("/proc/self/cgroup").map_err(NotDelegated::OwnUnknown)?;
    let missing = || NotDelegated::OwnUnknown(io::Error::from_raw_os_error(libc::ENOENT));
    let own = parse_own(&text).ok_or_else(missing)?;
    locate(&mount, &own).ok_or(NotDelegated::OutOfSight {
        own,
        mount: mount.point,
    })
}

/// The directory of the group that a process is in.
///
/// # Errors
///
/// `ENOENT` or `ESRCH` if there is no such process, or its group is out of our sight.
pub fn of(pid: nix::unistd::Pid) -> io::Result<PathBuf> {
    let mount = find_mount()?;
    let text = fs::read(format!("/proc/{pid}/cgroup"))?;
    let missing = || io::Error::from_raw_os_error(libc::ENOENT);
    let group = parse_own(&text).ok_or_else(missing)?;
    locate(&mount, &group).ok_or_else(missing)
}

/// The group below which we may make our own.
///
/// That is our own group, or the one above it when ours is named `supervisor`, as `DelegateSubgroup=` makes
/// it. It must be writable, and either marked as delegated by systemd (the attribute `trusted.delegate` or
/// `user.delegate`), or there must be no systemd here whose tree it could be.
///
/// # Errors
///
/// [`NotDelegated`] says in a sentence why not.
pub fn delegated() -> Result<PathBuf, NotDelegated> {
    let base = base_of(&own()?);
    for path in [base.clone(), base.join("cgroup.procs")] {
        access(&path, AccessFlags::W_OK).map_err(|errno| NotDelegated::NotWritable {
            base: base.clone(),
            source: errno.into(),
        })?;
    }
    if is_marked(&base) || !Path::new("/run/systemd/system").is_dir() {
        return Ok(base);
    }
    Err(NotDelegated::Undelegated { base })
}

fn base_of(own: &Path) -> PathBuf {
    match own.parent() {
        Some(parent) if own.ends_with(DELEGATE_SUBGROUP) => parent.to_owned(),
        _ => own.to_owned(),
    }
}

/// Whether systemd has marked the group as handed over. It writes both attributes, but only root can see the
/// trusted one, and older versions write only that.
fn is_marked(base: &Path) -> bool {
    let Ok(path) = CString::new(base.as_os_str().as_bytes()) else {
        return false;
    };
    [c"trusted.delegate", c"user.delegate"]
        .iter()
        .any(|name| has_value_1(&path, name))
}

fn has_value_1(path: &CStr, name: &CStr) -> bool {
    let mut value = [0_u8; 8];
    // SAFETY: both strings end, and the kernel writes at most as much as `value` has.
    let n = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    usize::try_from(n).is_ok_and(|n| &value[..n] == b"1")
}

/// The first cgroup2 mount of a mountinfo (proc_pid_mountinfo(5)):
/// `36 35 98:0 /root /point rw,noatime master:1 - cgroup2 source rw`.
fn parse_mountinfo(text: &[u8]) -> Option<Mount> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
        (fs_type == b"cgroup2").then(|| Mount {
            root: unescape(root),
            point: unescape(point),
        })
    })
}

/// Blanks and backslashes come as `\040`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// The line of version 2 in `/proc/self/cgroup`: `0::/path`.
fn parse_own(text: &[u8]) -> Option<PathBuf> {
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))
        .map(|path| OsString::from_vec(path.to_vec()).into())
}

/// Where `own` is to be seen; `None` when only another part of the tree is mounted, or it lies above the root
/// of our cgroup namespace (shown as `/..`).
fn locate(mount: &Mount, own: &Path) -> Option<PathBuf> {
    let below = own.strip_prefix(&mount.root).ok()?;
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    // Joining nothing would leave a slash at the end.
    let place = mount.point.join(below).components().collect();
    plain.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_mount_is_found_beside_version_1() {
        let text = b"25 24 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            26 25 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            36 25 0:32 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw\n";
        let mount = parse_mountinfo(text).unwrap();
        assert_eq!(mount.point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mount.root, Path::new("/"));
        assert_eq!(parse_mountinfo(b"garbage\n\n1 2 3\n1 2 3 4 5 -"), None);
    }

    #[test]
    fn blanks_in_a_mount_point_are_understood() {
        let line = br"36 25 0:32 / /my\040groups\134x\9 rw - cgroup2 cgroup2 rw";
        assert_eq!(
            parse_mountinfo(line).unwrap().point,
            Path::new(r"/my groups\x\9")
        );
    }

    #[test]
    fn our_group_is_located_only_where_it_can_be_seen() {
        let mount = |root: &str| Mount {
            root: root.into(),
            point: "/m".into(),
        };
        let at = |root: &str, own: &str| locate(&mount(root), Path::new(own));
        assert_eq!(at("/", "/a/b"), Some("/m/a/b".into()));
        assert_eq!(at("/a", "/a/b"), Some("/m/b".into()));
        assert_eq!(at("/a", "/a").unwrap().as_os_str(), "/m");
        assert_eq!(at("/a", "/b"), None);
        assert_eq!(at("/", "/../b"), None);
        assert_eq!(parse_own(b"1:cpu:/x\n0::/a b\n"), Some("/a b".into()));
        assert_eq!(parse_own(b"1:cpu:/x\n"), None);
    }

    #[test]
    fn in_the_subgroup_supervisor_the_base_is_above() {
        assert_eq!(
            base_of(Path::new("/m/c.service/supervisor")),
            Path::new("/m/c.service")
        );
        assert_eq!(
            base_of(Path::new("/m/c.service")),
            Path::new("/m/c.service")
        );
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        match delegated() {
            Ok(base) => assert!(base.is_dir(), "{}", base.display()),
            Err(why) => assert!(why.to_string().contains(' '), "{why}"),
        }
    }
}
