//! The commands that look and hear, and change nothing.

use clap::ArgMatches;

use super::super::command::{Arg, Call, Command, Example, Form, Kind, Replies, Work, WrongUsage};
use super::super::print;
use super::{
    MAYBE_WATCHER, ONE_WATCHER, for_each_watcher, positional, switch, text, texts, usec, value,
};
use crate::api::topic::Pattern;

const EXTENDED: Arg = switch(
    "extended",
    "Ask the hook extended_stats of each watcher for more",
);

const ORIGIN: Arg = switch(
    "origin",
    "Show where each value comes from: file and line, flag, environment, API or default",
);

pub(super) static COMMANDS: [Command; 15] = [
    Command {
        name: "status",
        about: "Show the state of the watchers, and why one is not simply running",
        details: "Without a name: one line for each watcher, with its state, how many of its \
            processes are ready, how often it had to be restarted, the age of its oldest process \
            and its pids. Under a watcher that is not simply running stands why, and when circusd \
            will try again.\n\n\
            With names: the whole of each watcher, every process on a line of its own.\n\n\
            The exit code tells whether the question was answered, not whether the watchers run; \
            a script asks for `--json` and reads `state`.",
        examples: &[
            Example {
                line: "status",
                says: "everything at a glance",
            },
            Example {
                line: "status web 'worker*'",
                says: "one watcher and a group of them, in full",
            },
            Example {
                line: "--json status web",
                says: "the same for a script",
            },
        ],
        args: &[super::WATCHERS],
        work: Work::Ask {
            methods: &["Status"],
            calls: status,
            print: print::status,
        },
    },
    Command {
        name: "list",
        about: "List the watchers, or the pids of one of them",
        details: "Without a name: the watchers, one on a line, in the order in which they start. \
            With a name or pattern: the process ids of those watchers, one on a line.",
        examples: &[
            Example {
                line: "list",
                says: "the names of all watchers",
            },
            Example {
                line: "list web",
                says: "the pids of the watcher web",
            },
        ],
        args: &[MAYBE_WATCHER],
        work: Work::Ask {
            methods: &["List", "Status"],
            calls: list,
            print: print::list,
        },
    },
    Command {
        name: "numprocesses",
        about: "Show how many processes there are, or set how many a watcher shall have",
        details: "Without a number: how many processes the watcher has now, or all watchers \
            together. With a number: the watcher gets or loses processes until it has that many, \
            and the command returns when they are ready or gone.",
        examples: &[
            Example {
                line: "numprocesses",
                says: "how many processes there are in all",
            },
            Example {
                line: "numprocesses web 8",
                says: "make it eight",
            },
        ],
        args: &[
            MAYBE_WATCHER,
            positional("number", Form::Maybe(Kind::Count), "How many it shall have"),
            super::NO_WAIT,
        ],
        work: Work::Ask {
            methods: &["Status", "Scale"],
            calls: numprocesses,
            print: print::numprocesses,
        },
    },
    Command {
        name: "numwatchers",
        about: "Show how many watchers there are",
        details: "Watchers count whatever their state.",
        examples: &[Example {
            line: "numwatchers",
            says: "a number",
        }],
        args: &[],
        work: Work::Ask {
            methods: &["List"],
            calls: |_| Ok(vec![Call::new("List")]),
            print: print::numwatchers,
        },
    },
    Command {
        name: "stats",
        about: "Show what the processes use: CPU, memory, tasks, descriptors",
        details: "CPU% is measured between two samples, 100 being one CPU, so it is known from \
            the second sample on; CPU is the time used since the start. MEMORY is the resident \
            set of the process, TREE that of everything in its cgroup, where memory is accounted. \
            The command ends after one sample unless it is given an interval. With --children those \
            that run below a process follow it, with child for their state. With --extended the \
            hook extended_stats of a watcher is asked about each of its processes, and what it \
            knows stands on lines of their own below the process; see circusd-hooks(7).",
        examples: &[
            Example {
                line: "stats web",
                says: "one sample of the watcher web",
            },
            Example {
                line: "stats --interval 2",
                says: "all processes, every two seconds",
            },
            Example {
                line: "stats --children web",
                says: "with the children of its processes, and theirs",
            },
            Example {
                line: "stats --extended web",
                says: "with what the hook extended_stats of web knows of its processes",
            },
        ],
        args: &[
            MAYBE_WATCHER,
            EXTENDED,
            switch("children", "With what runs below each process"),
            value(
                "interval",
                Kind::Seconds,
                "Take a sample this often until interrupted",
            ),
        ],
        work: Work::Ask {
            methods: &["Stats"],
            calls: stats,
            print: print::stats,
        },
    },
    Command {
        name: "dstats",
        about: "Show what the daemon itself uses and has done",
        details: "What circusd itself takes of the machine, without its workers, what it has done \
            since it was started, and which capabilities (capabilities(7)) it has kept.",
        examples: &[Example {
            line: "dstats",
            says: "the daemon's own figures",
        }],
        args: &[],
        work: Work::Ask {
            methods: &["DaemonStats"],
            calls: |_| Ok(vec![Call::new("DaemonStats")]),
            print: print::daemon_stats,
        },
    },
    Command {
        name: "listsockets",
        about: "List the sockets that circusd has open for its processes",
        details: "A socket on a line: its name, where it is (with the port that the kernel has \
            chosen, if it was left to it), its type, the descriptor that circusd has of it, and \
            the watchers whose processes inherit it. The daemon's own socket is not among them.",
        examples: &[Example {
            line: "listsockets",
            says: "all sockets, and who uses them",
        }],
        args: &[],
        work: Work::Ask {
            methods: &["ListSockets"],
            calls: |_| Ok(vec![Call::new("ListSockets")]),
            print: print::sockets,
        },
    },
    Command {
        name: "why",
        about: "Tell the story of a watcher: its state, why, and what happens next",
        details: "What state a watcher is in and why, how its last reload failed if it did, what \
            circusd does next and when, and how its last processes ended.",
        examples: &[Example {
            line: "why web",
            says: "why web is not simply running",
        }],
        args: &[ONE_WATCHER],
        work: Work::Ask {
            methods: &["Explain"],
            calls: why,
            print: print::story,
        },
    },
    Command {
        name: "get",
        about: "Show some options of a watcher",
        details: "The values in force, in the form in which `set`, `add` and the configuration \
            file take them.",
        examples: &[Example {
            line: "get web numprocesses graceful_timeout",
            says: "two options of the watcher web",
        }],
        args: &[
            ONE_WATCHER,
            positional("keys", Form::Some(Kind::Key), "The options"),
        ],
        work: Work::Ask {
            methods: &["Get"],
            calls: get,
            print: print::options,
        },
    },
    Command {
        name: "options",
        about: "Show all options of a watcher",
        details: "The values in force. With --origin every value is shown with the file and line, \
            the flag, the variable or the call that it comes from.",
        examples: &[
            Example {
                line: "options web",
                says: "all options of the watcher web",
            },
            Example {
                line: "options web --origin",
                says: "and where they come from",
            },
        ],
        args: &[ONE_WATCHER, ORIGIN],
        work: Work::Ask {
            methods: &["Get", "GetSettings"],
            calls: options,
            print: print::options,
        },
    },
    Command {
        name: "globaloptions",
        about: "Show the settings of the daemon",
        details: "The settings of the section [circusd], as the configuration read last has them. \
            Some are in force only when the daemon is started again; `help config KEY` says which.",
        examples: &[
            Example {
                line: "globaloptions --origin",
                says: "all of them, and where they come from",
            },
            Example {
                line: "globaloptions log_level",
                says: "one of them",
            },
        ],
        args: &[
            positional("option", Form::Maybe(Kind::Setting), "Only this setting"),
            ORIGIN,
        ],
        work: Work::Ask {
            methods: &["GetSettings"],
            calls: globaloptions,
            print: print::settings,
        },
    },
    Command {
        name: "listen",
        about: "Print events as they happen, one on a line",
        details: "A topic is watcher.NAME.ACTION or circusd.ACTION. A pattern is read from both \
            ends: its first part is the scope, its last the action, what lies between is the \
            watcher's name; each may be a glob, and a missing name is any: `watcher.web.*`, \
            `*.spawn`, `circusd.*`.\n\n\
            Events are numbered without gaps. With --since the stream continues exactly behind an \
            event that was seen before; what is no longer in the log, which begins anew when the \
            daemon was stopped, is told as a gap. The cursor of an event is printed with --json.",
        examples: &[
            Example {
                line: "listen",
                says: "all events from now on",
            },
            Example {
                line: "listen '*.reap' '*.gave_up'",
                says: "only deaths",
            },
            Example {
                line: "--json listen 'watcher.web.*' --since 5f3c:1042",
                says: "what happened to web behind a known event",
            },
        ],
        args: &[
            positional(
                "topics",
                Form::Many(Kind::Topic),
                "Patterns for topics; without any, all",
            ),
            value(
                "since",
                Kind::Cursor,
                "Begin behind this place in the event log",
            ),
        ],
        work: Work::Ask {
            methods: &["Subscribe"],
            calls: listen,
            print: print::event,
        },
    },
    Command {
        name: "logs",
        about: "Show what the processes of watchers have written",
        details: "circusd is asked where the output of the watchers goes, and it is shown from there: \
            from the journal by journalctl(1), from files by tail(1). You need the right to read it, \
            which circusd cannot give. Of a file that was turned over the newest part is shown.\n\n\
            What a watcher writes nowhere, to a program or to where circusd itself writes cannot be \
            shown; then it is said where it goes. Where that is so of all that was asked for, the \
            command fails.\n\n\
            --since, --output and `--json`, which is --output=json, are for what is in the journal, and \
            refused where one of the watchers writes to a file.",
        examples: &[
            Example {
                line: "logs web -f",
                says: "the last lines of web, and every further one",
            },
            Example {
                line: "logs 'worker*' --since '10 min ago'",
                says: "what a group of watchers has written in ten minutes",
            },
            Example {
                line: "logs web --wid 2 -n 5 -o cat",
                says: "five lines of one process, with nothing before them",
            },
        ],
        args: &[
            positional(
                "watchers",
                Form::Some(Kind::Pattern),
                "The watchers, by name or shell-style pattern",
            ),
            Arg {
                short: Some('f'),
                ..switch(
                    "follow",
                    "Go on with what is written from now on, until interrupted",
                )
            },
            Arg {
                short: Some('n'),
                ..value(
                    "lines",
                    Kind::Count,
                    "Begin with so many lines, of each file; 50 unless --since says from when on",
                )
            },
            value(
                "since",
                Kind::When,
                "Begin at this time: '2026-11-20 14:00', yesterday, '10 min ago', as journalctl(1) \
                    has it",
            ),
            Arg {
                conflicts: &[],
                ..super::WID
            },
            Arg {
                short: Some('o'),
                ..value(
                    "output",
                    Kind::Format,
                    "Write records so: cat, short-iso, json, or another format of journalctl(1)",
                )
            },
        ],
        work: Work::Logs,
    },
    Command {
        name: "version",
        about: "Show the version of circusctl and of the daemon",
        details: "The two may differ between an upgrade and the daemon's next start. `circusctl \
            --version` does not ask the daemon.",
        examples: &[Example {
            line: "version",
            says: "both versions",
        }],
        args: &[],
        work: Work::Ask {
            methods: &["DaemonStats"],
            calls: |_| Ok(vec![Call::new("DaemonStats")]),
            print: print::version,
        },
    },
    Command {
        name: "answer",
        about: "Answer for hooks with a program, as long as this command runs",
        details: "From then on the program is run for each hook of these names, once for each time \
            that one is asked, one after the other. What it finds in its environment and on its \
            standard input, and what its exit code and its standard output mean, is as for a \
            program in the configuration, see circusd-hooks(7); but it is a child of this command, \
            and has its user and its rights. One that may hang is run with timeout(1), as those \
            that come behind it wait.\n\n\
            Each answer is told on a line; with --json, each question, with its context. To answer \
            is the right of an administrator. When the connection ends, nobody is asked any more, \
            and the exit code is 1.",
        examples: &[
            Example {
                line: "answer before_start -- test ! -e /run/maintenance",
                says: "no watcher is started while there is this file",
            },
            Example {
                line: "answer before_spawn after_reap --watcher 'web*' -- ./balance.sh",
                says: "a script is told of each process that comes or has gone",
            },
        ],
        args: &[
            positional("hooks", Form::Some(Kind::Hook), "The hooks to answer for"),
            value(
                "watcher",
                Kind::Pattern,
                "Only those of this watcher, by name or shell-style pattern",
            ),
            value(
                "within",
                Kind::Seconds,
                "How long an answer may take; without it, as long as hook_timeout says",
            ),
            positional(
                "command",
                Form::Rest(Kind::Program),
                "The program that knows the answer, and its arguments",
            ),
        ],
        work: Work::Answer,
    },
];

