//! The settings of a plugin that is a program of its own, out of the environment.
//!
//! Those of the built-in ones are rows of the configuration, and are read there.

use serde::de::DeserializeOwned;

use crate::config::plugins::CONFIG_VARIABLE;

/// The settings are not what the plugin takes.
#[derive(Debug, thiserror::Error)]
#[error("{CONFIG_VARIABLE}: {source}")]
pub struct SettingsError {
    /// What is wrong, and where in the text.
    #[from]
    source: serde_json::Error,
}

/// Reads the settings that circusd has handed over: the keys of `[plugin.NAME]`. Without any, as
/// where the program was started by hand, it is as if none were set.
///
/// # Errors
///
/// A key is missing or of another type; or is not known, where `T` says that there are no others
/// (`#[serde(deny_unknown_fields)]`).
pub fn settings<T: DeserializeOwned>() -> Result<T, SettingsError> {
    let text = std::env::var(CONFIG_VARIABLE).unwrap_or_else(|_| "{}".to_owned());
    Ok(serde_json::from_str(&text)?)
}
