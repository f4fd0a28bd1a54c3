//! Runs hooks: one task for each that is asked, its parts one after the other, and one answer.
//!
//! Decides nothing but which of several answers counts. Core says when a hook is asked, what
//! follows, and when it has taken too long; nothing in here holds up the loop.

mod calls;
mod context;
mod homes;
mod program;
mod registry;
mod tree;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::probes::{self, Probe};
use super::recipes::Recipe;
use crate::api::types::Object;
use crate::config::{self, HookForm, HookName};
use crate::core::{Hook, HookAnswer, HookId, HookSpec, Name};

pub(super) use homes::HookHomes;
pub(super) use registry::Registration;
use registry::{Registry, RegistryId, Time};
pub(super) use tree::{Ground, Tree};

/// Core is told of a hook's time-outs, and this longer: each is kept here, where it is known what
/// was waited for. Core's own is for a task that is lost.
const SPARE: Duration = Duration::from_secs(1);

/// How long the end of the daemon waits for what it has killed.
const LAST_MAX: Duration = Duration::from_secs(5);

/// All hooks that run, and who answers for some.
#[derive(Debug)]
pub(super) struct Hooks {
    running: HashMap<HookId, JoinHandle<()>>,
    ground: Rc<Ground>,
    registry: Rc<RefCell<Registry>>,
    sender: mpsc::UnboundedSender<News>,
    /// What happens here, for the loop.
    pub(super) news: mpsc::UnboundedReceiver<News>,
}

/// What the loop is told.
#[derive(Debug)]
pub(super) enum News {
    /// A hook has spoken.
    Answered(HookId, HookAnswer),
    /// A client answers for nothing any more.
    Unregistered,
}

/// One thing that is asked.
#[derive(Debug)]
struct Step {
    ask: Question,
    timeout: Duration,
    ignore_failure: bool,
}

#[derive(Debug)]
enum Question {
    Program(Vec<String>),
    Probe(Probe),
    Client(RegistryId),
    /// A registration is required, and there is none.
    Nobody,
}

/// What a hook is about.
#[derive(Debug)]
struct Scene {
    watcher: Name,
    point: Hook,
    recipe: Rc<Recipe>,
    wid: Option<u32>,
    pid: Option<i32>,
    signal: Option<i32>,
    context: Object,
}

impl Hooks {
    pub(super) fn new(ground: Rc<Ground>) -> Hooks {
        let (sender, news) = mpsc::unbounded_channel();
        Hooks {
            running: HashMap::new(),
            ground,
            registry: Rc::new(RefCell::new(Registry::new(sender.clone()))),
            sender,
            news,
        }
    }

    /// The hooks of a watcher for core: those that are configured, and those that somebody answers
    /// for. The parts of one run one after the other, so that their time-outs add up. That a
    /// failure does not matter is core's to say if it holds for every part, as then it is told as
    /// an event; if for some only, it stays in here, and is told in the log.
    pub(super) fn specs(&self, watcher: &config::Watcher) -> BTreeMap<Hook, HookSpec> {
        let asked = config::HOOKS.iter().filter_map(|row| {
            let point = point(row.name);
            let steps = self.steps(watcher, point);
            let spec = HookSpec {
                timeout: steps.iter().map(|step| step.timeout).sum::<Duration>() + SPARE,
                ignore_failure: steps.iter().all(|step| step.ignore_failure),
            };
            (!steps.is_empty()).then_some((point, spec))
        });
        asked.collect()
    }

    /// What is asked: the configured hooks, and all who have registered, at the place of
    /// `plugin = true` or else behind the others.
    fn steps(&self, watcher: &config::Watcher, point: Hook) -> Vec<Step> {
        let registered = self.registry.borrow().who(&watcher.name, point);
        let clients = |timeout: Option<Duration>, ignore_failure| {
            let step = move |(id, time): &(RegistryId, Time)| Step {
                ask: Question::Client(*id),
                timeout: time.limit(timeout),
                ignore_failure,
            };
            registered.iter().map(step).collect::<Vec<_>>()
        };
        let mut steps = Vec::new();
        let mut placed = false;
        for hook in watcher.hooks.at(name(point)) {
            let (timeout, ignore_failure) = (hook.timeout(), hook.ignore_failure);
            let ask = match &hook.form {
                HookForm::Exec(words) => Question::Program(words.clone()),
                HookForm::Tcp(address) => Question::Probe(Probe::Tcp(address.clone())),
                HookForm::Unix(path) => Question::Probe(Probe::Unix(path.clone())),
                HookForm::Http(url, expect) => {
                    Question::Probe(Probe::Http(url.clone(), expect.clone()))
                }
                HookForm::File(path) => Question::Probe(Probe::File(path.clone())),
                HookForm::Plugin if placed => continue,
                HookForm::Plugin => {
                    placed = true;
                    if !registered.is_empty() {
                        steps.extend(clients(Some(timeout), ignore_failure));
                        continue;
                    }
                    Question::Nobody
                }
            };
            steps.push(Step {
                ask,
                timeout,
                ignore_failure,
            });
        }
        if !placed {
            steps.extend(clients(None, false));
        }
        steps
    }

