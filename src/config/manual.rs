//! circusd.toml(5), from the table of settings: man(7) macros, prose per section.
//!
//! Says nothing of a particular key that its row does not say.

use std::fmt::Write as _;

use super::plugins::BuiltIn;
use super::readiness::{NOTICES, NOTICES_TAKEN, READINESS};
use super::table::{OnChange, Row, Section};

/// The settings of a section with what is to be said of them all.
#[derive(Debug)]
pub struct Chapter {
    /// The section.
    pub section: Section,
    /// As it stands in a file: `[watcher.NAME]`.
    pub title: String,
    /// Paragraphs before the settings.
    pub prose: Vec<&'static str>,
    /// The settings that this version has, in the order of the table.
    pub rows: Vec<&'static Row>,
}

/// The settings of this version by section.
pub fn manual() -> Vec<Chapter> {
    let chapter = |section: Section| Chapter {
        section,
        title: title(section).to_owned(),
        prose: prose(section).to_vec(),
        rows: section
            .rows()
            .iter()
            .filter(|row| row.available())
            .collect(),
    };
    let built_in = |built_in: &BuiltIn| Chapter {
        section: Section::Plugin,
        title: format!("[plugin.NAME] with use = \"{}\"", built_in.as_str()),
        prose: vec![built_in.description()],
        rows: built_in.rows().iter().collect(),
    };
    let sections = Section::ALL.into_iter().map(chapter);
    sections.chain(BuiltIn::ALL.iter().map(built_in)).collect()
}

/// Every setting of the daemon as `--set` takes it, and what it means: for `circusd --help`.
pub fn command_line_help() -> Vec<(String, String)> {
    let rows = Section::Circusd.rows().iter().filter(|row| row.available());
    let text = |row: &Row| match row.default_in_words().as_str() {
        "" => row.description().to_owned(),
        default => format!("{} [default: {default}]", row.description()),
    };
    rows.map(|row| (format!("circusd.{}", row.key), text(row)))
        .collect()
}

fn title(section: Section) -> &'static str {
    match section {
        Section::Circusd => "[circusd]",
        Section::Watcher => "[watcher.NAME]",
        Section::Socket => "[socket.NAME]",
        Section::Plugin => "[plugin.NAME]",
        Section::Hooks => "[hooks]",
        Section::Access => "[access]",
    }
}

fn prose(section: Section) -> &'static [&'static str] {
    match section {
        Section::Circusd => &["The daemon itself."],
        Section::Watcher => &[
            "One pool of processes that are alike. The name begins with a letter or digit, has \
             letters, digits and _ . : @ - and at most 128 of them. Only cmd is required.",
            "[defaults] takes the same keys: a watcher that does not set a key takes it from \
             there. Watchers are kept in the order written.",
            "The variables of a process are, the later the stronger: what is inherited, \
             http_proxy of [circusd], [env], [env.\"PATTERN\"] for the watchers whose name the \
             shell-style pattern matches, env_file, and env. Values are strings.",
        ],
        Section::Socket => &[
            "One socket that circusd opens before any watcher starts, and keeps open while the \
             processes behind it come and go: what arrives meanwhile waits. Names are as those of \
             watchers. It needs path, or host and port, or from_manager.",
            "A process of a watcher with use_sockets inherits its sockets as descriptors from 3 \
             on, in the order of use_sockets or of the file, and finds LISTEN_FDS, LISTEN_FDNAMES \
             and LISTEN_PID in its environment, as sd_listen_fds(3) has it.",
            "When the configuration is read again, a socket that is as it was stays open, \
             whatever its name is now. For one that changed, another is opened first; then the \
             processes that use it are replaced, and the old one is closed when the last of them \
             has gone. If one cannot be opened, nothing changes. An Internet socket keeps its \
             address and port until it is closed, so one that is to differ in anything else \
             needs another port.",
        ],
        Section::Plugin => &[
            "A program that hears what happens and acts on it. It is a watcher called plugin:NAME \
             with one process, which is shown, started and stopped as any other; it starts before \
             the watchers and stops after them, unless its priority says otherwise. Those that come \
             with circusd are ready when they hear what happens (ready = \"notify\"), so that none of \
             what the watchers do escapes them. It needs use, for one of these, or cmd.",
            "[plugin.NAME.watcher] takes every key of [watcher.NAME] but cmd, args and singleton: \
             restart, flapping, critical, hooks, uid, stderr and so on. [defaults] has no effect \
             on plugins; [env] does.",
            "Every other key is the plugin's own. They reach it as one JSON object in \
             CIRCUS_PLUGIN_CONFIG, with those that were not set at their defaults where it is one \
             of ours; CIRCUS_PLUGIN_NAME is NAME, CIRCUS_SOCKET says where to connect. A change \
             replaces the plugin and nothing else.",
            "A plugin runs as the user that circusd runs as, and so may do everything; with uid of \
             its watcher it may do what [access] grants that user.",
        ],
        Section::Hooks => &[
            "What circusd asks at the turning points of its own life. Each is a command, a table, or \
             an array of tables, as the hooks of a watcher are; see circusd-hooks(7). Programs run \
             as circusd does: as its user, with its environment.",
        ],
        Section::Access => &[
            "Who may do what, by the user and groups of whoever connects. Users and groups are \
             given by name or number.",
        ],
    }
}

