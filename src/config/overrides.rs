//! Single values over all files: `CIRCUSD_*`, `--set`, and `Set` and `Add` over the socket.
//!
//! Each names its key as `section.key`, or one entry of a table as `section.key.entry`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, nearest};
use super::document::{self, Checker, Document};
use super::node::{Entry, Node, Origin, Path, Place, Source, Table, Value};
use super::plugins;
use super::syntax;
use super::table::{Section, USER_PREFIX};
use super::variables::Context;

/// What a change is made to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Circusd,
    Defaults,
    Hooks,
    Access,
    /// `[env]`: the key is the variable.
    Env,
    /// `[env."pattern"]`.
    EnvPattern(String),
    Watcher(String),
    Socket(String),
    /// What every plugin has, and its own keys; those below `watcher` are its watcher's.
    Plugin(String),
}

/// One value, laid over the files.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub(crate) target: Target,
    pub(crate) key: String,
    /// One entry of the key's table; none for the whole value.
    pub(crate) entry: Option<String>,
    pub(crate) node: Node,
}

impl Target {
    /// The section whose rows the keys are; none where keys are variables.
    fn section(&self) -> Option<Section> {
        match self {
            Self::Circusd => Some(Section::Circusd),
            Self::Hooks => Some(Section::Hooks),
            Self::Access => Some(Section::Access),
            Self::Defaults | Self::Watcher(_) => Some(Section::Watcher),
            Self::Socket(_) => Some(Section::Socket),
            Self::Plugin(_) => Some(Section::Plugin),
            Self::Env | Self::EnvPattern(_) => None,
        }
    }

    /// What stands before a key in messages.
    fn prefix(&self) -> String {
        match self {
            Self::Circusd => "circusd.".into(),
            Self::Defaults => "defaults.".into(),
            Self::Hooks => "hooks.".into(),
            Self::Access => "access.".into(),
            Self::Env => "env.".into(),
            Self::EnvPattern(pattern) => format!("env.{pattern}."),
            Self::Watcher(name) => format!("{}.", plugins::title_of(name)),
            Self::Socket(name) => format!("socket.{name}."),
            Self::Plugin(name) => format!("plugin.{name}."),
        }
    }

    /// Splits `section.…`; what is left is key and entry.
    fn parse(mut parts: Vec<String>) -> Result<(Self, String, Option<String>), String> {
        let depth = match parts.first().map(String::as_str) {
            Some("plugin") if parts.get(2).is_some_and(|key| key == "watcher") => 3,
            Some("watcher" | "socket" | "plugin") => 2,
            Some("env") if parts.len() == 3 => 2,
            Some("circusd" | "defaults" | "hooks" | "access" | "env") => 1,
            Some(other) => return Err(format!("unknown section '{other}'")),
            None => return Err("names no setting".into()),
        };
        if parts.len() <= depth {
            return Err(
                "names no setting: expected SECTION.KEY, watcher.NAME.KEY, socket.NAME.KEY or \
                 plugin.NAME.KEY"
                    .into(),
            );
        }
        let rest = parts.split_off(depth);
        let target = match parts.as_slice() {
            [section, name] if section == "watcher" => Self::Watcher(name.clone()),
            [section, name] if section == "socket" => Self::Socket(name.clone()),
            [section, name] if section == "plugin" => Self::Plugin(name.clone()),
            [_, name, _] => Self::Watcher(format!("{}{name}", plugins::PREFIX)),
            [_, pattern] => Self::EnvPattern(pattern.clone()),
            [section] if section == "env" => Self::Env,
            [section] if section == "defaults" => Self::Defaults,
            [section] if section == "hooks" => Self::Hooks,
            [section] if section == "access" => Self::Access,
            _ => Self::Circusd,
        };
        let (key, entry) = rest.split_first().ok_or("names no setting")?;
        let entry = (!entry.is_empty()).then(|| entry.join("."));
        Ok((target, key.clone(), entry))
    }
}

impl Override {
    /// Splits `key.entry` as an option of the API has it: what follows the first dot is the entry,
    /// since variables may have dots in their names.
    pub(crate) fn of_watcher(watcher: &str, option: &str, node: Node) -> Self {
        let (key, entry) = match option.split_once('.') {
            Some((key, entry)) => (key, Some(entry.to_owned())),
            None => (option, None),
        };
        Self {
            target: Target::Watcher(watcher.to_owned()),
            key: key.to_owned(),
            entry,
            node,
        }
    }

