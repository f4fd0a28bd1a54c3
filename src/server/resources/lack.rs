//! Why something is not limited, in words.

use std::io;
use std::path::PathBuf;

use crate::sys::cgroup::{Controller, Limit, LimitError};

/// Why something is not limited.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum Lack {
    /// The group that was handed to us does not have it, or there is none.
    #[error(
        "the controller '{0}' is not delegated to circusd (see Delegate= in \
         systemd.resource-control(5))"
    )]
    NotDelegated(Controller),
    /// Processes that are not ours to move are where none may be.
    #[error(
        "other processes live in '{}', which therefore cannot hand down the controller '{controller}'",
        group.display()
    )]
    Occupied {
        group: PathBuf,
        controller: Controller,
    },
    /// The kernel does not hand it down.
    #[error("handing the controller '{controller}' down from '{}': {source}", group.display())]
    HandDown {
        group: PathBuf,
        controller: Controller,
        source: io::Error,
    },
    /// The kernel does not take the limit.
    #[error("{}", chain(.0))]
    Refused(LimitError),
    /// The group cannot be looked into.
    #[error("opening '{}': {source}", group.display())]
    Closed { group: PathBuf, source: io::Error },
    /// A share of the memory cannot be told in bytes.
    #[error("reading how much memory there is: {0}")]
    Immeasurable(io::Error),
}

fn chain(error: &LimitError) -> String {
    format!("{error}: {}", error.source)
}

/// Something that was to be limited and is not.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", stage(*.limit))]
pub(in crate::server) struct Unlimited {
    pub(in crate::server) limit: Limit,
    #[source]
    pub(in crate::server) why: Lack,
}

impl Unlimited {
    /// What was being done.
    pub(in crate::server) fn stage(&self) -> &'static str {
        stage(self.limit)
    }

    /// The setting of a watcher that asks for it.
    pub(in crate::server) fn key(&self) -> &'static str {
        match self.limit {
            Limit::OomGroup => "oom",
            Limit::CpuWeight
            | Limit::CpuMax
            | Limit::IoWeight
            | Limit::MemoryHigh
            | Limit::MemoryMax
            | Limit::MemorySwapMax
            | Limit::PidsMax => "resources",
        }
    }

    /// What the kernel said, 0 if it was not asked.
    pub(in crate::server) fn errno(&self) -> i32 {
        let source = match &self.why {
            Lack::HandDown { source, .. } | Lack::Closed { source, .. } => source,
            Lack::Refused(error) => &error.source,
            Lack::Immeasurable(source) => source,
            Lack::NotDelegated(_) | Lack::Occupied { .. } => return 0,
        };
        source.raw_os_error().unwrap_or(0)
    }
}

fn stage(limit: Limit) -> &'static str {
    match limit {
        Limit::CpuWeight | Limit::CpuMax => "limiting its CPU time",
        Limit::IoWeight => "limiting its use of disks",
        Limit::MemoryHigh | Limit::MemoryMax | Limit::MemorySwapMax => "limiting its memory",
        Limit::OomGroup => "tying its processes together for want of memory",
        Limit::PidsMax => "limiting the number of its tasks",
    }
}
