//! Options of watchers and settings of the daemon, and where they come from.

use serde_json::{Error, Value};

use super::columns::table;
use super::{View, lines, read};
use crate::api::reply;
use crate::api::types::Setting;
use crate::cli::command::Parameters;

/// The section whose keys are named without it.
const DAEMON: &str = "circusd";

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
    let settings = read::<reply::GetSettings>(reply)?.settings;
    if !view.given("origin") {
        let line = |setting: &Setting| format!("{} = {}", name(setting), value(setting));
        return Ok(lines(settings.iter().map(line)));
    }
    let row = |setting: &Setting| vec![name(setting), value(setting), origin(setting)];
    let rows = settings.iter().map(row).collect();
    Ok(table(&["OPTION", "VALUE", "ORIGIN"], &[], rows))
}

fn name(setting: &Setting) -> String {
    match setting.section.as_str() {
        DAEMON => setting.name.clone(),
        // A watcher's keys were asked for by its name, which need not be said again.
        section if section.starts_with("watcher.") => setting.name.clone(),
        section => format!("{section}.{}", setting.name),
    }
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
