//! Calls that read or change the configuration. It is checked whole before anything moves, and a
//! change that core refuses leaves it as it was.

use std::sync::Arc;

use super::calls::Outcome;
use super::connection::Ask;
use super::driver::Driver;
use super::homes::Homes;
use super::{access, convert};
use crate::api::frame::{Reply, encode};
use crate::api::{Error, params, reply, types};
use crate::config::{Change, Diagnostic, Errors, OnChange, Store, Trace, Watcher, WatcherChange};
use crate::core::{Announcement, Command, Input, Name, Request, RequestId, WatcherSpec};

impl Driver {
    pub(super) fn get(&self, ask: &Ask, params: &params::Get) -> Result<Outcome, Error> {
        self.must_be_configured(&params.watcher)?;
        let options = self.store.get(&params.watcher, params.keys.as_deref());
        let options = options.map_err(|errors| invalid_option(&errors, Some(&params.watcher)))?;
        self.say(ask, reply::Get { options })
    }

    pub(super) fn get_settings(
        &self,
        ask: &Ask,
        params: &params::GetSettings,
    ) -> Result<Outcome, Error> {
        let settings = self.store.settings(params.names.as_deref());
        let settings = settings.map_err(|errors| invalid_option(&errors, None))?;
        let settings = settings.into_iter().map(|setting| types::Setting {
            name: setting.name,
            section: setting.section,
            value: present(setting.value),
            default: present(setting.default),
            origin: setting.origin.as_str().to_owned(),
            source: setting.source,
            on_change: match setting.on_change {
                OnChange::Live => types::OnChange::Live,
                OnChange::Reload => types::OnChange::Reload,
                OnChange::RestartDaemon => types::OnChange::RestartDaemon,
            },
            description: setting.description.to_owned(),
        });
        self.say(
            ask,
            reply::GetSettings {
                settings: settings.collect(),
            },
        )
    }

    pub(super) fn set(&mut self, ask: &Ask, params: &params::Set) -> Result<Outcome, Error> {
        self.must_be_configured(&params.watcher)?;
        let store = self.store.set(&params.watcher, &params.options);
        let store = store.map_err(|errors| invalid_option(&errors, Some(&params.watcher)))?;
        let changes = self.store.diff(&store);
        let change = changes
            .iter()
            .find(|change| change.watcher == params.watcher);
        let keys: Vec<String> = match change {
            Some(change) if change.change != Change::Unchanged => change.keys.clone(),
            _ => Vec::new(),
        };
        if keys.is_empty() {
            self.put_store(store);
            let reply = reply::Set {
                effect: types::Effect::Live,
                changes: Some(Vec::new()),
            };
            return self.say(ask, reply);
        }
        let spec = self.learn(&store, &changes, &params.watcher)?;
        let command = Command::Set {
            spec: Box::new(spec),
            keys,
        };
        self.keep_if_accepted(store, &command)?;
        Ok(Outcome::Ask {
            command,
            wait: params.wait.unwrap_or(true),
            instead: None,
        })
    }

    pub(super) fn add(&mut self, params: &params::Add) -> Result<Outcome, Error> {
        if self
            .core
            .watcher(&Name::from(params.watcher.as_str()))
            .is_some()
        {
            return Err(Error::WatcherExists {
                watcher: params.watcher.clone(),
            });
        }
        let circusd = &self.store.config().circusd;
        if self.store.config().watchers.len() >= circusd.watchers_max as usize {
            return Err(Error::TooMany {
                what: "watchers".into(),
                limit: circusd.watchers_max.into(),
            });
        }
        let store = self.store.add(&params.watcher, &params.options);
        let store = store.map_err(|errors| invalid_option(&errors, Some(&params.watcher)))?;
        let changes = self.store.diff(&store);
        let spec = self.learn(&store, &changes, &params.watcher)?;
        let start = params.start.unwrap_or(false);
        let command = Command::Add {
            spec: Box::new(spec),
            start,
        };
        self.keep_if_accepted(store, &command)?;
        Ok(Outcome::Ask {
            command,
            wait: true,
            instead: None,
        })
    }

    pub(super) fn remove(&mut self, params: &params::Remove) -> Result<Outcome, Error> {
        self.must_exist(&params.watcher)?;
        let command = Command::Remove {
            watcher: Name::from(params.watcher.as_str()),
            keep_processes: params.keep_processes.unwrap_or(false),
        };
        let store = self.store.remove(&params.watcher);
        let store = store.map_err(|errors| invalid_config(&errors))?;
        self.keep_if_accepted(store, &command)?;
        Ok(Outcome::Ask {
            command,
            wait: true,
            instead: None,
        })
    }

