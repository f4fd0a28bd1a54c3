//! The capabilities that circusd keeps (capabilities(7)): those that supervising takes, and those that a
//! watcher gives to its processes. All others are given up at start.
//!
//! The bounding set stays whole: whatever root executes outside a watcher, a hook or circusd itself
//! by `circusctl reexec`, has what root may have. So this is no prison for root; it is what a fault
//! of ours cannot do.

use ::caps::Capability;

use crate::config::Config;
use crate::sys::caps::{self, Capabilities, Held};

/// What supervising takes, and what for.
const NEEDED: [Capability; 11] = [
    // Sockets, logs and directories that belong to others: `socket_group`, `uid`.
    Capability::CAP_CHOWN,
    // Files and sockets of workers in the directories of their users.
    Capability::CAP_DAC_OVERRIDE,
    // The modes of what was given away.
    Capability::CAP_FOWNER,
    // Workers that are other users.
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    // Workers have a bounding set of their own.
    Capability::CAP_SETPCAP,
    // `[socket.NAME]` below port 1024.
    Capability::CAP_NET_BIND_SERVICE,
    // What /proc tells of workers that are other users, and their sockets after our death.
    Capability::CAP_SYS_PTRACE,
    // `nice`, `ioprio`.
    Capability::CAP_SYS_NICE,
    // `rlimits`, `oom_score_adj`.
    Capability::CAP_SYS_RESOURCE,
];

/// Gives up what neither circusd nor a watcher of this configuration needs. To be called while there
/// is but one thread.
pub(super) fn give_up(config: &Config) -> Held {
    let named = config
        .watchers
        .iter()
        .flat_map(|watcher| &watcher.capabilities);
    let needed = NEEDED.into_iter().chain(named.map(|named| named.0));
    let kept = caps::keep_only(needed.collect());
    kept.unwrap_or_else(|error| {
        tracing::warn!("failed to give up capabilities that are not needed, keeping them: {error}");
        caps::held().unwrap_or_default()
    })
}

/// A capability that a watcher names and that circusd cannot give.
#[derive(Debug, thiserror::Error)]
#[error("circusd does not have {capability}{}", self.remedy())]
pub(super) struct Lacking {
    capability: Capability,
    /// It was given up.
    forgone: bool,
}

impl Lacking {
    fn remedy(&self) -> &'static str {
        match self.forgone {
            true => {
                ", which no watcher named when it started: restart it, which no process notices, and \
                 try again"
            }
            false => "",
        }
    }
}

/// Whether processes can be given what is `named`.
///
/// # Errors
///
/// The first that we do not hold.
pub(super) fn check(named: Capabilities, held: &Held) -> Result<(), Lacking> {
    match named.iter().find(|one| !held.permitted.contains(*one)) {
        None => Ok(()),
        Some(capability) => Err(Lacking {
            capability,
            forgone: held.bounding.contains(capability) && !held.permitted.is_empty(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// What the lines `CapabilityBoundingSet=PREFIX...` of a unit name.
    fn named(unit: &str, prefix: &str) -> BTreeSet<String> {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("systemd")
            .join(unit);
        let text = std::fs::read_to_string(unit).unwrap();
        let key = format!("CapabilityBoundingSet={prefix}CAP_");
        let lines = text.lines().filter(|line| line.starts_with(&key));
        let named = lines.flat_map(|line| line[key.len() - 4..].split(' '));
        named.map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_units_leave_what_is_needed() {
        let needed = NEEDED
            .iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>();
        assert_eq!(named("circusd.service.d/closed.conf", ""), needed);
        let taken = named("circusd.service", "~");
        assert!(!taken.is_empty() && taken.is_disjoint(&needed), "{taken:?}");
    }
}
