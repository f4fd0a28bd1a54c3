//! The configuration in force, with all that it is made of; never changed, only succeeded.
//!
//! Does not know what runs: the server compares two stores and acts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::build::{self, Config, EnvFiles};
use super::dependencies;
use super::diagnostic::{Diagnostic, Errors, nearest};
use super::document::{self, Document};
use super::environment;
use super::files;
use super::kind::Kind;
use super::node::{Node, Origin, Place, Source, Value};
use super::overrides::{self, Override};
use super::sources::{self, Gathered, Sources};
use super::table::Section;
use super::trace::Trace;
use super::variables::Context;

/// No watcher has that many options and variables; each that is wrong would be looked up and
/// answered.
pub(crate) const OPTIONS_MAX: usize = 1024;

/// A configuration: every value, typed and as written, and where it came from.
///
/// `load`, `reread`, `set` and `add` give a new store or all the reasons why not; the old one
/// stays as it is. Cloning copies the values.
#[derive(Clone)]
pub struct Store {
    sources: Arc<Sources>,
    cx: Arc<Context>,
    /// Files, environment and flags.
    base: Arc<Document>,
    files: Arc<Vec<PathBuf>>,
    trace: Arc<Trace>,
    warnings: Arc<Vec<Diagnostic>>,
    api: Api,
    /// As read when they were first needed, so that a `Set` of another key does not bring in what
    /// somebody has written to a file since.
    env_files: EnvFiles,
    /// `base` with `api` over it.
    document: Document,
    config: Config,
}

/// What came over the socket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api {
    /// With the place to blame, in the order added.
    pub(crate) added: Vec<(String, Place)>,
    /// Watchers of the files that are not to be, until the files are read again.
    pub(crate) removed: BTreeSet<String>,
    /// By watcher, then by key and entry: a whole value comes before its entries.
    pub(crate) values: BTreeMap<String, BTreeMap<(String, Option<String>), Override>>,
}

impl Store {
    /// Reads everything that `sources` names.
    ///
    /// # Errors
    ///
    /// Every fault of every file, flag and variable.
    pub fn load(sources: Sources) -> Result<Self, Errors> {
        Self::read(Arc::new(sources), Api::default()).0
    }