    /// The full name, for messages.
    pub(crate) fn name(&self) -> String {
        let entry = self.entry.as_ref().map(|e| format!(".{e}"));
        format!(
            "{}{}{}",
            self.target.prefix(),
            self.key,
            entry.unwrap_or_default()
        )
    }

    /// Every fault of the value by itself. Of an entry only its own: what its table lacks is seen
    /// when all is together.
    pub(crate) fn check(&mut self, cx: &Context) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut checker = Checker {
            cx,
            errors: &mut errors,
        };
        let prefix = self.target.prefix();
        let name = self.name();
        let mut entry = self.as_entry();
        match self.target.section() {
            Some(section) => checker.entry(section, &prefix, &mut entry),
            None if self.entry.is_some() => {
                checker.fault(&self.node.at, &name, "a variable has no entries");
            }
            None => checker.variable(&name, &entry),
        }
        self.take_back(entry);
        if self.entry.is_some() {
            let whole = format!("{prefix}{}", self.key);
            errors.retain(|error| {
                let key = error.key.as_deref().unwrap_or_default();
                key == name || key == whole || key.starts_with(&format!("{name}."))
            });
        }
        errors
    }

    /// The key with its value; an entry as the only one of its table.
    fn as_entry(&self) -> Entry {
        let node = match &self.entry {
            None => self.node.clone(),
            Some(entry) => {
                let mut table = Table::default();
                table.set_at(self.path(entry), self.node.clone());
                Node {
                    at: self.node.at.clone(),
                    value: Value::Table(table),
                }
            }
        };
        Entry {
            key: self.key.clone(),
            key_at: self.node.at.clone(),
            node,
        }
    }

    /// Where the entry stands in the table of the key.
    pub(crate) fn path<'a>(&self, entry: &'a str) -> Path<'a> {
        Path::parse(entry, self.tables())
    }

    /// Whether it takes the place of that entry of the same key: of one in a table that it sets whole.
    pub(crate) fn covers(&self, entry: &str) -> bool {
        let table = Path::parse(entry, self.tables()).table;
        table.is_some() && table == self.entry.as_deref()
    }

    fn tables(&self) -> &'static [&'static str] {
        let row = self
            .target
            .section()
            .and_then(|section| section.row(&self.key));
        row.map_or(&[], |row| row.tables())
    }

    /// The reverse of `as_entry`: checking has made paths absolute.
    fn take_back(&mut self, entry: Entry) {
        match (&self.entry, entry.node.value) {
            (None, value) => self.node.value = value,
            (Some(name), Value::Table(table)) => {
                if let Some(node) = table.get_at(self.path(name)) {
                    self.node = node.clone();
                }
            }
            (Some(_), _) => {}
        }
    }

    /// The value, if it is a list of files to include.
    pub(crate) fn include(&self) -> Option<&Node> {
        (self.target == Target::Circusd && self.key == "include" && self.entry.is_none())
            .then_some(&self.node)
    }

    /// Lays the value over `document`. A table takes the place of a table; an entry is put into
    /// the table that is in force, from `[defaults]` if the watcher has none.
    pub(crate) fn apply(&self, document: &mut Document) {
        let inherited = match self.target {
            Target::Watcher(ref name) if plugins::plugin_of(name).is_none() => {
                document.defaults.get(&self.key).cloned()
            }
            _ => None,
        };
        let table = match &self.target {
            Target::Circusd => &mut document.circusd,
            Target::Defaults => &mut document.defaults,
            Target::Hooks => &mut document.hooks,
            Target::Access => &mut document.access,
            Target::Env => &mut document.env,
            Target::EnvPattern(pattern) => document.env_pattern(pattern),
            Target::Watcher(name) => document.watchers.entry(name, &self.node.at),
            Target::Socket(name) => document.sockets.entry(name, &self.node.at),
            Target::Plugin(name) => document.plugins.entry(name, &self.node.at),
        };
        let Some(entry) = &self.entry else {
            return table.set(&self.key, self.node.clone());
        };
        if table.get(&self.key).is_none()
            && let Some(node) = inherited
        {
            table.set(&self.key, node);
        }
        match table.get_mut(&self.key) {
            Some(Node {
                value: Value::Table(entries),
                ..
            }) => entries.set_at(self.path(entry), self.node.clone()),
            _ => table.insert(self.as_entry()),
        }
    }
}

