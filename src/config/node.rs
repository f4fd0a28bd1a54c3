//! A value as it was written, with the place it was written at: the neutral form that TOML,
//! JSON, flags and the environment share.
//!
//! Nothing in here knows a key or a type of ours; variables are still text.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value as Json};

/// Where a value came from, lowest to highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A program that has the library run its workers.
    Program,
    /// A configuration file, an included one too.
    File,
    /// A file in `conf.d`.
    DropIn,
    /// A `CIRCUSD_*` variable.
    Environment,
    /// A flag of `circusd`.
    CommandLine,
    /// `Set` or `Add` over the socket.
    Api,
}

impl Origin {
    /// The name in the API and in `--origin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Program => "program",
            Self::File => "file",
            Self::DropIn => "drop_in",
            Self::Environment => "environment",
            Self::CommandLine => "command_line",
            Self::Api => "api",
        }
    }
}

/// One file, flag, variable or request that values come from.
#[derive(Debug)]
pub(crate) struct Source {
    /// What a message calls it: the path of a file, otherwise the flag or variable.
    pub(crate) name: String,
    /// The text of a file, for positions and lines; nothing else has lines.
    pub(crate) text: Option<String>,
    pub(crate) origin: Origin,
    /// What relative paths are relative to; without it they are refused.
    pub(crate) directory: Option<PathBuf>,
    /// Where each line begins, found when first asked for: `GetSettings` asks for every value.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// A file; relative paths in it are relative to its directory.
    pub(crate) fn file(path: &std::path::Path, text: String, origin: Origin) -> Arc<Self> {
        Arc::new(Self {
            name: path.display().to_string(),
            text: Some(text),
            origin,
            directory: path.parent().map(ToOwned::to_owned),
            lines: OnceLock::new(),
        })
    }

    /// A text that is in no file; relative paths in it are relative to `directory`.
    pub(crate) fn text(
        name: &str,
        text: String,
        origin: Origin,
        directory: &std::path::Path,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            text: Some(text),
            origin,
            directory: Some(directory.to_owned()),
            lines: OnceLock::new(),
        })
    }

    /// A flag, a variable or a request: nothing with lines.
    pub(crate) fn named(
        name: &str,
        origin: Origin,
        directory: Option<&std::path::Path>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            text: None,
            origin,
            directory: directory.map(ToOwned::to_owned),
            lines: OnceLock::new(),
        })
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let text = self.text.as_deref().unwrap_or_default();
            let ends = text.match_indices('\n').map(|(end, _)| end + 1);
            std::iter::once(0).chain(ends).collect()
        })
    }
}

/// A place in a source.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    /// In bytes from the start of the text.
    pub(crate) offset: usize,
}

impl Place {
    /// The start of `source`, which is all there is of a flag or a request.
    pub(crate) fn start(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            offset: 0,
        }
    }

    /// Line and column, counted from 1, the column in characters; none where there is no text.
    pub(crate) fn line_column(&self) -> Option<(usize, usize)> {
        let (line, start) = self.line()?;
        let text = self.source.text.as_deref()?;
        // The parser may complain about a byte in the middle of a character.
        let before = text[start..].char_indices();
        let column = before.take_while(|(at, _)| start + at < self.offset);
        Some((line, column.count() + 1))
    }

    /// The whole line the place is in, without its end.
    pub(crate) fn line_text(&self) -> Option<&str> {
        let (_, start) = self.line()?;
        self.source.text.as_deref()?[start..].lines().next()
    }

    /// `file:line:column`, or the name of the flag or variable.
    pub(crate) fn describe(&self) -> String {
        match self.line_column() {
            Some((line, column)) => format!("{}:{line}:{column}", self.source.name),
            None => self.source.name.clone(),
        }
    }

    /// The number of the line, from 1, and where it begins.
    fn line(&self) -> Option<(usize, usize)> {
        self.source.text.as_ref()?;
        let lines = self.source.lines();
        let line = lines.partition_point(|start| *start <= self.offset);
        Some((line, lines[line - 1]))
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) value: Value,
}

