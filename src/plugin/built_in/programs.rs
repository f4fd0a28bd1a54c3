//! Which file a watcher's command is, and which directories decide about that.
//!
//! Looked up as circusd does when it starts a process: with a slash from working_dir, else in PATH.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value as Json;

use crate::api::types::Object;

/// How many symbolic links lead to a file at most, as path_resolution(7) has it.
const LINKS_MAX: usize = 40;

/// What tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

/// The file at `path` as it is; none where there is none.
pub(super) fn mark_of(path: &Path) -> Option<Mark> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Mark {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified: file.modified().ok(),
    })
}

/// The path of the program of a watcher with these options, as `Get` shows them. None where that
/// cannot be told: it is different for each process, or is not found.
pub(super) fn program_of(options: &Object) -> Option<PathBuf> {
    let word = match options.get("cmd")? {
        Json::String(line) => shlex::split(line)?.into_iter().next()?,
        Json::Array(words) => words.first()?.as_str()?.to_owned(),
        _ => return None,
    };
    if word.contains("$(") {
        return None;
    }
    if word.contains('/') {
        let directory = options.get("working_dir")?.as_str()?;
        return Some(Path::new(directory).join(word));
    }
    let path = options.get("env").and_then(|env| env.get("PATH"));
    let path = path.and_then(Json::as_str).map(ToOwned::to_owned);
    // Without one of its own it is that of circusd, which is ours too.
    let path = path.or_else(|| std::env::var("PATH").ok())?;
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(&word));
    candidates.into_iter().find(|path| mark_of(path).is_some())
}

/// The directories in which something must change for `path` to lead to another file: those above
/// it, and those above what symbolic links on the way lead to.
pub(super) fn directories_of(path: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut links = 0;
    follow(path, &mut directories, &mut links);
    directories
}

fn follow(path: &Path, directories: &mut BTreeSet<PathBuf>, links: &mut usize) {
    let mut here = PathBuf::from("/");
    let mut components = path.components();
    while let Some(component) = components.next() {
        match component {
            Component::Normal(name) => {
                directories.insert(here.clone());
                here.push(name);
                if let Ok(target) = fs::read_link(&here)
                    && *links < LINKS_MAX
                {
                    *links += 1;
                    here.pop();
                    return follow(
                        &here.join(target).join(components.as_path()),
                        directories,
                        links,
                    );
                }
            }
            Component::ParentDir => {
                here.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn options(json: Json) -> Object {
        let Json::Object(options) = json else {
            panic!("not an object");
        };
        options
    }

    #[test]
    fn a_program_is_where_circusd_would_look_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("web"), "").unwrap();
        let check = |cmd: Json, expected: Option<&Path>| {
            let options = options(json!({
                "cmd": cmd, "working_dir": directory.path(), "env": {"PATH": format!("/none:{}", bin.display())},
            }));
            assert_eq!(program_of(&options).as_deref(), expected, "{options:?}");
        };
        let web = bin.join("web");
        check(json!("web -x"), Some(&web));
        check(json!(["web", "-x"]), Some(&web));
        check(json!("bin/web"), Some(&web));
        check(json!("/srv/web"), Some(Path::new("/srv/web")));
        check(json!("nobody"), None);
        check(json!("bin/web$(circus.wid)"), None);
        check(json!("'"), None);
        check(json!(7), None);
    }

    #[test]
    fn every_directory_that_a_link_leads_through_counts() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1/bin")).unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink("../bin/web", root.join("releases/1/bin/link")).unwrap();
        let all = directories_of(&root.join("current/bin/link"));
        for part in ["", "releases", "releases/1", "releases/1/bin"] {
            let part = root.join(part);
            let part = part.components().collect::<PathBuf>();
            assert!(all.contains(&part), "{part:?} is not in {all:?}");
        }
        symlink("loop", root.join("loop")).unwrap();
        directories_of(&root.join("loop/web"));
    }

    #[test]
    fn a_file_that_is_written_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web");
        assert_eq!(mark_of(&path), None);
        fs::write(&path, "1").unwrap();
        let first = mark_of(&path);
        assert_eq!(mark_of(&path), first);
        fs::write(&path, "12").unwrap();
        assert_ne!(mark_of(&path), first);
        assert_eq!(mark_of(directory.path()), None);
    }
}
