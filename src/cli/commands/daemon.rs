//! The commands about the daemon and about `circusctl` itself.

use clap::ArgMatches;

use super::super::command::{Call, Command, Example, Form, Kind, Work, WrongUsage};
use super::super::print;
use super::{NO_WAIT, positional, wait};

pub(super) static COMMANDS: [Command; 3] = [
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
        name: "reexec",
        about: "Replace the running circusd by the program on disk",
        details: "All processes, sockets and the events go on; connections are closed. The new \
            program is first asked whether it can go on with the present state and \
            configuration; if it cannot, the old one goes on and says why. To be used after an \
            upgrade.",
        examples: &[Example {
            line: "reexec",
            says: "go on with a new version",
        }],
        args: &[],
        work: Work::Ask {
            methods: &["Reexec"],
            calls: reexec,
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

fn reexec(_: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![Call::new("Reexec")])
}
