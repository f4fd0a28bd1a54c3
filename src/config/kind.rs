//! The types a setting may have: how each is read from a value as written, shown again, and
//! described to a JSON Schema.
//!
//! One trait, [`Kind`], and the plain types; types with a meaning of their own are in `values`.

use serde_json::{Value as Json, json};

use super::node::{Node, Value};
use super::variables::{self, Context, Template, VariableError};

/// Why a value cannot be taken; its place is that of the node at fault.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) at: super::node::Place,
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

impl Kind for bool {
    fn name() -> String {
        "a boolean".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        match &node.value {
            Value::Boolean(value) => Ok(*value),
            Value::String(text) => {
                let meant = match text.to_lowercase().as_str() {
                    "true" | "yes" | "on" | "1" => Some("true".to_owned()),
                    "false" | "no" | "off" | "0" => Some("false".to_owned()),
                    _ => None,
                };
                Err(Problem::expected("a boolean", &node)
                    .suggesting(meant)
                    .into())
            }
            _ => Err(Problem::expected("a boolean", &node).into()),
        }
    }

    fn json(&self) -> Json {
        Json::from(*self)
    }

    fn schema() -> Json {
        or_variable(json!({"type": "boolean"}))
    }
}

macro_rules! integer_kinds {
    ($($integer:ty),*) => { $(
        impl Kind for $integer {
            fn name() -> String {
                "an integer".into()
            }

            fn read(node: &Node, cx: &Context) -> Read<Self> {
                let node = plain(node, cx)?;
                let Value::Integer(value) = node.value else {
                    return Err(Problem::expected("an integer", &node).into());
                };
                Self::try_from(value).map_err(|_| {
                    let (min, max) = (Self::MIN, Self::MAX);
                    Problem::new(&node, format!("{value} is not between {min} and {max}")).into()
                })
            }

            fn json(&self) -> Json {
                Json::from(*self)
            }

            fn schema() -> Json {
                or_variable(json!({"type": "integer", "minimum": Self::MIN, "maximum": Self::MAX}))
            }

            fn magnitude(&self) -> Option<f64> {
                Some(f64::from(*self))
            }
        }
    )* };
}

integer_kinds!(u8, u32, i32);

impl Kind for f64 {
    fn name() -> String {
        "a number".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        match node.value {
            Value::Float(value) if value.is_finite() => Ok(value),
            Value::Float(_) => Err(Problem::new(&node, "expected a finite number").into()),
            // Exact up to 2^53, and no setting is that large.
            Value::Integer(value) => Ok(value as Self),
            _ => Err(Problem::expected("a number", &node).into()),
        }
    }

    fn json(&self) -> Json {
        Json::from(*self)
    }

    fn schema() -> Json {
        or_variable(json!({"type": "number"}))
    }

    fn magnitude(&self) -> Option<f64> {
        Some(*self)
    }
}

impl Kind for String {
    fn name() -> String {
        "a string".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        text(node, "a string", cx)
    }

