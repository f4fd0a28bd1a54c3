//! What processes are made from: a configured watcher and its sockets, under the number by which core
//! knows them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value as Json;

use super::program::Credentials;
use super::sockets::{Open, Opened};
use super::state::MadeFrom;
use crate::config::{Change, Store, Watcher, WatcherChange};
use crate::core::{Revision, SpawnFailure};

/// What the processes of one watcher are made from.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) watcher: Watcher,
    /// In the order of their descriptors.
    pub(super) sockets: Vec<Rc<Open>>,
    /// Looked up for the first process and kept for all others, as to look it up may take long;
    /// until the configuration is read again or changed.
    credentials: OnceCell<Credentials>,
}

impl Recipe {
    fn new(watcher: &Watcher, opened: &Opened) -> Recipe {
        let sockets = watcher.sockets.iter();
        Recipe {
            watcher: watcher.clone(),
            sockets: sockets
                .filter_map(|socket| opened.get(&socket.name).cloned())
                .collect(),
            credentials: OnceCell::new(),
        }
    }

    /// Who its processes run as.
    ///
    /// # Errors
    ///
    /// Those of [`Credentials::look_up`], which is tried again the next time.
    pub(super) fn credentials(&self) -> Result<&Credentials, SpawnFailure> {
        if let Some(known) = self.credentials.get() {
            return Ok(known);
        }
        let found = Credentials::look_up(&self.watcher)?;
        Ok(self.credentials.get_or_init(|| found))
    }
}

/// The recipes in use.
#[derive(Debug, Default)]
pub(super) struct Recipes {
    by_revision: BTreeMap<Revision, Rc<Recipe>>,
    current: BTreeMap<String, Revision>,
    last: u64,
}

impl Recipes {
    /// The recipe of that number.
    pub(super) fn get(&self, revision: Revision) -> Option<Rc<Recipe>> {
        self.by_revision.get(&revision).cloned()
    }

    /// The number of a watcher's recipe.
    pub(super) fn current(&self, name: &str) -> Option<Revision> {
        self.current.get(name).copied()
    }

    /// Takes in the watchers of a configuration, with its sockets, all of which are open. One whose processes would be made in the same way
    /// keeps its number.
    pub(super) fn update(
        &mut self,
        watchers: &[Watcher],
        changes: &[WatcherChange],
        opened: &Opened,
    ) {
        let same: BTreeMap<&str, bool> = changes
            .iter()
            .map(|change| {
                (
                    change.watcher.as_str(),
                    matches!(change.change, Change::Live | Change::Unchanged),
                )
            })
            .collect();
        for watcher in watchers {
            let kept = same.get(watcher.name.as_str()).copied().unwrap_or(false);
            let revision = match self.current.get(&watcher.name) {
                Some(revision) if kept => *revision,
                _ => {
                    self.last += 1;
                    Revision(self.last)
                }
            };
            self.current.insert(watcher.name.clone(), revision);
            self.by_revision
                .insert(revision, Rc::new(Recipe::new(watcher, opened)));
        }
    }

    /// Takes in the first configuration after an earlier daemon's: where processes would be made as
    /// they were, the recipe has the number that it had. Says what has changed, by watcher.
    pub(super) fn resume(
        &mut self,
        store: &Store,
        opened: &Opened,
        made_from: &[MadeFrom],
    ) -> Vec<(String, Vec<String>)> {
        self.last = made_from
            .iter()
            .map(|made| made.revision.0)
            .max()
            .unwrap_or(0);
        let mut changes = Vec::new();
        for watcher in &store.config().watchers {
            let recipe = Rc::new(Recipe::new(watcher, opened));
            let mut earlier = made_from.iter().filter(|made| made.watcher == watcher.name);
            // Processes of other revisions are on their way out; until then hooks may be asked about them.
            for made in earlier.clone() {
                self.by_revision.insert(made.revision, Rc::clone(&recipe));
            }
            let now = store.made_from(&watcher.name);
            let revision = match earlier.rfind(|made| Some(&made.what) == now.as_ref()) {
                Some(same) => same.revision,
                None => {
                    self.last += 1;
                    Revision(self.last)
                }
            };
            let last = made_from.iter().rfind(|made| made.watcher == watcher.name);
            if let Some(before) = last.filter(|before| before.revision != revision) {
                let keys = differing(&before.what, now.as_ref().unwrap_or(&Json::Null));
                changes.push((watcher.name.clone(), keys));
            }
            self.current.insert(watcher.name.clone(), revision);
            self.by_revision.insert(revision, recipe);
        }
        changes
    }

    /// Forgets the recipes that nobody uses.
    pub(super) fn retain(&mut self, used: impl Fn(Revision) -> bool) {
        self.by_revision.retain(|revision, _| used(*revision));
        let kept = &self.by_revision;
        self.current
            .retain(|_, revision| kept.contains_key(revision));
    }
}

/// The options that differ.
fn differing(before: &Json, now: &Json) -> Vec<String> {
    let nothing = serde_json::Map::new();
    let options = |of: &Json| of.get("options").and_then(Json::as_object).cloned();
    let (old, new) = (options(before), options(now));
    let (old, new) = (
        old.as_ref().unwrap_or(&nothing),
        new.as_ref().unwrap_or(&nothing),
    );
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = all.into_iter().filter(|key| old.get(*key) != new.get(*key));
    let mut keys: Vec<String> = differ.cloned().collect();
    for (part, key) in [("env", "env"), ("sockets", "use_sockets")] {
        if before.get(part) != now.get(part) && !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn recipe(user: &str) -> Recipe {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("circusd.toml");
        std::fs::write(
            &file,
            format!("[watcher.web]\ncmd = 'true'\nuid = '{user}'"),
        )
        .unwrap();
        let store = Store::load(Sources {
            files: vec![file],
            set: Vec::new(),
            env: BTreeMap::new(),
            system: false,
            uid: nix::unistd::geteuid().as_raw(),
            root: dir.path().into(),
            directory: dir.path().into(),
            embedded: None,
        });
        Recipe::new(&store.unwrap().config().watchers[0], &Opened::default())
    }

    #[test]
    fn a_user_is_looked_up_once() {
        let recipe = recipe("root");
        let first: *const Credentials = recipe.credentials().unwrap();
        assert!(std::ptr::eq(first, recipe.credentials().unwrap()));
    }

    #[test]
    fn a_user_that_was_not_found_is_looked_up_again() {
        let recipe = recipe("no-such-user");
        assert!(recipe.credentials().is_err());
        assert!(recipe.credentials.get().is_none());
    }
}
