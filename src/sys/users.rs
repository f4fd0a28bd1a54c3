//! Users and groups, by name or number, as the machine's databases have them (passwd(5), nsswitch.conf(5)).
//!
//! These calls may ask a network service, as the machine is set up, and block meanwhile.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Uid};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name; of a number that the database does not know, that number.
    pub name: String,
    /// The number.
    pub uid: Uid,
    /// The primary group; without an entry, none is known.
    pub gid: Option<Gid>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The login shell.
    pub shell: Option<PathBuf>,
}

/// Why a user or group is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Nobody is called that.
    #[error("unknown user '{name}'")]
    UnknownUser {
        /// As it was written.
        name: String,
    },
    /// No group is called that.
    #[error("unknown group '{name}'")]
    UnknownGroup {
        /// As it was written.
        name: String,
    },
    /// The database did not answer.
    #[error("failed to look up '{name}'")]
    Database {
        /// What was looked up.
        name: String,
        /// What it said.
        #[source]
        source: Errno,
    },
}

/// The user called `name`, or of that number; a number need not be in the database.
///
/// # Errors
///
/// [`LookupError`]. The number 2³²-1 is none: the kernel takes it for "leave as it is".
pub fn user(name: &str) -> Result<User, LookupError> {
    let database = |source| LookupError::Database {
        name: name.to_owned(),
        source,
    };
    let unknown = || LookupError::UnknownUser {
        name: name.to_owned(),
    };
    if let Some(entry) = lookup(unistd::User::from_name(name)).map_err(database)? {
        return Ok(entry.into());
    }
    let uid = number(name).map(Uid::from_raw).ok_or_else(unknown)?;
    by_uid(uid)
}

/// The user of that number; need not be in the database.
///
/// # Errors
///
/// [`LookupError::Database`].
pub fn by_uid(uid: Uid) -> Result<User, LookupError> {
    let entry = lookup(unistd::User::from_uid(uid)).map_err(|source| LookupError::Database {
        name: uid.to_string(),
        source,
    })?;
    Ok(entry.map_or_else(
        || User {
            name: uid.to_string(),
            uid,
            gid: None,
            home: None,
            shell: None,
        },
        User::from,
    ))
}

/// The number of the group called `name`, or that number; a number need not be in the database.
///
/// # Errors
///
/// [`LookupError`].
pub fn group(name: &str) -> Result<Gid, LookupError> {
    match lookup(unistd::Group::from_name(name)) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => number(name)
            .map(Gid::from_raw)
            .ok_or_else(|| LookupError::UnknownGroup {
                name: name.to_owned(),
            }),
        Err(source) => Err(LookupError::Database {
            name: name.to_owned(),
            source,
        }),
    }
}

impl User {
    /// All groups of the user, with `primary` among them.
    ///
    /// A user without an entry has but that one.
    ///
    /// # Errors
    ///
    /// [`LookupError::Database`].
    pub fn groups(&self, primary: Gid) -> Result<Vec<Gid>, LookupError> {
        if self.gid.is_none() {
            return Ok(vec![primary]);
        }
        let database = |source| LookupError::Database {
            name: self.name.clone(),
            source,
        };
        let name = CString::new(self.name.as_str()).map_err(|_| database(Errno::EINVAL))?;
        unistd::getgrouplist(&name, primary).map_err(database)
    }
}

/// Whether the user of that number is in one of `groups`, by the database; for a process that has connected,
/// what the kernel says of it is better ([`super::socket::Peer::groups`]).
///
/// # Errors
///
/// [`LookupError::Database`].
pub fn is_member(uid: Uid, groups: &[Gid]) -> Result<bool, LookupError> {
    let user = by_uid(uid)?;
    let Some(primary) = user.gid else {
        return Ok(false);
    };
    Ok(user.groups(primary)?.iter().any(|gid| groups.contains(gid)))
}

/// getpwnam_r(3): "not found" comes as one of several errors, depending on the database.
fn lookup<T>(result: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match result {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        result => result,
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|&number| digits && number != u32::MAX)
}

impl From<unistd::User> for User {
    fn from(entry: unistd::User) -> Self {
        Self {
            name: entry.name,
            uid: entry.uid,
            gid: Some(entry.gid),
            home: Some(entry.dir),
            shell: Some(entry.shell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_by_number() {
        let root = user("root").unwrap();
        assert_eq!(root, user("0").unwrap());
        assert_eq!((root.uid.as_raw(), root.gid), (0, Some(Gid::from_raw(0))));
        assert!(root.home.is_some() && root.shell.is_some());
        assert_eq!(group("root").unwrap(), group("0").unwrap());
        assert!(is_member(root.uid, &[Gid::from_raw(0)]).unwrap());
        assert!(!is_member(root.uid, &[Gid::from_raw(4_000_000_000)]).unwrap());
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        let unknown = user("4000000001").unwrap();
        assert_eq!((unknown.uid.as_raw(), unknown.gid), (4_000_000_001, None));
        assert_eq!(
            unknown.groups(Gid::from_raw(5)).unwrap(),
            [Gid::from_raw(5)]
        );
        assert!(!is_member(unknown.uid, &[Gid::from_raw(0)]).unwrap());
        assert_eq!(group("4000000001").unwrap().as_raw(), 4_000_000_001);
        for name in [
            "no-such-user",
            "",
            "-1",
            "+1",
            "4294967295",
            "99999999999",
            "a\0b",
        ] {
            assert!(user(name).is_err(), "{name:?}");
            assert!(group(name).is_err(), "{name:?}");
        }
        let error = user("wbe").unwrap_err().to_string();
        assert_eq!(error, "unknown user 'wbe'");
    }
}
