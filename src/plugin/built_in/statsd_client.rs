//! Lines for a statsd server, one datagram each.
//!
//! Nothing is waited for and nothing comes back: a server that is not there loses what it would have
//! been told, and no more.

use std::io;

use tokio::net::UdpSocket;

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
    /// Whether it was told that sending fails.
    has_failed: bool,
}

impl Statsd {
    pub(super) fn new(host: &str, port: u16, application: &str, sample_rate: f64) -> Self {
        Self {
            host: host.to_owned(),
            port,
            prefix: format!("circus.{}.watcher", word(application)),
            sample_rate,
            socket: None,
            has_failed: false,
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
        match self.try_send(line.as_bytes()).await {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                self.socket = None;
                if !std::mem::replace(&mut self.has_failed, true) {
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
            none => none.insert(connect(&self.host, self.port).await?),
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
