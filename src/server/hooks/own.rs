//! The daemon's own hooks: what is asked at each of its turning points, and the answer.
//!
//! Shared by the loop and the connections, each of which asks in its own time. What follows from
//! an answer is theirs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value as Json;
use tokio::sync::{Notify, mpsc};

use super::registry::Registry;
use super::{Answered, Closures, Ground, News, Other, Point, Scene, Step, Whose, decide, steps};
use crate::api::types::Object;
use crate::config::{DaemonHook, DaemonHooks};
use crate::core::{Announcement, HookAnswer};
use crate::sys::socket::Peer;

/// What all who ask for the daemon share.
#[derive(Debug)]
pub(in crate::server) struct OwnHooks {
    /// Only those at which somebody is asked.
    steps: RefCell<BTreeMap<DaemonHook, Rc<[Step]>>>,
    ground: Rc<Ground>,
    registry: Rc<RefCell<Registry>>,
    closures: Rc<Closures>,
    news: mpsc::UnboundedSender<News>,
    /// Nobody is asked any more: the daemon has ended.
    over: Cell<bool>,
    end: Notify,
}

/// Why an answer is not yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum Refused {
    /// It says no.
    #[error("hook {hook} says no: {reason}")]
    No {
        /// Which.
        hook: &'static str,
        /// Its words.
        reason: String,
    },
    /// It could not say, which counts as no.
    #[error("hook {hook} failed: {reason}")]
    Failed {
        /// Which.
        hook: &'static str,
        /// What went wrong.
        reason: String,
    },
}

impl OwnHooks {
    pub(super) fn new(
        ground: Rc<Ground>,
        registry: Rc<RefCell<Registry>>,
        closures: Rc<Closures>,
        news: mpsc::UnboundedSender<News>,
    ) -> Rc<OwnHooks> {
        Rc::new(OwnHooks {
            steps: RefCell::default(),
            ground,
            registry,
            closures,
            news,
            over: Cell::new(false),
            end: Notify::new(),
        })
    }

    /// Puts in force what is configured, and who has registered.
    pub(in crate::server) fn update(&self, hooks: &DaemonHooks) {
        let registry = self.registry.borrow();
        let found = DaemonHook::ALL.into_iter().filter_map(|hook| {
            let point = Point::Daemon(hook);
            let mut others = self.closures.steps(None, point);
            others.extend(registry.who(None, point).into_iter().map(Other::from));
            let steps = steps(hooks.at(hook), &others);
            (!steps.is_empty()).then(|| (hook, steps.into()))
        });
        *self.steps.borrow_mut() = found.collect();
    }

    /// Whether anybody is asked there.
    pub(in crate::server) fn has(&self, hook: DaemonHook) -> bool {
        // Before all else: as a rule there is none, and this is asked at each call.
        let steps = self.steps.borrow();
        !steps.is_empty() && steps.contains_key(&hook) && !self.over.get()
    }

    /// Asks whoever is to be asked there, and has the answer told as an event. Dropping the future
    /// ends what it has started.
    ///
    /// # Errors
    ///
    /// Somebody says no, or cannot say and must.
    pub(in crate::server) async fn ask(
        &self,
        hook: DaemonHook,
        more: Object,
    ) -> Result<(), Refused> {
        let steps = self.steps.borrow().get(&hook).map(Rc::clone);
        let Some(steps) = steps.filter(|_| !self.over.get()) else {
            return Ok(());
        };
        let scene = self.scene(hook, more);
        let begun = Instant::now();
        let answer = tokio::select! {
            asked = decide(&steps, &scene, &self.ground, &self.registry) => asked.answer,
            // Nobody is left whom the answer could concern.
            () = self.ended() => return Ok(()),
        };
        let told = Announcement::HookAnswered {
            watcher: None,
            hook: hook.as_str(),
            answer: answer.clone(),
            duration: begun.elapsed(),
            process: None,
        };
        // The daemon has ended if nobody hears it.
        let _ = self.news.send(News::Told(told));
        let hook = hook.as_str();
        match answer {
            HookAnswer::True => Ok(()),
            HookAnswer::False(reason) => Err(Refused::No { hook, reason }),
            HookAnswer::Failed(_) if steps.iter().all(|step| step.ignore_failure) => Ok(()),
            HookAnswer::Failed(reason) => Err(Refused::Failed { hook, reason }),
        }
    }

    /// Has something told as an event that nobody was asked about.
    pub(in crate::server) fn tell(&self, news: Announcement) {
        // The daemon has ended if nobody hears it.
        let _ = self.news.send(News::Told(news));
    }

    fn scene(&self, hook: DaemonHook, more: Object) -> Scene {
        let mut context = Object::new();
        context.insert("hook".into(), hook.as_str().into());
        context.insert("daemon".into(), self.ground.surroundings.context());
        context.extend(more);
        Scene {
            whose: Whose::Daemon,
            point: Point::Daemon(hook),
            wid: None,
            pid: None,
            signal: None,
            context,
        }
    }

    /// Whether a client that connects just now is part of an answer: a program that is asked, or
    /// what it has started. To ask of such a one would be to wait for oneself.
    pub(in crate::server) fn is_asked(&self, peer: &Peer) -> bool {
        // The programs run as we do; anybody else who carries their mark is none of them.
        let is_ours = || peer.uid == nix::unistd::geteuid();
        peer.pid
            .is_some_and(|pid| is_ours() && self.ground.asks_daemons(pid))
    }

    /// Whether a client is a process that has registered for a hook of the daemon, for which the
    /// same is true.
    pub(in crate::server) fn has_registered(&self, peer: &Peer) -> bool {
        self.registry.borrow().has_daemons(peer)
    }

    /// Waits until the daemon has ended, and nobody is asked any more.
    pub(super) async fn ended(&self) {
        // Nothing can happen between the look and the wait: there is one thread.
        if !self.over.get() {
            self.end.notified().await;
        }
    }

    /// Ends all that is asked, and lets nobody be asked any more.
    pub(super) fn end(&self) {
        self.over.set(true);
        self.end.notify_waiters();
    }
}

/// The object by which hooks are told of a client.
pub(in crate::server) fn peer_context(peer: &Peer) -> Json {
    serde_json::json!({
        "pid": peer.pid.map(nix::unistd::Pid::as_raw),
        "uid": peer.uid.as_raw(),
        "gid": peer.gid.as_raw(),
    })
}

impl From<HookAnswer> for Answered {
    fn from(answer: HookAnswer) -> Answered {
        Answered { answer, data: None }
    }
}