const INTRODUCTION: &[&str] = &[
    "The configuration of circusd(8) is TOML. A file is taken whole or not at all, and every \
     mistake of all files is reported, with line and column.",
    "Values come, the later the stronger, from: the default; /usr/lib/circusd/*.toml; \
     /etc/circusd/circusd.toml; /etc/circusd/conf.d/*.toml in the order of their names; the files \
     named by include; CIRCUSD_* in the environment (CIRCUSD_LOG_LEVEL for log_level of \
     [circusd]); flags of circusd(8); and changes made with circusctl(1). A user's own daemon \
     reads $XDG_CONFIG_HOME/circusd instead of the first two directories. What --config names \
     takes the place of all of these; conf.d beside it still counts.",
    "A later file adds entries to env, rlimits, hooks and resources; any other value takes the place of the earlier \
     one. Relative paths in a file are relative to the directory of that file. Keys and sections \
     that begin with x- are the user's own: they are kept and have no effect.",
    "Run as root, circusd refuses a file that others than root can write.",
];

const FORMS: &[(&str, &str)] = &[
    (
        "duration",
        "A string such as \"250ms\", \"30s\", \"5min\" or \"1h 30min\" (d, h, min, s, ms, us), or a \
         number of seconds.",
    ),
    (
        "size",
        "A number of bytes, or a string such as \"512M\" or \"2G\" (K, M, G, T: powers of 1024).",
    ),
    (
        "$(circus.env.NAME)",
        "In any string: a variable of the environment of circusd. One that does not exist is an \
         error. What it holds is not expanded again.",
    ),
    (
        "$(circus.wid)",
        "In cmd, args, env, stdout, stderr, ready and health: the number of the process in its \
         watcher.",
    ),
    (
        "$(circus.pid), $(circus.watcher)",
        "In prefix of stdout and stderr, beside $(circus.wid): the pid of the process that has \
         written the line, and the name of its watcher.",
    ),
    (
        "$(circus.sockets.NAME)",
        "In the first five of these: the number of the descriptor of that socket, which use_sockets \
         must name.",
    ),
];

