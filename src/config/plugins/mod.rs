//! `[plugin.NAME]`: programs that hear what happens and act on it, and the settings of those that
//! come with circusd.
//!
//! A plugin is a watcher (`plugin:NAME`) with one process; what is said here is made into one, so
//! that everything that is known of watchers holds for it. What a built-in plugin does with its
//! settings is not known here.

mod patterns;
mod read;
mod settings;
pub(crate) mod settle;
mod values;

use serde_json::{Map, Value as Json};

use super::table::section;
use super::values::{Command, Words};

pub use patterns::{Heartbeat, NamePattern, Topics};
pub use read::read_settings;
pub use settings::{
    BuiltIn, BuiltInSettings, CommandReloaderSettings, FlappingSettings, FullStatsSettings,
    HttpObserverSettings, LoggerSettings, MetricsSettings, RedisObserverSettings,
    ResourceWatcherSettings, StatsdSettings, WatchdogSettings,
};
pub use values::{Form, Loopback, MemoryBound, RedisUrl, RegularExpression, Renewal, Replaced};

/// The watcher of a plugin is called by this and the plugin's name.
pub const PREFIX: &str = "plugin:";

/// The program that the built-in plugins are in. It is found beside circusd, or else in PATH.
pub const PROGRAM: &str = "circus-plugin";

/// What the settings of a plugin are in, as one JSON object.
pub const CONFIG_VARIABLE: &str = "CIRCUS_PLUGIN_CONFIG";

/// What the name of a plugin is in, as it stands in `[plugin.NAME]`.
pub const NAME_VARIABLE: &str = "CIRCUS_PLUGIN_NAME";

/// The priority of a plugin that has none of its own: it is there before the watchers start, and
/// until they have stopped.
pub const PRIORITY: i32 = -1_000_000;

section! {
    /// What every `[plugin.NAME]` has, read and checked.
    pub struct PluginSection for Plugin, given cx;
    also {}
    /// One of the plugins that come with circusd; each has a section of its own below.
    r#use: Option<BuiltIn> = None => "none", Reload;
    /// Any other program, as cmd of [watcher.NAME]. It finds what it needs in CIRCUS_SOCKET and
    /// CIRCUS_PLUGIN_CONFIG.
    cmd: Option<Command> = None => "none", Reload;
    /// More arguments for cmd, as an array or a string that is split.
    args: Words = Words::default() => "none", Reload;
    later {}
}

/// What a watcher that is a plugin is made from, beside its own options.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// As it stands in `[plugin.NAME]`.
    pub name: String,
    /// None with `cmd`.
    pub built_in: Option<BuiltIn>,
    /// All its settings; those of a built-in with the defaults filled in.
    pub settings: Map<String, Json>,
}

impl Plugin {
    /// The keys whose values differ.
    pub(crate) fn changed(&self, other: &Self) -> Vec<String> {
        let keys = self.settings.keys().chain(other.settings.keys());
        let differs = |key: &&String| self.settings.get(*key) != other.settings.get(*key);
        let mut keys: Vec<String> = keys.filter(differs).cloned().collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// The plugin whose watcher this is.
pub fn plugin_of(watcher: &str) -> Option<&str> {
    watcher.strip_prefix(PREFIX)
}

/// What is wrong with an option that a watcher with this title does not have.
pub(crate) fn unknown_option(title: &str, option: &str) -> &'static str {
    let is_a_setting = |of: &BuiltIn| of.rows().iter().any(|row| row.key == option);
    match title.starts_with("plugin.") && BuiltIn::ALL.iter().any(is_a_setting) {
        true => "unknown key; what is the plugin's own is set in its section of the configuration",
        false => "unknown key",
    }
}

/// How messages and origins name a watcher: `watcher.web`, and `plugin.log.watcher` for `plugin:log`.
pub(crate) fn title_of(watcher: &str) -> String {
    match plugin_of(watcher) {
        Some(plugin) => format!("plugin.{plugin}.watcher"),
        None => format!("watcher.{watcher}"),
    }
}
