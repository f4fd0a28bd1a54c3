//! Figures that others know of a process: `extended_stats`, asked for many processes at a time.
//!
//! Whoever asks waits; nobody else does.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Hooks, News, Point, Said, Scene, Step, Whose, decide};
use crate::api::frame::{Reply, encode};
use crate::api::reply;
use crate::api::types::{Object, ProcessStats};
use crate::config::HookName;
use crate::core::{Announcement, HookAnswer, Name};
use crate::server::connection::{Answer, Ask};
use crate::server::driver::Driver;

/// How many processes are asked about at a time, for all clients together: each may be a program.
/// The others wait for their turn.
pub(super) const AT_ONCE_MAX: usize = 16;

/// What is to be asked about one sample.
#[derive(Debug)]
pub(in crate::server) struct Wanted {
    /// The place of the sample.
    index: usize,
    steps: Rc<[Step]>,
    scene: Scene,
}

impl Driver {
    /// What is to be asked about these samples, which are of these watchers; nothing where nobody
    /// knows more.
    pub(in crate::server) fn extended_stats(
        &self,
        names: &[Name],
        samples: &[ProcessStats],
    ) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for name in names {
            let recipe = self.core.watcher(name).map(|w| w.spec().revision);
            let Some(recipe) = recipe.and_then(|revision| self.recipes.get(revision)) else {
                continue;
            };
            let steps = self.hooks.steps(&recipe.watcher, HookName::ExtendedStats);
            if steps.is_empty() {
                continue;
            }
            let steps: Rc<[Step]> = steps.into();
            let of_watcher = |(_, sample): &(usize, &ProcessStats)| sample.watcher == name.as_str();
            for (index, sample) in samples.iter().enumerate().filter(of_watcher) {
                let whose = Whose::Watcher(name.clone(), Rc::clone(&recipe));
                wanted.extend(self.question(index, sample, whose, &steps));
            }
        }
        wanted
    }

    /// Answers a call of `Stats` when all have been asked; a sample after which the same is asked
    /// again, if there is a `pause`.
    pub(in crate::server) fn answer_extended(
        &self,
        mut ask: Ask,
        processes: Vec<ProcessStats>,
        wanted: Vec<Wanted>,
        pause: Option<Duration>,
    ) {
        let asked = self.hooks.extend(processes, wanted);
        let own = Rc::clone(&self.hooks.own);
        tokio::task::spawn_local(async move {
            let processes = tokio::select! {
                processes = asked => processes,
                // The client has gone.
                () = ask.answer.closed() => return,
                () = own.ended() => return,
            };
            let reply = reply::Stats { processes };
            let answer = match pause {
                Some(pause) => {
                    Answer::Sample(encode(&Reply::continued(reply), ask.terminator), pause)
                }
                None => Answer::Last(encode(&Reply::last(reply), ask.terminator)),
            };
            // Whoever is gone needs no answer.
            let _ = ask.answer.send(answer);
        });
    }

    fn question(
        &self,
        index: usize,
        sample: &ProcessStats,
        whose: Whose,
        steps: &Rc<[Step]>,
    ) -> Option<Wanted> {
        let watcher = self.core.watcher(&Name::from(sample.watcher.as_str()))?;
        let pid = i32::try_from(sample.pid).ok()?;
        let worker = watcher.workers().find(|worker| worker.pid() == Some(pid))?;
        let mut context = self.hook_context(Point::ExtendedStats, watcher, Some(worker), None);
        context.insert("stats".into(), super::context::json(sample));
        let scene = Scene {
            whose,
            point: Point::ExtendedStats,
            wid: Some(worker.wid()),
            pid: Some(pid),
            signal: None,
            context,
        };
        Some(Wanted {
            index,
            steps: Rc::clone(steps),
            scene,
        })
    }
}

impl Hooks {
    /// Asks about each, and gives back the samples with what is known of them. Dropping the future
    /// ends what it has started.
    pub(in crate::server) fn extend(
        &self,
        mut samples: Vec<ProcessStats>,
        wanted: Vec<Wanted>,
    ) -> impl Future<Output = Vec<ProcessStats>> + use<> {
        let mut asked = JoinSet::new();
        for wanted in wanted {
            let (ground, registry) = (Rc::clone(&self.ground), Rc::clone(&self.registry));
            let (news, turns) = (self.sender.clone(), Rc::clone(&self.for_stats));
            asked.spawn_local(async move {
                // It is never closed; without a turn there would be one program too many.
                let _turn = turns.acquire().await;
                let begun = Instant::now();
                let Wanted {
                    index,
                    steps,
                    scene,
                } = &wanted;
                let Said { answer, data } = decide(steps, scene, &ground, &registry).await;
                let data = data.filter(|_| answer == HookAnswer::True);
                // The daemon has ended if nobody hears it.
                let _ = news.send(News::Told(told(scene, answer, begun)));
                (*index, data)
            });
        }
        async move {
            while let Some(answered) = asked.join_next().await {
                let Ok((index, data)) = answered else {
                    continue;
                };
                let extended: Option<Object> = data;
                if let Some(sample) = samples.get_mut(index) {
                    sample.extended = extended;
                }
            }
            samples
        }
    }
}

fn told(scene: &Scene, answer: HookAnswer, begun: Instant) -> Announcement {
    Announcement::HookAnswered {
        watcher: scene.watcher().cloned(),
        hook: scene.point.as_str(),
        answer,
        duration: begun.elapsed(),
        process: scene.wid.zip(scene.pid),
    }
}

/// Turns for as many as may be asked about at a time.
pub(super) fn turns() -> Rc<Semaphore> {
    Rc::new(Semaphore::new(AT_ONCE_MAX))
}