    /// The number of processes that an operator asked for is his, and outlives a reload of the
    /// configuration.
    pub(super) fn keep_scale(&mut self, name: &Name) {
        let Some(watcher) = self.core.watcher(name) else {
            return;
        };
        let wanted = watcher.spec().numprocesses;
        let Some(configured) = self.store.config().watcher(name.as_str()) else {
            return;
        };
        // A number that was refused, or asked for in vain, is nobody's wish: the files still decide.
        if convert::numprocesses(configured.numprocesses) == wanted {
            return;
        }
        let wanted = u64::from(wanted);
        let mut options = types::Object::new();
        options.insert("numprocesses".into(), wanted.into());
        match self.store.set(name.as_str(), &options) {
            Ok(store) => {
                self.put_store(store);
            }
            Err(errors) => {
                tracing::warn!(
                    "{name}: the number of processes will not outlive a reload: {errors}"
                );
            }
        }
    }

    /// Puts a configuration in force, and has it written down; the one before.
    fn put_store(&mut self, store: Store) -> Store {
        self.written.store_changed = true;
        std::mem::replace(&mut self.store, store)
    }

    /// One that is being removed still exists, but has no options any more.
    fn must_be_configured(&self, name: &str) -> Result<(), Error> {
        match self.store.config().watcher(name) {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchWatcher {
                watcher: name.to_owned(),
            }),
        }
    }

    fn must_exist(&self, name: &str) -> Result<(), Error> {
        match self.core.watcher(&Name::from(name)) {
            Some(_) => Ok(()),
            None => Err(Error::NoSuchWatcher {
                watcher: name.to_owned(),
            }),
        }
    }

    /// Takes in the recipes of a configuration that is about to be in force; the rules of one of
    /// its watchers.
    fn learn(
        &mut self,
        store: &Store,
        changes: &[WatcherChange],
        name: &str,
    ) -> Result<WatcherSpec, Error> {
        let opened = self.sockets.configured();
        self.recipes
            .update(&store.config().watchers, changes, opened);
        let watcher = store.config().watcher(name);
        let spec = watcher.zip(self.recipes.current(name));
        let missing = || Error::NoSuchWatcher {
            watcher: name.to_owned(),
        };
        let (watcher, revision) = spec.ok_or_else(missing)?;
        Ok(convert::spec(watcher, revision, self.hooks.specs(watcher)))
    }

    /// Puts a configuration in force unless core would refuse what it means.
    fn keep_if_accepted(&mut self, store: Store, command: &Command) -> Result<(), Error> {
        self.pursue();
        let accepted = self.core.would_accept(command);
        let accepted = accepted.map_err(|refusal| convert::refusal(refusal, &self.clock));
        if let Err(error) = accepted.and_then(|()| self.limit(&store, command)) {
            let old = self.store.config().watchers.clone();
            let back = store.diff(&self.store);
            self.recipes.update(&old, &back, self.sockets.configured());
            return Err(error);
        }
        let before = self.put_store(store);
        self.await_demands_anew();
        self.look_after_anew(&before);
        self.forget_recipes();
        Ok(())
    }

    /// Processes that run are looked after in another way, where the configuration says so now.
    fn look_after_anew(&mut self, before: &Store) {
        for watcher in &self.store.config().watchers {
            let was = before.config().watcher(&watcher.name);
            if was.is_some_and(|was| was.watchdog != watcher.watchdog) {
                let set = self.workers.set_watchdog(&watcher.name, watcher.watchdog);
                self.inputs.extend(set);
            }
        }
        self.examine_anew();
    }

    /// Holds the watchers of a configuration to what they ask for in it. If one cannot be, all are held to
    /// what they were.
    fn limit(&mut self, store: &Store, command: &Command) -> Result<(), Error> {
        let homes = &mut self.workers.homes;
        let limit = |homes: &mut Homes, watcher: &Watcher| match homes.resources.want(watcher)? {
            true => homes.limit(&watcher.name),
            false => Ok(()),
        };
        let mut watchers = store.config().watchers.iter();
        let refused = watchers
            .by_ref()
            .find_map(|watcher| limit(homes, watcher).err().map(|error| (watcher, error)));
        let Some((refused, error)) = refused else {
            return Ok(());
        };
        let old = self.store.config();
        for watcher in &store.config().watchers {
            match old.watcher(&watcher.name) {
                None => homes.resources.forget_watcher(&watcher.name),
                Some(old) if old.resources == watcher.resources && old.oom == watcher.oom => {}
                Some(old) => {
                    homes.resources.want_anyway(old);
                    // Those that could not be limited before are as they were.
                    let _ = homes.limit(&old.name);
                }
            }
        }
        let whole = matches!(command, Command::Apply { .. });
        Err(Error::InvalidOption {
            option: match whole {
                true => format!("watcher.{}.{}", refused.name, error.key()),
                false => error.key().to_owned(),
            },
            reason: error.to_string(),
            suggestion: None,
        })
    }

    pub(super) fn forget_recipes(&mut self) {
        let core = &self.core;
        let current: Vec<_> = (self.store.config().watchers.iter())
            .filter_map(|watcher| self.recipes.current(&watcher.name))
            .collect();
        self.recipes.retain(|revision| {
            current.contains(&revision)
                || core.watchers().any(|watcher| {
                    watcher.spec().revision == revision
                        || watcher
                            .workers()
                            .any(|worker| worker.revision() == revision)
                })
        });
    }

    pub(super) fn config_changes(&self) -> Result<Vec<types::ConfigChange>, Error> {
        let store = self
            .store
            .reread()
            .map_err(|errors| invalid_config(&errors))?;
        Ok(config_changes(&self.store.diff(&store)))
    }

    pub(super) fn reload_config(&mut self, ask: &Ask) -> Result<Outcome, Error> {
        let (command, changes) = self.reread()?;
        let changes = config_changes(&changes);
        let instead = encode(
            &Reply::last(reply::ConfigChanges { changes }),
            ask.terminator,
        );
        Ok(Outcome::Ask {
            command,
            wait: true,
            instead: Some(instead),
        })
    }

    /// Reads the files again; what core is to be told if all is well.
    fn reread(&mut self) -> Result<(Command, Vec<WatcherChange>), Error> {
        let (read, trace) = self.store.reread_traced();
        self.take_in(read, trace)
    }

    /// The same with what was read.
    fn take_in(
        &mut self,
        read: Result<Store, Errors>,
        trace: Arc<Trace>,
    ) -> Result<(Command, Vec<WatcherChange>), Error> {
        let taken = self.put_in_force(read);
        // What decides is in force now, whatever has become of what was read.
        self.keep_vigil(trace);
        taken
    }

    fn put_in_force(
        &mut self,
        read: Result<Store, Errors>,
    ) -> Result<(Command, Vec<WatcherChange>), Error> {
        self.inputs.push(Input::Announce(Announcement::Reloading));
        let store = match read {
            Ok(store) => store,
            Err(errors) => {
                self.inputs.push(Input::Announce(config_error(&errors)));
                return Err(invalid_config(&errors));
            }
        };
        let opened = match self.sockets.open(&store) {
            Ok(opened) => opened,
            Err(errors) => {
                self.inputs.push(Input::Announce(config_error(&errors)));
                return Err(invalid_config(&errors));
            }
        };
        let changes = self.store.diff(&store);
        let daemon_changes = self.store.daemon_changes(&store);
        self.recipes
            .update(&store.config().watchers, &changes, &opened);
        let words = changes
            .iter()
            .map(|change| (change.watcher.clone(), change.keys.clone()));
        let command = self.apply_command(&store, words);
        if let Err(error) = self.keep_if_accepted(store, &command) {
            self.inputs.push(Input::Announce(Announcement::ConfigError {
                error: error.to_string(),
                file: None,
                line: None,
                column: None,
            }));
            return Err(error);
        }
        self.sockets.put(opened, self.store.config());
        let circusd = &self.store.config().circusd;
        if let Some(log) = &self.reload_log {
            log.set(&circusd.log_level);
        }
        self.log
            .with(|log| log.set_capacity(circusd.event_buffer as usize));
        self.hooks.closures.set_timeout(circusd.hook_timeout);
        let connections = circusd.connections_max as usize;
        self.shared.connections_max.set(connections);
        self.shared
            .message_bytes_max
            .set(circusd.message_bytes_max.0 as usize);
        for warning in self.store.warnings() {
            tracing::warn!("{warning}");
        }
        access::warn_of_nobodies(&self.store.config().access);
        self.shared
            .access
            .replace(self.store.config().access.clone());
        self.hooks.own.update(&self.store.config().hooks);
        // What no reload can change would otherwise look as if it were in force.
        let waiting =
            (daemon_changes.iter()).filter(|row| row.on_change == OnChange::RestartDaemon);
        for row in waiting {
            let (section, key) = (row.section.as_str(), row.key);
            tracing::warn!(
                "{section}.{key}: changed, and in force only when circusd is started again"
            );
        }
        let concerned = changes
            .iter()
            .filter(|change| change.change != Change::Unchanged);
        let watchers = concerned.map(|change| change.watcher.clone()).collect();
        self.inputs
            .push(Input::Announce(Announcement::ConfigChanged { watchers }));
        Ok((command, changes))
    }

    /// All watchers of a configuration whose recipes are known, for core.
    /// `changes` are the keys that are told of, by watcher.
    pub(super) fn apply_command(
        &self,
        store: &Store,
        changes: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Command {
        let config = store.config();
        let specs = config.watchers.iter().filter_map(|watcher| {
            let revision = self.recipes.current(&watcher.name)?;
            Some(convert::spec(watcher, revision, self.hooks.specs(watcher)))
        });
        Command::Apply {
            specs: specs.collect(),
            changed: (changes.into_iter())
                .map(|(watcher, keys)| (Name::from(watcher.as_str()), keys))
                .collect(),
            limits: convert::limits(&config.circusd),
        }
    }

    /// SIGHUP: nobody waits for the answer; events and the log tell.
    pub(super) fn reload_config_by_signal(&mut self) {
        if let Ok((command, _)) = self.reread() {
            self.ask_core(command);
        }
    }

    /// Watches over the files that were read, if that is wanted.
    pub(super) fn keep_vigil(&mut self, trace: Arc<Trace>) {
        let wanted = self.store.config().circusd.reload_on_change;
        self.vigil.keep(wanted, trace);
    }

    /// Something has happened where configuration files are. Most of it, as what an editor writes beside
    /// them, is no change of what they say.
    pub(super) fn look_at_files(&mut self) {
        let (read, trace) = self.store.reread_traced();
        if self.vigil.knows(&trace) {
            // The places may be others all the same: a directory that was replaced by its like.
            return self.keep_vigil(trace);
        }
        tracing::info!("the configuration files have changed, and are read again");
        if let Ok((command, _)) = self.take_in(read, trace) {
            self.ask_core(command);
        }
    }

    /// Asks core for something that nobody waits for.
    pub(super) fn ask_core(&mut self, command: Command) {
        self.requests += 1;
        let id = RequestId(self.requests);
        let request = Request {
            id,
            wait: false,
            progress: false,
            command,
        };
        self.inputs.push(Input::Request(request));
    }
}

