//! circusd: a process supervisor for Linux. This page is the map.

pub mod api;
pub mod client;
pub mod core;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod sys;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "server")]
pub mod server;

#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
