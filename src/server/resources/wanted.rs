//! From what is configured for a watcher to what the kernel is told.

use super::{Lack, Unlimited};
use crate::config::{self, Oom, Watcher};
use crate::sys::cgroup::{CpuMax, Limit, Limits};
use crate::sys::memory::{self, Installed};

/// What a watcher asks for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Wanted {
    /// For all its processes together.
    pub(super) all: Limits,
    /// For each of them, with what it starts.
    pub(super) each: Limits,
    /// They may run without.
    pub(super) optional: bool,
}

impl Wanted {
    /// As it is configured; what is a share is one of what the machine has now.
    ///
    /// # Errors
    ///
    /// It cannot be found out how much that is.
    pub(super) fn of(watcher: &Watcher) -> Result<Wanted, Unlimited> {
        let resources = &watcher.resources;
        let each = limits(&resources.each)?;
        Ok(Wanted {
            all: limits(&resources.all)?,
            each: Limits {
                oom_group: watcher.oom == Oom::Group,
                ..each
            },
            optional: resources.optional,
        })
    }

    /// Which limits, of the watcher or of each process.
    pub(super) fn asked(self) -> impl Iterator<Item = Limit> {
        let asked = move |limit: &Limit| self.all.has(*limit) || self.each.has(*limit);
        Limit::ALL.into_iter().filter(asked)
    }
}

fn limits(amounts: &config::Amounts) -> Result<Limits, Unlimited> {
    let swap = |installed: Installed| installed.swap;
    let memory = |installed: Installed| installed.memory;
    Ok(Limits {
        cpu_weight: amounts.cpu_weight,
        cpu_max: amounts.cpu_max.map(|max| CpuMax {
            quota_usec: max.quota_usec,
            period_usec: max.period_usec,
        }),
        io_weight: amounts.io_weight,
        memory_high: bytes(amounts.memory_high, Limit::MemoryHigh, memory)?,
        memory_max: bytes(amounts.memory_max, Limit::MemoryMax, memory)?,
        memory_swap_max: bytes(amounts.memory_swap_max, Limit::MemorySwapMax, swap)?,
        oom_group: false,
        pids_max: amounts.pids_max,
    })
}

/// Only a share depends on the machine.
fn bytes(
    amount: Option<config::Memory>,
    limit: Limit,
    total: impl Fn(Installed) -> u64,
) -> Result<Option<u64>, Unlimited> {
    let bytes = match amount {
        None => return Ok(None),
        Some(config::Memory::Bytes(bytes)) => bytes,
        Some(config::Memory::Unlimited) => u64::MAX,
        Some(config::Memory::Percent(share)) => {
            let installed = memory::installed().map_err(|error| Unlimited {
                limit,
                why: Lack::Immeasurable(error),
            })?;
            (total(installed) as f64 * share / 100.0) as u64
        }
    };
    Ok(Some(bytes))
}
