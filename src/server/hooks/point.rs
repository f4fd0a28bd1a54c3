//! The turning points at which others are asked: those that core knows, and those that it does not.

use crate::config::{DaemonHook, HookName};
use crate::core::Hook;

/// When somebody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Point {
    /// Core says when, and what follows.
    Watcher(Hook),
    /// Somebody wants all figures of a process.
    ExtendedStats,
    /// In the life of the daemon.
    Daemon(DaemonHook),
    /// No hook: whether a process is ready, as its watcher wants to know.
    Readiness,
    /// No hook: whether a process is healthy.
    Health,
}

impl Point {
    /// The word in configurations, contexts and events.
    pub(in crate::server) const fn as_str(self) -> &'static str {
        match self {
            Point::Watcher(hook) => hook.as_str(),
            Point::ExtendedStats => "extended_stats",
            Point::Daemon(hook) => hook.as_str(),
            Point::Readiness => "ready",
            Point::Health => "health",
        }
    }

    /// One of a watcher, as the configuration has it.
    pub(super) const fn of(name: HookName) -> Point {
        match name {
            HookName::BeforeStart => Point::Watcher(Hook::BeforeStart),
            HookName::AfterStart => Point::Watcher(Hook::AfterStart),
            HookName::BeforeSpawn => Point::Watcher(Hook::BeforeSpawn),
            HookName::AfterSpawn => Point::Watcher(Hook::AfterSpawn),
            HookName::BeforeStop => Point::Watcher(Hook::BeforeStop),
            HookName::AfterStop => Point::Watcher(Hook::AfterStop),
            HookName::BeforeSignal => Point::Watcher(Hook::BeforeSignal),
            HookName::AfterSignal => Point::Watcher(Hook::AfterSignal),
            HookName::BeforeReap => Point::Watcher(Hook::BeforeReap),
            HookName::AfterReap => Point::Watcher(Hook::AfterReap),
            HookName::ExtendedStats => Point::ExtendedStats,
        }
    }

    /// The one of that name that clients may register for: when `pre_start` is asked, there are
    /// none.
    pub(super) fn named(word: &str) -> Option<Point> {
        let daemon = DaemonHook::ALL.map(Point::Daemon).into_iter();
        let watchers = crate::config::HOOKS.iter().map(|row| Point::of(row.name));
        watchers
            .chain(daemon.filter(|point| *point != Point::Daemon(DaemonHook::PreStart)))
            .find(|point| point.as_str() == word)
    }

    /// Whether it is a hook, with a context and a place in the log, and not the probe of a process, which
    /// may be asked once a second.
    pub(super) const fn is_hook(self) -> bool {
        match self {
            Point::Watcher(_) | Point::ExtendedStats | Point::Daemon(_) => true,
            Point::Readiness | Point::Health => false,
        }
    }

    /// Whether it is in the life of the daemon.
    pub(super) const fn is_daemons(self) -> bool {
        matches!(self, Point::Daemon(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HOOKS;

    #[test]
    fn every_hook_has_the_same_name_in_all_rooms() {
        for row in &HOOKS {
            assert_eq!(Point::of(row.name).as_str(), row.name.as_str());
        }
    }

    #[test]
    fn every_hook_but_the_first_can_be_registered_for() {
        let daemon = DaemonHook::ALL.iter().map(|hook| hook.as_str());
        for word in HOOKS.iter().map(|row| row.name.as_str()).chain(daemon) {
            let found = Point::named(word).map(Point::as_str);
            assert_eq!(found, Some(word).filter(|word| *word != "pre_start"));
        }
    }
}
