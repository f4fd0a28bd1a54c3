//! Finds a program without a slash in the worker's `PATH`.
//!
//! Done by the parent, before there is a process: the child may not allocate, and "not found" is a better
//! answer than the errno of the last directory tried. Whether the worker's user may execute what was found is
//! left to execve(2).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// Where we look when the environment has no `PATH`: what execvp(3) does in glibc.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The path to execute for `program`.
///
/// An entry of `PATH` that is empty or relative counts from `working_dir`, where the worker will be.
///
/// # Errors
///
/// `ENOENT` when no directory has it, `EACCES` when one has it and it is not executable.
pub(super) fn find(
    program: &Path,
    env: &[(OsString, OsString)],
    working_dir: Option<&Path>,
) -> io::Result<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let mut refusal = Errno::ENOENT;
    for directory in directories(search_path(env)) {
        let candidate = directory.join(program);
        let seen_from_here = match working_dir {
            Some(working_dir) => working_dir.join(&candidate),
            None => candidate.clone(),
        };
        match executable(&seen_from_here) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => refusal = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(refusal.into())
}

/// The value of the last `PATH`, as most programs would see it.
fn search_path(env: &[(OsString, OsString)]) -> &OsStr {
    env.iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value)
}

fn directories(path: &OsStr) -> impl Iterator<Item = &Path> {
    path.as_bytes().split(|&byte| byte == b':').map(|part| {
        let part = if part.is_empty() { b"." } else { part };
        Path::new(OsStr::from_bytes(part))
    })
}

fn executable(path: &Path) -> Result<(), Errno> {
    let Ok(metadata) = path.metadata() else {
        return Err(Errno::ENOENT);
    };
    if !metadata.is_file() {
        return Err(Errno::EACCES);
    }
    access(path, AccessFlags::X_OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn with_path(value: &str) -> Vec<(OsString, OsString)> {
        vec![("PATH".into(), value.into())]
    }

    fn put(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_executable_in_the_workers_path_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            fs::create_dir(dir.path().join(name)).unwrap();
            put(&dir.path().join(name).join("tool"), mode);
        }
        let d = dir.path().display();
        let found = find(
            Path::new("tool"),
            &with_path(&format!("{d}/a:{d}/b:{d}/c")),
            None,
        );
        assert_eq!(found.unwrap(), dir.path().join("b/tool"));
        let refused = find(
            Path::new("tool"),
            &with_path(&format!("{d}/a:{d}/none")),
            None,
        );
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EACCES));
        let missing = find(Path::new("tool"), &with_path(&format!("{d}/none")), None);
        assert_eq!(missing.unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_relative_entry_counts_from_the_working_directory() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("tool"), 0o755);
        let found = find(
            Path::new("tool"),
            &with_path("/proc/none:"),
            Some(dir.path()),
        );
        assert_eq!(found.unwrap(), Path::new("./tool"));
    }

    #[test]
    fn a_directory_of_that_name_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tool")).unwrap();
        let path = with_path(&dir.path().display().to_string());
        let refused = find(Path::new("tool"), &path, None).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn without_a_path_the_usual_places_are_searched() {
        assert!(find(Path::new("sh"), &[], None).is_ok());
    }
}
