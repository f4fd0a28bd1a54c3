//! Capabilities (capabilities(7)): as a set for a worker, and our own, which only ever get fewer.
//!
//! The bounding set of the daemon is left whole: it is what the workers' come from.

use std::fmt;
use std::str::FromStr;

use ::caps::{CapSet, Capability, CapsHashSet};

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// One bit for each, as in `/proc/PID/status`.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether `capability` is in it.
    #[must_use]
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bitmask() != 0
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of it that are in `other` too.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its members, in the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        let mut all: Vec<Capability> = ::caps::all().into_iter().collect();
        all.sort_unstable_by_key(Capability::index);
        all.into_iter()
            .filter(move |&capability| self.contains(capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        Self(
            capabilities
                .into_iter()
                .fold(0, |bits, capability| bits | capability.bitmask()),
        )
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// There is no capability of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability '{name}'")]
pub struct UnknownCapability {
    /// As it was written.
    pub name: String,
}

/// The capability called `name`: `CAP_NET_BIND_SERVICE`, or shorter and in small letters
/// `net_bind_service`.
///
/// # Errors
///
/// [`UnknownCapability`].
pub fn by_name(name: &str) -> Result<Capability, UnknownCapability> {
    Capability::from_str(&::caps::to_canonical(name)).map_err(|_| UnknownCapability {
        name: name.to_owned(),
    })
}

/// The capabilities of the calling thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// In force.
    pub effective: Capabilities,
    /// May be put in force.
    pub permitted: Capabilities,
    /// The most that anything executed by us can have.
    pub bounding: Capabilities,
}

/// What the calling thread holds.
///
/// # Errors
///
/// Those of capget(2) and prctl(2); none is expected.
pub fn held() -> Result<Held, ::caps::errors::CapsError> {
    let read = |set| ::caps::read(None, set).map(Capabilities::from_iter);
    Ok(Held {
        effective: read(CapSet::Effective)?,
        permitted: read(CapSet::Permitted)?,
        bounding: read(CapSet::Bounding)?,
    })
}

/// Gives up all capabilities but `needed`, for good; one that we do not hold is not gained.
///
/// Changes the calling thread only: to be called while there is but one. The bounding set stays, so a
/// program executed as root still has what root may have; what others inherit from us only gets less.
///
/// # Errors
///
/// Those of capset(2); none is expected, as only less is asked for.
pub fn keep_only(needed: Capabilities) -> Result<Held, ::caps::errors::CapsError> {
    let only = |set| -> Result<CapsHashSet, ::caps::errors::CapsError> {
        let held = Capabilities::from_iter(::caps::read(None, set)?);
        Ok(held.intersection(needed).iter().collect())
    };
    let kept = only(CapSet::Permitted)?;
    // The kernel takes out of the ambient set what leaves one of the other two.
    ::caps::set(None, CapSet::Inheritable, &only(CapSet::Inheritable)?)?;
    // In this order: what is in force must be permitted.
    ::caps::set(None, CapSet::Effective, &kept)?;
    ::caps::set(None, CapSet::Permitted, &kept)?;
    held()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::is_root;

    #[test]
    fn names_are_understood_in_both_spellings() {
        assert_eq!(by_name("CAP_CHOWN"), Ok(Capability::CAP_CHOWN));
        assert_eq!(
            by_name("net_bind_service"),
            Ok(Capability::CAP_NET_BIND_SERVICE)
        );
        assert_eq!(
            by_name("chwon").unwrap_err().to_string(),
            "unknown capability 'chwon'"
        );
    }

    #[test]
    fn a_set_is_its_members() {
        let set: Capabilities = [Capability::CAP_CHOWN, Capability::CAP_BPF]
            .into_iter()
            .collect();
        assert!(set.contains(Capability::CAP_BPF) && !set.contains(Capability::CAP_KILL));
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Capability::CAP_CHOWN, Capability::CAP_BPF]
        );
        assert!(Capabilities::NONE.is_empty());
    }

    #[test]
    fn what_is_given_up_is_gone_and_the_bounding_set_stays() {
        if !is_root() {
            return;
        }
        // Capabilities are a thread's own.
        let changed = std::thread::spawn(|| {
            let before = held().unwrap();
            let needed: Capabilities = [Capability::CAP_KILL].into_iter().collect();
            let after = keep_only(needed).unwrap();
            assert_eq!(after.effective, needed.intersection(before.permitted));
            assert_eq!(after.permitted, after.effective);
            assert_eq!(after.bounding, before.bounding);
            let chown = [Capability::CAP_CHOWN].into_iter().collect();
            assert_eq!(keep_only(chown).unwrap().effective, Capabilities::NONE);
        });
        changed.join().unwrap();
    }
}
