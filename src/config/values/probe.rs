//! A probe of one process: what is asked, which may name the process by its number.
//!
//! When it is asked, how often, and what follows is for whoever has it.

use std::marker::PhantomData;
use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::hook::{check_expect, problem_at};
use super::{HttpUrl, SocketPath, TcpAddress, Words};
use crate::config::kind::{Kind, Problem, Read};
use crate::config::node::{Node, Table};
use crate::config::variables::{Context, Filling, Template, VariableError};

/// What can be read from a text that has no variables any more.
pub trait FromText: Sized {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A text that is another for each process, and is read when its number is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    written: Template,
    read_as: PhantomData<fn() -> T>,
}

impl<T: FromText> Placed<T> {
    /// What it comes to for the process with this number.
    ///
    /// # Errors
    ///
    /// With this number it is wrong: `127.0.0.1:65$(circus.wid)` has no port for number 1000.
    pub fn at(&self, wid: u32) -> Result<T, String> {
        T::from_text(&self.written.expand(filling(wid)))
    }
}

/// A probe is no process of the watcher: it inherits none of its sockets.
fn filling(wid: u32) -> Filling<'static> {
    Filling {
        wid,
        ..Filling::default()
    }
}

fn without_sockets(node: &Node, text: &Template) -> Result<(), Problem> {
    match text.sockets().next() {
        None => Ok(()),
        Some(name) => {
            let error = VariableError::NoSockets(name.to_owned());
            Err(Problem::variable(node, &error))
        }
    }
}

impl<T: Kind + FromText> Kind for Placed<T> {
    fn name() -> String {
        T::name()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = Template::read(node, cx)?;
        without_sockets(node, &written)?;
        let placed = Self {
            written,
            read_as: PhantomData,
        };
        // Every watcher has a place with this number.
        match placed.at(1) {
            Ok(_) => Ok(placed),
            Err(reason) => Err(Problem::new(node, reason).into()),
        }
    }

    fn json(&self) -> Json {
        self.written.json()
    }

    fn schema() -> Json {
        T::schema()
    }

    fn anchor(node: &mut Node) {
        T::anchor(node);
    }
}

/// A program and its arguments, which may be others for each process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Words);

impl Kind for Program {
    fn name() -> String {
        Words::name()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let words = Words::read(node, cx)?;
        for word in &words.0 {
            without_sockets(node, word)?;
        }
        match words.0.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err(Problem::new(node, "names no program").into()),
        }
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        super::Argv::schema()
    }
}

/// What is asked of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Whether this program ends with 0.
    Exec(Program),
    /// Whether somebody listens there.
    Tcp(Placed<TcpAddress>),
    /// Whether somebody listens there.
    Unix(Placed<SocketPath>),
    /// Whether the page is answered with one of these codes.
    Http(Placed<HttpUrl>, Vec<u16>),
    /// Whether it exists.
    File(Placed<PathBuf>),
}

/// What is asked of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacedProbe {
    /// Whether this program, never empty, ends with 0.
    Exec(Vec<String>),
    /// Whether somebody listens there.
    Tcp(TcpAddress),
    /// Whether somebody listens there.
    Unix(SocketPath),
    /// Whether the page is answered with one of these codes.
    Http(HttpUrl, Vec<u16>),
    /// Whether it exists.
    File(PathBuf),
}

impl Probe {
    /// What is asked of the process with this number.
    ///
    /// # Errors
    ///
    /// Those of [`Placed::at`].
    pub fn at(&self, wid: u32) -> Result<PlacedProbe, String> {
        Ok(match self {
            Self::Exec(Program(words)) => {
                let words = words.0.iter().map(|word| word.expand(filling(wid)));
                PlacedProbe::Exec(words.collect())
            }
            Self::Tcp(address) => PlacedProbe::Tcp(address.at(wid)?),
            Self::Unix(path) => PlacedProbe::Unix(path.at(wid)?),
            Self::Http(url, expect) => PlacedProbe::Http(url.at(wid)?, expect.clone()),
            Self::File(path) => PlacedProbe::File(path.at(wid)?),
        })
    }

    /// It as it would stand in a file: its keys and their values.
    pub(super) fn entries(&self) -> Map<String, Json> {
        let (key, value) = match self {
            Self::Exec(program) => ("exec", program.json()),
            Self::Tcp(address) => ("tcp", address.json()),
            Self::Unix(path) => ("unix", path.json()),
            Self::Http(url, _) => ("http", url.json()),
            Self::File(path) => ("file", path.json()),
        };
        let mut entries = Map::from_iter([(key.to_owned(), value)]);
        if let Self::Http(_, expect) = self {
            entries.insert("expect".into(), expect.json());
        }
        entries
    }
}

/// The keys of a probe, as they stand beside each other in a table.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) exec: Option<Program>,
    pub(super) tcp: Option<Placed<TcpAddress>>,
    pub(super) unix: Option<Placed<SocketPath>>,
    pub(super) http: Option<Placed<HttpUrl>>,
    pub(super) expect: Vec<u16>,
    pub(super) file: Option<Placed<PathBuf>>,
}

impl Asked {
    /// The one that is there; `node` is the table, and `forms` are the keys of which it has one.
    pub(super) fn only(self, forms: &[&str], node: &Node, table: &Table) -> Read<Probe> {
        let mut given = forms.iter().filter(|key| table.get(key).is_some());
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            let reason = format!("not beside '{first}': a probe asks one thing");
            return Err(problem_at(table, second, &reason).into());
        }
        check_expect(&self.expect, self.http.is_some(), table)?;
        let probe = (self.exec.map(Probe::Exec))
            .or(self.tcp.map(Probe::Tcp))
            .or(self.unix.map(Probe::Unix))
            .or(self.http.map(|url| Probe::Http(url, self.expect)))
            .or(self.file.map(Probe::File));
        probe.ok_or_else(|| {
            let reason = format!("asks nothing: it needs one of '{}'", forms.join("', '"));
            Problem::new(node, reason).into()
        })
    }
}
