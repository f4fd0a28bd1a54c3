//! What this machine and this user allow us, found out once at start by trying.
//!
//! Decides nothing: the daemon tells what is missing and goes on without it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ::caps::Capability;
use nix::unistd::Pid;

use super::cgroup::{Cgroup, Controller, delegated};
use super::spawn::{Method, method};
use super::{caps, journal, tree};

/// Something that is there, or the sentence that says what has to be done without it.
pub type Ability<T = ()> = Result<T, String>;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Processes are made by `clone3`.
    pub clone3: Ability,
    /// They are born in their cgroup.
    pub into_cgroup: Ability,
    /// The group below which we may make groups.
    pub cgroup_base: Ability<PathBuf>,
    /// A group can be killed at once.
    pub cgroup_kill: Ability,
    /// A group can be frozen.
    pub cgroup_freeze: Ability,
    /// Groups can be limited in what each of [`Controller::ALL`] is for.
    pub controllers: Ability,
    /// Orphans of our workers come to us.
    pub subreaper: Ability,
    /// Workers may run as another user.
    pub change_user: Ability,
    /// Workers may write to the journal.
    pub journal: Ability,
}

impl Abilities {
    /// A sentence for each that is missing, in the order of the fields.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        [
            self.clone3.as_ref().err(),
            self.into_cgroup.as_ref().err(),
            self.cgroup_base.as_ref().err(),
            self.cgroup_kill.as_ref().err(),
            self.cgroup_freeze.as_ref().err(),
            self.controllers.as_ref().err(),
            self.subreaper.as_ref().err(),
            self.change_user.as_ref().err(),
            self.journal.as_ref().err(),
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
    }
}

/// Finds out. Makes us a subreaper, and makes and removes one group; otherwise leaves everything as it is.
#[must_use]
pub fn probe() -> Abilities {
    let cgroup = probe_cgroup();
    Abilities {
        clone3: clone3(method()),
        into_cgroup: into_cgroup(method(), cgroup.is_ok()),
        cgroup_kill: cgroup.as_ref().map_or(Ok(()), |found| found.kill.clone()),
        cgroup_freeze: cgroup.as_ref().map_or(Ok(()), |found| found.freeze.clone()),
        controllers: (cgroup.as_ref()).map_or(Ok(()), |found| found.controllers.clone()),
        cgroup_base: cgroup.map(|found| found.base),
        subreaper: tree::become_subreaper().map_err(|error| {
            format!("orphans of workers leave us, as we cannot be made their subreaper: {error}")
        }),
        change_user: change_user(),
        journal: journal(Path::new(journal::SOCKET)),
    }
}

fn clone3(method: Method) -> Ability {
    match method {
        Method::Clone3IntoCgroup | Method::Clone3 => Ok(()),
        Method::Clone => Err("clone3 is refused here, so processes are made by clone".into()),
    }
}

/// Without a cgroup there is nothing to be born in, and one sentence about that is enough.
fn into_cgroup(method: Method, has_cgroup: bool) -> Ability {
    match method {
        Method::Clone3IntoCgroup => Ok(()),
        Method::Clone3 | Method::Clone if !has_cgroup => Ok(()),
        Method::Clone3 | Method::Clone => {
            Err("a worker cannot be born in its cgroup here, so it moves itself there before it executes".into())
        }
    }
}

struct CgroupAbilities {
    base: PathBuf,
    kill: Ability,
    freeze: Ability,
    controllers: Ability,
}