fn config_changes(changes: &[WatcherChange]) -> Vec<types::ConfigChange> {
    changes
        .iter()
        .map(|change| types::ConfigChange {
            watcher: change.watcher.clone(),
            change: match change.change {
                Change::Add => types::ConfigChangeKind::Add,
                Change::Remove => types::ConfigChangeKind::Remove,
                Change::Live => types::ConfigChangeKind::Live,
                Change::Reload => types::ConfigChangeKind::Reload,
                Change::Unchanged => types::ConfigChangeKind::Unchanged,
            },
            keys: change.keys.clone(),
        })
        .collect()
}

/// The API has no null values: what is not there is left out.
fn present(value: serde_json::Value) -> Option<serde_json::Value> {
    (!value.is_null()).then_some(value)
}

/// The first of the errors; an option of `watcher` is named as who asked has named it.
fn invalid_option(errors: &Errors, watcher: Option<&str>) -> Error {
    let first = errors.first();
    let key = first.key.as_deref().unwrap_or_default();
    let prefix = watcher.map(|name| format!("watcher.{name}."));
    let option = prefix.and_then(|prefix| key.strip_prefix(&prefix));
    Error::InvalidOption {
        option: option.unwrap_or(key).to_owned(),
        reason: first.reason.clone(),
        suggestion: first.suggestion.clone(),
    }
}

