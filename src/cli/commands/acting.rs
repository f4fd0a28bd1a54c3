//! The commands that act on processes and leave the configuration as it is.

use clap::ArgMatches;

use super::super::command::{Arg, Call, Command, Example, Form, Kind, Replies, Work, WrongUsage};
use super::super::print;
use super::{
    NO_WAIT, ONE_WATCHER, PID, WATCHERS, WID, for_each_watcher, number, positional, switch, text,
    usec, value, wait,
};

const STEP: Arg = positional(
    "number",
    Form::Maybe(Kind::Count),
    "By how many; 1 without it",
);

pub(super) static COMMANDS: [Command; 10] = [
    Command {
        name: "start",
        about: "Start watchers",
        details: "Returns when every process is ready, or says why one is not. A watcher that \
            runs already is left as it is. A name or a pattern also starts what has autostart = \
            false.",
        examples: &[
            Example {
                line: "start",
                says: "all watchers",
            },
            Example {
                line: "start web 'worker*'",
                says: "one watcher and a group of them",
            },
        ],
        args: &[WATCHERS, NO_WAIT],
        work: Work::Ask {
            methods: &["Start"],
            calls: start,
            print: print::changes,
        },
    },
    Command {
        name: "stop",
        about: "Stop watchers",
        details: "Each process gets the stop signal of its watcher, and after graceful_timeout \
            its whole tree is killed. Returns when all of them are gone. The watchers stay \
            stopped until somebody starts them.",
        examples: &[
            Example {
                line: "stop web",
                says: "the watcher web",
            },
            Example {
                line: "stop --no-wait",
                says: "all watchers, without waiting for the end",
            },
        ],
        args: &[WATCHERS, NO_WAIT],
        work: Work::Ask {
            methods: &["Stop"],
            calls: stop,
            print: print::changes,
        },
    },
    Command {
        name: "restart",
        about: "Stop watchers and start them again",
        details: "All processes of a watcher go before the new ones come. To replace them without \
            an interruption, see reload.",
        examples: &[Example {
            line: "restart web",
            says: "the watcher web",
        }],
        args: &[WATCHERS, NO_WAIT],
        work: Work::Ask {
            methods: &["Restart"],
            calls: restart,
            print: print::changes,
        },
    },
    Command {
        name: "reload",
        about: "Replace the processes of watchers without stopping the service",
        details: "New processes are started and must be ready before the old ones go; where the \
            first new one fails, the old ones stay and the command fails. A watcher with send_hup \
            gets SIGHUP instead. To read the configuration files again, see reloadconfig.",
        examples: &[
            Example {
                line: "reload web",
                says: "new processes first, then the old ones go",
            },
            Example {
                line: "reload web --sequential",
                says: "one after the other",
            },
        ],
        args: &[
            WATCHERS,
            switch("sequential", "Replace one process after the other"),
            switch(
                "terminate",
                "Stop the old processes first, even if that interrupts the service",
            ),
            NO_WAIT,
        ],
        work: Work::Ask {
            methods: &["Reload"],
            calls: reload,
            print: print::changes,
        },
    },
    Command {
        name: "incr",
        about: "Give a watcher more processes",
        details: "Prints how many it shall have now. A watcher that is stopped starts nothing; it \
            has the new number when it is started.",
        examples: &[
            Example {
                line: "incr web",
                says: "one more",
            },
            Example {
                line: "incr web 4",
                says: "four more",
            },
        ],
        args: &[ONE_WATCHER, STEP, NO_WAIT],
        work: Work::Ask {
            methods: &["Scale"],
            calls: |matches| Ok(vec![scale_by(matches, 1)]),
            print: print::numprocesses,
        },
    },
    Command {
        name: "decr",
        about: "Take processes from a watcher",
        details: "Prints how many it shall have now; never fewer than none.",
        examples: &[
            Example {
                line: "decr web",
                says: "one fewer",
            },
            Example {
                line: "decr web 4",
                says: "four fewer",
            },
        ],
        args: &[ONE_WATCHER, STEP, NO_WAIT],
        work: Work::Ask {
            methods: &["Scale"],
            calls: |matches| Ok(vec![scale_by(matches, -1)]),
            print: print::numprocesses,
        },
    },
    Command {
        name: "signal",
        about: "Send a signal to the processes of a watcher",
        details: "Prints the process ids that got the signal. Nothing else happens: a process \
            that the signal ends is replaced as after any other death.",
        examples: &[
            Example {
                line: "signal web usr1",
                says: "every process of the watcher web",
            },
            Example {
                line: "signal web HUP --wid 2",
                says: "the process at place 2",
            },
            Example {
                line: "signal web TERM --pid 4711 --children",
                says: "the children of one process",
            },
            Example {
                line: "signal web TERM --pid 4711 --child 4712",
                says: "one of its children",
            },
        ],
        args: &[
            ONE_WATCHER,
            positional(
                "signal",
                Form::One(Kind::Signal),
                "The signal, by name or number",
            ),
            WID,
            PID,
            Arg {
                conflicts: &["recursive"],
                ..switch(
                    "children",
                    "To the children of the processes, not to the processes themselves",
                )
            },
            switch("recursive", "To the processes and everything below them"),
            Arg {
                conflicts: &["children", "recursive"],
                ..value(
                    "child",
                    Kind::Id,
                    "To this process below the one of --pid or --wid, by process id, and to nobody else",
                )
            },
        ],
        work: Work::Ask {
            methods: &["Signal"],
            calls: signal,
            print: print::pids,
        },
    },
    Command {
        name: "kill",
        about: "End processes of a watcher; the watcher replaces them",
        details: "The stop signal, then after the grace SIGKILL for the whole tree of each \
            process. Prints the process ids. The watcher starts new ones in their places; to have \
            fewer processes, see decr and stop.",
        examples: &[
            Example {
                line: "kill web",
                says: "every process of the watcher web",
            },
            Example {
                line: "kill web --wid 2 --signal INT --graceful-timeout 5",
                says: "one process, with another signal and a shorter grace",
            },
        ],
        args: &[
            ONE_WATCHER,
            WID,
            PID,
            value(
                "signal",
                Kind::Signal,
                "In place of the watcher's stop signal",
            ),
            value(
                "graceful-timeout",
                Kind::Seconds,
                "In place of the watcher's own time until SIGKILL; 0: SIGKILL at once",
            ),
        ],
        work: Work::Ask {
            methods: &["Kill"],
            calls: kill,
            print: print::pids,
        },
    },
    Command {
        name: "freeze",
        about: "Halt all processes of watchers where they stand",
        details: "The processes keep their memory, sockets and files and get no CPU until thaw. \
            A reload of them fails, with that for a reason, and is done after thaw. Prints the \
            watchers that are frozen. Refused where circusd has no cgroups to do it with.",
        examples: &[Example {
            line: "freeze 'batch*'",
            says: "a group of watchers",
        }],
        args: &[WATCHERS],
        work: Work::Ask {
            methods: &["Freeze"],
            calls: |matches| Ok(for_each_watcher(matches, &Call::new("Freeze"))),
            print: print::names,
        },
    },
    Command {
        name: "thaw",
        about: "Let frozen watchers go on",
        details: "Prints the watchers that go on.",
        examples: &[Example {
            line: "thaw 'batch*'",
            says: "a group of watchers",
        }],
        args: &[WATCHERS],
        work: Work::Ask {
            methods: &["Thaw"],
            calls: |matches| Ok(for_each_watcher(matches, &Call::new("Thaw"))),
            print: print::names,
        },
    },
];