    /// Asks; the answer comes as news.
    fn ask(&mut self, id: HookId, steps: Vec<Step>, scene: Scene) {
        let (sender, ground) = (self.sender.clone(), Rc::clone(&self.ground));
        let registry = Rc::clone(&self.registry);
        let task = async move {
            let answer = decide(&steps, &scene, &ground, &registry).await;
            // The daemon has ended if nobody hears it.
            let _ = sender.send(News::Answered(id, answer));
        };
        self.running.insert(id, tokio::task::spawn_local(task));
    }

    /// Ends a hook, and all that it has started.
    pub(super) fn cancel(&mut self, id: HookId) {
        if let Some(task) = self.running.remove(&id) {
            task.abort();
        }
    }

    /// Forgets a hook that has answered.
    pub(super) fn forget(&mut self, id: HookId) {
        self.running.remove(&id);
    }

    /// Ends all hooks, and waits until nothing is left of them.
    pub(super) async fn end(&mut self) {
        for (_, task) in self.running.drain() {
            task.abort();
        }
        if tokio::time::timeout(LAST_MAX, self.ground.cleared())
            .await
            .is_err()
        {
            tracing::warn!("something that a hook has started cannot be ended, and is left behind");
        }
    }
}

/// Asks one after the other; the first that is not true decides.
async fn decide(
    steps: &[Step],
    scene: &Scene,
    ground: &Rc<Ground>,
    registry: &Rc<RefCell<Registry>>,
) -> HookAnswer {
    let all_ignored = steps.iter().all(|step| step.ignore_failure);
    let mut ignored = None;
    for step in steps {
        match put(step, scene, ground, registry).await {
            HookAnswer::True => {}
            HookAnswer::False(reason) => return HookAnswer::False(reason),
            HookAnswer::Failed(error) if step.ignore_failure => {
                if !all_ignored {
                    let (watcher, hook) = (&scene.watcher, scene.point.as_str());
                    tracing::warn!("{watcher}: a part of hook {hook} failed, going on: {error}");
                }
                ignored.get_or_insert(error);
            }
            HookAnswer::Failed(error) => return HookAnswer::Failed(error),
        }
    }
    match ignored {
        // Core counts it as true, and tells of it.
        Some(error) if all_ignored => HookAnswer::Failed(error),
        _ => HookAnswer::True,
    }
}

/// Asks one thing. Dropping the future ends what it has started.
async fn put(
    step: &Step,
    scene: &Scene,
    ground: &Rc<Ground>,
    registry: &Rc<RefCell<Registry>>,
) -> HookAnswer {
    let answer = async {
        match &step.ask {
            Question::Program(argv) => program::ask(argv, scene, ground).await,
            Question::Client(id) => Registry::ask(registry, *id, scene).await,
            Question::Nobody => HookAnswer::Failed("nobody has registered for it".into()),
            // It knows best what it was waiting for.
            Question::Probe(probe) => return probes::ask(probe, step.timeout).await,
        }
    };
    let limit = match step.ask {
        Question::Probe(_) => step.timeout + SPARE,
        Question::Program(_) | Question::Client(_) | Question::Nobody => step.timeout,
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => HookAnswer::Failed(probes::too_late(step.timeout)),
    }
}

/// Core's word for a hook of the configuration.
fn point(name: HookName) -> Hook {
    match name {
        HookName::BeforeStart => Hook::BeforeStart,
        HookName::AfterStart => Hook::AfterStart,
        HookName::BeforeSpawn => Hook::BeforeSpawn,
        HookName::AfterSpawn => Hook::AfterSpawn,
        HookName::BeforeStop => Hook::BeforeStop,
        HookName::AfterStop => Hook::AfterStop,
        HookName::BeforeSignal => Hook::BeforeSignal,
        HookName::AfterSignal => Hook::AfterSignal,
        HookName::BeforeReap => Hook::BeforeReap,
        HookName::AfterReap => Hook::AfterReap,
    }
}

/// The configuration's word for a hook of core.
fn name(point: Hook) -> HookName {
    match point {
        Hook::BeforeStart => HookName::BeforeStart,
        Hook::AfterStart => HookName::AfterStart,
        Hook::BeforeSpawn => HookName::BeforeSpawn,
        Hook::AfterSpawn => HookName::AfterSpawn,
        Hook::BeforeStop => HookName::BeforeStop,
        Hook::AfterStop => HookName::AfterStop,
        Hook::BeforeSignal => HookName::BeforeSignal,
        Hook::AfterSignal => HookName::AfterSignal,
        Hook::BeforeReap => HookName::BeforeReap,
        Hook::AfterReap => HookName::AfterReap,
    }
}
