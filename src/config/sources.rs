//! From files, environment and flags to one document: which files, in which order, what includes
//! what, and what each of them says wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::files;
use super::kind::Kind;
use super::node::{Node, Origin, Place, Source, Table, Value};
use super::overrides::{self, Override};
use super::plugins;
use super::syntax;
use super::trace::Trace;
use super::values::Patterns;
use super::variables::Context;

/// Where a configuration comes from. Everything the machine would know is a field, so that a test
/// or an embedding program can say it instead.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `--config`: files and directories; empty for the usual places.
    pub files: Vec<PathBuf>,
    /// `--set`: `key=value`, in the order given; other flags come in the same form.
    pub set: Vec<String>,
    /// The whole environment: `CIRCUSD_*` are settings, all can be named by `$(circus.env.NAME)`.
    pub env: BTreeMap<String, String>,
    /// The machine's daemon (`/usr/lib`, `/etc`) rather than a user's own (`$XDG_CONFIG_HOME`).
    pub system: bool,
    /// The effective user; 0 takes only files that nobody else could have written.
    pub uid: u32,
    /// What `/usr/lib` and `/etc` are below: `/`, but for tests.
    pub root: PathBuf,
    /// What relative paths of flags and variables are relative to: where circusd was started.
    pub directory: PathBuf,
    /// What a program says that has the library run its workers. Nothing is read then that is not
    /// named in here: no usual files, and no `CIRCUSD_*` variables, which are the daemon's.
    pub embedded: Option<Embedded>,
}

/// A configuration without files, lowest first.
#[derive(Debug, Clone, Default)]
pub struct Embedded {
    /// Settings in the form of the configuration file: sections, then keys.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Whole files as texts; later ones win.
    pub texts: Vec<String>,
}

/// A directory that no machine has, by Debian's convention for users without a home.
const NOWHERE: &str = "/nonexistent";

impl Sources {
    /// The same but for all files: what flags and variables alone say.
    pub fn without_files(mut self) -> Self {
        self.files.clear();
        self.root = NOWHERE.into();
        self.env.insert("XDG_CONFIG_HOME".into(), NOWHERE.into());
        self
    }

    /// Those of a program that has the library run its workers: its environment, its user, and the
    /// directory it works in.
    #[must_use]
    pub fn of_program(
        embedded: Embedded,
        env: BTreeMap<String, String>,
        uid: u32,
        directory: PathBuf,
    ) -> Self {
        Self {
            files: Vec::new(),
            set: Vec::new(),
            env,
            system: uid == 0,
            uid,
            root: "/".into(),
            directory,
            embedded: Some(embedded),
        }
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            env: self.env.clone(),
            system: self.system,
            uid: self.uid,
            embedded: self.embedded.is_some(),
        }
    }
}

/// What the sources said.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) document: Document,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Files that were taken, in the order read.
    pub(crate) files: Vec<PathBuf>,
    /// Where was looked, and what was there.
    pub(crate) trace: Trace,
    /// Whether a file is broken as TOML, so that what seems to be missing may be in it.
    pub(crate) broken: bool,
}

/// Reads everything, lowest first.
pub(crate) fn gather(sources: &Sources, cx: &Context) -> Gathered {
    let mut gatherer = Gatherer {
        cx,
        root: sources.uid == 0,
        gathered: Gathered::default(),
        seen: BTreeSet::new(),
        includes: Vec::new(),
    };
    let named = &sources.files;
    if let Some(embedded) = &sources.embedded {
        gatherer.embedded(embedded, &sources.directory);
    }
    if named.is_empty() && sources.embedded.is_none() {
        gatherer.usual_files(sources);
    } else {
        named
            .iter()
            .for_each(|p| gatherer.named(&sources.directory.join(p)));
        gatherer.drop_ins(named.iter().map(|p| sources.directory.join(p)).collect());
    }
    let overrides = gatherer.overrides(sources);
    gatherer.follow_includes(&overrides);
    for change in &overrides {
        change.apply(&mut gatherer.gathered.document);
    }
    let mut gathered = gatherer.gathered;
    plugins::settle::settle(&mut gathered.document, cx, &mut gathered.errors);
    gathered
}

