//! Hooks that the program answers that we are in.
//!
//! How an answer is had is the program's affair; here it is only waited for, and not for longer
//! than a hook may take.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::registry::Time;
use super::{Answered, Other, Point, Respondent, Scene};
use crate::api::select::Selector;
use crate::api::types::Object;
use crate::config::{DaemonHook, HOOK_TIMEOUT, HookName};
use crate::core::HookAnswer;

/// What the program is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// None for a hook of the daemon.
    pub(crate) watcher: Option<String>,
    /// What a program called as a hook would read from its standard input.
    pub(crate) context: Object,
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Said {
    /// Yes, and for `extended_stats` what it adds.
    Yes(Option<Object>),
    /// No, and why.
    No(String),
    /// It could not say.
    Failed(String),
}

/// An answer on its way. To drop it is to take the question back.
pub(crate) type Saying = Pin<Box<dyn Future<Output = Said> + Send>>;

/// Asks. Called on the loop's own thread: it begins the answer, and does not work on it.
pub(crate) type AskProgram = Arc<dyn Fn(Asked) -> Saying + Send + Sync>;

/// One hook that the program answers.
#[derive(Clone)]
pub(crate) struct Closure {
    point: Point,
    watchers: Option<Selector>,
    ask: AskProgram,
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closure")
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

impl Closure {
    /// For these watchers.
    pub(crate) fn of_watchers(watchers: Selector, hook: HookName, ask: AskProgram) -> Closure {
        Closure {
            point: Point::of(hook),
            watchers: Some(watchers),
            ask,
        }
    }

    /// For the daemon, which is the program itself.
    pub(crate) fn of_daemon(hook: DaemonHook, ask: AskProgram) -> Closure {
        Closure {
            point: Point::Daemon(hook),
            watchers: None,
            ask,
        }
    }

    pub(super) async fn ask(&self, scene: &Scene) -> Answered {
        let asked = Asked {
            watcher: scene.watcher().map(ToString::to_string),
            context: scene.context.clone(),
        };
        match (self.ask)(asked).await {
            Said::Yes(data) => Answered {
                answer: HookAnswer::True,
                data: data.filter(|_| scene.point == Point::ExtendedStats),
            },
            Said::No(reason) => HookAnswer::False(reason).into(),
            Said::Failed(reason) => HookAnswer::Failed(reason).into(),
        }
    }
}

/// All of them, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Closures {
    all: Vec<Closure>,
    /// How long each may take.
    timeout: Cell<Duration>,
}

impl Default for Closures {
    fn default() -> Closures {
        Closures::new(Vec::new())
    }
}

impl Closures {
    pub(crate) fn new(all: Vec<Closure>) -> Closures {
        Closures {
            all,
            timeout: Cell::new(HOOK_TIMEOUT),
        }
    }

    pub(in crate::server) fn set_timeout(&self, timeout: Duration) {
        self.timeout.set(timeout);
    }

    /// Those for this hook of this watcher, or of the daemon.
    pub(super) fn steps(&self, watcher: Option<&str>, point: Point) -> Vec<Other> {
        let time = Time {
            own: None,
            usual: self.timeout.get(),
        };
        let fits = |closure: &&Closure| {
            closure.point == point
                && match (&closure.watchers, watcher) {
                    (Some(watchers), Some(name)) => watchers.matches(name),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
        };
        let other = |closure: &Closure| Other {
            who: Respondent::Closure(closure.clone()),
            time,
        };
        self.all.iter().filter(fits).map(other).collect()
    }
}
