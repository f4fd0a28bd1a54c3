//! Replacing all processes of a pool without stopping its service.

use super::context::Context;
use super::endings::Farewell;
use super::pool::Reload;
use super::watcher::{Wanted, Watcher};
use super::worker::{Life, Standing};
use super::{By, Refusal, ReloadMode, Time};
use serde::{Deserialize, Serialize};

/// A reload that did not succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedReload {
    /// When.
    pub at: Time,
    /// Why.
    pub text: String,
    /// How many of the old processes were kept.
    pub kept: usize,
}

impl Watcher {
    /// The last reload, if it has failed and nothing has made that void: another one that succeeded,
    /// or a stop.
    #[must_use]
    pub fn failed_reload(&self) -> Option<&FailedReload> {
        self.failed_reload.as_ref()
    }

    /// Begins to replace all processes.
    pub(super) fn begin_reload(&mut self, mode: ReloadMode, ctx: &mut Context) {
        self.generation += 1;
        self.reload = Some(Reload {
            mode,
            generation: self.generation,
            began: ctx.now,
        });
        for id in self.select(|worker| !worker.going()) {
            self.change(id, |worker| worker.outdated = Some(By::Reload));
            // One that serves nobody yet is not worth waiting for.
            if self.workers[&id].life != Life::Running {
                self.dismiss(id, Farewell::new(By::Reload, &self.spec), ctx);
            }
        }
    }

    /// Ends a reload that cannot succeed: the new ones go, the old ones stay. One after the
    /// other, those new ones that are in service stay, because their predecessors are gone.
    pub(super) fn fail_reload(&mut self, ctx: &mut Context) {
        let Some(reload) = self.reload.take() else {
            return;
        };
        let new = self.select(|worker| worker.generation >= reload.generation && !worker.going());
        for id in new {
            let ready = self.workers[&id].life == Life::Running;
            if !(ready && self.mode_of(reload) == ReloadMode::Sequential) {
                self.dismiss(id, Farewell::new(By::Reload, &self.spec), ctx);
            }
        }
        let kept = self.select(|worker| worker.outdated == Some(By::Reload) && !worker.going());
        for id in &kept {
            self.change(*id, |worker| worker.outdated = None);
            self.appraise(*id, ctx);
        }
        let trouble = self.trouble.as_ref();
        self.failed_reload = trouble.map(|trouble| FailedReload {
            at: ctx.now,
            text: trouble.reason.text.clone(),
            kept: kept.len(),
        });
        let refusal = trouble.map_or(Refusal::ShuttingDown, |trouble| trouble.refusal.clone());
        self.reloaded = (reload.generation, Err(refusal));
    }

    /// Whether it has to wait for a thaw: until then no new process comes.
    pub(super) fn stands_still(&self) -> bool {
        let served = self.tally.fresh(Standing::Ready) + self.places.closed() >= self.target();
        self.frozen && self.wanted == Wanted::Up && self.reload.is_some() && !served
    }

    fn mode_of(&self, reload: Reload) -> ReloadMode {
        match self.spec.singleton {
            true => ReloadMode::Sequential,
            false => reload.mode,
        }
    }
}