const PREFIX: &str = "CIRCUSD_";

/// Reads flags and variables.
pub(crate) struct Reader<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) directory: &'a std::path::Path,
    pub(crate) errors: &'a mut Vec<Diagnostic>,
    pub(crate) warnings: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    /// `CIRCUSD_LOG_LEVEL` is `circusd.log_level`.
    ///
    /// One that is no setting is a warning: scripts and packages have variables of their own.
    pub(crate) fn environment(&mut self, env: &BTreeMap<String, String>) -> Vec<Override> {
        let mut found = Vec::new();
        for (variable, value) in env {
            // Empty is as good as unset, as elsewhere in the environment.
            let Some(name) = variable.strip_prefix(PREFIX).filter(|_| !value.is_empty()) else {
                continue;
            };
            let key = name.to_lowercase();
            let source = self.source(variable, Origin::Environment);
            if Section::Circusd.row(&key).is_none() {
                let known = nearest(&key, Section::Circusd.keys());
                let known = known.map(|known| format!("{PREFIX}{}", known.to_uppercase()));
                let warning = Diagnostic::of(variable.as_str(), "not a setting, ignored");
                self.warnings.push(warning.suggesting(known));
                continue;
            }
            found.extend(self.value(Target::Circusd, &key, None, value, &source));
        }
        found
    }

    /// `--set watcher.web.numprocesses=5`; of two for one setting the last counts.
    pub(crate) fn flags(&mut self, flags: &[String]) -> Vec<Override> {
        let mut found = Vec::new();
        for flag in flags {
            let (key, value) = match flag.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None => (flag.as_str(), ""),
            };
            let split = match syntax::parse_key(key) {
                _ if !flag.contains('=') => Err("expected KEY=VALUE".to_owned()),
                None => Err("not a key: expected names with dots between them".to_owned()),
                Some(parts) => Target::parse(parts),
            };
            match split {
                Ok((target, key, entry)) => {
                    let source = self.source("--set", Origin::CommandLine);
                    found.extend(self.value(target, &key, entry, value, &source));
                }
                Err(reason) => {
                    let flag = format!("--set {key}");
                    self.errors.push(Diagnostic::of(flag, reason));
                }
            }
        }
        found
    }

    fn source(&self, name: &str, origin: Origin) -> Arc<Source> {
        Source::named(name, origin, Some(self.directory))
    }

    /// A value without quotes is what the setting can take: TOML if that is right, else a string.
    fn value(
        &mut self,
        target: Target,
        key: &str,
        entry: Option<String>,
        text: &str,
        source: &Arc<Source>,
    ) -> Option<Override> {
        let name = match &target {
            // Whether there is such a plugin is found out when all is together.
            Target::Watcher(name) => Some(plugins::plugin_of(name).unwrap_or(name)),
            Target::Socket(name) | Target::Plugin(name) => Some(name.as_str()),
            _ => None,
        };
        if let Some(name) = name
            && let Some(section) = target.section()
            && let Err(reason) = document::check_name_of(section, name)
        {
            self.errors.push(Diagnostic::of(&source.name, reason));
            return None;
        }
        let string = Node {
            at: Place::start(source),
            value: Value::String(text.to_owned()),
        };
        let toml = syntax::parse_value(text, source);
        let mut first_errors = None;
        for node in toml.into_iter().chain([string]) {
            let mut change = Override {
                target: target.clone(),
                key: key.to_owned(),
                entry: entry.clone(),
                node,
            };
            let errors = change.check(self.cx);
            if errors.is_empty() {
                return Some(change);
            }
            first_errors.get_or_insert(errors);
        }
        self.errors.extend(first_errors.unwrap_or_default());
        None
    }
}

/// Whether an option of the API may be set at all, for one that is taken back.
pub(crate) fn check_key(watcher: &str, option: &str, at: &Place) -> Option<Diagnostic> {
    let key = option.split('.').next().unwrap_or(option);
    let known = Section::Watcher.row(key);
    if key.starts_with(USER_PREFIX) || known.is_some_and(|row| row.available()) {
        return None;
    }
    let title = plugins::title_of(watcher);
    let name = Some(format!("{title}.{option}"));
    Some(match known {
        Some(_) => Diagnostic::at(at, name, "not available in this version"),
        None => Diagnostic::at(at, name, plugins::unknown_option(&title, key))
            .suggesting(nearest(key, Section::Watcher.keys())),
    })
}
