//! The table of events: what is told of, when, and with which data.
//!
//! The manual is made from it, and a test of `server` holds against it all that is sent. Whether
//! and when an event is sent is not decided here.

/// One kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// Its word in `action`, and at the end of its topic.
    pub name: &'static str,
    /// Whether it is told of watchers (`watcher.NAME.*`) or of the daemon (`circusd.*`).
    pub of: Of,
    /// When it is told: a sentence.
    pub when: &'static str,
    /// The members of its `data`.
    pub data: &'static [Member],
}

/// What an event is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A watcher, which it names.
    Watcher,
    /// The daemon itself.
    Daemon,
}

/// One member of the data of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its key.
    pub name: &'static str,
    /// Its type in the words of the IDL; one that begins with `?` may be null or left out.
    pub of_type: &'static str,
    /// What it means, without a full stop.
    pub meaning: &'static str,
}

const fn member(name: &'static str, of_type: &'static str, meaning: &'static str) -> Member {
    Member {
        name,
        of_type,
        meaning,
    }
}

const PID: Member = member("process_pid", "int", "the pid of its main process");
const WID: Member = member("wid", "int", "its number in the watcher");
const DURATION: Member = member("duration_usec", "int", "how long that took");
const HOOK: Member = member("name", "string", "the hook");
const HOOK_DURATION: Member = member("duration_usec", "int", "how long it took");
const HOOK_WID: Member = member("wid", "?int", "the process it was about, by number");
const HOOK_PID: Member = member("process_pid", "?int", "the same by pid");

const fn watcher(name: &'static str, when: &'static str, data: &'static [Member]) -> Action {
    Action {
        name,
        of: Of::Watcher,
        when,
        data,
    }
}

const fn daemon(name: &'static str, when: &'static str, data: &'static [Member]) -> Action {
    Action {
        name,
        of: Of::Daemon,
        when,
        data,
    }
}

/// All kinds of events: those of watchers in the order of a life, then those of the daemon.
pub const ACTIONS: &[Action] = &[
    watcher(
        "add",
        "The watcher came, with the configuration or by `Add`.",
        &[],
    ),
    watcher(
        "spawn",
        "A process runs: its program has been executed.",
        &[
            PID,
            WID,
            member(
                "generation",
                "int",
                "one more after each reload of the watcher",
            ),
        ],
    ),
    watcher(
        "ready",
        "A process is ready.",
        &[
            PID,
            WID,
            member("after_usec", "int", "the time since its spawn"),
        ],
    ),
    watcher(
        "spawn_failed",
        "A process could not be started.",
        &[
            WID,
            member(
                "stage",
                "string",
                "what was being done, such as `executing`",
            ),
            member("errno", "int", "see errno(3); 0 where there is none"),
            member("error", "string", "the whole sentence"),
        ],
    ),
    watcher(
        "start",
        "The watcher has started: its first full set of processes is ready.",
        &[
            member("pids", "[]int", "the processes that are ready"),
            DURATION,
        ],
    ),
    watcher(
        "kill",
        "A signal was sent to a process.",
        &[
            PID,
            WID,
            member("signum", "int", "the number of the signal"),
            member("signal", "string", "its name, such as `SIGTERM`"),
            member(
                "by",
                "string",
                "why: `stop`, `scale`, `reload`, `max_age`, `max_requests`, `operator`, \
                 `start_timeout`, `watchdog`, `health`, `hook`, or `cleanup` for what a process \
                 left behind",
            ),
        ],
    ),
    watcher(
        "reap",
        "A process has ended and was waited for.",
        &[
            PID,
            WID,
            member(
                "exit_code",
                "?int",
                "as a shell tells it: 128 and the number of the signal, where it was a signal",
            ),
            member("exit", "Exit", "how it ended, see `Exit`"),
        ],
    ),
    watcher(
        "stop",
        "The watcher has stopped: its last process is gone.",
        &[member("pids", "[]int", "the processes that went"), DURATION],
    ),
    watcher(
        "reload",
        "The processes of the watcher have been replaced.",
        &[member("pids", "[]int", "the new processes"), DURATION],
    ),
    watcher(
        "updated",
        "Options of the watcher have changed.",
        &[
            member("keys", "[]string", "the options"),
            member(
                "origin",
                "string",
                "where the change came from: `api` or `file`",
            ),
        ],
    ),
    watcher(
        "flapping",
        "A process ended unexpectedly too often, and its place is held for a while.",
        &[
            WID,
            member("attempts", "int", "how often it ended"),
            member("window_usec", "int", "within which time"),
            member("retry_in_usec", "int", "when it is started again"),
        ],
    ),
    watcher(
        "gave_up",
        "There will be no more attempts.",
        &[
            member(
                "wid",
                "?int",
                "the place that is given up; null: the whole watcher",
            ),
            member("attempts", "int", "how many there were"),
        ],
    ),
    watcher(
        "adopt",
        "A process of an earlier circusd was taken over.",
        &[PID, WID],
    ),
    watcher(
        "oom",
        "The kernel has killed something of a process for want of memory.",
        &[
            PID,
            WID,
            member(
                "memory_peak",
                "?int",
                "the most memory that the process and its children have used, in bytes",
            ),
            member("memory_max", "?int", "the limit they met, in bytes"),
        ],
    ),
    watcher(
        "watchdog",
        "A process was silent for longer than its watchdog allows, and is replaced.",
        &[PID, WID, member("error", "string", "what was missed")],
    ),
    watcher(
        "health",
        "A process has failed its health check, and is replaced.",
        &[PID, WID, member("error", "string", "how it failed")],
    ),
    watcher("freeze", "The processes of the watcher are frozen.", &[]),
    watcher("thaw", "They go on.", &[]),
    watcher("remove", "The watcher is gone.", &[]),
    watcher(
        "hook_success",
        "A hook has answered.",
        &[
            HOOK,
            member("result", "bool", "its answer"),
            member("reason", "?string", "why it said no"),
            HOOK_DURATION,
            HOOK_WID,
            HOOK_PID,
        ],
    ),
    watcher(
        "hook_failure",
        "A hook could not answer.",
        &[
            HOOK,
            member("error", "string", "why not"),
            HOOK_DURATION,
            HOOK_WID,
            HOOK_PID,
        ],
    ),
    daemon(
        "ready",
        "Every watcher that starts with the daemon has started, or failed to.",
        &[],
    ),
    daemon(
        "reloading",
        "The configuration is about to be read again.",
        &[],
    ),
    daemon(
        "config_changed",
        "A configuration that was read again is in force.",
        &[member(
            "watchers",
            "[]string",
            "the watchers that it concerns",
        )],
    ),
    daemon(
        "config_error",
        "A configuration that was read again is refused; nothing has changed.",
        &[
            member(
                "error",
                "string",
                "all that is wrong, a line for each fault",
            ),
            member("file", "?string", "where the first fault is"),
            member("line", "?int", "its line"),
            member("column", "?int", "its column"),
        ],
    ),
    daemon("stopping", "The daemon is on its way to its end.", &[]),
];
