//! The configuration shown: `Get`, `GetSettings`, and the difference of two of them.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::diagnostic::{Diagnostic, Errors, nearest};
use super::node::{Entry, Node, Origin, Path, Table, Value};
use super::plugins::{self, BuiltIn};
use super::socket::Socket;
use super::store::{OPTIONS_MAX, Store};
use super::table::{OnChange, Row, Section, Settings, USER_PREFIX};
use super::watcher::Watcher;

/// Each is held against every setting there is, and a client must not keep the daemon busy.
const NAMES_MAX: usize = 64;

/// One setting with its value and where that came from.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingView {
    /// `circusd.log_level`, `watcher.web.cmd`; one entry of a collection: `watcher.web.env.LANG`.
    pub name: String,
    /// `circusd`, `watcher.web`, `socket.web`, `plugin.log`, `hooks`, `access`.
    pub section: String,
    /// As written, or the default; null if there is neither.
    pub value: Json,
    /// Null where there is none, or none that is the same everywhere.
    pub default: Json,
    /// Where the value came from.
    pub origin: Origin,
    /// `file:line:column`, or the flag or variable; none for a default.
    pub source: Option<String>,
    /// What a change does.
    pub on_change: OnChange,
    /// One sentence or two.
    pub description: &'static str,
}

/// What becomes of one watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Add,
    /// It is no more.
    Remove,
    /// It has other settings, and its processes go on.
    Live,
    /// Its processes must be replaced.
    Reload,
    /// Nothing differs.
    Unchanged,
}

impl Change {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Live => "live",
            Self::Reload => "reload",
            Self::Unchanged => "unchanged",
        }
    }
}

/// What a new configuration means for one watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatcherChange {
    /// Its name.
    pub watcher: String,
    /// The strongest effect of all its keys that differ.
    pub change: Change,
    /// The keys whose values differ, in the order of the table; empty for `Add` and `Remove`.
    /// `env` stands for all that makes up the environment, `use_sockets` for the sockets too. Those
    /// of a plugin itself come last.
    pub keys: Vec<String>,
}

impl Store {
    /// Options of a watcher as they would stand in a file, so that they can be given back to
    /// [`Store::set`] and [`Store::add`]: all, or those named. What is not set shows its default,
    /// or null. Keys that start with `x-` are shown as written. `env.LANG` is one entry.
    ///
    /// # Errors
    ///
    /// No such watcher, or every key that is not known.
    pub fn get(&self, watcher: &str, keys: Option<&[String]>) -> Result<Map<String, Json>, Errors> {
        let table = self
            .effective(watcher)
            .ok_or_else(|| self.no_such_watcher(watcher))?;
        let Some(keys) = keys else {
            return Ok(self.all_options(&table));
        };
        if keys.len() > OPTIONS_MAX {
            let reason = format!("more than {OPTIONS_MAX} options at a time");
            return Err(Errors::new(vec![Diagnostic::of("", reason)]));
        }
        let (mut options, mut errors) = (Map::new(), Vec::new());
        for key in keys {
            match self.option(watcher, &table, key) {
                Ok(value) => {
                    options.insert(key.clone(), value);
                }
                Err(fault) => errors.extend(fault.into_diagnostics()),
            }
        }
        match errors.is_empty() {
            true => Ok(options),
            false => Err(Errors::new(errors)),
        }
    }

    /// Every setting, or those whose name or shell-style pattern is given (`circusd.*`).
    ///
    /// # Errors
    ///
    /// Every name (not a pattern) that names no setting.
    pub fn settings(&self, names: Option<&[String]>) -> Result<Vec<SettingView>, Errors> {
        let Some(names) = names else {
            return Ok(self.collect_settings(&|_| true));
        };
        if names.len() > NAMES_MAX {
            let reason = format!("more than {NAMES_MAX} names at a time; a pattern names many");
            return Err(Errors::new(vec![Diagnostic::of("", reason)]));
        }
        let patterns: Vec<_> = names.iter().map(|name| Pattern::new(name)).collect();
        let chosen = self.collect_settings(&|name| patterns.iter().any(|p| p.matches(name)));
        let missing = patterns.iter().filter(|pattern| {
            pattern.is_name() && !chosen.iter().any(|setting| pattern.matches(&setting.name))
        });
        let missing: Vec<_> = missing.map(|pattern| pattern.text).collect();
        match missing.is_empty() {
            true => Ok(chosen),
            false => Err(self.no_such_settings(&missing)),
        }
    }

