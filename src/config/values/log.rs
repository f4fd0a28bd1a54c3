//! What circusd logs, and where to.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, no_such_word, text};
use crate::config::node::{Node, Value};
use crate::config::shapes::choices;
use crate::config::variables::Context;

choices! {
    /// How much is logged; each includes those before it.
    pub enum Level {
        /// What failed.
        Error = "error",
        /// What may fail soon, or was done in another way than asked.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What explains a decision.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

impl Level {
    const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

/// A level, and other levels for parts of the program: `info,circus::server=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    /// For every part that is not named.
    pub default: Level,
    /// Module paths and their levels, as written; the longest that matches counts.
    pub parts: Vec<(String, Level)>,
}

impl Default for LogLevel {
    fn default() -> Self {
        Self {
            default: Level::Info,
            parts: Vec::new(),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.default.as_str())?;
        for (part, level) in &self.parts {
            write!(f, ",{part}={}", level.as_str())?;
        }
        Ok(())
    }
}

impl Kind for LogLevel {
    fn name() -> String {
        "a level, or levels per part".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, &Level::name(), cx)?;
        let level =
            |word: &str| Level::parse(word).ok_or_else(|| no_such_word(node, word, Level::WORDS));
        let mut read = Self::default();
        for item in written.split(',').map(str::trim) {
            match item.split_once('=') {
                None => read.default = level(item)?,
                Some(("", _)) => {
                    return Err(Problem::new(node, "'=' without the name of a part").into());
                }
                Some((part, word)) => read.parts.push((part.to_owned(), level(word)?)),
            }
        }
        Ok(read)
    }

    fn json(&self) -> Json {
        Json::from(self.to_string())
    }

    fn schema() -> Json {
        let words = Level::WORDS.join("|");
        json!({
            "type": "string",
            "anyOf": [
                {"pattern": format!("^(([^=,]+=)?({words}) *(, *|$))+$")},
                {"pattern": r"\$\(circus\.env\.[^)]+\)"},
            ],
        })
    }
}

/// Where log records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// The native protocol of the journal, with fields.
    Journal,
    /// Lines on standard error.
    Stderr,
    /// Lines at the end of a file.
    File(PathBuf),
}

const TARGETS: [&str; 2] = ["journal", "stderr"];

impl Kind for LogTarget {
    fn name() -> String {
        "'journal', 'stderr', or a path".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match text(node, &Self::name(), cx)?.as_str() {
            "journal" => Ok(Self::Journal),
            "stderr" => Ok(Self::Stderr),
            path if path.contains('/') => PathBuf::read(node, cx).map(Self::File),
            // A word without a slash is a slip of the pen rather than a file of that name.
            word => Err(Problem::new(
                node,
                format!("expected {} with a '/', found '{word}'", Self::name()),
            )
            .suggesting(crate::config::diagnostic::nearest(word, TARGETS))
            .into()),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Journal => Json::from("journal"),
            Self::Stderr => Json::from("stderr"),
            Self::File(path) => path.json(),
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }

    fn anchor(node: &mut Node) {
        if matches!(&node.value, Value::String(path) if path.contains('/')) {
            PathBuf::anchor(node);
        }
    }
}
