//! One source's settings sorted into sections, checked key by key, and laid over one another.
//!
//! Values stay as written here: only `build` makes typed ones, from all sources together.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, nearest};
use super::kind::Problem;
use super::node::{Entry, Node, Place, Table, Value};
use super::plugins::{self, Plugin};
use super::table::{Section, USER_PREFIX};
use super::values;
use super::variables::Context;

/// Everything one source says, or several of them together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Document {
    pub(crate) circusd: Table,
    pub(crate) defaults: Table,
    pub(crate) hooks: Table,
    pub(crate) access: Table,
    /// `[env]`.
    pub(crate) env: Table,
    /// `[env."web*"]`, in the order written.
    pub(crate) env_patterns: Vec<(String, Table)>,
    pub(crate) watchers: Named,
    pub(crate) sockets: Named,
    /// `[plugin.NAME]` without what is below `watcher`, which is in `watchers`.
    pub(crate) plugins: Named,
    /// What the watchers of plugins are made from, by watcher; when all sources are together.
    pub(crate) settled: BTreeMap<String, Plugin>,
}

/// One watcher or socket as written.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// Its rank among its kind, by where it was first written.
    order: usize,
    /// Where it was first written.
    pub(crate) at: Place,
    pub(crate) table: Table,
}

/// Watchers, or sockets, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    by_name: BTreeMap<String, Declared>,
    next: usize,
}

