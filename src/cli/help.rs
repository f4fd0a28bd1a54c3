//! The commands that need no daemon: `help` and `validate`.
//!
//! What the keys of the configuration mean is not known here: the program that calls
//! [`run`](super::run) brings it in [`Extras`], so that `cli` needs no other room for it.

use std::path::PathBuf;

use clap::ArgMatches;

use super::failure::Failure;
use super::{Extras, commands, parser};

/// The answer to `help WORD...`.
pub(super) fn answer(matches: &ArgMatches, extras: &Extras) -> Result<String, Failure> {
    let words: Vec<&String> = matches.get_many("words").into_iter().flatten().collect();
    match words.as_slice() {
        [] => Ok(parser::root().render_long_help().to_string()),
        [config, rest @ ..] if *config == "config" => config_help(rest, extras),
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

fn config_help(words: &[&String], extras: &Extras) -> Result<String, Failure> {
    let explain = extras.explain_keys.ok_or(Failure::NotBuilt {
        what: "the table of configuration keys",
    })?;
    let key = match words {
        [] => None,
        [key] => Some(key.as_str()),
        words => return Err(no_help(words)),
    };
    explain(key).ok_or_else(|| no_help(words))
}

fn no_help(words: &[impl AsRef<str>]) -> Failure {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    Failure::NoHelp {
        topic: words.join(" "),
    }
}

/// Checks the configuration as `circusd --check` does; says nothing of one that is good.
pub(super) fn validate(matches: &ArgMatches, extras: &Extras) -> Result<(), Failure> {
    let check = extras.check_config.ok_or(Failure::NotBuilt {
        what: "the configuration",
    })?;
    let paths: Vec<PathBuf> = matches
        .get_many("config")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    check(&paths).map_err(Failure::WrongConfig)
}