    /// The same sources, read again.
    ///
    /// What came over the socket stays in force, but for two things: a watcher that was removed
    /// and is still in a file comes back, and values of a watcher no longer in any file go with it.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    pub fn reread(&self) -> Result<Self, Errors> {
        self.reread_traced().0
    }

    /// The same, and what it was read from, whatever came of it.
    pub fn reread_traced(&self) -> (Result<Self, Errors>, Arc<Trace>) {
        let mut api = self.api.clone();
        api.removed.clear();
        Self::read(Arc::clone(&self.sources), api)
    }

    /// What this was read from.
    pub fn trace(&self) -> Arc<Trace> {
        Arc::clone(&self.trace)
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What may be a mistake and is not wrong: an include that matches nothing, a `CIRCUSD_*`
    /// variable that is no setting.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The files that were read, in their order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Changes options of a watcher: all or none.
    ///
    /// A key is an option, or one entry of its table after a dot (`env.LANG`). A table takes the
    /// place of a table. Null takes a value back to that of the files, or to the default.
    ///
    /// # Errors
    ///
    /// No such watcher, or every option that is wrong.
    pub fn set(&self, watcher: &str, options: &Map<String, Json>) -> Result<Self, Errors> {
        if !self.document.watchers.contains(watcher) {
            return Err(self.no_such_watcher(watcher));
        }
        let mut api = self.api.clone();
        self.change(&mut api, watcher, options, &of_api("Set"))?;
        self.with(api)
    }

    /// Adds a watcher at the end. Null is as good as nothing.
    ///
    /// # Errors
    ///
    /// A wrong name, a watcher of that name, or every option that is wrong.
    pub fn add(&self, watcher: &str, options: &Map<String, Json>) -> Result<Self, Errors> {
        let refuse = |reason: &str| {
            let mut fault = Diagnostic::of("Add", reason);
            fault.key = Some(format!("watcher.{watcher}"));
            Err(Errors::new(vec![fault]))
        };
        if let Err(reason) = document::check_name_of(Section::Watcher, watcher) {
            return refuse(reason);
        }
        if self.document.watchers.contains(watcher) {
            return refuse("there is a watcher of this name");
        }
        let mut api = self.api.clone();
        let at = of_api("Add");
        self.change(&mut api, watcher, options, &at)?;
        api.added.push((watcher.to_owned(), at));
        self.with(api)
    }

    /// Takes a watcher away; nothing if there is none. One that is in a file comes back with
    /// [`Store::reread`].
    ///
    /// # Errors
    ///
    /// Another watcher names it in `after` or `requires`.
    pub fn remove(&self, watcher: &str) -> Result<Self, Errors> {
        let uses = dependencies::uses(&self.document, &self.config.watchers, watcher);
        if !uses.is_empty() {
            return Err(Errors::new(uses));
        }
        let mut store = self.clone();
        store.api.added.retain(|(known, _)| known != watcher);
        store.api.values.remove(watcher);
        if store.base.watchers.contains(watcher) {
            store.api.removed.insert(watcher.to_owned());
        }
        store.document.watchers.remove(watcher);
        store.config.watchers.retain(|known| known.name != watcher);
        Ok(store)
    }

    /// What was found to be wrong with a socket when it was to be opened, as a fault of the place
    /// where it is configured.
    pub fn fault_of_socket(&self, socket: &str, reason: impl Into<String>) -> Diagnostic {
        let key = format!("socket.{socket}");
        match self.document.sockets.get(socket) {
            Some(declared) => Diagnostic::at(&declared.at, Some(key), reason),
            None => Diagnostic::of(key, reason),
        }
    }

    /// What the values are read against.
    pub(crate) fn context(&self) -> &Context {
        &self.cx
    }

    /// All values as written.
    pub(crate) fn document(&self) -> &Document {
        &self.document
    }

    /// What came over the socket.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) fn no_such_watcher(&self, watcher: &str) -> Errors {
        let suggestion = nearest(watcher, self.document.watchers.names());
        let mut fault = Diagnostic::of("", "no such watcher").suggesting(suggestion);
        fault.key = Some(format!("watcher.{watcher}"));
        Errors::new(vec![fault])
    }

    fn read(sources: Arc<Sources>, mut api: Api) -> (Result<Self, Errors>, Arc<Trace>) {
        let cx = sources.context();
        let gathered = sources::gather(&sources, &cx);
        let in_files = |watcher: &str| gathered.document.watchers.contains(watcher);
        let added = |watcher: &str| api.added.iter().any(|(known, _)| known == watcher);
        api.values
            .retain(|watcher, _| in_files(watcher) || added(watcher));
        let Gathered {
            document,
            errors,
            warnings,
            files,
            trace,
            broken,
        } = gathered;
        if broken {
            // What seems to be missing may stand where the file cannot be read.
            return (Err(Errors::new(errors)), Arc::new(trace));
        }
        let parts = Parts {
            sources,
            cx: Arc::new(cx),
            base: Arc::new(document),
            files: Arc::new(files),
            warnings: Arc::new(warnings),
            api,
            env_files: EnvFiles::new(),
            trace,
        };
        let (store, trace) = parts.assemble(errors);
        let store = store.and_then(|store| match build::excess(&store.config) {
            None => Ok(store),
            Some(fault) => Err(Errors::new(vec![fault])),
        });
        (store, trace)
    }

    fn with(&self, api: Api) -> Result<Self, Errors> {
        let parts = Parts {
            sources: Arc::clone(&self.sources),
            cx: Arc::clone(&self.cx),
            base: Arc::clone(&self.base),
            files: Arc::clone(&self.files),
            warnings: Arc::clone(&self.warnings),
            api,
            env_files: self.env_files.clone(),
            trace: Trace::clone(&self.trace),
        };
        parts.assemble(Vec::new()).0
    }

    /// Enters options into `api`; whole values first, since they take the place of entries.
    fn change(
        &self,
        api: &mut Api,
        watcher: &str,
        options: &Map<String, Json>,
        at: &Place,
    ) -> Result<(), Errors> {
        if options.len() > OPTIONS_MAX {
            let reason = format!("more than {OPTIONS_MAX} options at a time");
            return Err(Errors::new(vec![Diagnostic::at(at, None, reason)]));
        }
        let values = api.values.entry(watcher.to_owned()).or_default();
        let mut errors = Vec::new();
        let (entries, whole): (Vec<_>, Vec<_>) =
            options.iter().partition(|(option, _)| option.contains('.'));
        for (option, json) in whole.into_iter().chain(entries) {
            let node = Node::from_json(json, at);
            let mut change = Override::of_watcher(watcher, option, node);
            if json.is_null() {
                errors.extend(overrides::check_key(watcher, option, at));
                self.take_back(values, &change);
                continue;
            }
            errors.extend(change.check(&self.cx));
            match change.entry {
                None => values.retain(|(key, _), _| *key != change.key),
                Some(_) => drop_covered(values, &change),
            }
            values.insert((change.key.clone(), change.entry.clone()), change);
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Errors::new(errors)),
        }
    }

    /// A value goes with its entries. An entry goes by itself, and out of a table that was set
    /// whole, into which that of the files then comes back.
    fn take_back(
        &self,
        values: &mut BTreeMap<(String, Option<String>), Override>,
        change: &Override,
    ) {
        let Some(entry) = &change.entry else {
            values.retain(|(key, _), _| *key != change.key);
            return;
        };
        values.remove(&(change.key.clone(), Some(entry.clone())));
        drop_covered(values, change);
        let path = change.path(entry);
        let overrides::Target::Watcher(watcher) = &change.target else {
            return;
        };
        let declared = self.base.watchers.get(watcher);
        let of_files = declared.and_then(|declared| declared.table.get(&change.key)?.as_table());
        let of_files = of_files.and_then(|table| table.get_at(path));
        // The whole value, and the table in it that the entry is in.
        let inner = path
            .table
            .map(|table| (Some(table.to_owned()), path.inner()));
        for (whole, path) in [Some((None, path)), inner].into_iter().flatten() {
            let whole = values.get_mut(&(change.key.clone(), whole));
            let Some(Value::Table(table)) = whole.map(|whole| &mut whole.node.value) else {
                continue;
            };
            table.remove_at(path);
            if let Some(node) = of_files {
                table.set_at(path, node.clone());
            }
        }
    }
}

