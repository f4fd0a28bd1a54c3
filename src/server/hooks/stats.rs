//! Figures that others know of a process: `extended_stats`, asked for many processes at a time.
//!
//! Whoever asks waits; nobody else does.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::context::{json, process_of};
use super::{Answered, Hooks, News, Point, Scene, Step, Whose, decide};
use crate::api::frame::{Reply, encode};
use crate::api::reply;
use crate::api::types::{self, Object, ProcessStats};
use crate::config::HookName;
use crate::core::{Announcement, HookAnswer, Name};
use crate::server::connection::{Answer, Ask};
use crate::server::driver::Driver;
use crate::server::recipes::Recipe;

/// How many processes are asked about at a time, for all clients together: each may be a program.
/// The others wait for their turn.
pub(super) const AT_ONCE_MAX: usize = 16;

/// What is to be asked about one process.
#[derive(Debug)]
pub(in crate::server) struct Wanted {
    /// The place of its sample.
    index: usize,
    sample: ProcessStats,
    group: Rc<Group>,
}

/// What is the same for all processes of a watcher.
#[derive(Debug)]
struct Group {
    name: Name,
    recipe: Rc<Recipe>,
    steps: Vec<Step>,
    status: Option<types::Watcher>,
    context: Object,
}

impl Group {
    /// Made when it is the turn of the process, as each holds all that is known of its watcher.
    fn scene(&self, sample: &ProcessStats) -> Scene {
        let (wid, pid) = (u32::try_from(sample.wid), i32::try_from(sample.pid));
        let process = pid.ok().and_then(|pid| process_of(&self.status, pid));
        let own = [
            ("wid", sample.wid.into()),
            ("pid", sample.pid.into()),
            ("process", json(&process)),
            ("stats", json(sample)),
        ];
        let mut context = self.context.clone();
        context.extend(own.map(|(key, value)| (key.to_owned(), value)));
        Scene {
            whose: Whose::Watcher(self.name.clone(), Rc::clone(&self.recipe)),
            point: Point::ExtendedStats,
            wid: wid.ok(),
            pid: pid.ok(),
            signal: None,
            context,
        }
    }
}

impl Driver {
    /// What is to be asked about these samples, in which those of a watcher stand together;
    /// nothing where nobody knows more.
    pub(in crate::server) fn extended_stats(&self, samples: &[ProcessStats]) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let mut index = 0;
        for samples in samples.chunk_by(|one, next| one.watcher == next.watcher) {
            if let Some(group) = self.group(&samples[0].watcher) {
                let group = Rc::new(group);
                wanted.extend((index..).zip(samples).map(|(index, sample)| Wanted {
                    index,
                    sample: sample.clone(),
                    group: Rc::clone(&group),
                }));
            }
            index += samples.len();
        }
        wanted
    }

    fn group(&self, name: &str) -> Option<Group> {
        let watcher = self.core.watcher(&Name::from(name))?;
        let recipe = self.recipes.get(watcher.spec().revision)?;
        let steps = self.hooks.steps(&recipe.watcher, HookName::ExtendedStats);
        if steps.is_empty() {
            return None;
        }
        let name = watcher.spec().name.clone();
        let status = self.status(&name);
        let context = self.context_of_watcher(Point::ExtendedStats, watcher, &status);
        Some(Group {
            name,
            recipe,
            steps,
            status,
            context,
        })
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
                let scene = wanted.group.scene(&wanted.sample);
                let steps = &wanted.group.steps;
                let Answered { answer, data } = decide(steps, &scene, &ground, &registry).await;
                let data = data.filter(|_| answer == HookAnswer::True);
                // The daemon has ended if nobody hears it.
                let _ = news.send(News::Told(told(&scene, answer, begun)));
                (wanted.index, data)
            });
        }
        async move {
            while let Some(answered) = asked.join_next().await {
                let Ok((index, data)) = answered else {
                    continue;
                };
                if let Some(sample) = samples.get_mut(index) {
                    sample.extended = data;
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
