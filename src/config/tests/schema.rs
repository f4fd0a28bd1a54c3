//! The schema and the manual, held against the table they come from.

use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::Machine;
use crate::config::variables::Context;
use crate::config::{Section, manual_roff, schema};

/// As much of JSON Schema as ours uses; patterns are taken as matched.
fn accepts(schema: &Json, root: &Json, value: &Json) -> bool {
    let Json::Object(rules) = schema else {
        return schema != &Json::Bool(false);
    };
    rules.iter().all(|(rule, arg)| match rule.as_str() {
        "$ref" => {
            let name = arg.as_str().unwrap().trim_start_matches("#/$defs/");
            accepts(&root["$defs"][name], root, value)
        }
        "anyOf" => arg
            .as_array()
            .unwrap()
            .iter()
            .any(|s| accepts(s, root, value)),
        "const" => arg == value,
        "enum" => arg.as_array().unwrap().contains(value),
        "type" => is_type(arg.as_str().unwrap(), value),
        "minimum" => value.as_f64().is_none_or(|v| v >= arg.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|v| v <= arg.as_f64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|v| v.len() as u64 >= arg.as_u64().unwrap()),
        "maxLength" => value
            .as_str()
            .is_none_or(|v| v.len() as u64 <= arg.as_u64().unwrap()),
        "minItems" => value
            .as_array()
            .is_none_or(|v| v.len() as u64 >= arg.as_u64().unwrap()),
        "items" => value
            .as_array()
            .is_none_or(|v| v.iter().all(|v| accepts(arg, root, v))),
        "required" => {
            let names = arg.as_array().unwrap();
            value
                .as_object()
                .is_none_or(|v| names.iter().all(|n| v.contains_key(n.as_str().unwrap())))
        }
        "properties" => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(k, v)| arg.get(k).is_none_or(|s| accepts(s, root, v)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = |k: &str| rules.get("properties").is_some_and(|p| p.get(k).is_some());
            let mut others = object
                .iter()
                .filter(|(k, _)| !known(k) && !k.starts_with("x-"));
            others.all(|(_, v)| accepts(arg, root, v))
        }),
        "propertyNames" => value.as_object().is_none_or(|object| {
            object
                .keys()
                .all(|k| accepts(arg, root, &Json::from(k.as_str())))
        }),
        "pattern" | "patternProperties" | "description" | "default" | "title" | "$schema"
        | "$defs" => true,
        other => panic!("a rule that this test does not know: {other}"),
    })
}

fn is_type(name: &str, value: &Json) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("a type that this test does not know: {other}"),
    }
}

#[test]
fn the_schema_takes_every_default() {
    let schema = schema();
    for section in Section::ALL {
        for row in section.rows().iter().filter(|row| row.available()) {
            let default = row.default(&Context::default());
            if default.is_null() {
                continue;
            }
            let document = match section {
                Section::Watcher => json!({"watcher": {"web": {row.key: default}}}),
                Section::Socket => json!({"socket": {"web": {row.key: default}}}),
                // Neither use nor cmd has one, and without them there is no plugin.
                Section::Plugin => json!({"plugin": {"log": {"cmd": "true", row.key: default}}}),
                Section::Circusd | Section::Hooks | Section::Access => {
                    json!({section.as_str(): {row.key: default}})
                }
            };
            assert!(accepts(&schema, &schema, &document), "{document}");
        }
    }
}

#[test]
fn the_schema_takes_what_get_shows_and_refuses_what_the_parser_refuses() {
    let store = Machine::with("[watcher.web]\ncmd = \"web\"\nx-a = 1\n").load();
    let mut options = store.get("web", None).unwrap();
    options.retain(|_, value| !value.is_null());
    let schema = schema();
    assert!(accepts(
        &schema,
        &schema,
        &json!({"watcher": {"web": options}})
    ));
    for wrong in [
        json!({"wachter": {}}),
        json!({"watcher": {"web": {"numproceses": 1}}}),
        json!({"watcher": {"web": {"nice": 99}}}),
        json!({"watcher": {"web": {"flapping": {"attempt": 1}}}}),
        json!({"watcher": {"web": {"health": {"tpc": "localhost:1"}}}}),
        json!({"watcher": {"web": {"ready": "soon"}}}),
        json!({"circusd": {"log_target": 7}}),
        json!({"env": {"PORT": 80}}),
        json!({"socket": {"web": {"port": -1}}}),
        json!({"socket": {"web": {"prot": 80}}}),
        json!({"plugin": {"log": {}}}),
        json!({"plugin": {"log": {"use": "loger"}}}),
        json!({"plugin": {"log": {"use": "statsd", "filename": "/x"}}}),
        json!({"plugin": {"log": {"use": "statsd", "watcher": {"numproceses": 1}}}}),
    ] {
        assert!(!accepts(&schema, &schema, &wrong), "{wrong}");
    }
}

#[test]
fn the_manual_names_every_setting_of_this_version_and_no_other() {
    let page = manual_roff();
    for section in Section::ALL {
        for row in section.rows() {
            let item = format!("\n.B {}\n", row.key);
            assert_eq!(page.contains(&item), row.available(), "{}", row.key);
        }
    }
}

#[test]
fn the_manual_is_without_fault_for_those_who_read_manuals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("circusd.toml.5");
    std::fs::write(&path, manual_roff()).unwrap();
    for (program, arguments) in [
        ("mandoc", &["-T", "lint", "-W", "warning"][..]),
        ("groff", &["-man", "-ww", "-z", "-Tutf8"][..]),
    ] {
        let command = Command::new(program)
            .args(arguments)
            .arg(&path)
            .stdin(Stdio::null())
            .output();
        match command {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                assert!(
                    said.is_empty(),
                    "{program}: {}",
                    String::from_utf8_lossy(&said)
                );
            }
            Err(error) => eprintln!("SKIPPED: no {program} here ({error})"),
        }
    }
}
