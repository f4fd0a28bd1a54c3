//! The only place that reads the disk: configuration files, their directories and patterns.
//!
//! Knows where the usual files are and which files are not to be trusted, and nothing of what is
//! in them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A configuration is text that people write; what is larger was named by mistake.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not UTF-8 (at byte {0})")]
    NotUtf8(usize),
    #[error(
        "refused, for others than root could write it: owner {uid}, group {gid}, mode {mode:04o}"
    )]
    Untrusted { uid: u32, gid: u32, mode: u32 },
}

/// Reads a configuration file whole. For `root`, only if nobody else could have written it.
pub(crate) fn read(path: &Path, root: bool) -> Result<String, FileError> {
    // Without O_NONBLOCK, opening a FIFO would wait for somebody to write to it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    trust(&file, root)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    String::from_utf8(bytes).map_err(|error| FileError::NotUtf8(error.utf8_error().valid_up_to()))
}

/// Asks the open file, not its path, so that nobody can put another in its place in between.
fn trust(file: &File, root: bool) -> Result<(), FileError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile);
    }
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    if root && !only_root_writes(uid, gid, mode) {
        return Err(FileError::Untrusted { uid, gid, mode });
    }
    Ok(())
}

fn only_root_writes(uid: u32, gid: u32, mode: u32) -> bool {
    uid == 0 && mode & 0o002 == 0 && (gid == 0 || mode & 0o020 == 0)
}

/// The `*.toml` files of a directory in name order; none if there is no such directory.
pub(crate) fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What a pattern of `include` matches, in name order.
pub(crate) fn matching(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).map_err(io::Error::other)?;
    let mut files = Vec::new();
    for path in paths {
        files.push(path.map_err(io::Error::from)?);
    }
    files.sort();
    Ok(files)
}

/// Whether a path of `include` stands for any number of files.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The directories in which something would have to come for `pattern` to match more.
pub(crate) fn directories_of(pattern: &str) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    // The last part of the pattern is looked for in the parents of its matches, and so on upwards.
    for parent in Path::new(pattern).ancestors().skip(1) {
        let text = parent.to_string_lossy();
        if !is_pattern(&text) {
            directories.push(parent.to_owned());
            break;
        }
        // A pattern that is none has been, or will be, told of.
        let found = matching(&text).unwrap_or_default();
        directories.extend(found.into_iter().filter(|path| path.is_dir()));
    }
    directories
}

/// One name for a file, however it was reached; the path itself where there is no such file.
pub(crate) fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_trusts_only_what_root_alone_can_write() {
        assert!(only_root_writes(0, 0, 0o664));
        assert!(only_root_writes(0, 1000, 0o644));
        assert!(!only_root_writes(1000, 0, 0o644));
        assert!(!only_root_writes(0, 1000, 0o664));
        assert!(!only_root_writes(0, 0, 0o646));
    }

    #[test]
    fn a_pipe_or_a_directory_is_no_file_and_delays_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [pipe.as_path(), directory.path()] {
            assert!(matches!(read(path, false), Err(FileError::NotAFile)));
        }
    }

    #[test]
    fn a_pattern_is_looked_for_in_each_directory_that_may_hold_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["a/conf", "b"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        std::fs::write(at("file"), "").unwrap();
        let of = |pattern: &str| {
            let mut directories = directories_of(at(pattern).to_str().unwrap());
            directories.sort();
            directories
        };
        assert_eq!(of("a/*.toml"), [at("a")]);
        assert_eq!(of("missing/*.toml"), [at("missing")]);
        let all = [root.path().to_owned(), at("a"), at("a/conf"), at("b")];
        assert_eq!(of("*/conf/*.toml"), all);
        assert_eq!(of("*/*/x.toml"), all);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.toml");
        std::fs::write(&path, b"a = \"\xff\"").unwrap();
        assert!(matches!(read(&path, false), Err(FileError::NotUtf8(5))));
    }
}