    /// What `new` means for every watcher of both: first those of `new` in its order, then those
    /// that are no more.
    pub fn diff(&self, new: &Self) -> Vec<WatcherChange> {
        let known = by_name(&self.config().watchers);
        let left = by_name(&new.config().watchers);
        let mut changes: Vec<_> = new
            .config()
            .watchers
            .iter()
            .map(|watcher| match known.get(watcher.name.as_str()) {
                Some(old) => compare(old, watcher),
                None => whole(watcher, Change::Add),
            })
            .collect();
        let gone = self.config().watchers.iter();
        let gone = gone.filter(|watcher| !left.contains_key(watcher.name.as_str()));
        changes.extend(gone.map(|watcher| whole(watcher, Change::Remove)));
        changes
    }

    /// The settings of `[circusd]`, `[hooks]` and `[access]` that differ in `new`.
    pub fn daemon_changes(&self, new: &Self) -> Vec<&'static Row> {
        let (old, new) = (self.config(), new.config());
        let mut rows = old.circusd.changed(&new.circusd);
        rows.extend(old.hooks.changed(&new.hooks));
        rows.extend(old.access.changed(&new.access));
        rows
    }

    pub(crate) fn effective(&self, watcher: &str) -> Option<Table> {
        self.document().effective(watcher)
    }

    fn all_options(&self, table: &Table) -> Map<String, Json> {
        let rows = Section::Watcher.rows().iter().filter(|row| row.available());
        let mut options: Map<String, Json> = rows
            .map(|row| (row.key.to_owned(), self.value(row, table)))
            .collect();
        for entry in table {
            if entry.key.starts_with(USER_PREFIX) {
                options.insert(entry.key.clone(), entry.node.to_json());
            }
        }
        options
    }

    fn option(&self, watcher: &str, table: &Table, option: &str) -> Result<Json, Errors> {
        let title = plugins::title_of(watcher);
        let fault = |reason: &str| {
            let mut fault = Diagnostic::of("", reason);
            fault.key = Some(format!("{title}.{option}"));
            let known = nearest(option, Section::Watcher.keys());
            Errors::new(vec![fault.suggesting(known)])
        };
        let (key, entry) = match option.split_once('.') {
            Some((key, entry)) => (key, Some(entry)),
            None => (option, None),
        };
        let value = match Section::Watcher.row(key) {
            Some(row) if row.available() => self.value(row, table),
            Some(_) => return Err(fault("not available in this version")),
            None => match table.get(key) {
                Some(node) => node.to_json(),
                None => return Err(fault(plugins::unknown_option(&title, key))),
            },
        };
        match entry {
            None => Ok(value),
            Some(entry) => {
                let tables = Section::Watcher.row(key).map_or(&[][..], Row::tables);
                let path = Path::parse(entry, tables);
                let value = match path.table {
                    None => value.get(path.key),
                    Some(table) => value.get(table).and_then(|table| table.get(path.key)),
                };
                value.cloned().ok_or_else(|| fault("not set"))
            }
        }
    }

    fn value(&self, row: &Row, table: &Table) -> Json {
        match table.get(row.key) {
            Some(node) => node.to_json(),
            None => row.default(self.context()),
        }
    }

    fn no_such_settings(&self, names: &[&str]) -> Errors {
        let all = self.collect_settings(&|_| true);
        let fault = |name: &&str| {
            let known = all.iter().map(|setting| setting.name.as_str());
            let mut fault = Diagnostic::of("", "no such setting").suggesting(nearest(name, known));
            fault.key = Some((*name).to_owned());
            fault
        };
        Errors::new(names.iter().map(fault).collect())
    }

    fn collect_settings(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<SettingView> {
        let document = self.document();
        let mut views = Vec::new();
        let mut collect = |section: Section, title: &str, table: &Table| {
            for row in section.rows().iter().filter(|row| row.available()) {
                self.collect_setting(row, title, table.get(row.key), wanted, &mut views);
            }
        };
        collect(Section::Circusd, "circusd", &document.circusd);
        for (name, _) in document.watchers.in_order() {
            let table = document.effective(name).unwrap_or_default();
            collect(Section::Watcher, &format!("watcher.{name}"), &table);
        }
        for (name, declared) in document.sockets.in_order() {
            collect(Section::Socket, &format!("socket.{name}"), &declared.table);
        }
        for (name, declared) in document.plugins.in_order() {
            collect(Section::Plugin, &format!("plugin.{name}"), &declared.table);
        }
        collect(Section::Hooks, "hooks", &document.hooks);
        collect(Section::Access, "access", &document.access);
        for (name, declared) in document.plugins.in_order() {
            self.collect_own(name, &declared.table, wanted, &mut views);
        }
        views
    }

    /// The keys that only this plugin has.
    fn collect_own(
        &self,
        plugin: &str,
        table: &Table,
        wanted: &dyn Fn(&str) -> bool,
        views: &mut Vec<SettingView>,
    ) {
        let title = format!("plugin.{plugin}");
        let used = table.get("use").map(|node| node.to_json());
        let built_in = used.and_then(|name| BuiltIn::named(name.as_str()?));
        for row in built_in.into_iter().flat_map(BuiltIn::rows) {
            self.collect_setting(row, &title, table.get(row.key), wanted, views);
        }
        let is_free = |entry: &&Entry| {
            let key = entry.key.as_str();
            built_in.is_none() && Section::Plugin.row(key).is_none()
        };
        for entry in table.iter().filter(is_free) {
            let name = format!("{title}.{}", entry.key);
            if wanted(&name) {
                views.push(SettingView {
                    name,
                    section: title.clone(),
                    value: entry.node.to_json(),
                    default: Json::Null,
                    origin: entry.node.at.source.origin,
                    source: Some(entry.node.at.describe()),
                    on_change: OnChange::Reload,
                    description: "What it means is known to the plugin.",
                });
            }
        }
    }

    /// The setting and, of a collection, its entries.
    fn collect_setting(
        &self,
        row: &Row,
        title: &str,
        node: Option<&Node>,
        wanted: &dyn Fn(&str) -> bool,
        views: &mut Vec<SettingView>,
    ) {
        let name = format!("{title}.{}", row.key);
        if let (true, Some(Value::Table(entries))) =
            (row.has_entries(), node.map(|node| &node.value))
        {
            for entry in entries {
                let name = format!("{name}.{}", entry.key);
                if wanted(&name) {
                    let view = self.setting(row, title, name, Some(&entry.node));
                    let default = Json::Null;
                    views.push(SettingView { default, ..view });
                }
            }
        }
        if wanted(&name) {
            views.push(self.setting(row, title, name, node));
        }
    }

    fn setting(&self, row: &Row, title: &str, name: String, node: Option<&Node>) -> SettingView {
        let default = row.default(self.context());
        SettingView {
            name,
            section: title.to_owned(),
            value: node.map_or_else(|| default.clone(), Node::to_json),
            default,
            origin: node.map_or(Origin::Default, |node| node.at.source.origin),
            source: node.map(|node| node.at.describe()),
            on_change: row.on_change,
            description: row.description(),
        }
    }
}

