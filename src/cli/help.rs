//! The commands that need no daemon: `help` and `validate`.
//!
//! Not here: what the configuration is; that is asked of `configuration`, which a build without
//! the daemon's half of the program lacks.

use clap::ArgMatches;

use super::failure::Failure;
use super::{commands, parser};

/// The answer to `help WORD...`.
pub(super) fn answer(matches: &ArgMatches) -> Result<String, Failure> {
    let words: Vec<&String> = matches.get_many("words").into_iter().flatten().collect();
    match words.as_slice() {
        [] => Ok(parser::root().render_long_help().to_string()),
        [config, key @ ..] if *config == "config" => config_help(key),
        [name] => command_help(name),
        words => Err(no_help(words)),
    }
}

fn command_help(name: &str) -> Result<String, Failure> {
    commands::find(name).ok_or_else(|| no_help(&[name]))?;
    let mut root = parser::root();
    root.build();
    let command = root
        .find_subcommand_mut(name)
        .expect("every row is a subcommand");
    Ok(command.render_long_help().to_string())
}

#[cfg(feature = "server")]
fn config_help(words: &[&String]) -> Result<String, Failure> {
    match words {
        [] => Ok(super::configuration::keys()),
        [key] => super::configuration::explain(key).ok_or_else(|| no_help(&["config", key])),
        words => Err(no_help(words)),
    }
}

#[cfg(not(feature = "server"))]
fn config_help(_: &[&String]) -> Result<String, Failure> {
    Err(NOT_BUILT)
}

fn no_help(words: &[impl AsRef<str>]) -> Failure {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    Failure::NoHelp {
        topic: words.join(" "),
    }
}

/// Checks the configuration as `circusd --check` does; says nothing of one that is good.
#[cfg(feature = "server")]
pub(super) fn validate(matches: &ArgMatches) -> Result<(), Failure> {
    let files = matches.get_many("config").into_iter().flatten();
    super::configuration::check(files.cloned().collect())
}

/// Says that this build cannot.
#[cfg(not(feature = "server"))]
pub(super) fn validate(_: &ArgMatches) -> Result<(), Failure> {
    Err(NOT_BUILT)
}

#[cfg(not(feature = "server"))]
const NOT_BUILT: Failure = Failure::NotBuilt {
    what: "the part that reads the configuration",
};
