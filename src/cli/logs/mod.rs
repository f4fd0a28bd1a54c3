//! `logs`: what the processes of watchers have written, shown from where it went.
//!
//! circusd says where output goes (`places`), and journalctl(1) and tail(1) show it (`show`). Nothing
//! in here reads the journal or a file, and no output goes through the daemon for it.

mod places;
mod show;

use std::path::Path;

use clap::ArgMatches;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::places::Places;
use self::show::{Selection, show};
use super::command::{Call, WrongUsage};
use super::daemon::Daemon;
use super::failure::Failure;
use super::output::complain;
use super::parser::Globals;
use crate::api::reply;

/// Shows what `matches` ask for, until there is no more or nobody wants it any more.
///
/// # Errors
///
/// The daemon does not tell where it is, it is nowhere to be found, or it cannot be read.
pub(super) fn run(matches: &ArgMatches, globals: &Globals) -> Result<(), Failure> {
    let selection = selection(matches, globals)?;
    let mut daemon = Daemon::connect(globals)?;
    let places = places(matches, &mut daemon)?;
    if let Some(file) = places.files.first() {
        refuse_of_files(&selection, globals.json, &file.path)?;
    }
    if places.are_none() && !places.elsewhere.is_empty() {
        return Err(Failure::NoOutput(places.elsewhere));
    }
    places.elsewhere.iter().for_each(|told| complain(told));
    show(&places, &selection, daemon.limit())
}

fn selection(matches: &ArgMatches, globals: &Globals) -> Result<Selection, WrongUsage> {
    let text = |name| matches.get_one::<String>(name).cloned();
    let output = match (text("output"), globals.json) {
        (Some(_), true) => return Err(WrongUsage::TwoFormats),
        (output, false) => output,
        (None, true) => Some("json".to_owned()),
    };
    Ok(Selection {
        follow: matches.get_flag("follow"),
        lines: matches.get_one("lines").copied(),
        since: text("since"),
        output,
    })
}

/// Lines of a file have neither a time to be found by nor fields to be written in another way.
fn refuse_of_files(selection: &Selection, json: bool, path: &Path) -> Result<(), WrongUsage> {
    let flag = match (&selection.since, &selection.output) {
        (Some(_), _) => "--since",
        (None, Some(_)) if json => "--json",
        (None, Some(_)) => "--output",
        (None, None) => return Ok(()),
    };
    let path = path.to_owned();
    Err(WrongUsage::NoRecords { flag, path })
}

/// Asks where the output of the watchers goes.
fn places(matches: &ArgMatches, daemon: &mut Daemon) -> Result<Places, Failure> {
    let wid = matches.get_one::<i64>("wid").copied();
    let names = matches.get_many::<String>("watchers").into_iter().flatten();
    let stats: reply::DaemonStats = ask(daemon, &Call::new("DaemonStats"))?;
    let mut places = Places::default();
    let mut known = Vec::new();
    for name in names {
        let call = Call::new("Status").with("watchers", name.as_str());
        let status: reply::Status = ask(daemon, &call)?;
        for watcher in status.watchers {
            if known.contains(&watcher.name) {
                continue;
            }
            let call = Call::new("Get")
                .with("watcher", watcher.name.as_str())
                .with("keys", vec!["stdout", "stderr"]);
            let reply::Get { options } = ask(daemon, &call)?;
            places.add(&watcher, &options, &stats.stats, wid)?;
            known.push(watcher.name);
        }
    }
    if known.is_empty() {
        complain("no watcher has such a name, so there is nothing to show");
    }
    Ok(places)
}

fn ask<T: DeserializeOwned>(daemon: &mut Daemon, call: &Call) -> Result<T, Failure> {
    let mut answer = Value::Null;
    daemon.call(call, false, |reply| {
        answer = reply.into();
        Ok(())
    })?;
    serde_json::from_value(answer).map_err(|source| Failure::OddReply {
        method: call.method,
        source,
    })
}
