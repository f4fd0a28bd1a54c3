//! An arbiter that is to be: watchers, sockets, plugins, hooks, servers, and where its settings come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Arbiter;
use super::error::BoxError;
use super::handle::Handle;
use super::hooks::{self, Answer, DaemonContext, HookContext, Unbound, of_daemon, of_watcher};
use super::servers::{Server, server};
use super::watcher_builder::{WatcherBuilder, put};
use crate::api::select::Selector;
use crate::api::types::Object;
use crate::config::{DaemonHook, Diagnostic, Embedded, Errors, HookName, Origin, Sources, Store};

/// Settings of a daemon of its own: in somebody else's program they would change what is his.
const DAEMONS_OWN: [&str; 7] = [
    "cgroups",
    "log_level",
    "log_target",
    "pidfile",
    "runtime_dir",
    "socket",
    "umask",
];

/// Builds an [`Arbiter`]; made by [`Arbiter::builder`].
///
/// Everything is checked by [`Builder::build`], and every mistake told at once. Where several say
/// something about the same key, files win over texts, texts over what is said in Rust, and all of
/// them over the defaults.
#[derive(Default)]
#[must_use]
pub struct Builder {
    watchers: Vec<WatcherBuilder>,
    sockets: Object,
    plugins: Object,
    settings: Object,
    texts: Vec<String>,
    files: Vec<PathBuf>,
    api_socket: Option<String>,
    cgroups: Option<PathBuf>,
    closures: Vec<(Target, Unbound)>,
    servers: Vec<Server>,
    faults: Vec<Diagnostic>,
}

/// What a closure answers for.
pub(super) enum Target {
    Watchers(Selector, HookName),
    Daemon(DaemonHook),
}

