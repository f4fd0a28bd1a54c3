//! What a process may do and say to show how it is, for the manual; [`NOTICES`] is the one list of what
//! is understood on a notify socket.
//!
//! The reading of it is the server's, and held against this list there.

/// Paragraphs before the list.
pub(super) const READINESS: &[&str] = &[
    "A process counts for its watcher when it is ready: a start, a reload and the hook after_start \
     wait for that, and a reload tells the old processes to end only then. Until it is, circusctl why \
     says why not. The hook after_spawn comes first; what a process says meanwhile is heard.",
    "With ready = \"fd\" a process writes a line to the descriptor whose number is in NOTIFY_FD, and \
     closes it: what comes before the line end does not matter. If it closes it without one, \
     start_timeout decides.",
    "With a probe, circusd asks until the answer is yes, at once and then in pauses that grow from \
     100 ms to a second; a file is waited for. An attempt has 5 seconds. A program runs as a process \
     of the watcher would, with the variables CIRCUS_WID and CIRCUS_PID, and is ended with all that \
     it has started when its time is over, or when it ends. The last line on its standard error, or \
     reason in a JSON object on its standard output, says why not.",
    "Where ready is \"notify\", or watchdog or max_requests is set when it starts, a process has a \
     socket of its own, whose path is in NOTIFY_SOCKET; with watchdog also WATCHDOG_USEC and \
     WATCHDOG_PID, as sd_watchdog_enabled(3) reads them. \
     What sd_notify(3) and systemd-notify(1) send there is understood; of a message, each line is one \
     of these, and any other is passed over:",
];

/// Paragraphs behind it.
pub(super) const NOTICES_TAKEN: &[&str] = &[
    "The process and those that it has started may send. What comes from anybody else changes \
     nothing, and is told once in the log; without cgroups, what a child has sent is heard only while \
     the child lives, so it should wait behind BARRIER=1, as systemd-notify(1) does. A message of more \
     than 4096 bytes is passed over. The socket belongs to the user of the process, and is in the \
     directory notify of runtime_dir: a user who may not enter the directories above that cannot \
     reach it.",
];

/// One thing that a process may say on its notify socket.
#[derive(Debug)]
pub struct Notice {
    /// As it is said, with n for a number.
    pub text: &'static str,
    /// What follows, for the manual.
    pub meaning: &'static str,
}

/// All that is understood there.
pub const NOTICES: &[Notice] = &[
    Notice {
        text: "READY=1",
        meaning: "It is ready, with ready = \"notify\"; also: a reload of its own is over.",
    },
    Notice {
        text: "STATUS=...",
        meaning: "What it is at, in one line; circusctl status and why show it.",
    },
    Notice {
        text: "RELOADING=1",
        meaning: "It reads its own configuration again; its status says so until READY=1.",
    },
    Notice {
        text: "STOPPING=1",
        meaning: "It is on its way out: shown as stopping, and not asked for its health any more.",
    },
    Notice {
        text: "WATCHDOG=1",
        meaning: "It is alive; to be said about twice in each interval.",
    },
    Notice {
        text: "WATCHDOG=trigger",
        meaning: "It is stuck: replaced as if it had been silent.",
    },
    Notice {
        text: "WATCHDOG_USEC=n",
        meaning: "From now on it will say WATCHDOG=1 in this interval, in microseconds; 0: no more.",
    },
    Notice {
        text: "EXTEND_TIMEOUT_USEC=n",
        meaning: "To start, or to stop, it needs so many microseconds from now on, a day at most; it \
                  never has less than without.",
    },
    Notice {
        text: "MAINPID=n",
        meaning: "This process, which it has started, is the main one from now on: signals go to it, \
                  and its end is the end of the worker. How it has ended is known only if the one that \
                  started it has ended before.",
    },
    Notice {
        text: "CIRCUS_REQUESTS=n",
        meaning: "So many requests it has served since its start, for max_requests.",
    },
    Notice {
        text: "BARRIER=1",
        meaning: "The descriptor that comes with it is closed when all before it was read.",
    },
];
