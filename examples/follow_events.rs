//! A client that follows events: `follow_events [SOCKET [CURSOR]]` prints one line for each, with the
//! cursor to come back to, and says what it has missed.
//!
//! It is a program of its own, beside circusd or an arbiter with an API socket, and needs nothing but
//! the standard library and the client. It ends with the daemon.

use std::error::Error;
use std::io::Write;

use circusd::api::params::Subscribe;
use circusd::client::{Client, ClientError, Item, default_socket};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let socket = arguments.next().map_or_else(default_socket, Into::into);
    let cursor = arguments
        .next()
        .map(|cursor| cursor.to_string_lossy().into_owned());
    let mut subscribe = Subscribe::default();
    subscribe.since = cursor;
    let events = Client::connect(socket)?.subscribe(subscribe)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "from {}", events.cursor())?;
    out.flush()?;
    for item in events {
        match item {
            Ok(Item::Event(event)) => writeln!(out, "{} {}", event.cursor, event.topic)?,
            Ok(Item::Gap(gap)) => writeln!(out, "missed {} to {}", gap.first, gap.last)?,
            Err(ClientError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
        out.flush()?;
    }
    Ok(())
}
