//! How a process shows that it is ready, and that it is healthy.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::probe::{Asked, Placed, Probe, Program};
use super::{HttpUrl, SocketPath, TcpAddress};
use crate::config::kind::{Kind, Problem, Read, no_such_word, text};
use crate::config::node::{Node, Value};
use crate::config::shapes::record;
use crate::config::variables::Context;

/// When a process counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// As soon as its program runs.
    Spawn,
    /// When it says so with sd_notify(3).
    Notify,
    /// When it writes a line to a descriptor, as programs of s6 do.
    Fd,
    /// When this says yes.
    Probe(Probe),
}

const READY: &str = "'spawn', 'notify', 'fd', or a table with a probe";

const WORDS: [&str; 3] = ["spawn", "notify", "fd"];

record! {
    /// A probe for readiness as it is written.
    pub struct ReadyTable("a table", switch: false) {
        /// Run this program again and again until it ends with 0: an array, or a string that is
        /// split as a shell would, without a shell.
        exec: Option<Program> = None;
        /// Connect to this address, an IP address or localhost, ':' and a port, until that succeeds.
        tcp: Option<Placed<TcpAddress>> = None;
        /// Connect to this Unix socket, a path, or @ and an abstract name, until that succeeds.
        unix: Option<Placed<SocketPath>> = None;
        /// Ask for this URL, http://HOST:PORT/PATH or http://unix:SOCKET:/PATH, until the status
        /// is one of those expected.
        http: Option<Placed<HttpUrl>> = None;
        /// The status codes that http waits for.
        expect: Vec<u16> = vec![200];
        /// Wait until this file exists; one that an earlier process has left counts as well.
        file: Option<Placed<PathBuf>> = None;
    }
}

impl Kind for Ready {
    fn name() -> String {
        READY.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Table(table) = &node.value else {
            return match text(node, READY, cx)?.as_str() {
                "spawn" => Ok(Self::Spawn),
                "notify" => Ok(Self::Notify),
                "fd" => Ok(Self::Fd),
                word => Err(no_such_word(node, word, &WORDS)),
            };
        };
        let read = ReadyTable::read(node, cx)?;
        let asked = Asked {
            exec: read.exec,
            tcp: read.tcp,
            unix: read.unix,
            http: read.http,
            expect: read.expect,
            file: read.file,
        };
        let forms = ["exec", "tcp", "unix", "http", "file"];
        asked.only(&forms, node, table).map(Self::Probe)
    }

    fn json(&self) -> Json {
        match self {
            Self::Spawn => Json::from("spawn"),
            Self::Notify => Json::from("notify"),
            Self::Fd => Json::from("fd"),
            Self::Probe(probe) => Json::Object(probe.entries()),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"enum": WORDS}, ReadyTable::schema()]})
    }

    fn fields() -> &'static [(&'static str, &'static str)] {
        ReadyTable::fields()
    }

    fn anchor(node: &mut Node) {
        ReadyTable::anchor(node);
    }
}

record! {
    /// A probe for health as it is written.
    pub struct HealthTable("a table with a probe", switch: true) {
        /// Run this program, which is to end with 0: an array, or a string that is split as a
        /// shell would, without a shell.
        exec: Option<Program> = None;
        /// Connect to this address, an IP address or localhost, ':' and a port.
        tcp: Option<Placed<TcpAddress>> = None;
        /// Connect to this Unix socket, a path, or @ and an abstract name.
        unix: Option<Placed<SocketPath>> = None;
        /// Ask for this URL, http://HOST:PORT/PATH or http://unix:SOCKET:/PATH.
        http: Option<Placed<HttpUrl>> = None;
        /// The status codes that http takes for healthy.
        expect: Vec<u16> = vec![200];
        /// How often it is asked; the first time so long after the process is ready.
        interval: Duration = Duration::from_secs(10), 0.1 => 86400.0;
        /// How long an answer may take.
        timeout: Duration = Duration::from_secs(5), 0.001 => 86400.0;
        /// After so many failures in a row the process is replaced.
        retries: u32 = 3, 1.0 => 1e6;
    }
}

/// How a process is asked whether it is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// From one time to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Failures in a row that count as one too many; at least 1.
    pub retries: u32,
}

impl Kind for Health {
    const SWITCH: bool = true;

    fn name() -> String {
        HealthTable::name()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let read = HealthTable::read(node, cx)?;
        let Value::Table(table) = &node.value else {
            return Err(Problem::expected(&Self::name(), node).into());
        };
        let asked = Asked {
            exec: read.exec,
            tcp: read.tcp,
            unix: read.unix,
            http: read.http,
            expect: read.expect,
            file: None,
        };
        let forms = ["exec", "tcp", "unix", "http"];
        Ok(Self {
            probe: asked.only(&forms, node, table)?,
            interval: read.interval,
            timeout: read.timeout,
            retries: read.retries,
        })
    }

    fn json(&self) -> Json {
        let mut table = self.probe.entries();
        table.insert("interval".into(), self.interval.json());
        table.insert("timeout".into(), self.timeout.json());
        table.insert("retries".into(), self.retries.json());
        Json::Object(table)
    }

    fn schema() -> Json {
        HealthTable::schema()
    }

    fn fields() -> &'static [(&'static str, &'static str)] {
        HealthTable::fields()
    }

    fn anchor(node: &mut Node) {
        HealthTable::anchor(node);
    }
}