/// What TOML and JSON have in common, and the two that only one of them has.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Only from JSON.
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(String),
    /// Only from TOML; no setting takes one.
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

impl Node {
    /// A value of `source` from JSON. Integers that only fit 64 bits without a sign become
    /// floats: no setting is that large.
    pub(crate) fn from_json(json: &Json, at: &Place) -> Self {
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Boolean(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Value::Integer(value),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(text.clone()),
            Json::Array(items) => {
                Value::Array(items.iter().map(|item| Self::from_json(item, at)).collect())
            }
            Json::Object(map) => Value::Table(Table::from_json(map, at)),
        };
        Self {
            at: at.clone(),
            value,
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Boolean(value) => Json::from(*value),
            Value::Integer(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::String(text) | Value::Datetime(text) => Json::from(text.as_str()),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(table) => Json::Object(table.to_json()),
        }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What it is, for "expected …, found …".
    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::String(_) => "a string",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

/// One key of a table with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands; the value stands at `node.at`.
    pub(crate) key_at: Place,
    pub(crate) node: Node,
}

/// Keys and values in the order written; no key twice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table(Vec<Entry>);

impl Table {
    pub(crate) fn from_json(map: &Map<String, Json>, at: &Place) -> Self {
        let entry = |(key, value): (&String, &Json)| Entry {
            key: key.clone(),
            key_at: at.clone(),
            node: Node::from_json(value, at),
        };
        Self(map.iter().map(entry).collect())
    }

    pub(crate) fn to_json(&self) -> Map<String, Json> {
        self.iter()
            .map(|entry| (entry.key.clone(), entry.node.to_json()))
            .collect()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.0.iter_mut()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.iter_mut()
            .find(|entry| entry.key == key)
            .map(|entry| &mut entry.node)
    }

    /// Puts `entry` in the place of the one with its key, or at the end.
    pub(crate) fn insert(&mut self, entry: Entry) {
        match self.0.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => self.0.push(entry),
        }
    }

    /// `insert` for a key that has no place of its own.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        self.insert(Entry {
            key: key.to_owned(),
            key_at: node.at.clone(),
            node,
        });
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.retain(|entry| entry.key != key);
    }

    /// The same one step further in, where `path` leads there.
    pub(crate) fn get_at(&self, path: Path<'_>) -> Option<&Node> {
        match path.table {
            None => self.get(path.key),
            Some(name) => self.get(name)?.as_table()?.get(path.key),
        }
    }

    /// Puts `node` there, into a new table if there is none.
    pub(crate) fn set_at(&mut self, path: Path<'_>, node: Node) {
        let Some(name) = path.table else {
            return self.set(path.key, node);
        };
        match self.get_mut(name).map(|known| &mut known.value) {
            Some(Value::Table(table)) => table.set(path.key, node),
            _ => {
                let mut table = Self::default();
                let at = node.at.clone();
                table.set(path.key, node);
                let value = Value::Table(table);
                self.set(name, Node { at, value });
            }
        }
    }

    pub(crate) fn remove_at(&mut self, path: Path<'_>) {
        match path.table {
            None => self.remove(path.key),
            Some(name) => {
                if let Some(Value::Table(table)) = self.get_mut(name).map(|known| &mut known.value)
                {
                    table.remove(path.key);
                }
            }
        }
    }
}

/// Where an entry stands in the table of a setting: in it, or in a table in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'a> {
    pub(crate) table: Option<&'a str>,
    pub(crate) key: &'a str,
}

impl<'a> Path<'a> {
    /// `each.memory_max`, if `each` is one of `tables`; otherwise a dot is a part of the key.
    pub(crate) fn parse(entry: &'a str, tables: &[&str]) -> Self {
        match entry.split_once('.') {
            Some((table, key)) if tables.contains(&table) => Self {
                table: Some(table),
                key,
            },
            _ => Self {
                table: None,
                key: entry,
            },
        }
    }

    /// Where the entry stands in that table.
    pub(crate) fn inner(self) -> Self {
        Self {
            table: None,
            ..self
        }
    }
}

impl FromIterator<Entry> for Table {
    /// The caller knows that no key comes twice: a parsed document, or another table.
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Table {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
