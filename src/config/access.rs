//! `[access]`: who may look, act and change.
//!
//! Only what is written; whether a peer belongs to a group is asked where the peer is known.

use super::table::section;
use super::values::{Identity, Who};
use super::variables::Context;

section! {
    /// `[access]`, read and checked.
    pub struct Access for Access, given cx;
    also {}
    /// Who may look and listen: a list of users, @groups, and * for everyone who may connect.
    observe: Vec<Who> = vec![Who::Everyone], Live;
    /// Who may act on watchers: start, stop, scale, signal.
    operate: Vec<Who> = vec![Who::Group(Identity::Name("circus".into()))], Live;
    /// Who may change the configuration and command the daemon itself.
    admin: Vec<Who> = owners(cx) => "root and the user circusd runs as", Live;
    later {}
}

fn owners(cx: &Context) -> Vec<Who> {
    let mut owners = vec![0, cx.uid];
    owners.dedup();
    owners
        .into_iter()
        .map(|uid| Who::User(Identity::Id(uid)))
        .collect()
}
