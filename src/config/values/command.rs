//! Commands, arguments, and variables for their environment.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, collect};
use crate::config::node::{Node, Value};
use crate::config::variables::{Context, Template};

const COMMAND: &str = "a string or an array of strings";

/// A program and its arguments, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Written as a string: the whole line, for a shell, and its words (split as a shell would,
    /// before variables are expanded); no words where a quote is not closed.
    Line {
        /// The line for `/bin/sh -c`.
        line: Template,
        /// The line without a shell.
        words: Option<Words>,
    },
    /// Written as an array.
    Words(Words),
}

impl Default for Command {
    /// No command, which is never taken: `cmd` must be set.
    fn default() -> Self {
        Self::Words(Words::default())
    }
}

impl Kind for Command {
    fn name() -> String {
        COMMAND.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let command = match &node.value {
            Value::String(text) => Self::Line {
                line: Template::read(node, cx)?,
                words: match shlex::split(text) {
                    Some(words) => Some(templates(node, &words, cx)?),
                    None => None,
                },
            },
            _ => Self::Words(Words::read(node, cx)?),
        };
        match &command {
            Self::Line { words: None, .. } => Ok(command),
            Self::Words(words)
            | Self::Line {
                words: Some(words), ..
            } => match words.0.first() {
                Some(program) if !program.is_empty() => Ok(command),
                _ => Err(Problem::new(node, "names no program").into()),
            },
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Line { line, .. } => line.json(),
            Self::Words(words) if words.0.is_empty() => Json::Null,
            Self::Words(words) => words.json(),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ]})
    }
}

/// Arguments: an array, or a string split as a shell would.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words(pub Vec<Template>);

impl Kind for Words {
    fn name() -> String {
        COMMAND.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::String(text) => match shlex::split(text) {
                Some(words) => templates(node, &words, cx),
                None => Err(unclosed_quote(node).into()),
            },
            Value::Array(items) => {
                collect(items.iter().map(|item| Template::read(item, cx))).map(Self)
            }
            _ => Err(Problem::expected(COMMAND, node).into()),
        }
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}

pub(crate) fn unclosed_quote(node: &Node) -> Problem {
    Problem::new(node, "a quote is not closed")
}

/// The words are split first, so that a space inside a variable's value splits nothing.
fn templates(node: &Node, words: &[String], cx: &Context) -> Read<Words> {
    let read = |word: &String| {
        Template::parse(word, cx).map_err(|error| Problem::variable(node, &error).into())
    };
    collect(words.iter().map(read)).map(Words)
}

/// Names and values for a process's environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvMap(pub BTreeMap<String, Template>);

impl Kind for EnvMap {
    const ENTRIES: bool = true;

    fn name() -> String {
        "a table of strings".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Table(table) = &node.value else {
            return Err(Problem::expected("a table of strings", node).into());
        };
        let read = |entry: &super::super::node::Entry| {
            variable(&entry.key, &entry.node, cx)
                .map(|value| (entry.key.clone(), value))
                .map_err(|wrong| wrong.into_iter().map(|p| p.inside(&entry.key)).collect())
        };
        collect(table.iter().map(read)).map(|pairs| Self(pairs.into_iter().collect()))
    }

    fn json(&self) -> Json {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.clone(), value.json()));
        Json::Object(pairs.collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    }
}

/// One variable: a name that an environment can hold, and a string.
pub(crate) fn variable(name: &str, node: &Node, cx: &Context) -> Read<Template> {
    if !is_variable_name(name) {
        let reason = "the name of a variable is not empty and has no '=' and no NUL character";
        return Err(Problem::new(node, reason).into());
    }
    match &node.value {
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
            let quoted = format!("\"{}\"", node.to_json());
            Err(Problem::expected("a string", node)
                .suggesting(Some(quoted))
                .into())
        }
        _ => Template::read(node, cx),
    }
}

pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