/// A name, or a shell-style pattern for names.
struct Pattern<'a> {
    text: &'a str,
    glob: Option<glob::Pattern>,
}

impl<'a> Pattern<'a> {
    fn new(text: &'a str) -> Self {
        let glob = glob::Pattern::new(text).ok();
        Self {
            text,
            glob: glob.filter(|_| text.contains(['*', '?', '['])),
        }
    }

    fn is_name(&self) -> bool {
        self.glob.is_none()
    }

    fn matches(&self, name: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.matches(name),
            None => self.text == name,
        }
    }
}

fn by_name(watchers: &[Watcher]) -> HashMap<&str, &Watcher> {
    watchers.iter().map(|w| (w.name.as_str(), w)).collect()
}

fn whole(watcher: &Watcher, change: Change) -> WatcherChange {
    WatcherChange {
        watcher: watcher.name.clone(),
        change,
        keys: Vec::new(),
    }
}

/// Whether a process that has the old ones has what the new ones are.
fn same_sockets(old: &[Socket], new: &[Socket]) -> bool {
    let same = |(old, new): (&Socket, &Socket)| old.name == new.name && old.is_same(new);
    old.len() == new.len() && old.iter().zip(new).all(same)
}

fn compare(old: &Watcher, new: &Watcher) -> WatcherChange {
    let mut rows = old.changed(new);
    let env = Section::Watcher.row("env").expect("env is in the table");
    if !old.environment.is_same(&new.environment) && !rows.iter().any(|row| row.key == env.key) {
        rows.push(env);
    }
    let sockets = Section::Watcher
        .row("use_sockets")
        .expect("it is in the table");
    if !same_sockets(&old.sockets, &new.sockets) && !rows.iter().any(|r| r.key == sockets.key) {
        rows.push(sockets);
    }
    let own = match (&old.plugin, &new.plugin) {
        (Some(old), Some(new)) => old.changed(new),
        _ => Vec::new(),
    };
    let change = match rows.iter().map(|row| row.on_change).max() {
        _ if !own.is_empty() => Change::Reload,
        None => Change::Unchanged,
        Some(OnChange::Live) => Change::Live,
        Some(OnChange::Reload | OnChange::RestartDaemon) => Change::Reload,
    };
    WatcherChange {
        watcher: new.name.clone(),
        change,
        keys: rows
            .into_iter()
            .map(|row| row.key.to_owned())
            .chain(own)
            .collect(),
    }
}
