//! Plugins: programs that hear what happens in circusd, and act on it.
//!
//! A plugin is a client like any other, in a process of its own: what it does slowly, or wrong, is
//! not the daemon's. Here is what one in Rust is made with, [`Plugin`] and [`Handle`], and those that
//! come with circusd (`built_in`), which have no other means. Nothing in here knows the daemon from
//! inside; in another language the socket and two variables are enough.
//!
//! One that writes a line when a watcher keeps ending, of a crate with
//!
//! ```toml
//! [dependencies]
//! circusd = { version = "0.1", default-features = false, features = ["plugin"] }
//! serde = { version = "1", features = ["derive"] }
//! ```
//!
//! in its `Cargo.toml`:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use circusd::api::types::Event;
//! use circusd::plugin::{self, Handle, Outcome, Plugin};
//!
//! struct Mail {
//!     to: String,
//! }
//!
//! impl Plugin for Mail {
//!     fn name(&self) -> &str {
//!         "mail"
//!     }
//!
//!     fn topics(&self) -> Option<Vec<String>> {
//!         Some(vec!["*.gave_up".into(), "*.flapping".into()])
//!     }
//!
//!     async fn event(&mut self, event: Event, handle: &Handle) -> Outcome {
//!         handle.log(&format!("to {}: {} {:?}", self.to, event.topic, event.data));
//!         Ok(())
//!     }
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     to: String,
//! }
//!
//! // [plugin.mail]
//! // cmd = "/usr/local/bin/mail-plugin"
//! // to = "root"
//! // watcher.ready = "notify"   # the watchers start when it hears them
//! fn main() -> ExitCode {
//!     plugin::main(|settings: Settings| Mail { to: settings.to })
//! }
//! ```

mod built_in;
mod connection;
mod events;
mod flags;
mod handle;
mod hooks;
mod life;
mod program;
mod run;
mod settings;

pub use flags::command;
pub use handle::Handle;
pub use life::{Answer, Asked, BoxError, Outcome, Plugin, Server};
pub use program::{ExitCode, circus_plugin, main};
pub use run::{PluginError, run};
pub use settings::{SettingsError, settings};
