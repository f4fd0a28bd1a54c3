//! Between the loop and hooks: what core asks, what clients register and answer.

use std::time::Duration;

use super::registry::{Registry, Time};
use super::{Answered, News, Point, Question, Scene, Whose};
use crate::api::frame::{Reply, encode};
use crate::api::select::Selector;
use crate::api::{Error, params, reply};
use crate::config::HOOKS;
use crate::core::{
    Announcement, Command, Hook, HookAnswer, HookId, Input, Name, Watcher, WatcherSpec, WorkerId,
};
use crate::server::calls::Outcome;
use crate::server::connection::{Answer, Ask};
use crate::server::driver::Driver;

/// The longest time that a client may ask for to answer in, as for `timeout` of a hook.
const TIMEOUT_MAX: Duration = Duration::from_secs(86400);

impl Driver {
    /// Asks a hook, as core wants it.
    pub(in crate::server) fn run_hook(
        &mut self,
        id: HookId,
        watcher: &Name,
        hook: Hook,
        worker: Option<WorkerId>,
        signal: Option<i32>,
    ) {
        let Some((steps, scene)) = self.prepare_hook(watcher, hook, worker, signal) else {
            // Whoever was to answer has gone since core decided to ask.
            let answer = HookAnswer::True;
            self.inputs.push(Input::HookFinished { hook: id, answer });
            return;
        };
        self.hooks.ask(id, steps, scene);
    }

    fn prepare_hook(
        &self,
        name: &Name,
        hook: Hook,
        worker: Option<WorkerId>,
        signal: Option<i32>,
    ) -> Option<(Vec<super::Step>, Scene)> {
        let watcher = self.core.watcher(name)?;
        let recipe = self.recipes.get(watcher.spec().revision)?;
        let point = Point::Watcher(hook);
        let row = HOOKS.iter().find(|row| Point::of(row.name) == point)?;
        let steps = self.hooks.steps(&recipe.watcher, row.name);
        let worker = worker.and_then(|id| watcher.workers().find(|worker| worker.id() == id));
        let has_context = |ask: &Question| {
            matches!(
                ask,
                Question::Program(_) | Question::Client(_) | Question::Closure(_)
            )
        };
        let context = match steps.iter().any(|step| has_context(&step.ask)) {
            true => self.hook_context(point, watcher, worker, signal),
            false => Default::default(),
        };
        let scene = Scene {
            whose: Whose::Watcher(name.clone(), recipe),
            point,
            wid: worker.map(|worker| worker.wid()),
            pid: worker.and_then(|worker| worker.pid()),
            signal,
            context,
        };
        (!steps.is_empty()).then_some((steps, scene))
    }

    /// Takes in what has happened to hooks: `first`, and what else there is.
    pub(in crate::server) fn on_hook_news(&mut self, first: Option<News>) {
        let mut registry_changed = false;
        let mut next = first;
        while let Some(news) = next.take().or_else(|| self.hooks.news.try_recv().ok()) {
            match news {
                News::Answered(hook, answer) => {
                    self.hooks.forget(hook);
                    self.inputs.push(Input::HookFinished { hook, answer });
                }
                News::Turned(hook) => self.turned(hook),
                News::Told(news) => self.announce_answer(news),
                News::Unregistered => registry_changed = true,
            }
        }
        // Once, however many clients have gone.
        if registry_changed {
            self.refresh_hooks();
        }
    }

    /// One that was removed meanwhile has had its last event.
    fn announce_answer(&mut self, news: Announcement) {
        if news
            .watcher()
            .is_none_or(|name| self.core.watcher(name).is_some())
        {
            self.inputs.push(Input::Announce(news));
        }
    }

    /// Tells core who answers for hooks now, where that has changed.
    fn refresh_hooks(&mut self) {
        self.hooks.own.update(&self.store.config().hooks);
        let changed = |watcher: &Watcher| {
            let recipe = self.recipes.get(watcher.spec().revision)?;
            let hooks = self.hooks.specs(&recipe.watcher);
            let spec = watcher.spec();
            (spec.hooks != hooks).then(|| WatcherSpec {
                hooks,
                ..spec.clone()
            })
        };
        let specs: Vec<_> = self.core.watchers().filter_map(changed).collect();
        for spec in specs {
            self.ask_core(Command::Set {
                spec: Box::new(spec),
                keys: Vec::new(),
            });
        }
    }

    pub(in crate::server) fn register_hook(
        &mut self,
        ask: &Ask,
        params: &params::RegisterHook,
    ) -> Result<Outcome, Error> {
        self.names(params.watchers.as_deref())?;
        let watchers = Selector::parameter(params.watchers.as_deref())?;
        let points: Option<Vec<Point>> =
            params.hooks.iter().map(|word| Point::named(word)).collect();
        let points = points.filter(|points| !points.is_empty());
        let points = points.ok_or_else(|| Error::invalid_parameter("hooks"))?;
        // Those of the daemon are of no watcher.
        if params.watchers.is_some() && points.iter().all(|point| point.is_daemons()) {
            return Err(Error::invalid_parameter("watchers"));
        }
        let time = match params.timeout_usec.map(Duration::from_micros) {
            Some(timeout) if timeout.is_zero() || timeout > TIMEOUT_MAX => {
                return Err(Error::invalid_parameter("timeout_usec"));
            }
            own => Time {
                own,
                usual: self.store.config().circusd.hook_timeout,
            },
        };
        // What has happened so far is not asked of one who comes only now.
        self.pursue();
        let registry = &self.hooks.registry;
        let (registration, first) =
            Registry::register(registry, &ask.peer, watchers, points, time, ask.terminator);
        self.refresh_hooks();
        Ok(Outcome::Now(Answer::Registered(first, registration)))
    }

    pub(in crate::server) fn hook_result(
        &mut self,
        ask: &Ask,
        params: &params::HookResult,
    ) -> Result<Outcome, Error> {
        let invocation = params.invocation;
        let question = self.hooks.registry.borrow().question(invocation);
        let question = question.ok_or(Error::NoSuchInvocation { invocation })?;
        // Nothing else that is asked can be added to.
        if params.data.is_some() && question != Point::ExtendedStats {
            return Err(Error::invalid_parameter("data"));
        }
        let answer = match (&params.error, params.result) {
            (Some(error), _) => HookAnswer::Failed(error.clone()),
            (None, true) => HookAnswer::True,
            (None, false) => HookAnswer::False("the client that answers for it says no".into()),
        };
        let said = Answered {
            answer,
            data: params.data.clone(),
        };
        match self.hooks.registry.borrow_mut().answer(invocation, said) {
            false => Err(Error::NoSuchInvocation { invocation }),
            true => Ok(Outcome::Now(Answer::Last(encode(
                &Reply::last(reply::Empty {}),
                ask.terminator,
            )))),
        }
    }
}
