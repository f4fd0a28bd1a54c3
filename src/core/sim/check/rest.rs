//! Rest: when nothing is due any more, everything must be as it was asked for.

use super::books::{Wanted, Watch};
use super::{Checker, Verdict, ensure};
use crate::core::{Name, RequestId, Restart};

impl Checker {
    /// Nothing is due any more.
    pub(in crate::core::sim) fn at_rest(&self) -> Verdict {
        let asked = self.requests.iter().find(|(_, asked)| !asked.answered);
        ensure!(asked.is_none(), "every request is answered", "{asked:?}");
        ensure!(
            self.hooks.is_empty(),
            "at rest no hook runs",
            "{:?}",
            self.hooks
        );
        ensure!(
            self.ending.is_none(),
            "a shutdown ends",
            "{:?}",
            self.ending
        );
        for (id, worker) in &self.workers {
            let lives = worker.born.is_some() && !worker.ended;
            ensure!(
                lives,
                "at rest every process lives or is forgotten",
                "{id:?} {worker:?}"
            );
            ensure!(
                !worker.refused,
                "what after_spawn refused is stopped",
                "{id:?} {worker:?}"
            );
        }
        for (name, watch) in &self.watchers {
            ensure!(watch.is_there(), "what is removed goes", "{name}");
            ensure!(
                watch.pulled || watch.awaited == watch.on_demand,
                "who starts on demand is awaited",
                "{name}: {watch:?}"
            );
            let many = self.count(name);
            let most = watch.targets.iter().copied().max().unwrap_or(0) as usize;
            let most = if watch.may_run() { most } else { 0 };
            ensure!(
                many <= most,
                "at rest no more than asked",
                "{name} has {many}, wanted {:?} {:?}",
                watch.wanted,
                watch.targets
            );
        }
        Ok(())
    }

    /// Everything was asked to run, nothing is in its way, and nothing is due any more.
    pub(in crate::core::sim) fn all_up(&self) -> Verdict {
        self.at_rest()?;
        self.all_fresh()?;
        for (name, watch) in &self.watchers {
            let (many, wanted) = (self.count(name), wanted(watch));
            ensure!(
                wanted.is_none_or(|wanted| wanted == many),
                "all up, as many as asked",
                "{name} has {many}, not {wanted:?}: {watch:?}"
            );
        }
        Ok(())
    }

    /// Whether this request has been answered.
    pub(in crate::core::sim) fn is_answered(&self, id: RequestId) -> bool {
        !self.requests.contains_key(&id)
    }

    fn count(&self, name: &Name) -> usize {
        self.workers
            .values()
            .filter(|w| w.watcher == *name && !w.is_gone())
            .count()
    }
}

/// How many there must be, if that is certain: of what is not replaced there may be fewer.
fn wanted(watch: &Watch) -> Option<usize> {
    let replaced = watch
        .specs
        .iter()
        .all(|spec| spec.restart == Restart::Always);
    match watch.targets[..] {
        [target] if replaced && watch.wanted == Wanted::Up => Some(target as usize),
        _ => None,
    }
}
