//! Runs hooks: one task for each that is asked, its parts one after the other, and one answer.
//!
//! Decides nothing but which of several answers counts. Core says when a hook is asked, what
//! follows, and when it has taken too long; nothing in here holds up the loop.

mod calls;
mod closures;
mod context;
mod homes;
mod own;
mod point;
mod program;
mod registry;
mod stats;
mod tree;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::probes::{self, Probe};
use super::recipes::Recipe;
use crate::api::types::Object;
use crate::config::{self, DaemonHook, HookForm, HookName};
use crate::core::{Announcement, Hook, HookAnswer, HookId, HookSpec, Name};

pub(crate) use closures::{AskProgram, Asked, Closure, Closures, Said, Saying};
pub(super) use homes::HookHomes;
pub(super) use own::{OwnHooks, Refused, peer_context};
pub(super) use point::Point;
pub(super) use registry::Registration;
use registry::{Registry, RegistryId, Time};
pub(super) use stats::Wanted;
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
    /// Those of the daemon that the loop has asked.
    turns: HashMap<DaemonHook, JoinHandle<()>>,
    pub(super) own: Rc<OwnHooks>,
    for_stats: Rc<Semaphore>,
    ground: Rc<Ground>,
    registry: Rc<RefCell<Registry>>,
    pub(super) closures: Rc<Closures>,
    sender: mpsc::UnboundedSender<News>,
    /// What happens here, for the loop.
    pub(super) news: mpsc::UnboundedReceiver<News>,
}

/// What the loop is told.
#[derive(Debug)]
pub(super) enum News {
    /// A hook has spoken.
    Answered(HookId, HookAnswer),
    /// A hook of the daemon that the loop has asked is over.
    Turned(DaemonHook),
    /// A hook has spoken that core did not ask.
    Told(Announcement),
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
    Closure(Closure),
    /// A registration is required, and there is none.
    Nobody,
}

/// What a hook, or the probe of a process, is about.
#[derive(Debug)]
pub(super) struct Scene {
    whose: Whose,
    point: Point,
    wid: Option<u32>,
    pid: Option<i32>,
    signal: Option<i32>,
    context: Object,
}

/// Whose hook it is.
#[derive(Debug)]
enum Whose {
    /// A watcher's, whose processes are made so.
    Watcher(Name, Rc<Recipe>),
    Daemon,
}

impl Scene {
    /// A probe of a process of this watcher.
    pub(super) fn of_process(
        point: Point,
        watcher: &Name,
        recipe: Rc<Recipe>,
        wid: u32,
        pid: Option<i32>,
    ) -> Scene {
        Scene {
            whose: Whose::Watcher(watcher.clone(), recipe),
            point,
            wid: Some(wid),
            pid,
            signal: None,
            context: Object::new(),
        }
    }

    fn watcher(&self) -> Option<&Name> {
        match &self.whose {
            Whose::Watcher(name, _) => Some(name),
            Whose::Daemon => None,
        }
    }

    /// As it stands in the log before what concerns it.
    fn name(&self) -> &str {
        self.watcher().map_or("circusd", Name::as_str)
    }
}

/// What was said.
#[derive(Debug)]
struct Answered {
    answer: HookAnswer,
    /// What it adds, for `extended_stats`.
    data: Option<Object>,
}

