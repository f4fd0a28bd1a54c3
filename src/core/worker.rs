//! One process from the wish for it to the last of its tree.
//!
//! ```text
//!  before_spawn ─► Spawning ─► after_spawn ─► Starting ─► Running
//!       │             │             │             │          │ told to end
//!       │             │             └──────┬──────┴──────────┤
//!    refused      failed: gone             ▼                 ▼
//!                                       Stopping ────────► Ended ─► reaped and its tree empty: gone
//! ```
//!
//! A worker on its way out still holds its place, so that there are never more than asked.

use super::{By, Exit, HookId, Revision, Time, WorkerId};
use std::time::Duration;

/// What is known of one process.
#[derive(Debug)]
pub struct Worker {
    pub(super) id: WorkerId,
    pub(super) wid: u32,
    pub(super) generation: u64,
    pub(super) revision: Revision,
    pub(super) life: Life,
    /// To be replaced, and why.
    pub(super) outdated: Option<By>,
    pub(super) pid: Option<i32>,
    /// When it was asked for, and from its spawn on, when it was spawned.
    pub(super) started: Time,
    pub(super) ready: Option<Time>,
    pub(super) stop: Option<Stop>,
    pub(super) exit: Option<Exit>,
    /// Nothing is left of its tree.
    pub(super) emptied: bool,
    /// It was taken over from an earlier supervisor.
    pub(super) adopted: bool,
    /// What is told of it by itself and by those who look after it.
    pub(super) vitals: Vitals,
    /// Its share of the watcher's `max_age_variance`, drawn once.
    pub(super) age_share: f64,
}

/// What is told of a process while it runs.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    /// Why it is not ready yet.
    pub(super) not_ready: Option<String>,
    /// Since when it is waited for to be ready; a thaw begins anew.
    pub(super) awaited: Option<Time>,
    /// Until when it has asked to be waited for.
    pub(super) extended: Option<Time>,
    /// Somebody finds out about it.
    pub(super) probed: bool,
    /// The interval that it has asked for itself.
    pub(super) watchdog: Option<Duration>,
    /// Requests served.
    pub(super) requests: u64,
    /// Why it was not fit to go on.
    pub(super) fault: Option<Box<str>>,
    /// When the kernel has last killed something of it for want of memory.
    pub(super) out_of_memory: Option<Time>,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The hook is asked whether it may be.
    BeforeSpawn(HookId),
    /// The hook has said yes; the kernel is asked if it is still wanted.
    Allowed,
    /// The kernel is asked for it.
    Spawning,
    /// It runs; the hook is asked whether it may go on.
    AfterSpawn(HookId),
    /// It runs and is not ready yet.
    Starting,
    /// It is ready.
    Running,
    /// It was told to end.
    Stopping,
    /// The main process has ended; the hook is told.
    BeforeReap(HookId),
    /// The end was told to everybody; the hook is told.
    AfterReap(HookId),
    /// All was said; what is left of its tree is on its way out.
    Reaped,
}

impl Life {
    /// The kernel was not asked for it yet.
    pub(super) fn is_pending(self) -> bool {
        matches!(self, Life::BeforeSpawn(_) | Life::Allowed)
    }
}

/// That, why and until when a process is asked to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) by: By,
    /// When its tree is killed, and after that killed again.
    pub(super) kill_at: Time,
    /// The pause before the next kill; `None` before the first.
    pub(super) killed: Option<Duration>,
    /// It has used up its grace.
    pub(super) overdue: bool,
}

/// A process as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    /// Fork and exec are under way, or a hook is asked.
    Spawning,
    /// Waiting for readiness.
    Starting,
    /// Ready.
    Running,
    /// Told to end, or ended and not yet gone.
    Stopping,
}

/// How a process counts for its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Of the present kind: not ready, ready, going.
    Fresh(Standing),
    /// To be replaced.
    Old(Standing),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Unready,
    Ready,
    Going,
}

impl Worker {
    pub(super) fn class(&self) -> Class {
        let standing = match self.life {
            _ if self.stop.is_some() => Standing::Going,
            Life::BeforeSpawn(_)
            | Life::Allowed
            | Life::Spawning
            | Life::AfterSpawn(_)
            | Life::Starting => Standing::Unready,
            Life::Running => Standing::Ready,
            Life::Stopping | Life::BeforeReap(_) | Life::AfterReap(_) | Life::Reaped => {
                Standing::Going
            }
        };
        match self.outdated {
            Some(_) => Class::Old(standing),
            None => Class::Fresh(standing),
        }
    }

    /// Whether it is ready and was not told to end.
    pub(super) fn in_service(&self) -> bool {
        self.life == Life::Running && self.stop.is_none()
    }

    /// Whether it is waited for to be ready.
    pub(super) fn starts(&self) -> bool {
        self.life == Life::Starting && self.stop.is_none()
    }

    /// Whether the main process runs: it was spawned and has not ended.
    pub(super) fn runs(&self) -> bool {
        self.pid.is_some() && self.exit.is_none()
    }

    /// Which process this is.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Its place in the pool, from 1.
    #[must_use]
    pub fn wid(&self) -> u32 {
        self.wid
    }

    /// Its pid, once it was spawned.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// How often the watcher's processes had been replaced when it was made.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What it was made from.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// When it was spawned (or asked for, if it is not yet).
    #[must_use]
    pub fn started(&self) -> Time {
        self.started
    }

    /// How its main process ended, once it has.
    #[must_use]
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    /// Whether it was taken over from an earlier supervisor.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// When it became ready.
    #[must_use]
    pub fn ready(&self) -> Option<Time> {
        self.ready
    }

    /// When its tree is killed, or killed again, once it was told to end.
    #[must_use]
    pub fn kill_at(&self) -> Option<Time> {
        self.stop.map(|stop| stop.kill_at)
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> ProcessState {
        match self.life {
            Life::BeforeSpawn(_) | Life::Allowed | Life::Spawning => ProcessState::Spawning,
            _ if self.stop.is_some() => ProcessState::Stopping,
            Life::AfterSpawn(_) | Life::Starting => ProcessState::Starting,
            Life::Running => ProcessState::Running,
            Life::Stopping | Life::BeforeReap(_) | Life::AfterReap(_) | Life::Reaped => {
                ProcessState::Stopping
            }
        }
    }
}
