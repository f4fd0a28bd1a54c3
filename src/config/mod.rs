//! Files and flags in, checked settings out: what circusd.toml(5) promises.
//!
//! The rows in `circusd`, `watcher`, `socket`, `plugins`, `hooks` and `access` are the only list of settings;
//! parser, `Get`, `Set`, the manual and the JSON Schema all read them. A [`Store`] holds where every value came
//! from and is never changed: whoever wants a change gets another store, or all the reasons why
//! not.
//!
//! Knows no other room. Only `files` touches the disk; nothing in here starts anything, asks who a
//! user is, or reads the environment of the process it runs in.

mod access;
mod build;
mod circusd;
mod dependencies;
mod diagnostic;
mod document;
mod environment;
mod expand;
mod files;
mod hooks;
mod kept;
mod kind;
mod manual;
mod node;
mod overrides;
mod plain;
pub mod plugins;
mod readiness;
mod schema;
mod shapes;
mod socket;
mod sources;
mod store;
mod syntax;
mod table;
mod trace;
mod values;
mod variables;
mod view;
mod watcher;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use build::Config;
pub use circusd::{Circusd, directory_in_tmp};
pub use diagnostic::{Diagnostic, Errors};
pub use environment::Environment;
pub use expand::{Expanded, Keeping, LineFormat, Stream};
pub use hooks::{DaemonHook, DaemonHooks};
pub use kind::Range;
pub use manual::{Chapter, command_line_help, manual, manual_roff};
pub use node::Origin;
pub use readiness::{NOTICES, Notice};
pub use schema::schema;
pub use socket::{FIRST_SOCKET, Socket, Where};
pub use sources::{Embedded, Sources};
pub use store::Store;
pub use table::{OnChange, Row, Section};
pub use trace::Trace;
pub use values::*;
pub use variables::Template;
pub use view::{Change, SettingView, WatcherChange};
pub use watcher::Watcher;
