//! The plugins that come with circusd: each is a [`Plugin`](super::Plugin) like anybody's.
//!
//! Their settings are declared in `config::plugins`. `statsd_client`, `sampler` and `http` are what
//! some of them share.

mod command_reloader;
mod full_stats;
mod logger;
mod programs;
mod sampler;
mod statsd;
mod statsd_client;

use std::path::Path;

use super::ExitCode;
use super::program::{complain, live as let_live};
use crate::config::plugins::BuiltInSettings;

/// Lets the plugin with these settings live.
pub(super) fn live(settings: BuiltInSettings, socket: &Path) -> ExitCode {
    match settings {
        BuiltInSettings::Logger(settings) => let_live(logger::Logger::new(settings), socket),
        BuiltInSettings::Statsd(settings) => let_live(statsd::Counter::new(settings), socket),
        BuiltInSettings::FullStats(settings) => {
            let_live(full_stats::FullStats::new(settings), socket)
        }
        BuiltInSettings::CommandReloader(settings) => {
            let_live(command_reloader::CommandReloader::new(settings), socket)
        }
        BuiltInSettings::Flapping(_) => {
            complain("flapping has no process: it is for [plugin.NAME] of circusd.toml(5) alone");
            ExitCode::Usage
        }
        _ => ExitCode::Usage,
    }
}