fn invalid_config(errors: &Errors) -> Error {
    let first: &Diagnostic = errors.first();
    Error::InvalidConfig {
        file: first.file.clone(),
        line: first.line.map(|line| line as u64),
        column: first.column.map(|column| column as u64),
        reason: without_first_position(errors),
    }
}

/// All that is wrong, as it is told behind the position of the first fault.
fn without_first_position(errors: &Errors) -> String {
    let first = errors.first();
    let text = errors.to_string();
    let position = match (first.line, first.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}: ", first.file),
        _ => format!("{}: ", first.file),
    };
    text.strip_prefix(&position).unwrap_or(&text).to_owned()
}

fn config_error(errors: &Errors) -> Announcement {
    let first = errors.first();
    Announcement::ConfigError {
        error: errors.to_string(),
        file: Some(first.file.clone()),
        line: first.line.map(|line| line as u64),
        column: first.column.map(|column| column as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_configuration_names_each_place_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.toml");
        std::fs::write(&file, "[watcher.web]\ncmd = 'sleep 1'\nfoo = 1\nbar = 2\n").unwrap();
        let arguments = [
            std::ffi::OsStr::new("circusd"),
            "--config".as_ref(),
            file.as_ref(),
        ];
        let matches = super::super::command().get_matches_from(arguments);
        let errors = Store::load(super::super::sources(&matches)).unwrap_err();

        let told = invalid_config(&errors).to_string();
        assert_eq!(told, errors.to_string());
        for line in ["web.toml:3:1: ", "web.toml:4:1: "] {
            assert_eq!(told.matches(line).count(), 1, "{told}");
        }
    }
}
