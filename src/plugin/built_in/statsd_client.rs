//! Lines for a statsd server, one datagram each.
//!
//! Nothing comes back, and what is waited for is the name of the server alone, not long and not often:
//! a server that is not there loses what it would have been told, and no more.

use std::io;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::plugin::Handle;

/// Where a statsd server is, and what it is told as.
#[derive(Debug)]
pub(super) struct Statsd {
    host: String,
    port: u16,
    /// `circus.APP.watcher`.
    prefix: String,
    sample_rate: f64,
    /// None until something is to be sent, or where that has failed.
    socket: Option<UdpSocket>,
    /// Since it was told that sending fails: when the server is looked for again.
    again: Option<Instant>,
}

/// How long it may take to find the server.
const LOOK_UP_MAX: Duration = Duration::from_secs(1);

/// How long nothing is sent after that has failed. Each attempt holds up the events; without a pause
/// between them a plugin whose name server is away would fall behind.
const PAUSE: Duration = Duration::from_secs(10);

impl Statsd {
    pub(super) fn new(host: &str, port: u16, application: &str, sample_rate: f64) -> Self {
        Self {
            host: host.to_owned(),
            port,
            prefix: format!("circus.{}.watcher", word(application)),
            sample_rate,
            socket: None,
            again: None,
        }
    }

    /// One more of these.
    pub(super) async fn increment(&mut self, name: &str, handle: &Handle) {
        self.send(name, "1|c", handle).await;
    }

    /// So much of this.
    pub(super) async fn gauge(
        &mut self,
        name: &str,
        value: impl std::fmt::Display,
        handle: &Handle,
    ) {
        self.send(name, &format!("{value}|g"), handle).await;
    }

    /// This took so many milliseconds.
    pub(super) async fn timed(&mut self, name: &str, milliseconds: u128, handle: &Handle) {
        self.send(name, &format!("{milliseconds}|ms"), handle).await;
    }

    async fn send(&mut self, name: &str, value: &str, handle: &Handle) {
        let rate = match self.sample_rate < 1.0 {
            true if fastrand::f64() >= self.sample_rate => return,
            true => format!("|@{}", self.sample_rate),
            false => String::new(),
        };
        let line = format!("{}.{}:{value}{rate}", self.prefix, word(name));
        if self.again.is_some_and(|at| Instant::now() < at) {
            return;
        }
        match self.try_send(line.as_bytes()).await {
            Ok(()) => self.again = None,
            Err(error) => {
                self.socket = None;
                let again = Instant::now() + PAUSE;
                if self.again.replace(again).is_none() {
                    let (host, port) = (&self.host, self.port);
                    handle.log(&format!("cannot tell statsd at {host}:{port}: {error}"));
                }
            }
        }
    }

    async fn try_send(&mut self, line: &[u8]) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            // The name is looked up again after a failure: the server may have moved.
            none => {
                let connected = timeout(LOOK_UP_MAX, connect(&self.host, self.port)).await;
                let late = |_| {
                    Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "its name was not found in time",
                    ))
                };
                none.insert(connected.unwrap_or_else(late)?)
            }
        };
        match socket.send(line).await {
            // What the datagram before has met: nobody listens, now or yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                socket.send(line).await.map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

async fn connect(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in tokio::net::lookup_host((host, port)).await? {
        let any: std::net::IpAddr = match address.is_ipv4() {
            true => std::net::Ipv4Addr::UNSPECIFIED.into(),
            false => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        match UdpSocket::bind((any, 0)).await {
            Ok(socket) => match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            },
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A name without what ends it, or a line, in the protocol.
fn word(name: &str) -> String {
    let means_something = |c: char| matches!(c, ':' | '|' | '@' | '\n');
    name.replace(means_something, "_")
}