/// What start, stop, restart and reload have in common.
fn verb(matches: &ArgMatches, call: &Call) -> Vec<Call> {
    let call = call.clone().with_some("wait", wait(matches));
    for_each_watcher(matches, &call.answered(Replies::Progress))
}

fn start(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(verb(matches, &Call::new("Start")))
}

fn stop(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(verb(matches, &Call::new("Stop")))
}

fn restart(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(verb(matches, &Call::new("Restart")))
}

fn reload(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let call = Call::new("Reload")
        .with_some("graceful", matches.get_flag("terminate").then_some(false))
        .with_some("sequential", matches.get_flag("sequential").then_some(true));
    Ok(verb(matches, &call))
}

fn scale_by(matches: &ArgMatches, sign: i64) -> Call {
    Call::new("Scale")
        .with_some("watcher", text(matches, "name"))
        .with("delta", sign * number(matches, "number").unwrap_or(1))
        .with_some("wait", wait(matches))
        .answered(Replies::Progress)
}

fn signal(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    let recipients = match (matches.get_flag("children"), matches.get_flag("recursive")) {
        (true, _) => Some("children"),
        (false, true) => Some("all"),
        (false, false) => None,
    };
    let (wid, pid) = (number(matches, "wid"), number(matches, "pid"));
    let child = number(matches, "child");
    if child.is_some() && wid.or(pid).is_none() {
        return Err(WrongUsage::ChildOfWhom);
    }
    Ok(vec![
        Call::new("Signal")
            .with_some("watcher", text(matches, "name"))
            .with_some("signal", text(matches, "signal"))
            .with_some("wid", wid)
            .with_some("pid", pid)
            .with_some("recipients", recipients)
            .with_some("child", child),
    ])
}

fn kill(matches: &ArgMatches) -> Result<Vec<Call>, WrongUsage> {
    Ok(vec![
        Call::new("Kill")
            .with_some("watcher", text(matches, "name"))
            .with_some("wid", number(matches, "wid"))
            .with_some("pid", number(matches, "pid"))
            .with_some("signal", text(matches, "signal"))
            .with_some("graceful_timeout_usec", usec(matches, "graceful-timeout")),
    ])
}
