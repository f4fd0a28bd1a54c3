//! Options of watchers and settings of the daemon, and where they come from.

use serde_json::{Error, Value};

use super::columns::table;
use super::{View, lines, read};
use crate::api::reply;
use crate::api::types::Setting;
use crate::cli::command::Parameters;

/// The options of a watcher, with `--origin` where each of them comes from.
pub fn options(reply: &Parameters, view: &View<'_>) -> Result<String, Error> {
    if reply.contains_key("settings") {
        return settings(reply, view);
    }
    let options = read::<reply::Get>(reply)?.options;
    Ok(lines(
        options
            .iter()
            .map(|(key, value)| format!("{key} = {value}")),
    ))
}

/// Settings, with `--origin` where each of them comes from.
pub fn settings(reply: &Parameters, view: &View<'_>) -> Result<String, Error> {
    let mut settings = read::<reply::GetSettings>(reply)?.settings;
    if let Some(watcher) = view.text("name") {
        // The pattern that we asked for takes in the watcher `web.old` with `web`.
        let plugin = watcher.strip_prefix("plugin:");
        let sections = [
            Some(format!("watcher.{watcher}")),
            plugin.map(|plugin| format!("plugin.{plugin}")),
        ];
        settings.retain(|setting| sections.iter().flatten().any(|of| *of == setting.section));
    }
    if !view.given("origin") {
        let line = |setting: &Setting| format!("{} = {}", key(setting), value(setting));
        return Ok(lines(settings.iter().map(line)));
    }
    // Last the one that may be long: it would push what stands behind it off every line.
    let row = |setting: &Setting| vec![key(setting).to_owned(), origin(setting), value(setting)];
    let rows = settings.iter().map(row).collect();
    Ok(table(&["OPTION", "ORIGIN", "VALUE"], &[], rows))
}

/// The name without the section, which was asked for and need not be said again.
fn key(setting: &Setting) -> &str {
    let key = setting.name.strip_prefix(&setting.section);
    key.and_then(|key| key.strip_prefix('.'))
        .unwrap_or(&setting.name)
}

fn value(setting: &Setting) -> String {
    setting.value.as_ref().unwrap_or(&Value::Null).to_string()
}

fn origin(setting: &Setting) -> String {
    match &setting.source {
        None => setting.origin.replace('_', " "),
        Some(source) => format!("{} {source}", setting.origin.replace('_', " ")),
    }
}
