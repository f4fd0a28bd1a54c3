//! The commands about the daemon and about `circusctl` itself.

use clap::ArgMatches;

use super::super::command::{Call, Command, Example, Form, Kind, Work, WrongUsage};
use super::super::print;
use super::{NO_WAIT, positional, wait};

pub(super) static COMMANDS: [Command; 2] = [
    Command {
        name: "quit",
        about: "Stop all watchers and the daemon",
        details: "Returns when every process is gone. Under systemd, `systemctl stop circusd` \
            does the same. In the shell of circusctl, exit leaves the shell and quit ends the \
            daemon.",
        examples: &[Example {
            line: "quit",
            says: "stop everything",
        }],
        args: &[NO_WAIT],
        work: Work::Ask {
            methods: &["Quit"],
            calls: quit,
            print: print::nothing,
        },
    },
    Command {
        name: "help",
        about: "Explain a command, or a key of the configuration",
        details: "`help config` lists the keys; `help config KEY` says what one of them means, \
            its default, and what a change does to running processes.",
        examples: &[
            Example {
                line: "help",
                says: "all commands",
            },
            Example {
                line: "help reload",
                says: "one of them",
            },
            Example {
                line: "help config graceful_timeout",
                says: "a key of the configuration",
            },
        ],
        args: &[positional(
            "words",
            Form::Many(Kind::HelpTopic),
            "A command, or config and a key",
        )],
        work: Work::Help,
    },
];

fn quit(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![Call::new("Quit").with_some("wait", wait(matches))])
}
