//! Events, one on a line.

use serde_json::Error;

use super::{View, lines, read, words};
use crate::api::reply;
use crate::api::types::{Event, Gap};
use crate::cli::command::Parameters;

/// The event or the gap of one reply; nothing for the first reply, which has neither.
pub fn event(reply: &Parameters, _: &View<'_>) -> Result<String, Error> {
    let reply = read::<reply::Subscribe>(reply)?;
    let gap = reply.gap.as_ref().map(gap);
    Ok(lines(gap.into_iter().chain(reply.event.as_ref().map(line))))
}

fn line(event: &Event) -> String {
    let time = words::time(event.time_usec);
    format!("{time} {}{}", event.topic, words::members(&event.data))
}

fn gap(gap: &Gap) -> String {
    match gap.first {
        0 => format!("gap: events up to number {} are lost", gap.last),
        first => format!("gap: events {first} to {} are lost", gap.last),
    }
}