    fn json(&self) -> Json {
        Json::from(self.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

impl Kind for Template {
    fn name() -> String {
        "a string".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::String(text) => {
                Self::parse(text, cx).map_err(|error| Problem::variable(node, &error).into())
            }
            _ => Err(Problem::expected("a string", node).into()),
        }
    }

    fn json(&self) -> Json {
        Json::from(self.to_string())
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// Nothing set, or (where the type is a switch) switched off.
impl<T: Kind> Kind for Option<T> {
    const UNIT: &'static str = T::UNIT;
    const ENTRIES: bool = T::ENTRIES;

    fn name() -> String {
        if T::SWITCH {
            format!("{}, or false", T::name())
        } else {
            T::name()
        }
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match (&node.value, T::SWITCH) {
            (Value::Boolean(false), true) => Ok(None),
            (Value::Boolean(true), true) => Err(Problem::expected(&Self::name(), node).into()),
            _ => T::read(node, cx).map(Some),
        }
    }

    fn json(&self) -> Json {
        match self {
            Some(value) => value.json(),
            None if T::SWITCH => Json::from(false),
            None => Json::Null,
        }
    }

    fn schema() -> Json {
        if T::SWITCH {
            json!({"anyOf": [T::schema(), {"const": false}]})
        } else {
            T::schema()
        }
    }

    fn magnitude(&self) -> Option<f64> {
        self.as_ref().and_then(T::magnitude)
    }

    fn anchor(node: &mut Node) {
        T::anchor(node);
    }
}

impl<T: Kind> Kind for Vec<T> {
    fn name() -> String {
        let name = T::name();
        let bare = name.trim_start_matches("an ").trim_start_matches("a ");
        format!("an array, each {bare}")
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Array(items) = &node.value else {
            return Err(Problem::expected("an array", node).into());
        };
        collect(items.iter().map(|item| T::read(item, cx)))
    }

    fn json(&self) -> Json {
        self.iter().map(T::json).collect()
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }

    fn anchor(node: &mut Node) {
        if let Value::Array(items) = &mut node.value {
            items.iter_mut().for_each(T::anchor);
        }
    }
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

/// An enum whose values are words. Words in `later` are known but refused.
macro_rules! choices {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident {
            $( $(#[$variant_meta:meta])* $Variant:ident = $word:literal, )*
        }
        $( later: $($later:literal),+ $(,)? )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name {
            $( $(#[$variant_meta])* $Variant, )*
        }

        impl $Name {
            const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word in the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$Variant => $word, )*
                }
            }
        }

        impl $crate::config::kind::Kind for $Name {
            fn name() -> String {
                $crate::config::kind::one_of(Self::WORDS)
            }

            fn read(
                node: &$crate::config::node::Node,
                cx: &$crate::config::variables::Context,
            ) -> $crate::config::kind::Read<Self> {
                let word = $crate::config::kind::text(node, &Self::name(), cx)?;
                match word.as_str() {
                    $( $word => Ok(Self::$Variant), )*
                    $( $( $later => Err($crate::config::kind::not_available(node, $later)), )+ )?
                    other => Err($crate::config::kind::no_such_word(node, other, Self::WORDS)),
                }
            }

            fn json(&self) -> serde_json::Value {
                self.as_str().into()
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": Self::WORDS})
            }
        }
    };
}
pub(crate) use choices;

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

/// A value of a later version.
pub(crate) fn not_available(node: &Node, what: &str) -> Vec<Problem> {
    Problem::new(node, format!("'{what}' is not available in this version")).into()
}

/// A table with keys of its own: flapping, backoff, a file of output.
///
/// `switch` says whether `false` switches it off.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident ($words:literal, switch: $switch:literal) {
            $( $(#[doc = $doc:literal])+ $key:ident : $ty:ty = $default:expr
               $(, $min:literal => $max:literal)? ; )*
        }
        $( later: $($later:literal),+ $(,)? )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $key: $ty, )*
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $crate::config::kind::Kind for $Name {
            const SWITCH: bool = $switch;

            fn name() -> String {
                $words.into()
            }

            fn read(
                node: &$crate::config::node::Node,
                cx: &$crate::config::variables::Context,
            ) -> $crate::config::kind::Read<Self> {
                use $crate::config::kind::{Problem, Range, not_available, read_within};
                const KEYS: &[&str] = &[$(stringify!($key)),*];
                const LATER: &[&str] = &[$($($later),+)?];
                let $crate::config::node::Value::Table(table) = &node.value else {
                    return Err(Problem::expected(&<Option<Self>>::name(), node).into());
                };
                let mut record = Self::default();
                let mut problems = Vec::new();
                for entry in table {
                    let read: Result<(), Vec<Problem>> = match entry.key.as_str() {
                        $( stringify!($key) => {
                            let range: &[Range] = &[$(Range { min: $min, max: $max })?];
                            read_within(&entry.node, range.first().copied(), cx)
                                .map(|value| record.$key = value)
                        } )*
                        later if LATER.contains(&later) => Err(not_available(&entry.node, later)),
                        unknown => {
                            let mut problem = Problem::new(&entry.node, "unknown key");
                            problem.at = entry.key_at.clone();
                            Err(problem
                                .suggesting($crate::config::diagnostic::nearest(
                                    unknown,
                                    KEYS.iter().copied(),
                                ))
                                .into())
                        }
                    };
                    if let Err(wrong) = read {
                        problems.extend(wrong.into_iter().map(|p| p.inside(&entry.key)));
                    }
                }
                if problems.is_empty() { Ok(record) } else { Err(problems) }
            }

            fn json(&self) -> serde_json::Value {
                serde_json::json!({ $( stringify!($key): self.$key.json() ),* })
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                $(
                    let mut schema = <$ty as $crate::config::kind::Kind>::schema();
                    schema["description"] = concat!($($doc),+).trim().into();
                    properties.insert(stringify!($key).into(), schema);
                )*
                serde_json::json!({
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                })
            }

            fn anchor(node: &mut $crate::config::node::Node) {
                if let $crate::config::node::Value::Table(table) = &mut node.value {
                    $(
                        if let Some(node) = table.get_mut(stringify!($key)) {
                            <$ty as $crate::config::kind::Kind>::anchor(node);
                        }
                    )*
                }
            }
        }
    };
}
pub(crate) use record;
