//! The settings of a built-in plugin as it gets them itself: from the JSON that circusd hands it,
//! and from `--config KEY=VALUE`.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::CONFIG_VARIABLE;
use super::settings::{BuiltIn, BuiltInSettings};
use super::settle::check_own;
use crate::config::diagnostic::{Diagnostic, Errors};
use crate::config::document::diagnose;
use crate::config::node::{Node, Origin, Place, Source, Table, Value};
use crate::config::syntax;
use crate::config::variables::Context;

/// Reads and checks the settings of `built_in`: those `given` as JSON, and over them `flags`, each
/// `KEY=VALUE`, where the value is TOML or, if it is not or does not fit, a string. Relative paths
/// of flags are relative to `directory`.
///
/// # Errors
///
/// Every key that is unknown, missing or wrong.
pub fn read_settings(
    built_in: BuiltIn,
    given: &Map<String, Json>,
    flags: &[String],
    directory: &Path,
) -> Result<BuiltInSettings, Errors> {
    // The environment was looked into where the configuration was read.
    let cx = Context::default();
    let mut errors = Vec::new();
    let at = Place::start(&Source::named(CONFIG_VARIABLE, Origin::Environment, None));
    let mut table: Table = Table::from_json(given, &at)
        .into_iter()
        .filter(|entry| !matches!(entry.node.value, Value::Null))
        .collect();
    let source = Source::named("--config", Origin::CommandLine, Some(directory));
    for flag in flags {
        match flag.split_once('=') {
            Some((key, value)) => {
                let string = Node {
                    at: Place::start(&source),
                    value: Value::String(value.trim().to_owned()),
                };
                let row = built_in.rows().iter().find(|row| row.key == key.trim());
                let fits = |node: &Node| {
                    let mut node = node.clone();
                    row.is_none_or(|row| {
                        row.anchor(&mut node);
                        row.check(&node, &cx).is_ok()
                    })
                };
                let toml = syntax::parse_value(value.trim(), &source);
                let node = match toml {
                    Some(node) if fits(&node) || !fits(&string) => node,
                    _ => string,
                };
                table.set(key.trim(), node);
            }
            None => {
                let reason = format!("expected KEY=VALUE, found '{flag}'");
                errors.push(Diagnostic::of("--config", reason));
            }
        }
    }
    check_own(built_in, "", &mut table, &at, &cx, &mut errors);
    if !errors.is_empty() {
        return Err(Errors::new(errors));
    }
    built_in.settings(&table, &cx).map_err(|problems| {
        let faults = problems.into_iter().map(|problem| {
            let entry = problem.entry.clone().unwrap_or_default();
            let problem = crate::config::kind::Problem {
                entry: None,
                ..problem
            };
            diagnose(&entry, problem)
        });
        Errors::new(faults.collect())
    })
}
