//! The room as others see it: files in a fresh directory in, a store or its errors out.

mod dependencies;
mod hooks;
mod kept;
mod plugins;
mod ready;
mod resources;
mod rows;
mod schema;
mod sockets;
mod sources;
mod store;
mod watchers;

use std::path::{Path, PathBuf};

use super::{Errors, Sources, Store};

/// A machine of its own: a root with `/usr/lib`, `/etc`, and an environment.
pub(super) struct Machine {
    directory: tempfile::TempDir,
    pub(super) sources: Sources,
}

impl Machine {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let env = [
            ("PATH", "/bin:/usr/bin"),
            ("HOME", "/home/u"),
            ("LANG", "C"),
        ];
        let sources = Sources {
            files: Vec::new(),
            set: Vec::new(),
            env: env
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into_iter()
                .collect(),
            system: true,
            // Not root: the files of a test belong to whoever runs it.
            uid: 1000,
            root: root.clone(),
            directory: root,
            embedded: None,
        };
        Self { directory, sources }
    }

    /// A machine with `/etc/circusd/circusd.toml`.
    pub(super) fn with(text: &str) -> Self {
        let machine = Self::new();
        machine.write("etc/circusd/circusd.toml", text);
        machine
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn set(mut self, flag: &str) -> Self {
        self.sources.set.push(flag.into());
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.into(), value.into());
        self
    }

    pub(super) fn try_load(&self) -> Result<Store, Errors> {
        Store::load(self.sources.clone())
    }

    #[track_caller]
    pub(super) fn load(&self) -> Store {
        self.try_load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The errors, without the directory that is another in each run.
    #[track_caller]
    pub(super) fn errors(&self) -> Vec<String> {
        match self.try_load() {
            Ok(_) => panic!("was taken, and should not have been"),
            Err(errors) => lines(&errors, self.directory.path()),
        }
    }
}

/// The first line of each error, relative to `root`.
pub(super) fn lines(errors: &Errors, root: &Path) -> Vec<String> {
    let root = format!("{}/", root.display());
    let first = |text: String| text.lines().next().unwrap_or_default().replace(&root, "");
    let all = errors.diagnostics().iter();
    all.map(|diagnostic| first(diagnostic.to_string()))
        .collect()
}

/// The errors of `text` as the only file: position, key and reason.
#[track_caller]
pub(super) fn errors_of(text: &str) -> Vec<String> {
    let strip = |line: String| line.replace("etc/circusd/circusd.toml:", "");
    Machine::with(text)
        .errors()
        .into_iter()
        .map(strip)
        .collect()
}
