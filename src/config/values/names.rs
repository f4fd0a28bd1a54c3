//! Names of watchers, as other watchers name them; whether these exist is found out elsewhere.

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, collect, text};
use crate::config::node::{Node, Value};
use crate::config::variables::Context;

/// Watchers, in the order written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatcherNames(pub Vec<String>);

impl Kind for WatcherNames {
    fn name() -> String {
        "an array of names of watchers".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Array(items) = &node.value else {
            return Err(Problem::expected(&Self::name(), node).into());
        };
        collect(items.iter().map(|item| text(item, "a name", cx))).map(Self)
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        json!({"type": "array", "items": {"type": "string"}})
    }
}
