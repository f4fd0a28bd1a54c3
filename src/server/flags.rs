//! The command line of `circusd`. What has no flag of its own is set with `--set`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::Sources;

/// The flags, from which parser, help, manual page and completions are made.
#[must_use]
pub fn command() -> Command {
    Command::new("circusd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Supervises pools of processes")
        .long_about(
            "Supervises pools of processes: keeps them alive, scales and replaces them, and \
             answers circusctl(1) on a Unix socket. Stays in the foreground; SIGHUP reads the \
             configuration again, SIGTERM and SIGINT stop everything, a second SIGINT at once.",
        )
        .after_help(
            "Settings: circusd.toml(5). Exit codes: 0 stopped, 78 wrong configuration, 70 a \
             critical watcher has given up, 130 stopped at once, 1 anything else.",
        )
        .args([
            Arg::new("config")
                .long("config")
                .value_name("FILE|DIRECTORY")
                .help("Read this instead of the usual files; may be repeated, later ones win")
                .action(ArgAction::Append)
                .value_parser(value_parser!(PathBuf)),
            Arg::new("socket")
                .long("socket")
                .value_name("PATH")
                .help("Answer on this socket; a name that begins with @ is abstract"),
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .help("Set any setting, such as watcher.web.numprocesses=5; may be repeated")
                .action(ArgAction::Append),
            Arg::new("log-level")
                .long("log-level")
                .value_name("LEVEL")
                .help("Log error, warn, info, debug or trace, or levels per part"),
            Arg::new("check")
                .long("check")
                .help("Read and check everything, start nothing; exit 0, or 78 with all errors")
                .action(ArgAction::SetTrue),
            Arg::new("check-state")
                .long("check-state")
                .value_name("DIRECTORY")
                .help(
                    "Check the configuration and whether this circusd could go on with the state \
                     that another one has left there, start nothing; exit 0, 78 or 1",
                )
                .value_parser(value_parser!(PathBuf)),
            Arg::new("stop-post")
                .long("stop-post")
                .help(
                    "Stop the workers that are left of a unit that is being stopped, if any are; \
                     for ExecStopPost= of the unit, see systemd.service(5)",
                )
                .action(ArgAction::SetTrue),
            Arg::new("print-schema")
                .long("print-schema")
                .help("Print the JSON Schema of the configuration")
                .action(ArgAction::SetTrue),
        ])
}

/// Where the configuration of this command line comes from. The environment and the user are those
/// of this process.
#[must_use]
pub fn sources(matches: &ArgMatches) -> Sources {
    let uid = nix::unistd::geteuid();
    let flag = |name: &str, key: &str| {
        matches
            .get_one::<String>(name)
            .map(|value| format!("circusd.{key}={value}"))
    };
    let flags = [flag("socket", "socket"), flag("log-level", "log_level")];
    let set = matches
        .get_many::<String>("set")
        .into_iter()
        .flatten()
        .cloned();
    Sources {
        files: matches
            .get_many::<PathBuf>("config")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        set: set.chain(flags.into_iter().flatten()).collect(),
        // A variable that is not UTF-8 cannot be named in a configuration.
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        system: uid.is_root(),
        uid: uid.as_raw(),
        root: "/".into(),
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        embedded: None,
    }
}
