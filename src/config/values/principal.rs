//! Users and groups by name or number.
//!
//! Nothing in here asks whether they exist: that is for whoever needs them, at the time.

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, text};
use crate::config::node::{Node, Value};
use crate::config::variables::Context;

const IDENTITY: &str = "a name or a number";

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// By its number; never 4294967295, which means "none" to the kernel.
    Id(u32),
    /// By a name that could exist.
    Name(String),
}

impl Kind for Identity {
    fn name() -> String {
        IDENTITY.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::Integer(number) => Ok(Self::Id(id(node, *number)?)),
            _ => Ok(parse(node, &text(node, IDENTITY, cx)?)?),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Id(id) => Json::from(*id),
            Self::Name(name) => Json::from(name.as_str()),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "integer", "minimum": 0, "maximum": u32::MAX - 1},
        ]})
    }
}

fn id(node: &Node, number: i64) -> Result<u32, Problem> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Problem::new(node, format!("{number} is not a user or group number")))
}

/// Digits are a number, as chown(1) has it; a name has nothing that passwd(5) separates by.
fn parse(node: &Node, text: &str) -> Result<Identity, Problem> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = text.parse().unwrap_or(i64::MAX);
        return id(node, number).map(Identity::Id);
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    if text.is_empty() || text.starts_with('-') || text.contains(odd) {
        let reason = format!("'{text}' is not the name of a user or group");
        return Err(Problem::new(node, reason));
    }
    Ok(Identity::Name(text.to_owned()))
}

/// Somebody in `[access]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// `*`: everybody who may connect.
    Everyone,
    /// One user.
    User(Identity),
    /// `@name`: the members of a group.
    Group(Identity),
}

impl Kind for Who {
    fn name() -> String {
        "a user, '@' and a group, or '*'".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        if let Value::Integer(number) = node.value {
            return Ok(Self::User(Identity::Id(id(node, number)?)));
        }
        let written = text(node, &Self::name(), cx)?;
        match written.strip_prefix('@') {
            Some(group) => Ok(Self::Group(parse(node, group)?)),
            None if written == "*" => Ok(Self::Everyone),
            None => Ok(Self::User(parse(node, &written)?)),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Everyone => Json::from("*"),
            Self::User(user) => user.json(),
            Self::Group(Identity::Id(id)) => Json::from(format!("@{id}")),
            Self::Group(Identity::Name(name)) => Json::from(format!("@{name}")),
        }
    }

    fn schema() -> Json {
        Identity::schema()
    }
}