impl Named {
    pub(crate) fn get(&self, name: &str) -> Option<&Declared> {
        self.by_name.get(name)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The table of that name; a new one at the end if there is none yet.
    pub(crate) fn entry(&mut self, name: &str, at: &Place) -> &mut Table {
        let next = &mut self.next;
        let declared = self.by_name.entry(name.to_owned()).or_insert_with(|| {
            *next += 1;
            Declared {
                order: *next,
                at: at.clone(),
                table: Table::default(),
            }
        });
        &mut declared.table
    }

    fn read(&mut self, section: Section, tables: Table, checker: &mut Checker<'_>) {
        for Entry { key, key_at, node } in tables {
            let name = format!("{}.{key}", section.as_str());
            if let Err(reason) = check_name_of(section, &key) {
                checker.fault(&key_at, &name, reason);
                continue;
            }
            let Value::Table(table) = node.value else {
                checker.problem(&name, Problem::expected("a table", &node));
                continue;
            };
            let table = checker.section(section, &format!("{name}."), table);
            *self.entry(&key, &key_at) = table;
        }
    }

    fn overlay(&mut self, section: Section, later: &Self) {
        for (name, declared) in later.in_order() {
            let table = self.entry(name, &declared.at);
            merge(section, table, declared.table.clone());
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// In the order written.
    pub(crate) fn in_order(&self) -> Vec<(&str, &Declared)> {
        let mut all: Vec<_> = self.by_name.iter().map(|(n, d)| (n.as_str(), d)).collect();
        all.sort_by_key(|(_, declared)| declared.order);
        all
    }
}

const SECTIONS: [&str; 8] = [
    "circusd", "defaults", "env", "watcher", "socket", "plugin", "hooks", "access",
];

impl Document {
    /// Sorts a parsed file into its sections; every fault of it is added to `errors`.
    pub(crate) fn read(table: Table, cx: &Context, errors: &mut Vec<Diagnostic>) -> Self {
        let mut document = Self::default();
        for entry in table {
            document.read_section(entry, &mut Checker { cx, errors });
        }
        document
    }

    fn read_section(&mut self, entry: Entry, checker: &mut Checker<'_>) {
        let Entry { key, key_at, node } = entry;
        if key.starts_with(USER_PREFIX) {
            return;
        }
        if !SECTIONS.contains(&key.as_str()) {
            return checker.unknown(&key_at, &key, "unknown section", &SECTIONS);
        }
        let Value::Table(table) = node.value else {
            return checker.problem(&key, Problem::expected("a table", &node));
        };
        match key.as_str() {
            "circusd" => self.circusd = checker.section(Section::Circusd, "circusd.", table),
            "defaults" => self.defaults = checker.section(Section::Watcher, "defaults.", table),
            "hooks" => self.hooks = checker.section(Section::Hooks, "hooks.", table),
            "access" => self.access = checker.section(Section::Access, "access.", table),
            "watcher" => self.watchers.read(Section::Watcher, table, checker),
            "socket" => self.sockets.read(Section::Socket, table, checker),
            "plugin" => self.read_plugins(table, checker),
            _ => self.read_env(table, checker),
        }
    }

    /// What stands below `watcher` is that of the watcher that the plugin is.
    fn read_plugins(&mut self, mut tables: Table, checker: &mut Checker<'_>) {
        for Entry { key, key_at, node } in tables.iter_mut() {
            let Value::Table(table) = &mut node.value else {
                continue;
            };
            let Some(Node { value, at }) = table.get("watcher").cloned() else {
                continue;
            };
            table.remove("watcher");
            let prefix = format!("plugin.{key}.watcher");
            match value {
                Value::Table(options) => {
                    let options = checker.section(Section::Watcher, &format!("{prefix}."), options);
                    *self
                        .watchers
                        .entry(&format!("{}{key}", plugins::PREFIX), key_at) = options;
                }
                value => {
                    let problem = Problem::expected("a table", &Node { at, value });
                    checker.problem(&prefix, problem);
                }
            }
        }
        self.plugins.read(Section::Plugin, tables, checker);
    }

    /// A watcher's keys, with those of `[defaults]` that it does not set itself. Plugins take
    /// nothing from there: what is right for the pools of a machine seldom is for them.
    pub(crate) fn effective(&self, watcher: &str) -> Option<Table> {
        let own = &self.watchers.get(watcher)?.table;
        if plugins::plugin_of(watcher).is_some() {
            return Some(own.clone());
        }
        let mut table = self.defaults.clone();
        own.iter().for_each(|entry| table.insert(entry.clone()));
        Some(table)
    }

    fn read_env(&mut self, table: Table, checker: &mut Checker<'_>) {
        for entry in table {
            let name = format!("env.{}", entry.key);
            match entry.node.value {
                Value::Table(variables) => {
                    if let Err(error) = glob::Pattern::new(&entry.key) {
                        let reason = format!("not a pattern: {}", error.msg);
                        checker.fault(&entry.key_at, &name, &reason);
                    }
                    for variable in &variables {
                        checker.variable(&format!("{name}.{}", variable.key), variable);
                    }
                    self.env_patterns.push((entry.key, variables));
                }
                _ => {
                    checker.variable(&name, &entry);
                    self.env.insert(entry);
                }
            }
        }
    }

    /// Lays `later` over this: its values win, and it may add watchers and sockets.
    pub(crate) fn overlay(&mut self, later: Self) {
        merge(Section::Circusd, &mut self.circusd, later.circusd);
        merge(Section::Watcher, &mut self.defaults, later.defaults);
        merge(Section::Hooks, &mut self.hooks, later.hooks);
        merge(Section::Access, &mut self.access, later.access);
        later.env.into_iter().for_each(|e| self.env.insert(e));
        for (pattern, variables) in later.env_patterns {
            let table = self.env_pattern(&pattern);
            variables.into_iter().for_each(|e| table.insert(e));
        }
        self.watchers.overlay(Section::Watcher, &later.watchers);
        self.sockets.overlay(Section::Socket, &later.sockets);
        self.plugins.overlay(Section::Plugin, &later.plugins);
    }

    /// The variables of `[env."pattern"]`, at the end if they are new.
    pub(crate) fn env_pattern(&mut self, pattern: &str) -> &mut Table {
        let known = self.env_patterns.iter().position(|(p, _)| p == pattern);
        let index = known.unwrap_or_else(|| {
            self.env_patterns
                .push((pattern.to_owned(), Table::default()));
            self.env_patterns.len() - 1
        });
        &mut self.env_patterns[index].1
    }
}

fn merge(section: Section, base: &mut Table, later: Table) {
    for entry in later {
        let row = section.row(&entry.key);
        let collects = row.is_some_and(|row| row.has_entries());
        let tables = row.map_or(&[][..], |row| row.tables());
        match (base.get_mut(&entry.key), entry) {
            (
                Some(Node {
                    value: Value::Table(known),
                    ..
                }),
                Entry {
                    node:
                        Node {
                            value: Value::Table(added),
                            ..
                        },
                    ..
                },
            ) if collects => lay(known, added, tables),
            (_, entry) => base.insert(entry),
        }
    }
}

/// Lays one table over another, entry by entry, and those of its entries in `tables` in the same way.
fn lay(base: &mut Table, later: Table, tables: &[&str]) {
    for entry in later {
        let nested = tables.contains(&entry.key.as_str());
        match (base.get_mut(&entry.key).map(|node| &mut node.value), entry) {
            (
                Some(Value::Table(known)),
                Entry {
                    node:
                        Node {
                            value: Value::Table(added),
                            ..
                        },
                    ..
                },
            ) if nested => lay(known, added, &[]),
            (_, entry) => base.insert(entry),
        }
    }
}

/// At most this many characters, so that a name fits a file name with room to spare.
const NAME_MAX: usize = 128;

/// Whether `name` may be the name of a watcher or a socket.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > NAME_MAX {
        return Err("a name has at most 128 characters");
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.:@-".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner) {
        Ok(())
    } else {
        Err("a name begins with a letter or digit and has only letters, digits and _ . : @ -")
    }
}

/// The same for a watcher, a socket or a plugin.
pub(crate) fn check_name_of(section: Section, name: &str) -> Result<(), &'static str> {
    check_name(name)?;
    if section == Section::Watcher && name.starts_with(plugins::PREFIX) {
        return Err("watchers whose names begin with 'plugin:' are made by [plugin.NAME]");
    }
    if section == Section::Socket && name.contains(':') {
        return Err(
            "the name of a socket has no ':', which stands between names in LISTEN_FDNAMES",
        );
    }
    Ok(())
}

