//! What a plugin is: its name, and what it does at each turn of its life.
//!
//! Says in which order things happen; [`run`](super::run()) makes them happen.

use std::error::Error;
use std::future::{self, Future};
use std::pin::Pin;
use std::time::Duration;

use crate::api::params::RegisterHook;
use crate::api::types::{Event, Gap, Object};

use super::Handle;

/// Any error, for people to read.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// How a turn of a plugin's life went. An error ends the plugin; what can be gone on from is for
/// [`Handle::log`].
pub type Outcome<T = ()> = Result<T, BoxError>;

/// Something that runs beside the events until the plugin ends: `Ok(())` is its own end, an error
/// that of the plugin.
pub type Server = Pin<Box<dyn Future<Output = Outcome>>>;

/// A hook that is to be answered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Asked {
    /// Its name, such as `before_start`.
    pub hook: String,
    /// The watcher it is about; none for a hook of the daemon.
    pub watcher: Option<String>,
    /// What a program called as a hook would read from its standard input: circusd-hooks(7).
    pub context: Object,
}

/// The answer to a hook.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do not.
    No,
    /// Go on, and for `extended_stats`: this is to be added to the sample.
    Data(Object),
}

/// A program that hears what happens in circusd, and acts on it.
///
/// Only [`name`](Self::name) and [`event`](Self::event) are required. In its life there is, each
/// awaited before the next:
///
/// ```text
/// init          before anything is connected
/// pre_start     calls can be made; nothing has been received
///  ── the subscription, and the hooks, are in force ──
/// post_start
/// servers       are started, last and together
///  ── READY=1 is said, where somebody wants to know (ready = "notify") ──
/// event, gap, tick, hook      one at a time, in the order in which they came
///  ── SIGTERM or SIGINT: what has happened until then is still given to it; or an error ──
/// pre_stop      always, if post_start was reached, whatever came of it
///  ── servers are dropped ──
/// stop          always, if init was reached
/// ```
///
/// While one of them runs nothing else is received: circusd keeps what happens meanwhile
/// (`event_buffer`), and tells of a [`gap`](Self::gap) if that was too much. Where they wait, they
/// may be dropped: when the plugin is told to end, what is going on has five seconds left.
pub trait Plugin {
    /// What messages call it.
    fn name(&self) -> &str;

    /// Which events it hears, as `Subscribe` takes them; none for all. Asked once, after `init`.
    fn topics(&self) -> Option<Vec<String>> {
        None
    }

    /// The cursor behind which the events begin; none for now. Asked once, after `init`.
    ///
    /// From there on no event is lost and none comes twice, also over restarts of circusd. What a
    /// plugin must know over its own restarts it keeps itself.
    fn since(&self) -> Option<String> {
        None
    }

    /// How often there is a [`tick`](Self::tick); none for never. Asked once, after `init`.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// The hooks it answers for; circusd wants the role admin for that. Asked once, after `init`.
    fn hooks(&self) -> Vec<RegisterHook> {
        Vec::new()
    }

    /// Gets ready.
    ///
    /// # Errors
    ///
    /// It cannot: the plugin ends.
    fn init(&mut self) -> impl Future<Output = Outcome> {
        future::ready(Ok(()))
    }

    /// Awaited before anything is received.
    ///
    /// # Errors
    ///
    /// The start is aborted.
    fn pre_start(&mut self, _handle: &Handle) -> impl Future<Output = Outcome> {
        future::ready(Ok(()))
    }

    /// Everything that happens from now on will be heard.
    ///
    /// # Errors
    ///
    /// The plugin ends.
    fn post_start(&mut self, _handle: &Handle) -> impl Future<Output = Outcome> {
        future::ready(Ok(()))
    }

    /// What runs beside the events. If one ends with an error, the plugin ends with it.
    fn servers(&mut self, _handle: &Handle) -> Vec<Server> {
        Vec::new()
    }

    /// Something has happened.
    ///
    /// # Errors
    ///
    /// The plugin ends.
    fn event(&mut self, event: Event, handle: &Handle) -> impl Future<Output = Outcome>;

    /// Something has happened that cannot be told any more: the plugin was too slow, or its cursor
    /// too old. Whether any of it was among its topics nobody knows. `cursor` is the place behind it.
    ///
    /// # Errors
    ///
    /// The plugin ends.
    fn gap(&mut self, gap: Gap, _cursor: &str, handle: &Handle) -> impl Future<Output = Outcome> {
        handle.log(&format!(
            "the events {} to {} were missed",
            gap.first, gap.last
        ));
        future::ready(Ok(()))
    }

    /// The interval has passed. It is measured from the end of the tick before, if that took longer,
    /// so that in between there is time for everything else.
    ///
    /// # Errors
    ///
    /// The plugin ends.
    fn tick(&mut self, _handle: &Handle) -> impl Future<Output = Outcome> {
        future::ready(Ok(()))
    }

    /// One of [`hooks`](Self::hooks) is asked.
    ///
    /// # Errors
    ///
    /// The hook has failed, which is not an answer; the plugin goes on.
    fn hook(&mut self, asked: Asked, _handle: &Handle) -> impl Future<Output = Outcome<Answer>> {
        let reason = format!("nobody has said how to answer {}", asked.hook);
        future::ready(Err(reason.into()))
    }

    /// The plugin is about to end; calls can still be made.
    ///
    /// # Errors
    ///
    /// Are told, and change nothing.
    fn pre_stop(&mut self, _handle: &Handle) -> impl Future<Output = Outcome> {
        future::ready(Ok(()))
    }

    /// The plugin ends.
    ///
    /// # Errors
    ///
    /// Are told, and change nothing.
    fn stop(&mut self) -> impl Future<Output = Outcome> {
        future::ready(Ok(()))
    }
}
