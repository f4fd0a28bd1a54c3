//! Settings of plugins that are patterns, read as far as it takes to refuse what nobody could match.
//!
//! How they match is not known here, but to circusd, which refuses the same; a test of the room
//! `plugin` holds the two together.

use serde_json::{Value as Json, json};

use super::RegularExpression;
use crate::config::kind::{Kind, Problem, Read, collect, text};
use crate::config::node::{Node, Value};
use crate::config::variables::Context;

/// What circusd takes of a pattern, in bytes.
const BYTES_MAX: usize = 512;

/// The name of a watcher, or a shell-style pattern of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A pattern that is known to be one.
    pub(crate) fn of(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

impl Kind for NamePattern {
    fn name() -> String {
        "a name or pattern".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, "a name or pattern", cx)?;
        match check_part(&written) {
            Ok(()) => Ok(Self(written)),
            Err(reason) => Err(Problem::new(node, format!("'{written}' {reason}")).into()),
        }
    }

    fn json(&self) -> Json {
        Json::from(self.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// Which events are wanted, as `Subscribe` takes it; at least one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics(pub Vec<String>);

impl Kind for Topics {
    fn name() -> String {
        "an array of topics, at least one".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Array(items) = &node.value else {
            return Err(Problem::expected("an array", node).into());
        };
        if items.is_empty() {
            return Err(Problem::new(node, "without a topic nothing is heard").into());
        }
        let topic = |item| {
            let written = text(item, "a topic", cx)?;
            match check_topic(&written) {
                Ok(()) => Ok(written),
                Err(reason) => Err(Problem::new(item, format!("'{written}' {reason}")).into()),
            }
        };
        collect(items.iter().map(topic)).map(Self)
    }

    fn json(&self) -> Json {
        Json::from(self.0.as_slice())
    }

    fn schema() -> Json {
        json!({"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}})
    }
}

/// A regular expression with a group `pid`.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat(pub RegularExpression);

impl Kind for Heartbeat {
    fn name() -> String {
        "a regular expression with a group pid".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let form = RegularExpression::read(node, cx)?;
        // Without it nobody would ever be heard, and all would be replaced.
        match form.0.capture_names().flatten().any(|name| name == "pid") {
            true => Ok(Self(form)),
            false => Err(Problem::new(node, "has no group (?P<pid>…), so it is nobody's").into()),
        }
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        RegularExpression::schema()
    }
}

/// A word or shell-style pattern, as it stands between two dots of a topic.
fn check_part(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("is empty, or has an empty part".into());
    }
    if part.len() > BYTES_MAX {
        return Err(format!("is longer than {BYTES_MAX} bytes"));
    }
    match glob::Pattern::new(part) {
        // What has none of these is a name, and not looked at as a pattern.
        Err(error) if part.contains(['*', '?', '[']) => {
            Err(format!("is no pattern: {}", error.msg))
        }
        _ => Ok(()),
    }
}

/// `SCOPE`, `SCOPE.ACTION` or `SCOPE.NAME.ACTION`, where there are the scopes watcher and circusd, and
/// only the former has names.
fn check_topic(topic: &str) -> Result<(), String> {
    let (scope, rest) = match topic.split_once('.') {
        Some((scope, rest)) => (scope, Some(rest)),
        None => (topic, None),
    };
    let (name, action) = match rest.map(|rest| rest.rsplit_once('.').ok_or(rest)) {
        Some(Ok((name, action))) => (Some(name), Some(action)),
        Some(Err(action)) => (None, Some(action)),
        None => (None, None),
    };
    [Some(scope), name, action]
        .into_iter()
        .flatten()
        .try_for_each(check_part)?;
    let is = |word| glob::Pattern::new(scope).is_ok_and(|scope| scope.matches(word));
    match is("watcher") || (name.is_none() && is("circusd")) {
        true => Ok(()),
        false => Err("is no topic: those begin with 'watcher.' or 'circusd.'".into()),
    }
}
