//! The rows of the table of events, and how each is made.
//!
//! An id that was released stays what it is: people and programs look for it.

use super::{Action, Member, Message, Of};

const fn message(id: &'static str, subject: &'static str, text: &'static str) -> Message {
    Message { id, subject, text }
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

const fn watcher(
    name: &'static str,
    when: &'static str,
    data: &'static [Member],
    message: Message,
) -> Action {
    Action {
        name,
        of: Of::Watcher,
        when,
        data,
        message,
    }
}

const fn daemon(
    name: &'static str,
    when: &'static str,
    data: &'static [Member],
    message: Message,
) -> Action {
    Action {
        name,
        of: Of::Daemon,
        when,
        data,
        message,
    }
}

/// All kinds of events: those of watchers in the order of a life, then those of the daemon.
pub const ACTIONS: &[Action] = &[
    watcher(
        "add",
        "The watcher came, with the configuration or by `Add`.",
        &[],
        message(
            "16c2b5a7a1094fa09c5180e2cdd4f342",
            "Watcher @CIRCUS_WATCHER@ has come",
            "It came with the configuration, or was added by an operator. It runs only if it \
             starts with circusd, or is started.",
        ),
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
        message(
            "2b7f61ae4ae346ac97dc6351b2cc1b97",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ has been started",
            "Its program has been executed, with the pid @CIRCUS_PID@. Whether it is fit to work \
             is told by the event ready.",
        ),
    ),
    watcher(
        "ready",
        "A process is ready.",
        &[
            PID,
            WID,
            member("after_usec", "int", "the time since its spawn"),
        ],
        message(
            "6fd4ca710f494afbaece2acb7f7c48d9",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ is ready",
            "The process with the pid @CIRCUS_PID@ has shown that it can work.",
        ),
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
        message(
            "c447c521eb044a25af26d03caa068cc6",
            "A process of watcher @CIRCUS_WATCHER@ could not be started",
            "The message says what was being done when it failed: often the program does not \
             exist, or its user, its working directory or a limit is wrong. It is tried again \
             after a pause, and max_retry times at most. See circusctl why @CIRCUS_WATCHER@.",
        ),
    ),
    watcher(
        "start",
        "The watcher has started: its first full set of processes is ready.",
        &[
            member("pids", "[]int", "the processes that are ready"),
            DURATION,
        ],
        message(
            "d47d73944821427ebf14748a2b38cfed",
            "Watcher @CIRCUS_WATCHER@ has started",
            "All processes that it is to have are ready.",
        ),
    ),
    watcher(
        "kill",
        "A signal was sent to a process, or to one below it.",
        &[
            PID,
            WID,
            member(
                "child_pid",
                "?int",
                "the one below it that got the signal, where it was for that one alone",
            ),
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
        message(
            "23569d305ee54718a492be8e82389732",
            "A signal was sent to process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@",
            "circusd has sent it to the pid @CIRCUS_PID@, or to what runs below that, on \
             somebody's account, which the message names.",
        ),
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
        message(
            "2caabb1689b14f6f858155535a567619",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ has ended",
            "The process with the pid @CIRCUS_PID@ has ended (@CIRCUS_EXIT_CAUSE@ \
             @CIRCUS_EXIT_STATUS@). If circusd had not asked for it, this is a warning, and \
             another process takes its place as restart and back-off of the watcher say. What \
             the process has written last may tell why it ended; see also circusctl why \
             @CIRCUS_WATCHER@.",
        ),
    ),
    watcher(
        "stop",
        "The watcher has stopped: its last process is gone.",
        &[member("pids", "[]int", "the processes that went"), DURATION],
        message(
            "ce0e553b5eeb4ef9a4337cf4a8e647ae",
            "Watcher @CIRCUS_WATCHER@ has stopped",
            "Its last process has gone.",
        ),
    ),
    watcher(
        "reload",
        "The processes of the watcher have been replaced.",
        &[member("pids", "[]int", "the new processes"), DURATION],
        message(
            "d43ec03bccb24945976db74d4dfebd0c",
            "The processes of watcher @CIRCUS_WATCHER@ have been replaced",
            "New processes have taken the place of all that there were.",
        ),
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
        message(
            "fefe7a55c3284934bd2d2979e634b6aa",
            "Options of watcher @CIRCUS_WATCHER@ have changed",
            "The message names them. An operator has set them, or the configuration was read \
             again.",
        ),
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
        message(
            "536036bf47db4616bb91024ebbfb4926",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ ends again and again",
            "It has ended unexpectedly too often within a short time, so its place stays empty \
             for a while. The records of its ends tell how they came about; see flapping in \
             circusd.toml(5), and circusctl why @CIRCUS_WATCHER@.",
        ),
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
        message(
            "1d4974cc02b04783b2590059b46d6011",
            "There are no more attempts to keep watcher @CIRCUS_WATCHER@ running",
            "A place of it, or the whole watcher, has failed as often as it may. When the cause \
             is mended, circusctl start @CIRCUS_WATCHER@ tries again.",
        ),
    ),
    watcher(
        "adopt",
        "A process of an earlier circusd was taken over.",
        &[PID, WID],
        message(
            "1e7ac25bbdee420192ca25bf953799c7",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ was taken over",
            "The circusd that had started it is gone: it was killed, restarted, or replaced by \
             another program. The process with the pid @CIRCUS_PID@ goes on as it was.",
        ),
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
        message(
            "78324b761a514083818b1a708fa026db",
            "Watcher @CIRCUS_WATCHER@ has run out of memory",
            "The kernel has killed something of process @CIRCUS_WID@, with the pid @CIRCUS_PID@, \
             for want of memory. Either the limit is too low, or the program needs more than it \
             should.",
        ),
    ),
    watcher(
        "watchdog",
        "A process was silent for longer than its watchdog allows, and is replaced.",
        &[PID, WID, member("error", "string", "what was missed")],
        message(
            "e93e88fbd44b4a6e97f9d247001b977c",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ was silent for too long",
            "The process with the pid @CIRCUS_PID@ did not show in time that it is alive. It is \
             ended, and another takes its place.",
        ),
    ),
    watcher(
        "health",
        "A process has failed its health check, and is replaced.",
        &[PID, WID, member("error", "string", "how it failed")],
        message(
            "0207368e71674ad88ed984fe6a9cb845",
            "Process @CIRCUS_WID@ of watcher @CIRCUS_WATCHER@ is not healthy",
            "The process with the pid @CIRCUS_PID@ has failed its health check as often as it \
             may. It is ended, and another takes its place.",
        ),
    ),
    watcher(
        "freeze",
        "The processes of the watcher are frozen.",
        &[],
        message(
            "a3c3505dca46416ab9bc556ddc01cea3",
            "The processes of watcher @CIRCUS_WATCHER@ are frozen",
            "They hold still until circusctl thaw @CIRCUS_WATCHER@.",
        ),
    ),
    watcher(
        "thaw",
        "They go on.",
        &[],
        message(
            "a734565e17c74dd0bbc58ee179051f61",
            "The processes of watcher @CIRCUS_WATCHER@ go on",
            "They are not frozen any more.",
        ),
    ),
    watcher(
        "remove",
        "The watcher is gone.",
        &[],
        message(
            "c27a95717eab4d94912d15432d6d5a33",
            "Watcher @CIRCUS_WATCHER@ is gone",
            "It was removed by an operator, or is not in the configuration any more.",
        ),
    ),
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
        message(
            "ba7a0aeb18d743c892dd145372b03fc9",
            "Hook @CIRCUS_HOOK@ of watcher @CIRCUS_WATCHER@ says @CIRCUS_HOOK_RESULT@",
            "It was asked, and has answered. What false does is told in circusd-hooks(7).",
        ),
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
        message(
            "4dec77131abc4438b0dcbe5a2422319e",
            "Hook @CIRCUS_HOOK@ of watcher @CIRCUS_WATCHER@ could not answer",
            "It ended neither with 0 nor with 1, or cannot be started, or its time was over, or \
             nobody was there to answer. That counts as false, unless the configuration says \
             ignore_failure. What a program has written to its standard error is in the log.",
        ),
    ),
    watcher(
        "notice",
        "The program that has the library run its workers says something of the watcher.",
        &[
            member("name", "string", "what"),
            member("data", "object", "what else, in its own words"),
        ],
        message(
            "4a55591d5b00470e849fc82cdbe5ab21",
            "The program has news of watcher @CIRCUS_WATCHER@",
            "It says so in its own words, as the message tells. circusd itself never does.",
        ),
    ),
    daemon(
        "ready",
        "Every watcher that starts with the daemon has started, or failed to.",
        &[],
        message(
            "e6e8d816a7d2499ba094438c638d6d30",
            "circusd is ready",
            "Every watcher that starts with circusd has started, or failed to; circusctl status \
             tells which.",
        ),
    ),
    daemon(
        "reloading",
        "The configuration is about to be read again.",
        &[],
        message(
            "55aa7dbab8024b59878adffe2fa6c15d",
            "circusd reads its configuration again",
            "What comes of it is told next.",
        ),
    ),
    daemon(
        "config_changed",
        "A configuration that was read again is in force.",
        &[member(
            "watchers",
            "[]string",
            "the watchers that it concerns",
        )],
        message(
            "2846e63c167342b1848fcef4ca71c1f3",
            "A new configuration is in force",
            "Watchers that it concerns have come, gone or changed, as the message says.",
        ),
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
        message(
            "127df84a41ef429ab8d6771228ca6f91",
            "A new configuration was refused",
            "It has faults, which the message names with file, line and column. Nothing has \
             changed: circusd goes on with what it had. circusctl validate checks the files.",
        ),
    ),
    daemon(
        "hook_success",
        "A hook of the daemon has answered.",
        &[
            HOOK,
            member("result", "bool", "its answer"),
            member("reason", "?string", "why it said no"),
            HOOK_DURATION,
        ],
        message(
            "6ca0c6ae51b34caba6b1181065abfe73",
            "Hook @CIRCUS_HOOK@ of circusd says @CIRCUS_HOOK_RESULT@",
            "It was asked, and has answered. What false does is told in circusd-hooks(7).",
        ),
    ),
    daemon(
        "hook_failure",
        "A hook of the daemon could not answer.",
        &[HOOK, member("error", "string", "why not"), HOOK_DURATION],
        message(
            "6a2b7facd79345e19fe6a0427f44c321",
            "Hook @CIRCUS_HOOK@ of circusd could not answer",
            "It ended neither with 0 nor with 1, or cannot be started, or its time was over, or \
             nobody was there to answer. Unless the configuration says ignore_failure, that \
             counts as false: after pre_start circusd ends, after connection_made the connection \
             is closed, after pre_request the call is refused.",
        ),
    ),
    daemon(
        "stopping",
        "The daemon is on its way to its end.",
        &[],
        message(
            "fe90244192724fc4b882b4ba713c2351",
            "circusd is on its way to its end",
            "It stops all watchers, and ends when the last process is gone.",
        ),
    ),
];

/// Somebody was refused something: no event, as nothing has changed, but a record.
pub const DENIED: Message = message(
    "a20a014405e5496eb69326c67b59c0c2",
    "Something was denied to a client of circusd",
    "A connection, or a call, of the user with uid @CIRCUS_PEER_UID@ (process @CIRCUS_PEER_PID@) \
     was refused, and the message says by whom: by the section access of the configuration, or by \
     a hook of circusd.",
);
