//! A plugin as a program: settings in, exit code out.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

use super::life::Plugin;
use super::run::run;
use super::settings::settings;
use super::{built_in, flags};
use crate::client::default_socket;
use crate::config::Row;
use crate::config::plugins::{BuiltIn, CONFIG_VARIABLE, NAME_VARIABLE, PREFIX, read_settings};

/// How `circus-plugin`, and every program made with [`main`], ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum ExitCode {
    /// It was told to end.
    Stopped = 0,
    /// It could not go on, or circusd was not there.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The settings are wrong (`EX_CONFIG` of sysexits.h).
    Config = 78,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// All of a program that is a plugin: reads the settings from the environment, makes the plugin of
/// them, and lets it live with the circusd that has started it, until SIGTERM or SIGINT.
pub fn main<S: DeserializeOwned, P: Plugin>(make: impl FnOnce(S) -> P) -> process::ExitCode {
    match settings() {
        Ok(settings) => live(make(settings), &socket()).into(),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::Config.into()
        }
    }
}

/// All of `circus-plugin`.
pub fn circus_plugin(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match flags::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help goes to standard output and is no error.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::Usage,
                false => ExitCode::Stopped,
            };
        }
    };
    match matches.subcommand() {
        Some(("list", matches)) => list(matches.get_flag("json")),
        Some(("describe", matches)) => {
            let name = matches.get_one::<String>("name").map_or("", String::as_str);
            match known(name) {
                Some(plugin) => describe(plugin, matches.get_flag("json")),
                None => ExitCode::Usage,
            }
        }
        _ => {
            let name = matches.get_one::<String>("name").map_or("", String::as_str);
            let flags = matches.get_many::<String>("config");
            let flags: Vec<String> = flags.into_iter().flatten().cloned().collect();
            let named = matches.get_one::<PathBuf>("socket");
            match known(name) {
                Some(plugin) => start(plugin, &flags, &named.cloned().unwrap_or_else(socket)),
                None => ExitCode::Usage,
            }
        }
    }
}

fn known(name: &str) -> Option<BuiltIn> {
    let found = BuiltIn::named(name);
    if found.is_none() {
        let all: Vec<_> = BuiltIn::ALL.iter().map(|plugin| plugin.as_str()).collect();
        complain(&format!(
            "there is no plugin '{name}', but {}",
            all.join(", ")
        ));
    }
    found
}

fn start(plugin: BuiltIn, flags: &[String], socket: &Path) -> ExitCode {
    let given = std::env::var(CONFIG_VARIABLE).unwrap_or_default();
    let given: Map<String, Json> = match given.as_str() {
        "" => Map::new(),
        text => match serde_json::from_str(text) {
            Ok(given) => given,
            Err(error) => {
                complain(&format!("{CONFIG_VARIABLE}: {error}"));
                return ExitCode::Config;
            }
        },
    };
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    match read_settings(plugin, &given, flags, &directory) {
        Ok(settings) => built_in::live(settings, socket),
        Err(errors) => {
            complain(&errors.to_string());
            ExitCode::Config
        }
    }
}

/// Where the circusd answers that has started us, or else where circusctl would look.
fn socket() -> PathBuf {
    match std::env::var_os("CIRCUS_SOCKET").filter(|socket| !socket.is_empty()) {
        Some(socket) => socket.into(),
        None => default_socket(),
    }
}

/// Lets a plugin live until SIGTERM or SIGINT.
pub(super) fn live<P: Plugin>(plugin: P, socket: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let lived = runtime.map(|runtime| {
        let lived = runtime.block_on(async {
            let mut signals = Signals::new([SIGTERM, SIGINT])?;
            Ok::<_, io::Error>(run(plugin, socket, signal(&mut signals)).await)
        });
        // A name that is still being looked up is not waited for.
        runtime.shutdown_background();
        lived
    });
    match lived {
        Ok(Ok(Ok(()))) => ExitCode::Stopped,
        Ok(Ok(Err(error))) => {
            complain(&error.to_string());
            ExitCode::Failed
        }
        Ok(Err(error)) | Err(error) => {
            complain(&error.to_string());
            ExitCode::Failed
        }
    }
}

/// The first signal.
async fn signal(signals: &mut Signals) {
    let mut signals = std::pin::pin!(signals);
    std::future::poll_fn(|cx| futures_core::Stream::poll_next(signals.as_mut(), cx).map(|_| ()))
        .await;
}

fn list(as_json: bool) -> ExitCode {
    let all = BuiltIn::ALL.iter();
    if as_json {
        let all =
            all.map(|plugin| json!({"name": plugin.as_str(), "description": plugin.description()}));
        return print(&format!("{}\n", Json::from_iter(all)));
    }
    let lines = all.map(|plugin| format!("{:18}{}\n", plugin.as_str(), first_sentence(*plugin)));
    print(&lines.collect::<String>())
}

fn first_sentence(plugin: BuiltIn) -> &'static str {
    let all = plugin.description();
    all.split_once(". ")
        .map_or(all, |(first, _)| first)
        .trim_end_matches('.')
}

fn describe(plugin: BuiltIn, as_json: bool) -> ExitCode {
    let rows = plugin.rows();
    if as_json {
        let settings: Vec<Json> = rows.iter().map(setting).collect();
        let plugin = json!({
            "name": plugin.as_str(), "description": plugin.description(), "settings": settings,
        });
        return print(&format!("{plugin}\n"));
    }
    let mut text = format!("{}: {}\n", plugin.as_str(), plugin.description());
    for row in rows {
        text.push_str(&format!(
            "\n{}\n    {}\n    type: {}",
            row.key,
            row.description(),
            row.type_name()
        ));
        if let Some(range) = row.range {
            text.push_str(&format!(", {} to {} {}", range.min, range.max, row.unit()));
            text.truncate(text.trim_end().len());
        }
        match row.is_required() {
            true => text.push_str("\n    required\n"),
            false => text.push_str(&format!("\n    default: {}\n", row.default_in_words())),
        }
    }
    print(&text)
}

fn setting(row: &Row) -> Json {
    json!({
        "name": row.key,
        "type": row.type_name(),
        "unit": row.unit(),
        "minimum": row.range.map(|range| range.min),
        "maximum": row.range.map(|range| range.max),
        "required": row.is_required(),
        "default": row.default_in_words(),
        "description": row.description(),
    })
}

/// A reader that has gone away is no error.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::Failed,
        _ => ExitCode::Stopped,
    }
}

/// Says something on standard error, as the watcher that circusd runs it as, or else as whichever
/// program this is.
pub(super) fn complain(text: &str) {
    let name = match std::env::var(NAME_VARIABLE) {
        Ok(name) if !name.is_empty() => format!("{PREFIX}{name}"),
        _ => program_name(),
    };
    // There is nobody left to tell that telling failed.
    let _ = writeln!(io::stderr(), "{name}: {text}");
}

fn program_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    let name = program.as_deref().and_then(Path::file_name);
    name.map_or("circus-plugin".into(), |name| {
        name.to_string_lossy().into_owned()
    })
}
