//! The document of all sources together, made into typed settings: defaults, environments, and
//! what concerns more than one key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::dependencies;
use super::diagnostic::Diagnostic;
use super::document::{Declared, Document, diagnose};
use super::environment;
use super::kind::{Kind, Problem};
use super::node::{Node, Place, Table};
use super::plugins;
use super::table::Settings;
use super::values::{
    Command, FileOutput, HOOK_TIMEOUT, Hook, NumProcesses, Output, UseSockets, unclosed_quote,
};
use super::variables::Context;
use super::{Access, Circusd, DaemonHooks, HookForm, Socket, Watcher, socket};

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[circusd]`.
    pub circusd: Circusd,
    /// The watchers in the order written.
    pub watchers: Vec<Watcher>,
    /// The sockets in the order written.
    pub sockets: Vec<Socket>,
    /// `[hooks]`.
    pub hooks: DaemonHooks,
    /// `[access]`.
    pub access: Access,
}

impl Config {
    /// The watcher of this name.
    pub fn watcher(&self, name: &str) -> Option<&Watcher> {
        self.watchers.iter().find(|watcher| watcher.name == name)
    }
}

/// The `env_file`s by path, as they were when first needed.
pub(crate) type EnvFiles = BTreeMap<PathBuf, Vec<(String, String)>>;

/// Makes the configuration of `document`, whose keys have been checked one by one.
///
/// # Errors
///
/// Everything that is wrong with keys taken together, and with single ones again.
pub(crate) fn build(
    document: &Document,
    env_files: &EnvFiles,
    cx: &Context,
) -> Result<Config, Vec<Diagnostic>> {
    let mut builder = Builder {
        document,
        env_files,
        cx,
        errors: Vec::new(),
        sockets: Vec::new(),
        files: BTreeMap::new(),
    };
    let circusd: Option<Circusd> = builder.section("circusd", &document.circusd);
    let access = builder.section("access", &document.access);
    let hooks = builder.hooks();
    builder.sockets();
    let proxy = circusd.as_ref().and_then(|c| c.http_proxy.as_deref());
    let hook_timeout = circusd.as_ref().map_or(HOOK_TIMEOUT, |c| c.hook_timeout);
    let watchers: Vec<Watcher> = document
        .watchers
        .in_order()
        .into_iter()
        .filter_map(|(name, declared)| builder.watcher(name, declared, proxy))
        .map(|mut watcher| {
            watcher.hooks.limit(hook_timeout);
            watcher
        })
        .collect();
    let dependencies = dependencies::check(document, &watchers);
    builder.errors.extend(dependencies);
    let (Some(mut circusd), Some(mut hooks), Some(access), true) =
        (circusd, hooks, access, builder.errors.is_empty())
    else {
        return Err(builder.errors);
    };
    circusd.state_dir = circusd.find_state_dir(cx);
    hooks.limit(hook_timeout);
    Ok(Config {
        circusd,
        watchers,
        sockets: builder.sockets,
        hooks,
        access,
    })
}

/// What is more than `config` itself allows.
///
/// For what the files say. A request that asks for more is refused by whoever knows how many there
/// are at that moment.
pub(crate) fn excess(config: &Config) -> Option<Diagnostic> {
    let processes = |watcher: &Watcher| match watcher.numprocesses {
        NumProcesses::Count(count) => u64::from(count),
        NumProcesses::Auto => 1,
    };
    let circusd = &config.circusd;
    let counted = [
        (
            "watchers",
            config.watchers.len() as u64,
            circusd.watchers_max,
        ),
        (
            "processes",
            config.watchers.iter().map(processes).sum(),
            circusd.processes_max,
        ),
    ];
    let (what, count, limit) = counted
        .into_iter()
        .find(|(_, count, limit)| *count > u64::from(*limit))?;
    let reason = format!("{count} {what} are more than circusd.{what}_max, which is {limit}");
    Some(Diagnostic::of("", reason))
}

struct Builder<'a> {
    document: &'a Document,
    env_files: &'a EnvFiles,
    cx: &'a Context,
    errors: Vec<Diagnostic>,
    /// Those that are right.
    sockets: Vec<Socket>,
    /// The files that output goes to, by path as written, and the first key that names each.
    files: BTreeMap<String, (String, FileOutput)>,
}

impl Builder<'_> {
    fn section<T: Settings>(&mut self, name: &str, table: &Table) -> Option<T> {
        match T::read(table, self.cx) {
            Ok(settings) => Some(settings),
            Err(problems) => {
                let faults = problems.into_iter().map(|p| diagnose(name, p));
                self.errors.extend(faults);
                None
            }
        }
    }

    fn hooks(&mut self) -> Option<DaemonHooks> {
        let table = &self.document.hooks;
        let hooks: DaemonHooks = self.section("hooks", table)?;
        let asks_clients = |hook: &Hook| hook.form == HookForm::Plugin;
        if hooks.pre_start.0.iter().any(asks_clients)
            && let Some(node) = table.get("pre_start")
        {
            let reason = "no client can have registered before circusd answers";
            let problem = Problem::new(node, reason).inside("plugin");
            self.errors.push(diagnose("hooks.pre_start", problem));
        }
        Some(hooks)
    }

    fn sockets(&mut self) {
        for (name, declared) in self.document.sockets.in_order() {
            let title = format!("socket.{name}");
            let Some(mut socket) = self.section::<Socket>(&title, &declared.table) else {
                continue;
            };
            socket.name = name.to_owned();
            let found = socket::contradictions(&socket, &declared.table);
            for (key, problem) in found.keys {
                self.errors
                    .push(diagnose(&format!("{title}.{key}"), problem));
            }
            if let Some(lack) = found.lack {
                self.fault(&declared.at, title, lack);
            }
            let twin = self
                .sockets
                .iter()
                .find(|known| known.is_in_the_way_of(&socket));
            if let Some(twin) = twin {
                let reason = format!("is at the same place as socket.{}", twin.name);
                self.fault(&declared.at, format!("socket.{name}"), &reason);
            }
            self.sockets.push(socket);
        }
    }

    fn watcher(&mut self, name: &str, declared: &Declared, proxy: Option<&str>) -> Option<Watcher> {
        let title = plugins::title_of(name);
        let table = self.document.effective(name).unwrap_or_default();
        if table.get("cmd").is_none() {
            self.fault(
                &declared.at,
                format!("{title}.cmd"),
                "required, and not set",
            );
        }
        let sockets = self.use_sockets(name, &title, &table);
        let mut watcher: Watcher = self.section(&title, &table)?;
        watcher.name = name.to_owned();
        watcher.sockets = sockets;
        watcher.plugin = self.document.settled.get(name).cloned();
        for (key, problem) in contradictions(&watcher, &table) {
            let fault = diagnose(&format!("{title}.{key}"), problem);
            self.errors.push(fault);
        }
        self.files(&title, &watcher, &table);
        if let (
            Command::Line {
                words: Some(words), ..
            },
            false,
        ) = (&watcher.cmd, watcher.shell)
        {
            // Without a shell, a string and the array of its words are one and the same.
            watcher.cmd = Command::Words(words.clone());
        }
        let env_file = match &watcher.env_file {
            Some(path) => self.env_file(path),
            None => &[],
        };
        watcher.environment =
            environment::gather(&watcher, self.document, proxy, env_file, self.cx);
        Some(watcher)
    }

    /// Two streams may share a file, if they agree on when it is turned over.
    fn files(&mut self, title: &str, watcher: &Watcher, table: &Table) {
        for (key, output) in [("stdout", &watcher.stdout), ("stderr", &watcher.stderr)] {
            let (Some(Output::File(file)), Some(node)) = (output, table.get(key)) else {
                continue;
            };
            let key = format!("{title}.{key}");
            let known = self
                .files
                .entry(file.file.0.to_string())
                .or_insert_with(|| (key.clone(), file.clone()));
            if !known.1.keeps_alike(file) {
                let reason = format!("{} has its file turned over in another way", known.0);
                self.errors.push(diagnose(&key, Problem::new(node, reason)));
            }
        }
    }

    /// Finds the sockets of a watcher, and sees to it that its variables name no others, whatever
    /// else may be wrong with it.
    fn use_sockets(&mut self, watcher: &str, title: &str, table: &Table) -> Vec<Socket> {
        if self.sockets.len() < self.document.sockets.names().count() {
            // One that cannot be read would seem to be missing.
            return Vec::new();
        }
        let (all, cx) = (&self.sockets, self.cx);
        let node = table.get("use_sockets");
        let Ok(wanted) = node.map_or(Ok(UseSockets::None), |node| UseSockets::read(node, cx))
        else {
            // The section tells of it.
            return Vec::new();
        };
        let (sockets, problems) = socket::used(&wanted, node, all);
        let key = format!("{title}.use_sockets");
        let mut errors: Vec<_> = problems.into_iter().map(|p| diagnose(&key, p)).collect();
        let mut check = |title: &str, table: &Table, keys: Option<&[&str]>| {
            for entry in table {
                if keys.is_none_or(|keys| keys.contains(&entry.key.as_str())) {
                    let found = socket::unknown_variables(&entry.node, &sockets, all, cx);
                    let key = format!("{title}.{}", entry.key);
                    errors.extend(found.into_iter().map(|problem| diagnose(&key, problem)));
                }
            }
        };
        check(
            title,
            table,
            Some(&["cmd", "args", "env", "stdout", "stderr"]),
        );
        let environment = environment::tables(self.document, watcher);
        environment.for_each(|(title, table)| check(&title, table, None));
        self.errors.append(&mut errors);
        sockets
    }

    /// Empty where the file could not be read: the store has told why.
    fn env_file(&self, path: &Path) -> &[(String, String)] {
        self.env_files.get(path).map_or(&[], Vec::as_slice)
    }

    fn fault(&mut self, at: &Place, key: String, reason: &str) {
        self.errors.push(Diagnostic::at(at, Some(key), reason));
    }
}

/// Keys that are right by themselves and wrong together; each with the one to change.
fn contradictions(watcher: &Watcher, table: &Table) -> Vec<(&'static str, Problem)> {
    let mut found = Vec::new();
    let mut report = |key: &'static str, problem: &dyn Fn(&Node) -> Problem| {
        if let Some(node) = table.get(key) {
            found.push((key, problem(node)));
        }
    };
    match (&watcher.cmd, watcher.shell) {
        (Command::Words(words), true) if !words.0.is_empty() => report("cmd", &|node| {
            Problem::new(
                node,
                "shell = true needs a string, an array leaves a shell nothing to do",
            )
        }),
        (Command::Line { words: None, .. }, false) => report("cmd", &unclosed_quote),
        _ => {}
    }
    if watcher.plugin.is_some() && !watcher.singleton {
        report("singleton", &|node| {
            Problem::new(node, "a plugin is a singleton, and has one process")
        });
    }
    let many = match watcher.numprocesses {
        NumProcesses::Count(count) => count > 1,
        NumProcesses::Auto => true,
    };
    if watcher.singleton && many {
        report("numprocesses", &|node| {
            Problem::new(node, "more than one, but singleton = true")
        });
    }
    if watcher.on_demand && watcher.sockets.is_empty() {
        report("on_demand", &|node| {
            Problem::new(node, "there is nothing to connect to without use_sockets")
        });
    } else if watcher.on_demand && watcher.sockets.iter().any(|socket| socket.reuseport) {
        report("on_demand", &|node| {
            let reason = "with reuseport nobody can connect before there is a process";
            Problem::new(node, reason)
        });
    }
    if watcher.stdout == Some(Output::Stdout) {
        report("stdout", &|node| {
            Problem::new(node, "'stdout' is for stderr only")
        });
    }
    found
}
