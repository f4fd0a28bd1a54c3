//! The commands that change what is configured.

use clap::ArgMatches;
use serde_json::Value;

use super::super::command::{Call, Command, Example, Form, Kind, Parameters, Work, WrongUsage};
use super::super::print;
use super::{NO_WAIT, ONE_WATCHER, positional, switch, text, texts, value, wait};

pub(super) static COMMANDS: [Command; 5] = [
    Command {
        name: "add",
        about: "Add a watcher",
        details: "Its options are those of the configuration file. A value is read as JSON where \
            it is JSON, else as text: numprocesses=4 is a number, graceful_timeout=5s a text. The \
            program and its arguments stand behind --. The watcher is stopped until it is \
            started.",
        examples: &[
            Example {
                line: "add sleeper numprocesses=2 --start -- sleep 1000",
                says: "a watcher with two processes, started at once",
            },
            Example {
                line: "add sleeper 'cmd=[\"sleep\", \"1000\"]' 'env={\"LANG\": \"C\"}'",
                says: "the same with the program as an option; not started",
            },
        ],
        args: &[
            positional(
                "name",
                Form::One(Kind::NewName),
                "The name of the new watcher",
            ),
            positional(
                "options",
                Form::Many(Kind::Assignment),
                "Options of the new watcher",
            ),
            switch("start", "Start it at once"),
            positional(
                "cmd",
                Form::Last(Kind::Program),
                "The program and its arguments",
            ),
        ],
        work: Work::Ask {
            methods: &["Add"],
            calls: add,
            print: print::nothing,
        },
    },
    Command {
        name: "rm",
        about: "Stop a watcher and remove it",
        details: "A watcher that is in the configuration files comes back with reloadconfig.",
        examples: &[
            Example {
                line: "rm sleeper",
                says: "stop its processes, then forget it",
            },
            Example {
                line: "rm sleeper --nostop",
                says: "forget it; its processes go on, nobody's",
            },
        ],
        args: &[
            ONE_WATCHER,
            switch(
                "nostop",
                "Leave the processes running, without anybody to watch them",
            ),
        ],
        work: Work::Ask {
            methods: &["Remove"],
            calls: rm,
            print: print::nothing,
        },
    },
    Command {
        name: "set",
        about: "Change options of a watcher",
        details: "All of them or none. A value is read as JSON where it is JSON, else as text. \
            One entry of a table is set by a dotted key (env.LANG=C); null takes an option back \
            to its value from the files. What was set holds until the daemon is \
            stopped: a restart, a reexec or a crash of it does not undo it.\n\n\
            Where an option cannot change under a running process, the processes are replaced, \
            and the command returns when that is done. Circus's form, KEY VALUE, is understood \
            too.",
        examples: &[
            Example {
                line: "set web graceful_timeout=10s numprocesses=4",
                says: "two options",
            },
            Example {
                line: "set web env.LANG=C.UTF-8 hooks.before_start=null",
                says: "entries of tables",
            },
            Example {
                line: "set web max_retry -1",
                says: "as in Circus",
            },
        ],
        args: &[
            ONE_WATCHER,
            positional(
                "options",
                Form::Some(Kind::Assignment),
                "The options and their values",
            ),
            NO_WAIT,
        ],
        work: Work::Ask {
            methods: &["Set"],
            calls: set,
            print: print::effect,
        },
    },
    Command {
        name: "reloadconfig",
        about: "Read the configuration files again and do what they say",
        details: "Watchers come, go, change or are reloaded; what has not changed is not touched. \
            A mistake in a file changes nothing. What set, incr, decr and numprocesses have \
            changed stays as it is, whatever the files say: `options NAME --origin` shows what \
            comes from the API, and `set NAME KEY=null` takes it back. Prints what it did to each \
            watcher.",
        examples: &[
            Example {
                line: "reloadconfig --dry-run",
                says: "what would happen",
            },
            Example {
                line: "reloadconfig",
                says: "do it",
            },
        ],
        args: &[switch("dry-run", "Only say what would happen")],
        work: Work::Ask {
            methods: &["ReloadConfig", "GetConfigChanges"],
            calls: reloadconfig,
            print: print::config_changes,
        },
    },
    Command {
        name: "validate",
        about: "Check the configuration files without a daemon",
        details: "Reads everything that circusd would read, starts nothing and asks no daemon. \
            Every error is told with its file, line and column, the line itself, and what was \
            probably meant.",
        examples: &[
            Example {
                line: "validate",
                says: "the files in their usual places",
            },
            Example {
                line: "validate --config ./circusd.toml",
                says: "another file",
            },
        ],
        args: &[value(
            "config",
            Kind::Path,
            "This file or directory in place of the usual ones",
        )],
        work: Work::Validate,
    },
];

fn add(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let name = text(matches, "name").unwrap_or_default();
    let mut options = Parameters::new();
    for word in texts(matches, "options") {
        let (key, value) = assignment(&word)?;
        insert(&mut options, key, value)?;
    }
    let program = texts(matches, "cmd");
    if !program.is_empty() {
        insert(&mut options, "cmd", program.into())?;
    }
    if !options.contains_key("cmd") {
        return Err(WrongUsage::NoProgram(name));
    }
    Ok(vec![
        Call::new("Add")
            .with("watcher", name)
            .with("options", options)
            .with("start", matches.get_flag("start")),
    ])
}

fn rm(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let keep = matches.get_flag("nostop").then_some(true);
    Ok(vec![
        Call::new("Remove")
            .with_some("watcher", text(matches, "name"))
            .with_some("keep_processes", keep),
    ])
}

fn set(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![
        Call::new("Set")
            .with_some("watcher", text(matches, "name"))
            .with("options", assignments(&texts(matches, "options"))?)
            .with_some("wait", wait(matches)),
    ])
}

fn reloadconfig(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![Call::new(if matches.get_flag("dry-run") {
        "GetConfigChanges"
    } else {
        "ReloadConfig"
    })])
}

/// Reads `KEY=VALUE`..., or, where the first word has no `=`, Circus's `KEY VALUE`...
fn assignments(words: &[String]) -> Result<Parameters, WrongUsage> {
    let mut options = Parameters::new();
    if words.first().is_some_and(|word| word.contains('=')) {
        for word in words {
            let (key, value) = assignment(word)?;
            insert(&mut options, key, value)?;
        }
    } else {
        for pair in words.chunks(2) {
            let [key, value] = pair else {
                return Err(WrongUsage::NoValue(pair.concat()));
            };
            insert(&mut options, key, typed(value))?;
        }
    }
    Ok(options)
}

fn assignment(word: &str) -> Result<(&str, Value), WrongUsage> {
    match word.split_once('=') {
        None => Err(WrongUsage::NotAnAssignment(word.to_owned())),
        Some(("", _)) => Err(WrongUsage::NoKey(word.to_owned())),
        Some((key, value)) => Ok((key, typed(value))),
    }
}

fn insert(options: &mut Parameters, key: &str, value: Value) -> Result<(), WrongUsage> {
    match options.insert(key.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(WrongUsage::Twice(key.to_owned())),
    }
}

/// JSON where it is JSON, else the text itself, so that neither `4` nor `5s` needs quotes.
fn typed(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| value.into())
}