impl fmt::Debug for Store {
    /// Values may be secrets, and there are many of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watchers: Vec<_> = self.config.watchers.iter().map(|w| &w.name).collect();
        f.debug_struct("Store")
            .field("files", &self.files)
            .field("watchers", &watchers)
            .finish_non_exhaustive()
    }
}

/// A table that is set or taken back as a whole goes with what was set in it.
fn drop_covered(values: &mut BTreeMap<(String, Option<String>), Override>, change: &Override) {
    let covered = |entry: &Option<String>| entry.as_deref().is_some_and(|e| change.covers(e));
    values.retain(|(key, entry), _| *key != change.key || !covered(entry));
}

/// Where values of a request come from: they have no lines, and nothing for paths to be
/// relative to.
fn of_api(verb: &str) -> Place {
    Place::start(&Source::named(verb, Origin::Api, None))
}

/// A store that is not yet one: nothing has been checked together.
struct Parts {
    sources: Arc<Sources>,
    cx: Arc<Context>,
    base: Arc<Document>,
    files: Arc<Vec<PathBuf>>,
    warnings: Arc<Vec<Diagnostic>>,
    api: Api,
    env_files: EnvFiles,
    trace: Trace,
}

impl Parts {
    /// `errors` are those already known. With it comes what all was read from, whatever came of it.
    fn assemble(mut self, errors: Vec<Diagnostic>) -> (Result<Store, Errors>, Arc<Trace>) {
        let document = self.api.over(&self.base);
        let config = self.build(&document, errors);
        let trace = Arc::new(self.trace);
        let store = config.map(|config| Store {
            sources: self.sources,
            cx: self.cx,
            base: self.base,
            files: self.files,
            trace: Arc::clone(&trace),
            warnings: self.warnings,
            api: self.api,
            env_files: self.env_files,
            document,
            config,
        });
        (store, trace)
    }

    fn build(
        &mut self,
        document: &Document,
        mut errors: Vec<Diagnostic>,
    ) -> Result<Config, Errors> {
        self.read_env_files(document, &mut errors);
        let config = match build::build(document, &self.env_files, &self.cx) {
            Ok(config) if errors.is_empty() => config,
            Ok(_) => return Err(Errors::new(errors)),
            Err(mut more) => {
                errors.append(&mut more);
                return Err(Errors::new(errors));
            }
        };
        Ok(config)
    }

    fn read_env_files(&mut self, document: &Document, errors: &mut Vec<Diagnostic>) {
        for (name, _) in document.watchers.in_order() {
            let Some(table) = document.effective(name) else {
                continue;
            };
            let Some(node) = table.get("env_file") else {
                continue;
            };
            // One that is no path has been told of already.
            let Ok(path) = PathBuf::read(node, &self.cx) else {
                continue;
            };
            if self.env_files.contains_key(&path) {
                continue;
            }
            match self.read_env_file(&path, &node.at, name) {
                Ok(variables) => {
                    self.env_files.insert(path, variables);
                }
                Err(mut wrong) => errors.append(&mut wrong),
            }
        }
    }

    fn read_env_file(
        &mut self,
        path: &Path,
        at: &Place,
        watcher: &str,
    ) -> Result<Vec<(String, String)>, Vec<Diagnostic>> {
        let text = files::read(path, self.sources.uid == 0);
        self.trace.found(path, &text);
        let text = text.map_err(|error| {
            let key = format!("watcher.{watcher}.env_file");
            let reason = format!("'{}': {error}", path.display());
            vec![Diagnostic::at(at, Some(key), reason)]
        })?;
        environment::parse_file(&Source::file(path, text, Origin::File))
    }
}

impl Api {
    /// `base` with what came over the socket over it.
    fn over(&self, base: &Document) -> Document {
        let mut document = base.clone();
        for watcher in &self.removed {
            document.watchers.remove(watcher);
        }
        for (watcher, at) in &self.added {
            document.watchers.entry(watcher, at);
        }
        for value in self.values.values().flat_map(BTreeMap::values) {
            value.apply(&mut document);
        }
        document
    }
}
