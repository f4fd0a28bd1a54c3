//! Who may do what: a peer's role, from the credentials that the kernel vouches for (unix(7),
//! SO_PEERCRED).

use crate::api::Role;
use crate::config::{Access, Identity, Who};
use crate::sys::socket::Peer;
use crate::sys::users;

/// Whether the peer's role includes `role`. Who may change may act, and who may act may look.
pub(super) fn allows(access: &Access, peer: &Peer, role: Role) -> bool {
    let any = |list: &[Who]| list.iter().any(|who| is(who, peer));
    // The strongest first: there the numbers are, which need no look into a database.
    match role {
        Role::Observe => any(&access.admin) || any(&access.observe) || any(&access.operate),
        Role::Operate => any(&access.admin) || any(&access.operate),
        Role::Admin => any(&access.admin),
    }
}

/// Names are looked up at each question, so that a user who joins a group need not wait for a
/// reload. A name that nobody has is nobody.
fn is(who: &Who, peer: &Peer) -> bool {
    match who {
        Who::Everyone => true,
        Who::User(Identity::Id(uid)) => peer.uid.as_raw() == *uid,
        Who::User(Identity::Name(name)) => users::user(name).is_ok_and(|user| user.uid == peer.uid),
        Who::Group(Identity::Id(gid)) => has_group(peer, *gid),
        Who::Group(Identity::Name(name)) => {
            users::group(name).is_ok_and(|gid| has_group(peer, gid.as_raw()))
        }
    }
}

/// Says which names of the rules nobody has. They may come, so that is no error; more often they
/// are misspelt, and then it is not seen before somebody is locked out.
pub(super) fn warn_of_nobodies(access: &Access) {
    let lists = [
        ("observe", &access.observe),
        ("operate", &access.operate),
        ("admin", &access.admin),
    ];
    for (key, list) in lists {
        for name in list.iter().filter_map(nobody) {
            tracing::warn!("access.{key}: {name}, so it stands for nobody");
        }
    }
}

fn nobody(who: &Who) -> Option<String> {
    match who {
        Who::User(Identity::Name(name)) => users::user(name).err(),
        // The default, whether there is such a group or not.
        Who::Group(Identity::Name(name)) if name == "circus" => None,
        Who::Group(Identity::Name(name)) => users::group(name).err(),
        Who::Everyone | Who::User(Identity::Id(_)) | Who::Group(Identity::Id(_)) => None,
    }
    .map(|error| error.to_string())
}

fn has_group(peer: &Peer, gid: u32) -> bool {
    peer.gid.as_raw() == gid || peer.groups.iter().any(|group| group.as_raw() == gid)
}