impl Hooks {
    pub(super) fn new(ground: Rc<Ground>, closures: Closures) -> Hooks {
        let (sender, news) = mpsc::unbounded_channel();
        let registry = Rc::new(RefCell::new(Registry::new(sender.clone())));
        let closures = Rc::new(closures);
        Hooks {
            running: HashMap::new(),
            turns: HashMap::new(),
            for_stats: stats::turns(),
            own: OwnHooks::new(
                Rc::clone(&ground),
                Rc::clone(&registry),
                Rc::clone(&closures),
                sender.clone(),
            ),
            ground,
            registry,
            closures,
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
            let Point::Watcher(point) = Point::of(row.name) else {
                return None;
            };
            let steps = self.steps(watcher, row.name);
            let spec = HookSpec {
                timeout: steps.iter().map(|step| step.timeout).sum::<Duration>() + SPARE,
                ignore_failure: steps.iter().all(|step| step.ignore_failure),
            };
            (!steps.is_empty()).then_some((point, spec))
        });
        asked.collect()
    }

    fn steps(&self, watcher: &config::Watcher, name: HookName) -> Vec<Step> {
        let registry = self.registry.borrow();
        let point = Point::of(name);
        let registered = registry.who(Some(&watcher.name), point);
        let mut others = self.closures.steps(Some(&watcher.name), point);
        others.extend(registered.into_iter().map(Other::from));
        steps(watcher.hooks.at(name), &others)
    }

    /// Asks; the answer comes as news.
    fn ask(&mut self, id: HookId, steps: Vec<Step>, scene: Scene) {
        let (sender, ground) = (self.sender.clone(), Rc::clone(&self.ground));
        let registry = Rc::clone(&self.registry);
        let task = async move {
            let asked = decide(&steps, &scene, &ground, &registry).await;
            // The daemon has ended if nobody hears it.
            let _ = sender.send(News::Answered(id, asked.answer));
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

    /// Asks at a turning point of the daemon, if there is anybody to be asked, and says whether
    /// there is; that it is over comes as news.
    pub(super) fn turn(&mut self, hook: DaemonHook) -> bool {
        if !self.own.has(hook) {
            return false;
        }
        let (sender, own) = (self.sender.clone(), Rc::clone(&self.own));
        let task = async move {
            // At these points the answer changes nothing.
            let _ = own.ask(hook, Object::new()).await;
            // The daemon has ended if nobody hears it.
            let _ = sender.send(News::Turned(hook));
        };
        self.turns.insert(hook, tokio::task::spawn_local(task));
        true
    }

    /// Whether a turning point is over that was being waited for.
    pub(super) fn has_turned(&mut self, hook: DaemonHook) -> bool {
        self.turns.remove(&hook).is_some()
    }

    /// Ends what is asked at a turning point, and says whether anything was.
    pub(super) fn cancel_turn(&mut self, hook: DaemonHook) -> bool {
        let task = self.turns.remove(&hook);
        task.inspect(JoinHandle::abort).is_some()
    }

    /// Ends all hooks, and waits until nothing is left of them.
    pub(super) async fn end(&mut self) {
        let turns = self.turns.drain().map(|(_, task)| task);
        for task in self.running.drain().map(|(_, task)| task).chain(turns) {
            task.abort();
        }
        self.own.end();
        if tokio::time::timeout(LAST_MAX, self.ground.cleared())
            .await
            .is_err()
        {
            tracing::warn!("something that a hook has started cannot be ended, and is left behind");
        }
    }
}

/// Somebody who is not configured, and answers all the same.
#[derive(Debug, Clone)]
struct Other {
    who: Respondent,
    time: Time,
}

#[derive(Debug, Clone)]
enum Respondent {
    Client(RegistryId),
    Closure(Closure),
}

impl From<(RegistryId, Time)> for Other {
    fn from((id, time): (RegistryId, Time)) -> Other {
        Other {
            who: Respondent::Client(id),
            time,
        }
    }
}

/// What is asked: the configured hooks, and all others, who are closures and clients that have
/// registered, at the place of `plugin = true` or else behind the configured ones.
fn steps(configured: &[config::Hook], others: &[Other]) -> Vec<Step> {
    let all_others = |timeout: Option<Duration>, ignore_failure| {
        let step = move |other: &Other| Step {
            ask: match &other.who {
                Respondent::Client(id) => Question::Client(*id),
                Respondent::Closure(closure) => Question::Closure(closure.clone()),
            },
            timeout: other.time.limit(timeout),
            ignore_failure,
        };
        others.iter().map(step).collect::<Vec<_>>()
    };
    let mut steps = Vec::new();
    let mut placed = false;
    for hook in configured {
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
                if !others.is_empty() {
                    steps.extend(all_others(Some(timeout), ignore_failure));
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
        steps.extend(all_others(None, false));
    }
    steps
}

/// Runs a program that is asked something. Dropping the future ends it with all that it has started.
pub(super) async fn run_program(argv: &[String], scene: &Scene, ground: &Rc<Ground>) -> HookAnswer {
    program::ask(argv, scene, ground).await.answer
}

/// Asks one after the other; the first that is not true decides. What they add is put together.
async fn decide(
    steps: &[Step],
    scene: &Scene,
    ground: &Rc<Ground>,
    registry: &Rc<RefCell<Registry>>,
) -> Answered {
    let all_ignored = steps.iter().all(|step| step.ignore_failure);
    let mut ignored = None;
    let mut all_data: Option<Object> = None;
    for step in steps {
        let Answered { answer, data } = put(step, scene, ground, registry).await;
        match answer {
            HookAnswer::True => {}
            HookAnswer::Failed(error) if step.ignore_failure => {
                if !all_ignored {
                    let (name, hook) = (scene.name(), scene.point.as_str());
                    tracing::warn!("{name}: a part of hook {hook} failed, going on: {error}");
                }
                ignored.get_or_insert(error);
            }
            HookAnswer::False(_) | HookAnswer::Failed(_) => return answer.into(),
        }
        if let Some(data) = data {
            all_data.get_or_insert_default().extend(data);
        }
    }
    let answer = match ignored {
        // Who asks counts it as true, and tells of it.
        Some(error) if all_ignored => HookAnswer::Failed(error),
        _ => HookAnswer::True,
    };
    Answered {
        answer,
        data: all_data,
    }
}

/// Asks one thing. Dropping the future ends what it has started.
async fn put(
    step: &Step,
    scene: &Scene,
    ground: &Rc<Ground>,
    registry: &Rc<RefCell<Registry>>,
) -> Answered {
    let asked = async {
        match &step.ask {
            Question::Program(argv) => program::ask(argv, scene, ground).await,
            Question::Client(id) => Registry::ask(registry, *id, scene).await,
            Question::Closure(closure) => closure.ask(scene).await,
            Question::Nobody => HookAnswer::Failed("nobody has registered for it".into()).into(),
            // It knows best what it was waiting for.
            Question::Probe(probe) => probes::ask(probe, step.timeout).await.into(),
        }
    };
    let limit = match step.ask {
        Question::Probe(_) => step.timeout + SPARE,
        Question::Program(_) | Question::Client(_) | Question::Closure(_) | Question::Nobody => {
            step.timeout
        }
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(asked) => asked,
        Err(_) => HookAnswer::Failed(probes::too_late(step.timeout)).into(),
    }
}