const STREAMS: &[&str] = &[
    "A process with a file writes to a pipe of its own, of which circusd appends the lines to the \
     file; many processes, and many watchers that turn it over alike, may share one. Lines stay \
     whole: what a process has not ended when it is gone is ended for it, and a line of more than \
     64 KiB is broken into several. What a process wrote is written, however soon it was replaced.",
    "A file that is moved, removed or emptied by others is noticed with the next line, or at \
     SIGHUP, and made anew. It is turned over between two lines. It is not opened through a \
     symbolic link. It may be a named pipe that somebody reads, or a device, of which no old ones \
     are kept.",
    "A file that is slow slows down those who write to it, and nobody else. One that has taken \
     nothing for two seconds, while somebody waits for it, as where a disk hangs, does not: what is \
     written then is dropped until it takes something again. The same happens at once to lines that a disk has no room for. What \
     was dropped is counted: the log and circusctl why tell of it, and when the file works again a \
     line of its own says so in the place of what is missing, as \"circusd: 12 lines (345 bytes) of \
     output are missing here\". The end of circusd waits for a file as long as it takes anything, \
     and for 10 s at most.",
    "What is written to a file outlives circusd: it stays in the pipe, which has a name in the \
     directory output of runtime_dir, until it is in the file. If circusd is killed, processes go on \
     writing, and wait when their pipe is full (64 KiB, 256 KiB where that is to be had); the next circusd reads on. What the killed \
     one had just written, 64 KiB of each process at most, may then be in the file twice, but no \
     line is missing, and none is torn; the beginning of a line at the end of the file is taken out \
     for that. After a restart by the service manager and after circusctl reexec nothing is there \
     twice. Only of a process that ends while there is no circusd the service manager has to have \
     kept the pipe (FileDescriptorStoreMax=); elsewhere what it has said last is lost with it, as is \
     the part of a line longer than its pipe that was taken out of that.",
    "With command, one program reads the stream of all processes of the watcher, from one pipe that \
     they write to directly; what is written at once and is not longer than 4096 bytes (PIPE_BUF of \
     pipe(7)) stays whole. It is started before the first process, as that is (user, environment, \
     limits, working_dir), but for CIRCUS_WID, which it does not have, and CIRCUS_STREAM, which is \
     stdout or stderr; it has a cgroup of its own, and is not frozen with the watcher. Its standard \
     output goes nowhere, its standard error to the log of circusd.",
    "If it ends it is started again, after pauses that grow from 0.1 s to 1 min; what is written \
     meanwhile waits in the pipe. While nobody reads, the processes wait when the pipe is full, \
     which does not keep them from being stopped. When the watcher has stopped or failed it comes to \
     the end of its input, and has graceful_timeout to do so; then it is killed, and what it has not \
     read is counted in the log. When a change replaces the processes, so that the program or what \
     it is started with is another, the new processes have a new one, and the old one reads on until \
     the last of the old processes has gone.",
    "It, too, outlives circusd: it reads on while there is none, and the next circusd goes on with it, \
     or, if it has ended meanwhile, with another one on the same pipe. A process that was let go and \
     writes to a file, though, has nobody to read its pipe when circusd has stopped, and waits when \
     that is full.",
    "In the journal a line has the name of the watcher as SYSLOG_IDENTIFIER, the pid of who has \
     written it, and, where circusd is a service, the unit of that; it goes there directly, and is \
     of level info from standard output and of level warning from standard error, unless it begins \
     with another one, as in <3>. circusctl logs shows what processes have written, in the journal \
     and in files.",
];

/// circusd.toml(5) as man(7) source.
pub fn manual_roff() -> String {
    let mut page = String::new();
    let version = env!("CARGO_PKG_VERSION");
    push(
        &mut page,
        &format!(".TH CIRCUSD.TOML 5 2026-11-20 \"circusd {version}\""),
    );
    push(&mut page, ".SH NAME");
    push(
        &mut page,
        r"circusd.toml \- configuration of the circusd supervisor",
    );
    push(&mut page, ".SH DESCRIPTION");
    paragraphs(&mut page, INTRODUCTION);
    push(&mut page, ".SH VALUES");
    for (form, meaning) in FORMS {
        item(&mut page, form, meaning);
    }
    for chapter in manual() {
        push(&mut page, &format!(".SH {}", escape(&chapter.title)));
        paragraphs(&mut page, &chapter.prose);
        for (index, row) in chapter.rows.iter().enumerate() {
            item(&mut page, row.key, row.description());
            push(&mut page, ".br");
            push(&mut page, &escape(&facts(row)));
            let has_same = |other: &&&Row| other.fields().eq(row.fields());
            match chapter.rows[..index].iter().find(has_same) {
                Some(other) if row.fields().next().is_some() => {
                    push(&mut page, ".br");
                    push(&mut page, &format!("Its keys are those of {}.", other.key));
                }
                _ => fields(&mut page, row),
            }
        }
    }
    readiness(&mut page);
    push(&mut page, ".SH STREAMS");
    paragraphs(&mut page, STREAMS);
    push(&mut page, ".SH LIMITS");
    paragraphs(&mut page, LIMITS);
    page.push_str(CLOSING);
    page
}

/// What a process may do to show how it is.
fn readiness(page: &mut String) {
    push(page, ".SH READINESS");
    paragraphs(page, READINESS);
    for notice in NOTICES {
        item(page, notice.text, notice.meaning);
    }
    push(page, ".PP");
    paragraphs(page, NOTICES_TAKEN);
}