fn probe_cgroup() -> Result<CgroupAbilities, String> {
    let without = |why: &dyn std::fmt::Display| {
        format!(
            "{why}, so workers are held together by session, parentage and environment alone: one that leaves \
             all three is noticed only when we end"
        )
    };
    let base = delegated().map_err(|why| without(&why))?;
    let refused = |error: std::io::Error| {
        without(&format_args!(
            "no cgroup can be made below '{}' ({error})",
            base.display()
        ))
    };
    let parent = Cgroup::open(&base).map_err(refused)?;
    let group =
        Cgroup::create(&parent, format!("circusd-probe-{}", Pid::this())).map_err(refused)?;
    let controllers = controllers(&parent.controllers().map_err(refused)?);
    // What CLONE_INTO_CGROUP asks permission for, too.
    let enter = group.open_procs().map(drop);
    let (kill, freeze) = (group.has("cgroup.kill"), group.has("cgroup.freeze"));
    // That somebody has put a process into it meanwhile says nothing about us.
    let removed = group.remove().map(drop);
    enter.and(removed).map_err(refused)?;
    let lacking = |has: bool, sentence: &str| {
        if has {
            Ok(())
        } else {
            Err(sentence.to_owned())
        }
    };
    Ok(CgroupAbilities {
        base,
        kill: lacking(
            kill,
            "cgroups cannot be killed at once here, so their processes are killed one by one",
        ),
        freeze: lacking(
            freeze,
            "cgroups cannot be frozen here, so workers cannot be paused",
        ),
        controllers,
    })
}

fn controllers(has: &BTreeSet<Controller>) -> Ability {
    let lacking = Controller::ALL.into_iter().filter(|one| !has.contains(one));
    let lacking: Vec<_> = lacking.map(Controller::as_str).collect();
    match lacking.as_slice() {
        [] => Ok(()),
        [one] => Err(format!(
            "the controller {one} is not delegated to us, so no worker can be held to a limit that needs it"
        )),
        _ => Err(format!(
            "the controllers {} are not delegated to us, so no worker can be held to a limit that needs one of them",
            lacking.join(", ")
        )),
    }
}

fn change_user() -> Ability {
    let held = caps::held().map_err(|error| {
        format!("our capabilities cannot be read ({error}), so we count on none: workers run as our own user")
    })?;
    let has = |capability| held.effective.contains(capability);
    if has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID) {
        return Ok(());
    }
    Err("we may not change users, so all workers run as our own user".into())
}

fn journal(socket: &Path) -> Ability {
    if socket.exists() {
        return Ok(());
    }
    Err("no journal runs here, so workers' output cannot go there".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::is_root;

    #[test]
    fn what_is_missing_is_said_in_sentences() {
        let abilities = probe();
        eprintln!("measured: {abilities:#?}");
        assert_eq!(abilities.subreaper, Ok(()));
        for sentence in abilities.missing() {
            assert!(
                sentence.contains(", so ") && !sentence.ends_with('.'),
                "{sentence}"
            );
        }
        assert_eq!(probe(), abilities, "probing changes nothing");
        if let Ok(base) = &abilities.cgroup_base {
            let left = std::fs::read_dir(base)
                .unwrap()
                .filter_map(Result::ok)
                .any(|entry| {
                    entry.file_name().to_string_lossy() == format!("circusd-probe-{}", Pid::this())
                });
            assert!(!left, "the probe's group is left in {}", base.display());
        }
    }

    #[test]
    fn each_substitute_has_its_sentence() {
        assert!(clone3(Method::Clone).is_err() && clone3(Method::Clone3).is_ok());
        assert!(
            into_cgroup(Method::Clone, true).is_err() && into_cgroup(Method::Clone, false).is_ok()
        );
        assert!(journal(Path::new("/proc/none")).is_err());
        assert!(controllers(&Controller::ALL.into()).is_ok());
        assert!(controllers(&BTreeSet::new()).is_err());
    }

    #[test]
    fn without_capabilities_users_cannot_be_changed() {
        if !is_root() {
            return;
        }
        let unprivileged = std::thread::spawn(|| {
            caps::keep_only(caps::Capabilities::NONE).unwrap();
            change_user()
        });
        assert!(unprivileged.join().unwrap().is_err());
        assert_eq!(change_user(), Ok(()));
    }
}
