//! The command line of `circus-plugin`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// The flags, from which parser, help, manual page and completions are made.
#[must_use]
pub fn command() -> Command {
    let name = || Arg::new("name").value_name("NAME");
    let json = || {
        Arg::new("json")
            .long("json")
            .help("Print one JSON document")
            .action(ArgAction::SetTrue)
    };
    Command::new("circus-plugin")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs a plugin that comes with circusd")
        .long_about(
            "Runs one of the plugins that come with circusd, until SIGTERM or SIGINT. circusd does \
             that itself for [plugin.NAME] with use; by hand it shows what one would do.",
        )
        .after_help(
            "Settings are those of CIRCUS_PLUGIN_CONFIG, a JSON object, and over them --config. \
             Exit codes: 0 told to end, 78 wrong settings, 2 wrong usage, 1 anything else.",
        )
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .args([
            name().help("The plugin").required(true),
            Arg::new("socket")
                .long("socket")
                .value_name("PATH")
                .help("The socket of circusd; without it CIRCUS_SOCKET, or where circusctl looks")
                .value_parser(value_parser!(PathBuf)),
            Arg::new("config")
                .long("config")
                .value_name("KEY=VALUE")
                .help("Set one of its keys; may be repeated")
                .action(ArgAction::Append),
        ])
        .subcommands([
            Command::new("describe")
                .about("Say what a plugin does, and its keys with types and defaults")
                .args([name().help("The plugin").required(true), json()]),
            Command::new("list")
                .about("List the plugins that there are")
                .arg(json()),
        ])
}
