//! The limit on our own descriptors.
//!
//! A daemon with thousands of workers needs more than the usual soft limit of 1024. Workers do not, and one that
//! uses select(2) breaks with a descriptor beyond it, so they get the old limit back (systemd keeps its services
//! at 1024 for that reason: systemd.exec(5), `LimitNOFILE=`).

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// `RLIMIT_NOFILE` before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// What we were started with, soft and hard: for the workers.
    pub original: (u64, u64),
    /// The soft limit now in force for us.
    pub ours: u64,
}

impl Descriptors {
    /// The original as an entry of [`super::spawn::Command::rlimits`].
    #[must_use]
    pub fn for_workers(&self) -> (Resource, u64, u64) {
        (Resource::RLIMIT_NOFILE, self.original.0, self.original.1)
    }
}

/// Raises our soft limit on descriptors to the hard one.
///
/// # Errors
///
/// Those of setrlimit(2); none is expected.
pub fn raise_descriptors() -> io::Result<Descriptors> {
    let original = getrlimit(Resource::RLIMIT_NOFILE)?;
    let (_, hard) = original;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(Descriptors {
        original,
        ours: hard,
    })
}

/// The limit as it is, for who is not to change it.
///
/// # Errors
///
/// Those of getrlimit(2); none is expected.
pub fn descriptors() -> io::Result<Descriptors> {
    let original = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(Descriptors {
        original,
        ours: original.0,
    })
}

/// Puts our soft limit back to what it was, as another program in this process expects it. Nothing is lost
/// if that fails: its workers get the higher limit.
pub fn restore_descriptors(descriptors: &Descriptors) {
    let (soft, hard) = descriptors.original;
    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::pidfd::ExitStatus;
    use crate::sys::spawn::spawn;
    use crate::sys::testing::{alone, script, wait};

    #[test]
    fn ours_is_raised_and_workers_get_the_old_one() {
        if !alone(
            "sys::limits::tests::ours_is_raised_and_workers_get_the_old_one",
            vec![(Resource::RLIMIT_NOFILE, 64, 256)],
        ) {
            return;
        }
        let limits = raise_descriptors().unwrap();
        assert_eq!((limits.original, limits.ours), ((64, 256), 256));
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (256, 256));
        let mut command = script("test \"$(ulimit -Sn) $(ulimit -Hn)\" = '64 256'");
        command.rlimits.push(limits.for_workers());
        let child = spawn(&command, &[], None).unwrap();
        assert_eq!(wait(&child), ExitStatus::Exited(0));
    }
}
