//! The manual page and the completions, made from the table of commands.
//!
//! They are generated into the repository, and a test fails when they are out of date; see
//! `pages/tests.rs`.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::command::{Arg, Command, Form};
use super::commands::{GROUPS, Group};
use super::exit::Exit;
use super::parser;

mod completions;

#[cfg(test)]
mod tests;

pub use completions::completions;

/// When the text of the page was last gone over; man(7) wants a date.
const DATE: &str = "2026-11-20";

/// mandoc thinks that a line of source should be no longer than 80 bytes.
const WIDTH: usize = 78;

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "CIRCUSD_SOCKET",
        "The socket of the daemon, unless `--socket` names another.",
    ),
    (
        "CIRCUS_SOCKET",
        "The same where CIRCUSD_SOCKET is not set. circusd tells its workers and hooks where it \
            answers in it, so a `circusctl` that they run asks the daemon that has started them.",
    ),
    (
        "XDG_RUNTIME_DIR",
        "Where the socket of a user's own daemon is looked for.",
    ),
    (
        "XDG_STATE_HOME",
        "Where the shell keeps its history; `~/.local/state` without it.",
    ),
];

const FILES: [(&str, &str); 4] = [
    (
        "/run/circusd/circusd.sock",
        "The socket of the system's daemon.",
    ),
    (
        "$XDG_RUNTIME_DIR/circusd/circusd.sock",
        "The socket of a user's own daemon. Everybody but root looks for it first.",
    ),
    (
        "/tmp/circusd-UID/circusd.sock",
        "The same where there is no XDG_RUNTIME_DIR, if nobody else can enter the directory.",
    ),
    (
        "$XDG_STATE_HOME/circusctl_history",
        "The history of the shell.",
    ),
];

const EXAMPLES: [(&str, &str); 6] = [
    ("circusctl status", "See what runs, what does not, and why."),
    (
        "circusctl --host root@web1 why web",
        "The same of another machine: why a watcher there is as it is.",
    ),
    (
        "circusctl logs web -f",
        "What the processes of web write, in the journal or in files.",
    ),
    (
        "circusctl stop 'worker*' && deploy && circusctl start 'worker*'",
        "A deployment that goes on only if every worker has stopped, and says so if one does not \
            come up.",
    ),
    (
        "circusctl --json status | jq -r '.watchers[] | select(.state == \"failed\").name'",
        "The watchers that were given up.",
    ),
    (
        "circusctl --json --timeout 60 listen '*.gave_up' | while read -r event; do ...; done",
        "Do something for every watcher that is given up within the next minute.",
    ),
];

const DESCRIPTION: &str = "`circusctl` asks circusd(8) over its socket to show, start, stop, scale \
    and replace the processes it supervises. A command returns when its work is done, and its exit \
    code says how it went.\n\n\
    Where a command takes NAME|PATTERN, a shell-style pattern selects several watchers: `web*`, \
    `*`. Quote it, or the shell expands it. A plain name that matches nothing is an error; a \
    pattern that matches nothing is not. Several names are done one after the other, and the first \
    error ends the command.";

const SHELL: &str = "Without a command, `circusctl` reads commands from standard input, one on a \
    line, as they would stand behind `circusctl`; words are quoted as in sh(1), and what follows \
    a # is a comment. On a terminal that is a shell with completion of commands, watchers and \
    options by the tab key, and with a history. Ctrl-C ends a command, `exit` or Ctrl-D leaves \
    the shell; `quit` ends the daemon, and is asked about first. Where standard input is not a \
    terminal, the first command that fails ends `circusctl` with its exit code.";

const HOST: &str = "With `--host`, ssh(1) starts `circusctl` on another machine with the rest of the \
    command line, and what that writes and how it ends is what happens here. Who may do that is a \
    matter of the other machine; `--socket` and paths are paths there. Without a command it is the \
    shell of the other machine. Where that has no `circusctl`, or cannot be reached, the exit code \
    is 1.";

const JSON: &str = "With `--json`, the parameters of each reply are printed as one JSON document \
    on one line, as the interface io.circusd describes them: one line for most commands, one for \
    each NAME|PATTERN that was given, one for each reply of `listen` and `stats --interval`. An \
    error is one line too: an object with the members `error` and `parameters` on standard \
    output, and its sentence on standard error. The errors of the daemon have the names of the \
    interface; those of `circusctl` itself begin with `circusctl.`: `circusctl.Unreachable`, \
    `circusctl.Usage`, `circusctl.TimedOut`, `circusctl.Failed`. Where `validate` finds several \
    faults, each is a line. No progress is shown.";