/// What the settings `resources` and `oom` have in common.
const LIMITS: &[&str] = &[
    "All processes of a watcher are in a cgroup of the watcher, and each with all that it starts in \
     one of its own below that. What resources says holds for the first, what resources.each says \
     for every one of the others; whichever limit is met first counts. A change is in force at \
     once for those who run already, and a key that is taken away leaves the default of the \
     kernel: no limit, or the weight 100.",
    "A limit needs a controller of the kernel that was delegated to circusd: cpu for cpu_weight \
     and cpu_max, io for io_weight, memory for memory_max, memory_high, memory_swap_max and oom = \
     \"group\", pids for pids_max. A unit of systemd has them with Delegate=yes and \
     DelegateSubgroup=supervisor, see systemd.resource-control(5). Elsewhere circusd has those \
     that its cgroup has, if it is the only process in it: it then moves into a cgroup below, as \
     one that limits others may hold no processes itself.",
    "Where a limit cannot be had, circusctl set and reloadconfig refuse it, and what a file asks \
     for when circusd starts is told when the processes are to be: they are not started. With \
     optional = true they are, and circusctl why says what they go on without. circusd --check \
     cannot tell, as it is run in another cgroup than the daemon.",
    "The controllers memory and pids count; where circusd has them, every watcher's processes are \
     counted. The controllers cpu and io also share out: while any watcher has asked for them, \
     all watchers get as much as their weights say, however many processes they have.",
    "When the kernel kills for want of memory, the event oom tells of it, and of the limit if it was \
     that of the process or its watcher. If the main process was killed, the cause of its end is \
     oom_kill. A memory_max that is set below what is used already is met at the next \
     allocation from Linux 6.16 on; before, the kernel reclaims at once, and circusd waits for it.",
];

const CLOSING: &str = r#".SH EXAMPLES
.EX
[circusd]
log_level = "info"

[defaults]
graceful_timeout = "10s"

[env]
LANG = "C.UTF\-8"

[socket.http]
host = "0.0.0.0"
port = 8080

[watcher.web]
cmd = "/srv/web/server \-\-fd $(circus.sockets.http)"
use_sockets = ["http"]
numprocesses = 4
uid = "www\-data"
ready = "notify"
watchdog = "30s"
stdout = { file = "/var/log/web.log", rotate = "daily", backup_count = 7,
           time_format = "%Y\-%m\-%d %H:%M:%S" }
stderr = { command = "/usr/bin/logger \-t web" }

[watcher.web.resources]
memory_max = "2G"

[watcher.web.resources.each]
memory_max = "768M"
pids_max = 64
.EE
.SH SEE ALSO
.BR circus\-plugin (1),
.BR circusctl (1),
.BR circusd\-hooks (7),
.BR circusd (8)
"#;

/// "Type: a duration. Range: 0 to 86400 s. Default: 30s. A change is in force at once."
fn facts(row: &Row) -> String {
    let mut facts = format!("Type: {}.", row.type_name());
    if let Some(range) = row.range {
        let unit = row.unit();
        let space = if unit.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(
            facts,
            " Range: {} to {}{space}{unit}.",
            range.min, range.max
        );
    }
    let default = row.default_in_words();
    if !default.is_empty() {
        let _ = write!(facts, " Default: {default}.");
    }
    facts.push_str(match row.on_change {
        OnChange::Live => " A change is in force at once.",
        OnChange::Reload => " A change replaces the processes gracefully.",
        OnChange::RestartDaemon => " A change is in force when circusd is started again.",
    });
    let _ = write!(facts, " Since {}.", row.since);
    facts
}

/// The keys of the setting's table, one step further in.
fn fields(page: &mut String, row: &Row) {
    if row.fields().next().is_none() {
        return;
    }
    push(page, ".RS");
    for (key, meaning) in row.fields() {
        item(page, key, meaning);
    }
    push(page, ".RE");
}

fn push(page: &mut String, line: &str) {
    page.push_str(line);
    page.push('\n');
}

fn paragraphs(page: &mut String, paragraphs: &[&str]) {
    for (index, paragraph) in paragraphs.iter().enumerate() {
        if index > 0 {
            push(page, ".PP");
        }
        push(page, &escape(paragraph));
    }
}

fn item(page: &mut String, term: &str, text: &str) {
    push(page, ".TP");
    push(page, &format!(".B {}", escape(term)));
    push(page, &escape(text));
}

/// Longer lines of source are bad style to mandoc(1).
const WIDTH: usize = 76;

/// Text as it is, whatever roff would make of its characters; each sentence on a line of its own,
/// as roff wants it, and no line that looks like a request.
fn escape(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = escape_word(word);
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.len() + word.len() < WIDTH && !ends_sentence(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    let guarded = lines.iter().map(|line| match line.starts_with('.') {
        true => format!(r"\&{line}"),
        false => line.clone(),
    });
    guarded.collect::<Vec<_>>().join("\n")
}

fn ends_sentence(line: &str) -> bool {
    line.ends_with('.') && !line.ends_with(" .")
}

fn escape_word(word: &str) -> String {
    word.replace('\\', r"\e")
        .replace('-', r"\-")
        .replace('\'', r"\(aq")
        .replace('~', r"\(ti")
        .replace('^', r"\(ha")
        .replace('`', r"\(ga")
}