/// Collects the faults of a source.
pub(crate) struct Checker<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) errors: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    /// Checks every key of a section, and makes its paths absolute.
    pub(crate) fn section(&mut self, section: Section, prefix: &str, mut table: Table) -> Table {
        for entry in table.iter_mut() {
            self.entry(section, prefix, entry);
        }
        table
    }

    pub(crate) fn entry(&mut self, section: Section, prefix: &str, entry: &mut Entry) {
        if entry.key.starts_with(USER_PREFIX) {
            return;
        }
        let name = format!("{prefix}{}", entry.key);
        let Some(row) = section.row(&entry.key) else {
            if section == Section::Plugin {
                // Which keys it has is known when all sources are together.
                return;
            }
            let known: Vec<_> = section.keys().collect();
            let reason = plugins::unknown_option(prefix, &entry.key);
            return self.unknown(&entry.key_at, &name, reason, &known);
        };
        if !row.available() {
            return self.fault(&entry.key_at, &name, "not available in this version");
        }
        row.anchor(&mut entry.node);
        if let Err(problems) = row.check(&entry.node, self.cx) {
            problems.into_iter().for_each(|p| self.problem(&name, p));
        }
    }

    pub(crate) fn variable(&mut self, name: &str, entry: &Entry) {
        if let Err(problems) = values::variable(&entry.key, &entry.node, self.cx) {
            problems.into_iter().for_each(|p| self.problem(name, p));
        }
    }

    pub(crate) fn problem(&mut self, name: &str, problem: Problem) {
        self.errors.push(diagnose(name, problem));
    }

    pub(crate) fn fault(&mut self, at: &Place, name: &str, reason: &str) {
        self.errors
            .push(Diagnostic::at(at, Some(name.to_owned()), reason));
    }

    pub(crate) fn unknown(&mut self, at: &Place, name: &str, reason: &str, known: &[&str]) {
        let written = name.rsplit('.').next().unwrap_or(name);
        let diagnostic = Diagnostic::at(at, Some(name.to_owned()), reason)
            .suggesting(nearest(written, known.iter().copied()));
        self.errors.push(diagnostic);
    }
}

/// A problem of the setting called `name`, or of an entry of it.
pub(crate) fn diagnose(name: &str, problem: Problem) -> Diagnostic {
    let key = match &problem.entry {
        Some(entry) => format!("{name}.{entry}"),
        None => name.to_owned(),
    };
    Diagnostic::at(&problem.at, Some(key), problem.reason).suggesting(problem.suggestion)
}