/// The manual page circusctl(1), as roff.
pub fn manual() -> String {
    let mut page = Roff::new();
    let version = format!("circusd {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["CIRCUSCTL", "1", DATE, &version, "User Commands"]);
    section(&mut page, "NAME");
    page.text([roman("circusctl - command the process supervisor circusd")]);
    section(&mut page, "SYNOPSIS");
    page.text([
        bold("circusctl"),
        roman(" ["),
        italic("OPTION"),
        roman("]... ["),
        italic("COMMAND"),
        roman(" ["),
        italic("ARGUMENT"),
        roman("]...]"),
    ]);
    section(&mut page, "DESCRIPTION");
    paragraphs(&mut page, DESCRIPTION);
    section(&mut page, "OPTIONS");
    global_options(&mut page);
    section(&mut page, "COMMANDS");
    for group in &GROUPS {
        commands(&mut page, group);
    }
    section(&mut page, "SHELL");
    paragraphs(&mut page, SHELL);
    section(&mut page, "JSON");
    paragraphs(&mut page, JSON);
    section(&mut page, "OTHER MACHINES");
    paragraphs(&mut page, HOST);
    closing(&mut page);
    folded(&page.to_roff())
}

/// `roff` without lines longer than [`WIDTH`], where that does not change what it means.
///
/// The tag of an entry has to stay on one line; and a line must not begin with what roff takes for
/// a request.
fn folded(roff: &str) -> String {
    let mut text = String::with_capacity(roff.len());
    let mut is_tag = false;
    for line in roff.lines() {
        if is_tag || line.starts_with('.') {
            text.push_str(line);
        } else {
            fold(line, &mut text);
        }
        text.push('\n');
        is_tag = line == ".TP";
    }
    text
}

fn fold(line: &str, text: &mut String) {
    let mut column = 0;
    for word in line.split(' ') {
        if column + 1 + word.len() > WIDTH && !word.starts_with(['.', '\'']) {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
}

fn closing(page: &mut Roff) {
    section(page, "EXIT STATUS");
    for (exit, says) in Exit::ALL {
        entry(page, vec![bold(exit.code().to_string())], says);
    }
    entry(
        page,
        vec![bold("130")],
        "What a shell reports when `circusctl` was interrupted; what the daemon was asked to do \
            goes on.",
    );
    section(page, "ENVIRONMENT");
    for (name, says) in ENVIRONMENT {
        entry(page, vec![bold(name)], says);
    }
    section(page, "FILES");
    for (name, says) in FILES {
        entry(page, vec![italic(name)], says);
    }
    section(page, "EXAMPLES");
    for (line, says) in EXAMPLES {
        entry(page, vec![bold(line)], says);
    }
    section(page, "SEE ALSO");
    paragraphs(
        page,
        "`circusd`(8), `circusd.toml`(5), `journalctl`(1), `systemctl`(1), `tail`(1), `varlinkctl`(1)",
    );
}

fn section(page: &mut Roff, title: &str) {
    page.control("SH", [title]);
}

fn global_options(page: &mut Roff) {
    let mut root = parser::root();
    root.build();
    let root = root.mut_arg("help", |arg| {
        arg.help("Print help; behind a command, help on it")
    });
    for arg in root.get_arguments() {
        let long = arg.get_long().expect("every global argument is a flag");
        let mut tag = vec![bold(format!("--{long}"))];
        if arg.get_action().takes_values() {
            tag.push(roman(" "));
            tag.extend(
                arg.get_value_names()
                    .into_iter()
                    .flatten()
                    .map(|name| italic(name.to_string())),
            );
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        entry(page, tag, &format!("{}.", help.trim_end_matches('.')));
    }
}

fn commands(page: &mut Roff, group: &Group) {
    page.control("SS", [group.title]);
    for row in group.commands {
        entry(page, synopsis(row), &format!("{}.", row.about));
        page.control("RS", []);
        for paragraph in row.details.split("\n\n") {
            page.control("PP", []);
            page.text(inlines(paragraph));
        }
        for arg in row.args {
            page.control("TP", []);
            page.text(tag(arg));
            page.text(inlines(&format!("{}.", arg.help)));
        }
        for example in row.examples {
            page.control("TP", []);
            page.text([bold(format!("circusctl {}", example.line))]);
            page.text(inlines(&format!("{}.", capitalized(example.says))));
        }
        page.control("RE", []);
    }
}

fn synopsis(row: &Command) -> Vec<Inline> {
    let mut words = vec![bold(row.name)];
    for arg in row.args {
        words.push(roman(" "));
        words.extend(match arg.form {
            Form::Switch | Form::Value(_) => optional(form(arg)),
            Form::One(_) => form(arg),
            Form::Maybe(_) => optional(form(arg)),
            Form::Many(_) => [optional(form(arg)), vec![roman("...")]].concat(),
            Form::Some(_) => [form(arg), vec![roman("...")]].concat(),
            Form::Last(_) => optional(rest(arg)),
            Form::Rest(_) => rest(arg),
        });
    }
    words
}

/// What is told from flags by two dashes before it.
fn rest(arg: &Arg) -> Vec<Inline> {
    [vec![bold("--"), roman(" ")], form(arg), vec![roman("...")]].concat()
}

fn optional(words: Vec<Inline>) -> Vec<Inline> {
    [vec![roman("[")], words, vec![roman("]")]].concat()
}

/// An argument in all its forms.
fn tag(arg: &Arg) -> Vec<Inline> {
    let short = arg
        .short
        .map(|short| [bold(format!("-{short}")), roman(", ")]);
    short.into_iter().flatten().chain(form(arg)).collect()
}

/// An argument alone, without what says whether it may be left out.
fn form(arg: &Arg) -> Vec<Inline> {
    match arg.form {
        Form::Switch => vec![bold(format!("--{}", arg.name))],
        Form::Value(kind) => vec![
            bold(format!("--{}", arg.name)),
            roman(" "),
            italic(kind.placeholder()),
        ],
        Form::One(kind)
        | Form::Maybe(kind)
        | Form::Many(kind)
        | Form::Some(kind)
        | Form::Last(kind)
        | Form::Rest(kind) => vec![italic(kind.placeholder())],
    }
}

fn entry(page: &mut Roff, tag: Vec<Inline>, text: &str) {
    page.control("TP", []);
    page.text(tag);
    page.text(inlines(text));
}

fn paragraphs(page: &mut Roff, text: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            page.control("PP", []);
        }
        page.text(inlines(paragraph));
    }
}

/// What stands between backquotes is set in bold.
fn inlines(text: &str) -> Vec<Inline> {
    text.split('`')
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(index, part)| {
            if index % 2 == 1 {
                bold(part)
            } else {
                roman(part)
            }
        })
        .collect()
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        None => String::new(),
        Some(first) => first.to_uppercase().chain(chars).collect(),
    }
}