fn status(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(for_each_watcher(matches, &Call::new("Status")))
}

fn list(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let call = match text(matches, "name") {
        None => Call::new("List"),
        Some(name) => Call::new("Status").with("watchers", name),
    };
    Ok(vec![call])
}

fn numprocesses(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let name = text(matches, "name");
    let call = match super::number(matches, "number") {
        None => Call::new("Status").with_some("watchers", name),
        Some(number) => Call::new("Scale")
            .with_some("watcher", name)
            .with("numprocesses", number)
            .with_some("wait", super::wait(matches))
            .answered(Replies::Progress),
    };
    Ok(vec![call])
}

fn stats(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let interval = usec(matches, "interval");
    let call = Call::new("Stats")
        .with_some("watchers", text(matches, "name"))
        .with_some("extended", matches.get_flag("extended").then_some(true))
        .with_some("interval_usec", interval)
        .with_some("descendants", matches.get_flag("children").then_some(true));
    Ok(vec![match interval {
        None => call,
        Some(_) => call.answered(Replies::Stream),
    }])
}

fn why(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![
        Call::new("Explain").with_some("watcher", text(matches, "name")),
    ])
}

fn get(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![
        Call::new("Get")
            .with_some("watcher", text(matches, "name"))
            .with("keys", texts(matches, "keys")),
    ])
}

fn options(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let name = text(matches, "name").unwrap_or_default();
    Ok(vec![if matches.get_flag("origin") {
        let mut names = vec![format!("watcher.{name}.*")];
        // What a plugin has beside the options of its watcher.
        let plugin = name.strip_prefix("plugin:");
        names.extend(plugin.map(|plugin| format!("plugin.{plugin}.*")));
        Call::new("GetSettings").with("names", names)
    } else {
        Call::new("Get").with("watcher", name)
    }])
}

fn globaloptions(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let option = text(matches, "option").unwrap_or_else(|| "*".to_owned());
    let names = vec![format!("circusd.{option}")];
    Ok(vec![Call::new("GetSettings").with("names", names)])
}

fn listen(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let topics = texts(matches, "topics");
    for topic in &topics {
        Pattern::parse(topic).map_err(WrongUsage::Topic)?;
    }
    Ok(vec![
        Call::new("Subscribe")
            .with_some("topics", (!topics.is_empty()).then_some(topics))
            .with_some("since", text(matches, "since"))
            .answered(Replies::Stream),
    ])
}