/// A list of files to read, where it was written, and the files that led to it.
struct Include {
    node: Node,
    chain: Vec<PathBuf>,
}

struct Gatherer<'a> {
    cx: &'a Context,
    root: bool,
    gathered: Gathered,
    /// By identity, so that a file is read once, however it is named.
    seen: BTreeSet<PathBuf>,
    includes: Vec<Include>,
}

impl Gatherer<'_> {
    fn embedded(&mut self, embedded: &Embedded, directory: &Path) {
        let source = Source::named("the program", Origin::Program, Some(directory));
        let at = Place::start(&source);
        let table = Table::from_json(&embedded.settings, &at);
        let errors = &mut self.gathered.errors;
        let document = Document::read(table, self.cx, errors);
        self.gathered.document.overlay(document);
        for (number, text) in (1..).zip(&embedded.texts) {
            let name = match embedded.texts.len() {
                1 => "the configuration".to_owned(),
                _ => format!("configuration {number}"),
            };
            let source = Source::text(&name, text.clone(), Origin::File, directory);
            self.source(&source, &[]);
        }
    }

    fn usual_files(&mut self, sources: &Sources) {
        let directory = if sources.system {
            let vendor = sources.root.join("usr/lib/circusd");
            self.directory(&vendor, Origin::File);
            sources.root.join("etc/circusd")
        } else {
            match self.cx.variable("XDG_CONFIG_HOME") {
                Some(directory) => PathBuf::from(directory).join("circusd"),
                None => self.cx.home().join(".config/circusd"),
            }
        };
        let file = directory.join("circusd.toml");
        self.gathered.trace.looked_at(&file);
        // A file that cannot even be looked at is read all the same, for its error.
        if file.try_exists().unwrap_or(true) {
            self.file(&file, Origin::File, &[]);
        }
        self.directory(&directory.join("conf.d"), Origin::DropIn);
        if self.gathered.files.is_empty() && self.gathered.errors.is_empty() {
            let reason = "no configuration file, nothing is supervised";
            self.warn(Diagnostic::of(file.display().to_string(), reason));
        }
    }

    /// A file, or all files of a directory, that somebody asked for: there must be one.
    fn named(&mut self, path: &Path) {
        if !path.is_dir() {
            return self.file(path, Origin::File, &[]);
        }
        let drop_ins = path.join("conf.d");
        let empty = |directory: &Path| files::toml_files(directory).is_ok_and(|f| f.is_empty());
        if empty(path) && empty(&drop_ins) {
            self.error(path, "has no *.toml file");
        }
        self.directory(path, Origin::File);
    }

    /// `conf.d` of the directories named, and beside the files named.
    fn drop_ins(&mut self, named: Vec<PathBuf>) {
        for path in named {
            let directory = if path.is_dir() {
                Some(path.as_path())
            } else {
                path.parent()
            };
            if let Some(directory) = directory {
                self.directory(&directory.join("conf.d"), Origin::DropIn);
            }
        }
    }

    fn directory(&mut self, directory: &Path, origin: Origin) {
        self.gathered.trace.looked_at(directory);
        match files::toml_files(directory) {
            Ok(files) => files.iter().for_each(|file| self.file(file, origin, &[])),
            Err(error) => self.error(directory, format!("cannot be read: {error}")),
        }
    }

    /// Reads one file, lays it over what is there, and remembers what it includes.
    fn file(&mut self, path: &Path, origin: Origin, chain: &[PathBuf]) {
        let identity = files::identity(path);
        if !self.seen.insert(identity.clone()) {
            return;
        }
        let text = files::read(path, self.root);
        self.gathered.trace.found(path, &text);
        let text = match text {
            Ok(text) => text,
            Err(error) => return self.error(path, error.to_string()),
        };
        self.source(
            &Source::file(path, text, origin),
            &[chain, &[identity]].concat(),
        );
        self.gathered.files.push(path.to_owned());
    }

    /// Reads what was written, and lays it over what is there; `chain` are the files that led to it.
    fn source(&mut self, source: &Arc<Source>, chain: &[PathBuf]) {
        let mut parsed = syntax::parse(source);
        self.gathered.broken |= !parsed.errors.is_empty();
        let mut errors = Vec::new();
        let document = Document::read(parsed.table, self.cx, &mut errors);
        // Where the syntax is broken, the value is a guess, and its faults are not the writer's.
        errors.retain(|error| !parsed.errors.iter().any(|broken| broken.line == error.line));
        parsed.errors.append(&mut errors);
        parsed
            .errors
            .sort_by_key(|error| (error.line, error.column));
        self.gathered.errors.append(&mut parsed.errors);
        if let Some(node) = document.circusd.get("include") {
            let node = node.clone();
            let chain = chain.to_vec();
            self.includes.push(Include { node, chain });
        }
        self.gathered.document.overlay(document);
    }

    fn overrides(&mut self, sources: &Sources) -> Vec<Override> {
        let mut read = overrides::Reader {
            cx: self.cx,
            directory: &sources.directory,
            errors: &mut self.gathered.errors,
            warnings: &mut self.gathered.warnings,
        };
        let mut found = match sources.embedded {
            Some(_) => Vec::new(),
            None => read.environment(&sources.env),
        };
        found.extend(read.flags(&sources.set));
        found
    }

    /// Depth first, in the order written: what a file includes comes right behind it.
    fn follow_includes(&mut self, overrides: &[Override]) {
        for change in overrides {
            if let Some(node) = change.include() {
                let node = node.clone();
                self.includes.push(Include {
                    node,
                    chain: Vec::new(),
                });
            }
        }
        let mut pending = std::mem::take(&mut self.includes);
        pending.reverse();
        while let Some(include) = pending.pop() {
            self.include(&include);
            pending.extend(self.includes.drain(..).rev());
        }
    }

    fn include(&mut self, include: &Include) {
        let items = match &include.node.value {
            Value::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(&include.node),
        };
        for item in items {
            // A wrong one has been told of when its file was checked.
            if let Ok(Patterns(patterns)) = Patterns::read(item, self.cx) {
                patterns
                    .iter()
                    .for_each(|p| self.include_pattern(p, &item.at, &include.chain));
            }
        }
    }

    fn include_pattern(&mut self, pattern: &str, at: &Place, chain: &[PathBuf]) {
        let key = Some("circusd.include".to_owned());
        if !files::is_pattern(pattern) {
            let path = Path::new(pattern);
            self.gathered.trace.looked_at(path);
            let identity = files::identity(path);
            if chain.contains(&identity) {
                let reason = format!("'{pattern}' includes itself");
                return self.gathered.errors.push(Diagnostic::at(at, key, reason));
            }
            if !path.try_exists().unwrap_or(true) {
                let reason = format!("'{pattern}': no such file");
                return self.gathered.errors.push(Diagnostic::at(at, key, reason));
            }
            return self.file(path, Origin::File, chain);
        }
        for directory in files::directories_of(pattern) {
            self.gathered.trace.looked_at(&directory);
        }
        match files::matching(pattern) {
            Ok(files) if files.is_empty() => {
                self.warn(Diagnostic::at(
                    at,
                    key,
                    format!("'{pattern}' matches nothing"),
                ));
            }
            Ok(files) => files.iter().for_each(|f| self.file(f, Origin::File, chain)),
            Err(error) => {
                let reason = format!("'{pattern}': {error}");
                self.gathered.errors.push(Diagnostic::at(at, key, reason));
            }
        }
    }

    fn warn(&mut self, warning: Diagnostic) {
        self.gathered.warnings.push(warning);
    }

    fn error(&mut self, path: &Path, reason: impl Into<String>) {
        let diagnostic = Diagnostic::of(path.display().to_string(), reason);
        self.gathered.errors.push(diagnostic);
    }
}
