//! Credentials of circusd, as systemd.exec(5) has them, handed on to workers: each worker has copies in a
//! directory of its own, for its user alone to read, for as long as it runs.
//!
//! Where they come from is the service manager's to say (`LoadCredential=` and the like in our unit);
//! what is in them is not looked at.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use glob::Pattern;
use nix::unistd::Uid;

use crate::config::CredentialName;
use crate::core::{SpawnFailure, WorkerId};
use crate::server::program;

/// The directories of all workers.
#[derive(Debug)]
pub(in crate::server) struct Handed {
    /// Ours, if we were given any.
    from: Option<PathBuf>,
    /// What the paths of the directories begin with.
    to: PathBuf,
    /// Those who have one.
    given: BTreeSet<WorkerId>,
}

impl Handed {
    /// `to` is what the paths of the workers' directories are to begin with.
    pub(in crate::server) fn new(to: PathBuf) -> Handed {
        Handed {
            from: std::env::var_os(program::CREDENTIALS).map(PathBuf::from),
            to,
            given: BTreeSet::new(),
        }
    }

    /// Copies what goes by these names and patterns, for `owner` if that is another user than we, and
    /// returns the directory; none if nothing is asked for. Whatever comes of it, it is to be taken
    /// back.
    ///
    /// # Errors
    ///
    /// A name that is no pattern, and that none of ours has; they cannot be read or written.
    pub(super) fn give(
        &mut self,
        worker: WorkerId,
        wanted: &[CredentialName],
        owner: Option<Uid>,
    ) -> Result<Option<PathBuf>, SpawnFailure> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let names = self.choose(wanted)?;
        let path = self.path(worker);
        let failed = |error| {
            let stage = "making the directory of its credentials";
            program::failure_at(stage, Some(&path), &error)
        };
        self.given.insert(worker);
        make(&path).map_err(failed)?;
        for name in names {
            self.copy(&name, &path, owner).map_err(|error| {
                let name = Path::new(&name);
                program::failure_at("copying the credential", Some(name), &error)
            })?;
        }
        let closed = std::fs::set_permissions(&path, Permissions::from_mode(0o500));
        closed.and_then(|()| own(&path, owner)).map_err(failed)?;
        Ok(Some(path))
    }

    /// Removes the directory of a worker that is gone.
    pub(super) fn take_back(&mut self, worker: WorkerId) {
        if self.given.remove(&worker) {
            remove(&self.path(worker));
        }
    }

    /// Leaves it to a worker that is to run on without us.
    pub(super) fn let_go(&mut self, worker: WorkerId) {
        self.given.remove(&worker);
    }

    /// Goes on with the directories of these workers, and removes what else an earlier daemon has left.
    pub(in crate::server) fn resume(&mut self, lives: impl Fn(WorkerId) -> bool) {
        let (Some(parent), Some(prefix)) = (self.to.parent(), self.to.file_name()) else {
            return;
        };
        let prefix = prefix.to_string_lossy();
        // There is none where nobody was ever given any.
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(&*prefix));
            let worker = number.and_then(|number| number.parse().ok()).map(WorkerId);
            match worker.filter(|worker| lives(*worker)) {
                Some(worker) => {
                    self.given.insert(worker);
                }
                None => remove(&entry.path()),
            }
        }
    }

    fn path(&self, worker: WorkerId) -> PathBuf {
        let mut path = self.to.clone().into_os_string();
        path.push(worker.0.to_string());
        path.into()
    }

    /// The names of ours that are asked for.
    fn choose(&self, wanted: &[CredentialName]) -> Result<Vec<OsString>, SpawnFailure> {
        let ours = self.ours().map_err(|error| {
            let stage = "reading the credentials of circusd";
            program::failure_at(stage, self.from.as_deref(), &error)
        })?;
        let is_there = |CredentialName(pattern): &CredentialName| {
            let literal = Pattern::escape(pattern.as_str()) == pattern.as_str();
            !literal || ours.iter().any(|name| name == pattern.as_str())
        };
        if let Some(CredentialName(missing)) = wanted.iter().find(|name| !is_there(name)) {
            let error =
                io::Error::other("circusd was given none of this name, see circusd.toml(5)");
            let stage = "looking for the credential";
            let name = Path::new(missing.as_str());
            return Err(program::failure_at(stage, Some(name), &error));
        }
        let is_wanted = |name: &OsString| {
            let name = name.to_string_lossy();
            wanted.iter().any(|wanted| wanted.0.matches(&name))
        };
        Ok(ours.into_iter().filter(is_wanted).collect())
    }

    fn ours(&self) -> io::Result<Vec<OsString>> {
        let Some(from) = &self.from else {
            return Ok(Vec::new());
        };
        let entries = std::fs::read_dir(from)?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn copy(&self, name: &OsString, directory: &Path, owner: Option<Uid>) -> io::Result<()> {
        let from = self.from.as_deref().unwrap_or(Path::new(""));
        let secret = std::fs::read(from.join(name))?;
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)?;
        file.write_all(&secret)?;
        own(&path, owner)
    }
}

fn remove(path: &Path) {
    // Without root, nobody may remove what is in a directory that is not to be written to.
    let _ = std::fs::set_permissions(path, Permissions::from_mode(0o700));
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let path = path.display();
            tracing::warn!("failed to remove the credentials in '{path}': {error}");
        }
        _ => {}
    }
}

/// Makes an empty directory, and those above it, which are to be passed through alone.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            crate::server::state::make_passage(parent)?;
            DirBuilder::new().mode(0o700).create(path)
        }
        made => made,
    }
}

fn own(path: &Path, owner: Option<Uid>) -> io::Result<()> {
    match owner {
        Some(owner) => std::os::unix::fs::chown(path, Some(owner.as_raw()), None),
        None => Ok(()),
    }
}
