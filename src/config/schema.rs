//! The JSON Schema (draft 2020-12) of a configuration file, from the table of settings.
//!
//! For editors: what concerns more than one key, and what a variable holds, is not in it.

use serde_json::{Map, Value as Json, json};

use super::plugins::BuiltIn;
use super::table::{Row, Section, USER_PREFIX};
use super::variables::Context;

/// The schema of one configuration file.
pub fn schema() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "circusd configuration",
        "type": "object",
        "properties": {
            "circusd": section(Section::Circusd),
            "defaults": {"$ref": "#/$defs/watcher"},
            "env": {
                "type": "object",
                "additionalProperties": {"anyOf": [
                    {"type": "string"},
                    {"type": "object", "additionalProperties": {"type": "string"}},
                ]},
            },
            "watcher": {
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.:@-]*$", "maxLength": 128},
                "additionalProperties": {"$ref": "#/$defs/watcher"},
            },
            "socket": {
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.:@-]*$", "maxLength": 128},
                "additionalProperties": section(Section::Socket),
            },
            "plugin": {
                "type": "object",
                "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.:@-]*$", "maxLength": 121},
                "additionalProperties": {"$ref": "#/$defs/plugin"},
            },
            "hooks": section(Section::Hooks),
            "access": section(Section::Access),
        },
        "patternProperties": user_keys(),
        "additionalProperties": false,
        "$defs": {"watcher": section(Section::Watcher), "plugin": plugin()},
    })
}

/// One of the built-in plugins with its own keys, or any program with any keys.
fn plugin() -> Json {
    let built_in = |built_in: &BuiltIn| {
        let mut schema = keys(built_in.rows());
        schema["description"] = Json::from(built_in.description());
        schema["properties"]["use"] = json!({"const": built_in.as_str()});
        schema["properties"]["watcher"] = json!({"$ref": "#/$defs/watcher"});
        schema["required"] = json!(["use"]);
        schema
    };
    let mut forms: Vec<Json> = BuiltIn::ALL.iter().map(built_in).collect();
    let mut program = keys(Section::Plugin.rows());
    program["properties"]["use"] = Json::Bool(false);
    program["properties"]["watcher"] = json!({"$ref": "#/$defs/watcher"});
    program["additionalProperties"] = Json::Bool(true);
    program["required"] = json!(["cmd"]);
    forms.push(program);
    json!({"anyOf": forms})
}

fn user_keys() -> Json {
    let mut keys = Map::new();
    keys.insert(format!("^{USER_PREFIX}"), json!({}));
    Json::Object(keys)
}

fn section(section: Section) -> Json {
    keys(section.rows())
}

fn keys(rows: &[Row]) -> Json {
    let rows = rows.iter().filter(|row| row.available());
    let properties: Map<String, Json> = rows
        .map(|row| (row.key.to_owned(), property(row)))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "patternProperties": user_keys(),
        "additionalProperties": false,
    })
}

fn property(row: &Row) -> Json {
    let mut schema = row
        .typed
        .as_ref()
        .map_or(json!({}), |typed| (typed.schema)());
    narrow(&mut schema, row);
    schema["description"] = Json::from(row.description());
    // One that depends on the machine would be wrong in a schema that is read elsewhere.
    if row.default_text.is_none() {
        schema["default"] = row.default(&Context::default());
    }
    schema
}

/// Puts the row's range where the schema speaks of numbers.
fn narrow(schema: &mut Json, row: &Row) {
    let Some(range) = row.range else {
        return;
    };
    match schema {
        Json::Object(object) => {
            let numeric = object
                .get("type")
                .is_some_and(|kind| kind == "integer" || kind == "number");
            if numeric {
                object.insert("minimum".into(), Json::from(range.min));
                object.insert("maximum".into(), Json::from(range.max));
            }
            object.values_mut().for_each(|inner| narrow(inner, row));
        }
        Json::Array(items) => items.iter_mut().for_each(|inner| narrow(inner, row)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}
