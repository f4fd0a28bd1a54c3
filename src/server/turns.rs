//! The turning points in the daemon's own life: from before its first watcher to after its last.
//!
//! Core knows nothing of them. What a hook delays is kept here meanwhile: the word to the service
//! manager, the wish that the daemon end, and its end.

use std::pin::pin;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::connection::{Answer, Ask};
use super::driver::{Driver, Ended};
use super::hooks::{OwnHooks, Refused};
use super::orders::Orders;
use crate::api::frame::{Reply, encode};
use crate::api::method::Method;
use crate::api::reply;
use crate::api::types::Object;
use crate::config::DaemonHook;
use crate::core::{ExitReason, Input, Shutdown};

/// What waits for a hook of the daemon.
#[derive(Debug, Default)]
pub(super) struct Turns {
    end: End,
    /// Everything has stopped, and `when_exit` is asked.
    leaving: Option<Ended>,
}

/// How far a wish that the daemon end has come.
#[derive(Debug, Default)]
enum End {
    #[default]
    NotAsked,
    /// `pre_stop` is asked; who has called `Quit` and waits.
    Asking(Vec<Ask>),
    /// Core knows.
    Passed,
}

impl Driver {
    /// Asks `pre_start`, and says whether the daemon is to start: it is not if it is told to end
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// The hook says no, or failed.
    pub(super) async fn may_start(&mut self, orders: &mut Orders) -> Result<bool, Refused> {
        let answer = asked_or_told_to_end(&self.hooks.own, orders).await;
        self.on_hook_news(None);
        self.pursue();
        if !matches!(answer, Ok(true)) {
            self.hooks.end().await;
        }
        answer
    }

    /// All watchers that start with the daemon have settled.
    pub(super) fn settled(&mut self) {
        if !self.hooks.turn(DaemonHook::WhenReady) {
            self.turned_ready();
        }
    }

    fn turned_ready(&mut self) {
        if !self.hooks.turn(DaemonHook::PostStart) {
            self.manager.ready(&self.core);
        }
    }

    /// A hook is over that was waited for.
    pub(super) fn turned(&mut self, hook: DaemonHook) {
        if !self.hooks.has_turned(hook) {
            return;
        }
        match hook {
            DaemonHook::WhenReady => self.turned_ready(),
            DaemonHook::PostStart => self.manager.ready(&self.core),
            DaemonHook::PreStop => self.pass_on_end(Shutdown::Graceful),
            DaemonHook::WhenExit => self.ended = self.turns.leaving.take(),
            DaemonHook::PreStart
            | DaemonHook::ConnectionMade
            | DaemonHook::ConnectionLost
            | DaemonHook::PreRequest
            | DaemonHook::PostRequest => {
                unreachable!("the loop does not ask at {}", hook.as_str());
            }
        }
    }

    /// Somebody wants the daemon to end. Nothing else is waited for from now on.
    pub(super) fn end_gracefully(&mut self) {
        match self.turns.end {
            End::Asking(_) => {}
            End::Passed => self.inputs.push(Input::Shutdown(Shutdown::Graceful)),
            End::NotAsked => {
                self.turns.end = End::Asking(Vec::new());
                self.hooks.cancel_turn(DaemonHook::WhenReady);
                self.hooks.cancel_turn(DaemonHook::PostStart);
                if self.core.ending() || !self.hooks.turn(DaemonHook::PreStop) {
                    self.pass_on_end(Shutdown::Graceful);
                }
            }
        }
    }

    /// Somebody does not want to wait for it any more.
    pub(super) fn end_at_once(&mut self) {
        self.pass_on_end(Shutdown::AtOnce);
        if self.hooks.cancel_turn(DaemonHook::WhenExit)
            && let Some(ended) = self.turns.leaving.take()
        {
            let why = ExitReason::AskedAtOnce;
            self.ended = Some(Ended { why, ..ended });
        }
    }

    /// Whoever waits for the end is core's to answer from now on.
    fn pass_on_end(&mut self, how: Shutdown) {
        self.inputs.push(Input::Shutdown(how));
        for quit in self.take_quits() {
            self.call(quit);
        }
    }

    fn take_quits(&mut self) -> Vec<Ask> {
        self.hooks.cancel_turn(DaemonHook::PreStop);
        match std::mem::replace(&mut self.turns.end, End::Passed) {
            End::Asking(quits) => quits,
            End::NotAsked | End::Passed => Vec::new(),
        }
    }

    /// Keeps a `Quit` for as long as `pre_stop` is asked; any other call comes back.
    pub(super) fn keep_quit(&mut self, ask: Ask) -> Option<Ask> {
        let Method::Quit(params) = &ask.method else {
            return Some(ask);
        };
        let has_hook = self.hooks.own.has(DaemonHook::PreStop);
        if matches!(self.turns.end, End::Passed) || self.core.ending() || !has_hook {
            return Some(ask);
        }
        let waits = params.wait.unwrap_or(true);
        self.end_gracefully();
        match &mut self.turns.end {
            End::Asking(quits) if waits => quits.push(ask),
            End::NotAsked | End::Asking(_) | End::Passed => say_done(ask),
        }
        None
    }

    /// Everything has stopped, or could not be stopped in time. Core may have come to that by
    /// itself, while `pre_stop` was asked.
    pub(super) fn exit(&mut self, ended: Ended) {
        self.take_quits().into_iter().for_each(say_done);
        let in_a_hurry = ended.why == ExitReason::AskedAtOnce;
        match !in_a_hurry && self.hooks.turn(DaemonHook::WhenExit) {
            true => self.turns.leaving = Some(ended),
            false => self.ended = Some(ended),
        }
    }
}

fn say_done(quit: Ask) {
    let done = encode(&Reply::last(reply::Empty {}), quit.terminator);
    // Whoever is gone needs no answer.
    let _ = quit.answer.send(Answer::Last(done));
}

/// The answer of `pre_start`; false if a signal comes before it, and then its hook has ended.
async fn asked_or_told_to_end(own: &OwnHooks, orders: &mut Orders) -> Result<bool, Refused> {
    let mut asked = pin!(own.ask(DaemonHook::PreStart, Object::new()));
    loop {
        tokio::select! {
            answer = &mut asked => return answer.map(|()| true),
            Some(signal) = orders.next() => {
                if matches!(signal, SIGINT | SIGTERM) {
                    return Ok(false);
                }
            }
        }
    }
}
