//! The types that mean nothing by themselves: booleans, numbers, strings, and lists of others.

use serde_json::{Value as Json, json};

use super::kind::{Kind, Problem, Read, collect, or_variable, plain, text};
use super::node::{Node, Value};
use super::variables::{Context, Template};

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

integer_kinds!(u8, u16, u32, i32);

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
    const TABLES: &'static [&'static str] = T::TABLES;

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

    fn fields() -> &'static [(&'static str, &'static str)] {
        T::fields()
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