/// All that an arbiter is made from.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) closures: Vec<(Target, Unbound)>,
    pub(super) servers: Vec<Server>,
    pub(super) cgroups: Option<PathBuf>,
    pub(super) listens: bool,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("watchers", &self.watchers)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Adds a watcher, described with [`super::Watcher::builder`] or as a JSON object of settings.
    pub fn watcher(mut self, watcher: impl Into<WatcherBuilder>) -> Self {
        self.watchers.push(watcher.into());
        self
    }

    /// Adds watchers.
    pub fn watchers(
        mut self,
        watchers: impl IntoIterator<Item = impl Into<WatcherBuilder>>,
    ) -> Self {
        self.watchers.extend(watchers.into_iter().map(Into::into));
        self
    }

    /// Adds a listening socket that watchers can inherit ([`WatcherBuilder::use_sockets`]), with the
    /// settings of `[socket.NAME]` in circusd.toml(5) as a JSON object:
    /// `json!({"host": "127.0.0.1", "port": 0})`, `json!({"path": "/run/web.sock"})`. It is opened
    /// by the start of the arbiter and closed by its end. A worker in Rust takes it with
    /// [`super::take_passed`].
    pub fn socket(mut self, name: impl Into<String>, settings: impl Into<Value>) -> Self {
        let (name, settings) = (name.into(), settings.into());
        add(
            &mut self.sockets,
            "sockets",
            name,
            settings,
            &mut self.faults,
        );
        self
    }

    /// Adds a plugin, with the settings of `[plugin.NAME]` in circusd.toml(5) as a JSON object:
    /// `json!({"use": "logger", "filename": "/var/log/web/events"})` for one that comes with circusd,
    /// whose program circus-plugin(1) must be in `PATH`, or `json!({"cmd": "/usr/local/bin/mail"})`.
    ///
    /// It is a process of its own, under a watcher `plugin:NAME`, and connects to
    /// [`Builder::api_socket`], without which it is refused. In this program itself there are
    /// [`Handle::events`] and [`Builder::hook`]; a [`Plugin`](crate::plugin::Plugin) can also live
    /// in a thread of it, with [`plugin::run`](crate::plugin::run()).
    pub fn plugin(mut self, name: impl Into<String>, settings: impl Into<Value>) -> Self {
        let (name, settings) = (name.into(), settings.into());
        add(
            &mut self.plugins,
            "plugins",
            name,
            settings,
            &mut self.faults,
        );
        self
    }

    /// Reads a file in the form of circusd.toml(5), and `conf.d` beside it. It is read again, with
    /// the others, by `ReloadConfig` ([`Handle::call`]). A relative path is one from the directory
    /// of the program.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Takes a text in the form of circusd.toml(5); relative paths in it are ones from the directory
    /// of the program.
    pub fn config_str(mut self, toml: impl Into<String>) -> Self {
        self.texts.push(toml.into());
        self
    }

    /// Sets a key of `[circusd]` that concerns the supervisor itself: `stop_timeout`,
    /// `hook_timeout`, `event_buffer`, `warmup_delay`, `processes_max`, ...
    ///
    /// What belongs to a daemon of its own is refused: `cgroups`, `log_level`, `log_target`,
    /// `pidfile`, `runtime_dir`, `socket` (see [`Builder::api_socket`]) and `umask`.
    pub fn set(mut self, key: impl AsRef<str>, value: impl Into<Value>) -> Self {
        put(&mut self.settings, key.as_ref(), value.into());
        self
    }

    /// Answers clients on this socket, as the daemon does: circusctl(1) with `--socket`, plugins,
    /// and the processes of watchers, which find it as `CIRCUS_SOCKET`. A name that begins with @ is
    /// abstract. Without this nobody is answered but the program itself. Who may do what,
    /// `[access]` says: unless set, the user that the program runs as, and root.
    pub fn api_socket(mut self, path: impl Into<String>) -> Self {
        self.api_socket = Some(path.into());
        self
    }

    /// Gives each process a cgroup of its own below this group, an absolute path below
    /// `/sys/fs/cgroup` in which the program may make groups (it was delegated to it: see
    /// `Delegate=` in systemd.resource-control(5)).
    ///
    /// Without this, everything that a process has started is held together by parentage, session,
    /// process group and a mark in the environment; who sheds all of these escapes.
    pub fn cgroups(mut self, path: impl Into<PathBuf>) -> Self {
        self.cgroups = Some(path.into());
        self
    }

    /// Has a closure answer a hook of a watcher, or of all whose name matches a shell-style pattern.
    ///
    /// `Ok(true)` and `Ok(false)` are its answers, made of a `bool` or by [`Answer`]; an error or a
    /// panic is a failure, which counts as no; and so is an answer that does not come within
    /// `hook_timeout` (30 s), whose future is dropped then. What no means depends on the hook:
    /// circusd-hooks(7). Several for one hook are asked in the order of their registration, behind
    /// those of the configuration, until one does not say yes.
    ///
    /// It runs on the runtime in which the arbiter was started, so it must not block: see
    /// [`Builder::hook_blocking`]. No worker waits for it but those that it is about.
    pub fn hook<F, A, E>(
        self,
        watchers: &str,
        hook: HookName,
        closure: impl Fn(HookContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Answer>,
        E: Into<BoxError>,
    {
        self.answer(
            watchers,
            hook,
            hooks::asynchronous(of_watcher(hook), closure),
        )
    }

    /// The same for a closure that may block; it has a thread for blocking work meanwhile. One that
    /// takes too long has failed, and goes on to its end all the same.
    pub fn hook_blocking<A, E>(
        self,
        watchers: &str,
        hook: HookName,
        closure: impl Fn(HookContext) -> Result<A, E> + Send + Sync + 'static,
    ) -> Self
    where
        A: Into<Answer>,
        E: Into<BoxError>,
    {
        self.answer(watchers, hook, hooks::blocking(of_watcher(hook), closure))
    }

    fn answer(mut self, watchers: &str, hook: HookName, closure: Unbound) -> Self {
        match Selector::parse(Some(watchers)) {
            Ok(selector) => {
                let target = Target::Watchers(selector, hook);
                self.closures.push((target, closure));
            }
            Err(error) => self.faults.push(fault(error.to_string())),
        }
        self
    }

    /// Has a closure answer at a turning point in the life of the arbiter itself: before anything
    /// starts (`PreStart`, whose no keeps it from starting), when all has started, before anything
    /// stops, after all has stopped, and with `api_socket` about each client and what it calls.
    /// Several are asked in the order of their registration; otherwise as [`Builder::hook`].
    pub fn on<F, A, E>(
        mut self,
        hook: DaemonHook,
        closure: impl Fn(DaemonContext) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Answer>,
        E: Into<BoxError>,
    {
        let target = Target::Daemon(hook);
        self.closures
            .push((target, hooks::asynchronous(of_daemon(hook), closure)));
        self
    }

    /// The same for a closure that may block, as [`Builder::hook_blocking`].
    pub fn on_blocking<A, E>(
        mut self,
        hook: DaemonHook,
        closure: impl Fn(DaemonContext) -> Result<A, E> + Send + Sync + 'static,
    ) -> Self
    where
        A: Into<Answer>,
        E: Into<BoxError>,
    {
        let closure = hooks::blocking(of_daemon(hook), closure);
        self.closures.push((Target::Daemon(hook), closure));
        self
    }

    /// Runs a service of the program beside the watchers. All are started together, when the
    /// watchers have settled, on the runtime in which the arbiter was started, and dropped, where they
    /// wait, by [`Handle::stop`] before the first watcher stops; when the arbiter ends otherwise (a client calls
    /// `Quit`, a critical watcher is given up), with it.
    ///
    /// The first that fails or panics stops the arbiter, which then ends with
    /// [`super::Error::Server`]. One that returns `Ok(())` has come to a good end, and nothing
    /// follows.
    pub fn server<F, E>(mut self, start: impl FnOnce(Handle) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.servers.push(server(start));
        self
    }

    /// Checks everything. Nothing is started, opened or changed; the files are read.
    ///
    /// # Errors
    ///
    /// All that is wrong: in Rust, in texts and in files, with their lines.
    pub fn build(self) -> Result<Arbiter, Errors> {
        Ok(Arbiter::new(self.check()?))
    }

    fn check(mut self) -> Result<Parts, Errors> {
        let mut faults = std::mem::take(&mut self.faults);
        let sources = self.sources(&mut faults);
        let store = match Store::load(sources) {
            Ok(store) => store,
            Err(errors) => {
                faults.extend(errors.into_diagnostics());
                return Err(Errors::new(faults));
            }
        };
        let own = (self.api_socket.is_some()).then_some("socket");
        faults.extend(daemons_own(&store, own));
        faults.extend(self.closures.iter().filter_map(|(target, _)| match target {
            Target::Watchers(Selector::Name(name), _) if store.config().watcher(name).is_none() => {
                let mut missing = store.no_such_watcher(name).first().clone();
                missing.file = "a hook".into();
                Some(missing)
            }
            Target::Watchers(..) | Target::Daemon(_) => None,
        }));
        if let Some(path) = self.cgroups.as_ref().filter(|path| !path.is_absolute()) {
            faults.push(fault(format!(
                "the cgroup '{}' is no absolute path",
                path.display()
            )));
        }
        if !faults.is_empty() {
            return Err(Errors::new(faults));
        }
        Ok(Parts {
            store,
            closures: self.closures,
            servers: self.servers,
            cgroups: self.cgroups,
            listens: self.api_socket.is_some(),
        })
    }

    fn sources(&mut self, faults: &mut Vec<Diagnostic>) -> Sources {
        let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let mut watchers = Object::new();
        for watcher in std::mem::take(&mut self.watchers) {
            let (name, settings) = watcher.into_parts();
            add(&mut watchers, "watchers", name, settings.into(), faults);
        }
        let mut circusd = std::mem::take(&mut self.settings);
        if let Some(path) = &self.api_socket {
            circusd.insert("socket".into(), path.as_str().into());
        }
        let settings = Object::from_iter([
            ("circusd".to_owned(), Value::Object(circusd)),
            (
                "defaults".to_owned(),
                json!({"working_dir": directory.to_string_lossy()}),
            ),
            (
                "socket".to_owned(),
                Value::Object(std::mem::take(&mut self.sockets)),
            ),
            (
                "plugin".to_owned(),
                Value::Object(std::mem::take(&mut self.plugins)),
            ),
            ("watcher".to_owned(), Value::Object(watchers)),
        ]);
        let embedded = Embedded {
            settings,
            texts: std::mem::take(&mut self.texts),
        };
        // A variable that is not UTF-8 cannot be named in a configuration.
        let env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let uid = nix::unistd::geteuid().as_raw();
        Sources {
            files: std::mem::take(&mut self.files),
            ..Sources::of_program(embedded, env, uid, directory)
        }
    }
}

/// Each name once: what was said first about the other would be lost without a word.
fn add(all: &mut Object, kind: &str, name: String, settings: Value, faults: &mut Vec<Diagnostic>) {
    if all.contains_key(&name) {
        faults.push(fault(format!("there are two {kind} '{name}'")));
    }
    all.insert(name, settings);
}

/// A fault of what was said in Rust.
fn fault(reason: String) -> Diagnostic {
    Diagnostic::of("the program", reason)
}

/// Settings that somebody has set although they are a daemon's own, but for `own`, which the
/// builder has set.
fn daemons_own(store: &Store, own: Option<&str>) -> Vec<Diagnostic> {
    let names = DAEMONS_OWN.iter().filter(|key| Some(**key) != own);
    let names: Vec<String> = names.map(|key| format!("circusd.{key}")).collect();
    let settings = store.settings(Some(&names)).unwrap_or_default();
    let set = settings
        .into_iter()
        .filter(|setting| setting.origin != Origin::Default);
    let fault = |setting: crate::config::SettingView| {
        let source = setting.source.unwrap_or_default();
        let reason = "belongs to the daemon, and this is the library in another program";
        let mut fault = Diagnostic::of(source, reason);
        fault.key = Some(setting.name);
        fault
    };
    set.map(fault).collect()
}

/// The arbiter of a list of watchers, each a [`WatcherBuilder`] or a JSON object of settings: the
/// name that Circus has for it.
///
/// # Errors
///
/// Those of [`Builder::build`].
pub fn get_arbiter(
    watchers: impl IntoIterator<Item = impl Into<WatcherBuilder>>,
) -> Result<Arbiter, Errors> {
    Arbiter::builder().watchers(watchers).build()
}
