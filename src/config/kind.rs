//! The types a setting may have: how each is read from a value as written, shown again, and
//! described to a JSON Schema.
//!
//! One trait, [`Kind`], and what its implementations share: those of plain types are in `plain`,
//! those of types with a meaning of their own in `values`. Knows no particular type.

use serde_json::{Value as Json, json};

use super::node::{Node, Place, Value};
use super::variables::{self, Context, VariableError};

/// Why a value cannot be taken; its place is that of the node at fault.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) at: Place,
    /// The entry inside the setting's table, where it is one.
    pub(crate) entry: Option<String>,
    pub(crate) reason: String,
    pub(crate) suggestion: Option<String>,
}

impl Problem {
    pub(crate) fn new(node: &Node, reason: impl Into<String>) -> Self {
        Self {
            at: node.at.clone(),
            entry: None,
            reason: reason.into(),
            suggestion: None,
        }
    }

    /// "expected a boolean, found a string".
    pub(crate) fn expected(what: &str, node: &Node) -> Self {
        Self::new(node, format!("expected {what}, found {}", node.type_name()))
    }

    pub(crate) fn suggesting(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    pub(crate) fn variable(node: &Node, error: &VariableError) -> Self {
        Self::new(node, error.to_string()).suggesting(error.suggestion())
    }

    pub(crate) fn inside(mut self, entry: &str) -> Self {
        self.entry = Some(match self.entry.take() {
            Some(inner) => format!("{entry}.{inner}"),
            None => entry.to_owned(),
        });
        self
    }
}

impl From<Problem> for Vec<Problem> {
    fn from(problem: Problem) -> Self {
        vec![problem]
    }
}

/// A value, or everything that is wrong with it.
pub(crate) type Read<T> = Result<T, Vec<Problem>>;

/// A type of setting.
pub(crate) trait Kind: Sized {
    /// What the numbers of this type count, for the manual: `s`, `bytes`, or nothing.
    const UNIT: &'static str = "";
    /// Whether a table of this type is a collection, so that a later file adds to it entry by
    /// entry; otherwise it takes the place of the earlier one whole.
    const ENTRIES: bool = false;
    /// With `ENTRIES`: those of its entries that are tables of entries in their turn.
    const TABLES: &'static [&'static str] = &[];
    /// Whether `false` is a value: the thing switched off.
    const SWITCH: bool = false;

    /// The type in words, with its article: "a duration".
    fn name() -> String;
    /// Reads a value as written; every fault of it is told.
    fn read(node: &Node, cx: &Context) -> Read<Self>;
    /// The value in a form that `read` takes, as it would stand in a file.
    fn json(&self) -> Json;
    fn schema() -> Json;
    /// The number that a range is about.
    fn magnitude(&self) -> Option<f64> {
        None
    }
    /// The keys of its table and what they mean, where it has keys of its own.
    fn fields() -> &'static [(&'static str, &'static str)] {
        &[]
    }
    /// Makes paths in `node` absolute: they are relative to the file they are written in.
    fn anchor(_node: &mut Node) {}
}

/// The text of a node with its variables expanded.
pub(crate) fn text(node: &Node, expected: &str, cx: &Context) -> Read<String> {
    match &node.value {
        Value::String(text) => {
            variables::expand(text, cx).map_err(|error| Problem::variable(node, &error).into())
        }
        _ => Err(Problem::expected(expected, node).into()),
    }
}

/// A node that was written as a string with a variable in it, read as what the variable holds:
/// `numprocesses = "$(circus.env.WORKERS)"`. Anything else comes back as it is.
pub(crate) fn plain(node: &Node, cx: &Context) -> Read<Node> {
    let Value::String(written) = &node.value else {
        return Ok(node.clone());
    };
    if !variables::has_variable(written) {
        return Ok(node.clone());
    }
    let text = text(node, "a string", cx)?;
    let value = match (text.parse(), text.parse(), text.parse()) {
        (Ok(value), _, _) => Value::Boolean(value),
        (_, Ok(value), _) => Value::Integer(value),
        (_, _, Ok(value)) => Value::Float(value),
        _ => Value::String(text),
    };
    Ok(Node {
        at: node.at.clone(),
        value,
    })
}

/// The schema of a type that is not written as a string: a variable may stand for it all the same.
pub(crate) fn or_variable(schema: Json) -> Json {
    json!({"anyOf": [schema, {"type": "string", "pattern": r"\$\(circus\.env\.[^)]+\)"}]})
}

/// All values, or all problems of all of them.
pub(crate) fn collect<T>(read: impl IntoIterator<Item = Read<T>>) -> Read<Vec<T>> {
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for result in read {
        match result {
            Ok(value) => values.push(value),
            Err(mut wrong) => problems.append(&mut wrong),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

/// The least and the most a setting may be, in the unit of its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Inclusive.
    pub min: f64,
    /// Inclusive.
    pub max: f64,
}

/// Reads a value and keeps it to its range.
pub(crate) fn read_within<T: Kind>(node: &Node, range: Option<Range>, cx: &Context) -> Read<T> {
    let value = T::read(node, cx)?;
    let (Some(range), Some(magnitude)) = (range, value.magnitude()) else {
        return Ok(value);
    };
    if (range.min..=range.max).contains(&magnitude) {
        return Ok(value);
    }
    let unit = if T::UNIT.is_empty() {
        String::new()
    } else {
        format!(" {}", T::UNIT)
    };
    let reason = format!(
        "{magnitude}{unit} is out of range, which is {} to {}{unit}",
        range.min, range.max
    );
    Err(Problem::new(node, reason).into())
}

/// "one of 'a', 'b'".
pub(crate) fn one_of(words: &[&str]) -> String {
    match words {
        [only] => format!("'{only}'"),
        _ => format!("one of '{}'", words.join("', '")),
    }
}

pub(crate) fn no_such_word(node: &Node, word: &str, known: &[&str]) -> Vec<Problem> {
    let nearest = super::diagnostic::nearest(word, known.iter().copied());
    Problem::new(node, format!("expected {}, found '{word}'", one_of(known)))
        .suggesting(nearest)
        .into()
}

/// A whole number that is none of `range`.
pub(crate) fn not_within(
    node: &Node,
    number: impl std::fmt::Display,
    range: &std::ops::RangeInclusive<u64>,
) -> Vec<Problem> {
    let (min, max) = (range.start(), range.end());
    let reason = format!("{number} is out of range, which is {min} to {max}");
    Problem::new(node, reason).into()
}

/// A value of a later version.
pub(crate) fn not_available(node: &Node, what: &str) -> Vec<Problem> {
    Problem::new(node, format!("'{what}' is not available in this version")).into()
}
