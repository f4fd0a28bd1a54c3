//! The variables of a watcher's processes, from the weakest to the strongest: what is inherited,
//! `http_proxy`, `[env]`, `[env."pattern"]` in the order written, `env_file`, the watcher's `env`.
//!
//! Does not read files, and does not know the variables the daemon itself adds for each process.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::node::{Place, Source, Table};
use super::plugins;
use super::values;
use super::variables::{Context, Filling, Template};
use super::watcher::Watcher;

/// What is passed on without `copy_env`.
const INHERITED: [&str; 5] = ["PATH", "HOME", "USER", "LANG", "SHELL"];

/// For a daemon that was started without a PATH: a worker's program could not be found.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "ws_proxy", "wss_proxy"];

/// All variables of a watcher's processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    inherited: BTreeMap<String, String>,
    configured: BTreeMap<String, Template>,
}

impl Environment {
    /// The variables for one process.
    pub fn expand(&self, filling: Filling<'_>) -> BTreeMap<String, String> {
        let mut variables = self.inherited.clone();
        let configured = self.configured.iter();
        variables.extend(configured.map(|(name, value)| (name.clone(), value.expand(filling))));
        variables
    }

    /// Whether both are the same but for what a plugin is told of itself.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let others = |of: &Self| {
            let mut variables = of.configured.clone();
            variables.remove(plugins::CONFIG_VARIABLE);
            variables
        };
        self.inherited == other.inherited && others(self) == others(other)
    }

    /// Whether the configuration says what `name` is. One that is only inherited (HOME, USER,
    /// SHELL) may be set to what suits the user the process runs as.
    pub fn is_configured(&self, name: &str) -> bool {
        self.configured.contains_key(name)
    }
}

/// Puts together the environment of `watcher`; `document` has been checked.
pub(crate) fn gather(
    watcher: &Watcher,
    document: &Document,
    http_proxy: Option<&str>,
    env_file: &[(String, String)],
    cx: &Context,
) -> Environment {
    let mut configured = BTreeMap::new();
    if let Some(proxy) = http_proxy {
        let proxies = PROXIES.map(|name| (name.to_owned(), Template::literal(proxy)));
        configured.extend(proxies);
    }
    for (_, table) in tables(document, &watcher.name) {
        configured.extend(variables(table, cx));
    }
    let file = env_file.iter().cloned();
    configured.extend(file.map(|(name, value)| (name, Template::literal(value))));
    configured.extend(watcher.env.0.clone());
    if let Some(plugin) = &watcher.plugin {
        let settings = Json::Object(plugin.settings.clone()).to_string();
        let told = [
            (plugins::NAME_VARIABLE, plugin.name.clone()),
            (plugins::CONFIG_VARIABLE, settings),
        ];
        configured.extend(told.map(|(name, value)| (name.to_owned(), Template::literal(value))));
    }
    Environment {
        inherited: inherited(watcher, cx),
        configured,
    }
}

/// The sections of variables that apply to a watcher, with their titles: `[env]`, and each
/// `[env."pattern"]` that matches.
pub(crate) fn tables<'a>(
    document: &'a Document,
    watcher: &str,
) -> impl Iterator<Item = (String, &'a Table)> {
    let matching = document.env_patterns.iter().filter(move |(pattern, _)| {
        glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(watcher))
    });
    let patterns = matching.map(|(pattern, table)| (format!("env.{pattern}"), table));
    std::iter::once(("env".to_owned(), &document.env)).chain(patterns)
}

fn inherited(watcher: &Watcher, cx: &Context) -> BTreeMap<String, String> {
    let passes = |name: &str| {
        watcher.copy_env || INHERITED.contains(&name) || (watcher.copy_path && name == "PYTHONPATH")
    };
    let mut variables: BTreeMap<_, _> = cx
        .env
        .iter()
        .filter(|(name, _)| passes(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    variables
        .entry("PATH".into())
        .or_insert_with(|| PATH.into());
    variables
}

/// Those that can be read; the others have been told of when the document was checked.
fn variables(table: &Table, cx: &Context) -> Vec<(String, Template)> {
    let read = |entry: &super::node::Entry| {
        let value = values::variable(&entry.key, &entry.node, cx).ok()?;
        Some((entry.key.clone(), value))
    };
    table.iter().filter_map(read).collect()
}

/// Reads the text of an `env_file`: a variable per line, `NAME=VALUE`; empty lines and those that
/// begin with `#` are passed over, one pair of quotes around a value is taken off, nothing is
/// expanded.
///
/// # Errors
///
/// Every line that is none of these.
pub(crate) fn parse_file(source: &Arc<Source>) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
    let (mut variables, mut errors) = (Vec::new(), Vec::new());
    let mut offset = 0;
    for line in source
        .text
        .as_deref()
        .unwrap_or_default()
        .split_inclusive('\n')
    {
        match parse_line(line.trim()) {
            Ok(variable) => variables.extend(variable),
            Err(reason) => {
                let at = Place {
                    source: Arc::clone(source),
                    offset: offset + (line.len() - line.trim_start().len()),
                };
                errors.push(Diagnostic::at(&at, None, reason));
            }
        }
        offset += line.len();
    }
    if errors.is_empty() {
        Ok(variables)
    } else {
        Err(errors)
    }
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((name, value)) = line.split_once('=') else {
        return Err("expected NAME=VALUE");
    };
    let name = name.trim_end();
    if !values::is_variable_name(name) || name.contains(char::is_whitespace) {
        return Err("the name of a variable is not empty and has no spaces");
    }
    let value = unquote(value.trim_start())?;
    if value.contains('\0') {
        return Err("contains a NUL character");
    }
    Ok(Some((name.to_owned(), value.to_owned())))
}

fn unquote(value: &str) -> Result<&str, &'static str> {
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.strip_suffix(quote).ok_or("a quote is not closed");
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Origin;

    fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
        parse_file(&Source::file("web.env".as_ref(), text.into(), Origin::File))
    }

    #[test]
    fn a_file_of_variables_is_read_without_expanding_anything() {
        let read = parse("# a comment\n\nA=1\nB = \"two words\"\r\nC='$(circus.wid)=x'\nD=\n");
        let pairs = read.unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        assert_eq!(
            pairs,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "$(circus.wid)=x"),
                ("D", "")
            ]
        );
    }

    #[test]
    fn every_wrong_line_is_told_with_its_place() {
        let errors = parse("A=1\n  nonsense\nB=\"open\n=x\n").unwrap_err();
        let places: Vec<_> = errors.iter().map(|e| (e.line, e.column)).collect();
        assert_eq!(
            places,
            [(Some(2), Some(3)), (Some(3), Some(1)), (Some(4), Some(1))]
        );
    }
}
