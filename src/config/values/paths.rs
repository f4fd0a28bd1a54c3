//! Paths: made absolute where they are written, so that they mean the same wherever they are read.
//!
//! Whether anything exists at a path is asked by whoever uses it, when it is used.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::FromText;
use crate::config::kind::{Kind, Problem, Read, collect, text};
use crate::config::node::{Node, Value};
use crate::config::variables::{self, Context, Template};

const ABSOLUTE: &str = "must be an absolute path here";

/// Puts the directory of the source before a relative path.
///
/// A path that begins with a variable of the environment is left alone: whether it is relative is
/// not known yet.
fn anchor_path(node: &mut Node) {
    let Some(directory) = node.at.source.directory.as_deref().and_then(Path::to_str) else {
        return;
    };
    if let Value::String(path) = &mut node.value
        && !path.is_empty()
        && !path.starts_with('/')
        && !variables::starts_with_environment(path)
    {
        let relative = path.strip_prefix("./").unwrap_or(path);
        *path = format!("{}/{relative}", directory.trim_end_matches('/'));
    }
}

impl FromText for PathBuf {
    fn from_text(path: &str) -> Result<Self, String> {
        match path.starts_with('/') {
            true => Ok(Self::from(path)),
            false => Err(ABSOLUTE.into()),
        }
    }
}

impl Kind for PathBuf {
    fn name() -> String {
        "a path".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let path = text(node, "a path", cx)?;
        Self::from_text(&path).map_err(|reason| Problem::new(node, reason).into())
    }

    fn json(&self) -> Json {
        Json::from(self.to_string_lossy())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }

    fn anchor(node: &mut Node) {
        anchor_path(node);
    }
}

/// A path that may name the process by its number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplatePath(pub Template);

impl Kind for TemplatePath {
    fn name() -> String {
        "a path".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let template = Template::read(node, cx)?;
        if !template.is_absolute() {
            return Err(Problem::new(node, ABSOLUTE).into());
        }
        Ok(Self(template))
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        PathBuf::schema()
    }

    fn anchor(node: &mut Node) {
        anchor_path(node);
    }
}

/// Where a Unix socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketPath {
    /// In the file system; at most 107 bytes.
    Path(PathBuf),
    /// In the abstract namespace (unix(7)), the name without its `@`; at most 107 bytes.
    Abstract(String),
}

/// `sun_path` has 108 bytes, one of which ends a path, or begins an abstract name (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

impl FromText for SocketPath {
    fn from_text(written: &str) -> Result<Self, String> {
        let socket = match written.strip_prefix('@') {
            Some("") => return Err("'@' without a name".into()),
            Some(name) => Self::Abstract(name.to_owned()),
            None => Self::Path(PathBuf::from_text(written)?),
        };
        match written.trim_start_matches('@').len() > SOCKET_PATH_MAX {
            true => Err(format!(
                "longer than {SOCKET_PATH_MAX} bytes, the most a socket may have"
            )),
            false => Ok(socket),
        }
    }
}

impl Kind for SocketPath {
    fn name() -> String {
        "a path, or @ and a name".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, "a path", cx)?;
        Self::from_text(&written).map_err(|reason| Problem::new(node, reason).into())
    }

    fn json(&self) -> Json {
        match self {
            Self::Path(path) => path.json(),
            Self::Abstract(name) => Json::from(format!("@{name}")),
        }
    }

    fn schema() -> Json {
        PathBuf::schema()
    }

    fn anchor(node: &mut Node) {
        if !matches!(&node.value, Value::String(path) if path.starts_with('@')) {
            anchor_path(node);
        }
    }
}

/// Files and shell-style patterns: a string, or an array of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patterns(pub Vec<String>);

impl Kind for Patterns {
    fn name() -> String {
        "a path or pattern, or an array of them".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::Array(items) => {
                collect(items.iter().map(|item| read_pattern(item, cx))).map(Self)
            }
            _ => read_pattern(node, cx).map(|pattern| Self(vec![pattern])),
        }
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }

    fn anchor(node: &mut Node) {
        match &mut node.value {
            Value::Array(items) => items.iter_mut().for_each(anchor_path),
            _ => anchor_path(node),
        }
    }
}

fn read_pattern(node: &Node, cx: &Context) -> Read<String> {
    let pattern = text(node, "a path or pattern", cx)?;
    if !pattern.starts_with('/') {
        return Err(Problem::new(node, ABSOLUTE).into());
    }
    match glob::Pattern::new(&pattern) {
        Ok(_) => Ok(pattern),
        Err(error) => Err(Problem::new(node, format!("not a pattern: {}", error.msg)).into()),
    }
}
