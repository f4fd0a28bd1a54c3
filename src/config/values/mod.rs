//! The types of settings that have a meaning of their own: durations, signals, streams, policies.
//!
//! Each knows only how it is written; none knows which setting uses it, or asks the system
//! whether a user or a directory exists.

pub(crate) mod address;
mod amounts;
mod command;
mod credential;
mod hook;
mod hooks;
mod log;
mod names;
mod output;
mod paths;
mod policy;
mod principal;
mod probe;
mod process;
mod quantity;
mod ready;
mod resources;
mod sockets;
mod stream;

pub use address::{HttpServer, HttpUrl, TcpAddress};
pub use amounts::{CpuMax, Memory};
pub use command::{Command, EnvMap, Words};
pub(crate) use command::{is_variable_name, unclosed_quote, variable};
pub use credential::CredentialName;
pub use hook::{Argv, HOOK_TIMEOUT, Hook, HookForm, HookList, HookTable};
pub use hooks::{HOOKS, HookName, HookRow, Hooks};
pub use log::{Level, LogLevel, LogTarget};
pub use names::WatcherNames;
pub use output::{Prefix, Rotate, TimeFormat};
pub use paths::{Patterns, SocketPath, TemplatePath};
pub use policy::{Backoff, Flapping, NumProcesses, ReloadOrder, Restart, Retries};
pub use principal::{Identity, Who};
pub use probe::{FromText, Placed, PlacedProbe, Probe, Program};
pub use process::{Capability, IoClass, IoPriority, Mode, Resource, Rlimits, Signal};
pub use quantity::Bytes;
use quantity::parse_size;
pub use ready::{Health, HealthTable, Ready, ReadyTable};
pub use resources::{Amounts, Oom, Resources};
pub use sockets::{Host, Interface, SocketType, UseSockets};
pub use stream::{FileOutput, Input, Output};
