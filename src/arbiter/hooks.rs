//! Hooks as closures: what they are told, what they answer, and how they are asked.
//!
//! When a hook is asked and what follows from its answer is the same as for a hook of any other
//! form: circusd-hooks(7).

use std::sync::Arc;

use super::error::BoxError;
use super::handle::{Handle, Shared};
use super::watcher::Watcher;
use crate::api::types::Object;
use crate::config::{DaemonHook, HookName};
use crate::server::{AskProgram, Asked, Said};

/// What a hook of a watcher is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HookContext {
    /// The watcher that it is about.
    ///
    /// Whoever waits in a hook for something that waits for the hook (`watcher.stop()` in
    /// `before_stop`) waits until the hook's time is over.
    pub watcher: Watcher,
    /// The arbiter.
    pub arbiter: Handle,
    /// Which hook it is.
    pub hook: HookName,
    /// Everything else, as circusd-hooks(7) tells it: `wid` and `pid` of the process, `signum`,
    /// `exit`, ...
    pub context: Object,
}

/// What a hook of the arbiter itself is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DaemonContext {
    /// The arbiter. At `pre_start` it does not answer yet, and at `when_exit` no more.
    pub arbiter: Handle,
    /// Which hook it is.
    pub hook: DaemonHook,
    /// Everything else, as circusd-hooks(7) tells it: `peer`, `method`, ...
    pub context: Object,
}

/// What a hook answers; made of a `bool`, or by one of the functions.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Answer(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Yes(Option<Object>),
    No(Option<String>),
}

impl Answer {
    /// Yes: what was about to happen may happen.
    pub fn yes() -> Self {
        Self(Kind::Yes(None))
    }

    /// No, with a reason that is told to whoever asked for what does not happen now.
    pub fn no(reason: impl Into<String>) -> Self {
        Self(Kind::No(Some(reason.into())))
    }

    /// Yes, and for `extended_stats` what is added to the figures of the process.
    pub fn with(data: Object) -> Self {
        Self(Kind::Yes(Some(data)))
    }
}

impl From<bool> for Answer {
    fn from(answer: bool) -> Self {
        match answer {
            true => Self::yes(),
            false => Self(Kind::No(None)),
        }
    }
}

/// What is said, given what a closure has returned. An error counts as a failure.
fn said<A: Into<Answer>, E: Into<BoxError>>(returned: Result<A, E>) -> Said {
    match returned.map(Into::into) {
        Ok(Answer(Kind::Yes(data))) => Said::Yes(data),
        Ok(Answer(Kind::No(reason))) => {
            Said::No(reason.unwrap_or_else(|| "the closure that answers for it says no".into()))
        }
        Err(error) => {
            let error: BoxError = error.into();
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            Said::Failed(causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}")))
        }
    }
}

/// How a question to the program becomes what a closure is told.
pub(super) type MakeContext<C> = dyn Fn(&Arc<Shared>, Asked) -> C + Send + Sync;

/// A closure that was registered before there is an arbiter whose questions it could answer.
pub(super) type Unbound = Box<dyn FnOnce(Arc<Shared>) -> AskProgram + Send>;

pub(super) fn of_watcher(hook: HookName) -> Arc<MakeContext<HookContext>> {
    Arc::new(move |shared, asked| {
        let arbiter = Handle::new(Arc::clone(shared));
        HookContext {
            watcher: Watcher::new(arbiter.clone(), asked.watcher.unwrap_or_default()),
            arbiter,
            hook,
            context: asked.context,
        }
    })
}

pub(super) fn of_daemon(hook: DaemonHook) -> Arc<MakeContext<DaemonContext>> {
    Arc::new(move |shared, asked| DaemonContext {
        arbiter: Handle::new(Arc::clone(shared)),
        hook,
        context: asked.context,
    })
}

/// How long a blocking closure goes on after nobody waits for it any more is its own affair.
pub(super) fn blocking<C: Send + 'static, A, E>(
    make: Arc<MakeContext<C>>,
    closure: impl Fn(C) -> Result<A, E> + Send + Sync + 'static,
) -> Unbound
where
    A: Into<Answer>,
    E: Into<BoxError>,
{
    let closure = Arc::new(closure);
    Box::new(move |shared| {
        Arc::new(move |asked| {
            let (closure, context) = (Arc::clone(&closure), make(&shared, asked));
            match shared.executor() {
                Some(executor) => executor
                    .spawn_blocking(move || said(closure(context)))
                    .saying(),
                None => not_started(),
            }
        })
    })
}

pub(super) fn asynchronous<C: Send + 'static, F, A, E>(
    make: Arc<MakeContext<C>>,
    closure: impl Fn(C) -> F + Send + Sync + 'static,
) -> Unbound
where
    F: Future<Output = Result<A, E>> + Send + 'static,
    A: Into<Answer>,
    E: Into<BoxError>,
{
    let closure = Arc::new(closure);
    Box::new(move |shared| {
        Arc::new(move |asked| {
            let (closure, context) = (Arc::clone(&closure), make(&shared, asked));
            match shared.executor() {
                // What the closure does before its future is made is done there as well.
                Some(executor) => executor
                    .spawn(async move { said(closure(context).await) })
                    .saying(),
                None => not_started(),
            }
        })
    })
}

fn not_started() -> crate::server::Saying {
    Box::pin(async { Said::Failed("the arbiter has no runtime for it".into()) })
}
