//! What processes are made from: a configured watcher under the number by which core knows it.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::config::{Change, Watcher, WatcherChange};
use crate::core::Revision;

/// The recipes in use.
#[derive(Debug, Default)]
pub(super) struct Recipes {
    by_revision: BTreeMap<Revision, Rc<Watcher>>,
    current: BTreeMap<String, Revision>,
    last: u64,
}

impl Recipes {
    /// The recipe of that number.
    pub(super) fn get(&self, revision: Revision) -> Option<Rc<Watcher>> {
        self.by_revision.get(&revision).cloned()
    }

    /// The number of a watcher's recipe.
    pub(super) fn current(&self, name: &str) -> Option<Revision> {
        self.current.get(name).copied()
    }

    /// Takes in the watchers of a configuration. One whose processes would be made in the same way
    /// keeps its number.
    pub(super) fn update(&mut self, watchers: &[Watcher], changes: &[WatcherChange]) {
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
            self.by_revision.insert(revision, Rc::new(watcher.clone()));
        }
    }

    /// Forgets the recipes that nobody uses.
    pub(super) fn retain(&mut self, used: impl Fn(Revision) -> bool) {
        self.by_revision.retain(|revision, _| used(*revision));
        let kept = &self.by_revision;
        self.current
            .retain(|_, revision| kept.contains_key(revision));
    }
}
