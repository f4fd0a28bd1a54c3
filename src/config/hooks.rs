//! `[hooks]`: what is asked at the turning points in the life of the daemon itself.
//!
//! The rows are the one list of these hooks, for the manual too. How an answer is had, and what
//! it changes, is the server's to know.

use std::time::Duration;

use super::table::section;
use super::values::{Hook, HookList};

section! {
    /// `[hooks]`, read and checked.
    pub struct DaemonHooks for Hooks, given cx;
    also {}
    /// Before any watcher starts and before anybody is answered; so no client can be asked. False,
    /// or a failure: circusd ends with exit code 1, and says why.
    pre_start: HookList = HookList::default() => "none", RestartDaemon;
    /// When every watcher that starts with circusd has started, or failed to; the service manager
    /// is told READY=1 after it. The answer changes nothing.
    when_ready: HookList = HookList::default() => "none", Live;
    /// Another name for the same moment; where both are set, this one is asked second.
    post_start: HookList = HookList::default() => "none", Live;
    /// When circusd is to end, before any watcher stops: somebody has said so (SIGTERM, SIGINT,
    /// circusctl quit), or a critical watcher was given up. The answer changes nothing.
    pre_stop: HookList = HookList::default() => "none", Live;
    /// After the last watcher has stopped, before circusd ends; not where a second SIGINT has ended
    /// everything at once. The answer changes nothing.
    when_exit: HookList = HookList::default() => "none", Live;
    /// When a client has connected, before it is heard. In its context also: peer. False, or a
    /// failure: the client is told PermissionDenied, and the connection is closed.
    connection_made: HookList = HookList::default() => "none", Live;
    /// When a client has gone; not for one that was not let in, nor for those who are still there
    /// when circusd ends. In its context also: peer. The answer changes nothing.
    connection_lost: HookList = HookList::default() => "none", Live;
    /// Before a method of io.circusd is called by somebody who may call it. In its context also:
    /// peer, method, parameters. False, or a failure: the call is answered PermissionDenied.
    pre_request: HookList = HookList::default() => "none", Live;
    /// After the call was answered, whatever the answer, and before the next one on the same
    /// connection. In its context also: peer, method, parameters, outcome, error. The answer
    /// changes nothing.
    post_request: HookList = HookList::default() => "none", Live;
    later {}
}

/// A turning point in the life of the daemon; see circusd-hooks(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by its row in `[hooks]`")]
#[non_exhaustive]
pub enum DaemonHook {
    PreStart,
    WhenReady,
    PostStart,
    PreStop,
    WhenExit,
    ConnectionMade,
    ConnectionLost,
    PreRequest,
    PostRequest,
}

impl DaemonHook {
    /// All of them, in the order of the rows.
    pub const ALL: [Self; 9] = [
        Self::PreStart,
        Self::WhenReady,
        Self::PostStart,
        Self::PreStop,
        Self::WhenExit,
        Self::ConnectionMade,
        Self::ConnectionLost,
        Self::PreRequest,
        Self::PostRequest,
    ];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreStart => "pre_start",
            Self::WhenReady => "when_ready",
            Self::PostStart => "post_start",
            Self::PreStop => "pre_stop",
            Self::WhenExit => "when_exit",
            Self::ConnectionMade => "connection_made",
            Self::ConnectionLost => "connection_lost",
            Self::PreRequest => "pre_request",
            Self::PostRequest => "post_request",
        }
    }
}

impl DaemonHooks {
    /// What is asked there, in order; nothing where there is no hook.
    pub fn at(&self, hook: DaemonHook) -> &[Hook] {
        let list = match hook {
            DaemonHook::PreStart => &self.pre_start,
            DaemonHook::WhenReady => &self.when_ready,
            DaemonHook::PostStart => &self.post_start,
            DaemonHook::PreStop => &self.pre_stop,
            DaemonHook::WhenExit => &self.when_exit,
            DaemonHook::ConnectionMade => &self.connection_made,
            DaemonHook::ConnectionLost => &self.connection_lost,
            DaemonHook::PreRequest => &self.pre_request,
            DaemonHook::PostRequest => &self.post_request,
        };
        &list.0
    }

    /// Gives a time-out to every hook that was written without one.
    pub(crate) fn limit(&mut self, timeout: Duration) {
        let lists = [
            &mut self.pre_start,
            &mut self.when_ready,
            &mut self.post_start,
            &mut self.pre_stop,
            &mut self.when_exit,
            &mut self.connection_made,
            &mut self.connection_lost,
            &mut self.pre_request,
            &mut self.post_request,
        ];
        for list in lists {
            list.limit(timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Section;

    #[test]
    fn every_hook_has_its_row_and_its_list() {
        let keys: Vec<_> = Section::Hooks.rows().iter().map(|row| row.key).collect();
        let names: Vec<_> = DaemonHook::ALL.iter().map(|hook| hook.as_str()).collect();
        assert_eq!(keys, names);
    }
}
