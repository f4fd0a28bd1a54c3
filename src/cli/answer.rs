//! `answer`: a program of the user's answers for hooks, for as long as `circusctl` runs.
//!
//! What the program is told, and what its answers mean, is as for a program in the configuration
//! (circusd-hooks(7)), so that one will do for both. One question at a time: who asks meanwhile
//! waits, and the daemon looks after the time that each may take.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use clap::ArgMatches;
use serde_json::Value;

use super::command::{Call, Parameters, Replies};
use super::commands;
use super::daemon::Daemon;
use super::failure::Failure;
use super::output::{Stream, complain, emit};
use super::parser::Globals;
use super::print::printable;
use crate::api::params::HookResult;
use crate::api::types::Object;
use crate::api::{Error, reply};
use crate::client::ClientError;

/// What is read of an answer, in bytes, as the daemon reads of its own programs. What is longer is
/// no answer, and its writer gets SIGPIPE.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The only hook whose answer can have more than a yes in it.
const EXTENDED_STATS: &str = "extended_stats";

/// Where in its context a question says what a program finds in its environment.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("CIRCUS_HOOK", "/hook"),
    ("CIRCUS_WATCHER", "/watcher/name"),
    ("CIRCUS_SOCKET", "/daemon/socket"),
    ("CIRCUS_WID", "/process/wid"),
    ("CIRCUS_PID", "/process/pid"),
    ("CIRCUS_SIGNUM", "/signum"),
];

/// The call by which `matches` are registered.
pub(super) fn registration(matches: &ArgMatches) -> Call {
    Call::new("RegisterHook")
        .with_some("watchers", commands::text(matches, "watcher"))
        .with("hooks", commands::texts(matches, "hooks"))
        .with_some("timeout_usec", commands::usec(matches, "within"))
        .answered(Replies::Stream)
}

/// Answers until the connection or the time of `globals` ends.
pub(super) fn run(matches: &ArgMatches, globals: &Globals) -> Result<(), Failure> {
    let program = commands::texts(matches, "command");
    // An answer over the connection of the questions would have to wait for the next one.
    let mut answering = Daemon::connect(globals)?;
    let mut asking = Daemon::connect(globals)?;
    asking.call(&registration(matches), true, |reply| {
        if globals.json {
            emit(Stream::Out, format!("{}\n", Value::Object(reply.clone())))?;
        }
        let question: reply::RegisterHook = read(&reply)?;
        let Some(invocation) = question.invocation else {
            return Ok(());
        };
        let result = HookResult {
            invocation,
            ..ask(&program, &question)
        };
        if !globals.json {
            emit(Stream::Out, line(&question, &result))?;
        }
        give(&mut answering, result)
    })
}

fn read(reply: &Parameters) -> Result<reply::RegisterHook, Failure> {
    let question = serde_json::from_value(Value::Object(reply.clone()));
    question.map_err(|source| Failure::OddReply {
        method: "RegisterHook",
        source,
    })
}

/// `web before_start: yes`.
fn line(question: &reply::RegisterHook, result: &HookResult) -> String {
    let asked = [&question.watcher, &question.hook].map(|word| word.as_deref());
    let asked: Vec<_> = asked.into_iter().flatten().collect();
    let answer = match (&result.error, result.result) {
        (Some(error), _) => error,
        (None, true) => "yes",
        (None, false) => "no",
    };
    printable(&format!("{}: {answer}", asked.join(" "))) + "\n"
}

fn give(daemon: &mut Daemon, result: HookResult) -> Result<(), Failure> {
    let call = Call::new("HookResult")
        .with("invocation", result.invocation)
        .with("result", result.result)
        .with_some("error", result.error)
        .with_some("data", result.data);
    match daemon.call(&call, false, |_| Ok(())) {
        // The watcher was stopped meanwhile, or the time is over: the next question is as good.
        Err(Failure::Daemon(ClientError::Refused(Error::NoSuchInvocation { .. }))) => {
            complain("too late: the answer is not waited for any more");
            Ok(())
        }
        given => given,
    }
}

/// What `program` says to `question`.
fn ask(program: &[String], question: &reply::RegisterHook) -> HookResult {
    match run_program(program, question) {
        Err(error) => failed(format!("asking '{}': {error}", program.join(" "))),
        Ok((_, said)) if said.len() as u64 > ANSWER_BYTES_MAX => failed(format!(
            "its answer is longer than {ANSWER_BYTES_MAX} bytes"
        )),
        Ok((status, said)) => understand(
            status,
            &said,
            question.hook.as_deref() == Some(EXTENDED_STATS),
        ),
    }
}

fn failed(error: String) -> HookResult {
    HookResult {
        error: Some(error),
        ..HookResult::default()
    }
}

/// Runs `program` to its end; how it ended, and what it has written.
fn run_program(
    program: &[String],
    question: &reply::RegisterHook,
) -> io::Result<(ExitStatus, Vec<u8>)> {
    let context = Value::Object(question.context.clone().unwrap_or_default());
    let mut words = program.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words);
    for (name, place) in ENVIRONMENT {
        match context.pointer(place) {
            Some(Value::String(text)) => command.env(name, text),
            Some(value @ Value::Number(_)) => command.env(name, value.to_string()),
            _ => command.env_remove(name),
        };
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    converse(command.spawn()?, &format!("{context}\n"))
}

/// Writes and reads at once: a program may answer before it has read everything.
fn converse(mut child: Child, context: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let said = thread::scope(|scope| {
        let told = scope.spawn(|| match stdin {
            Some(mut stdin) => stdin.write_all(context.as_bytes()),
            None => Ok(()),
        });
        let mut said = Vec::new();
        let read = match stdout {
            // One more, by which too much is known.
            Some(stdout) => stdout.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut said),
            None => Ok(0),
        };
        let told = told.join().expect("writing does not panic");
        // It need not read what it is told.
        told.or_else(|error| match error.kind() {
            ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })?;
        read.map(|_| said)
    });
    // In any case, or a zombie stays.
    let status = child.wait()?;
    Ok((status, said?))
}

/// What `said` and this end mean.
fn understand(status: ExitStatus, said: &[u8], extended_stats: bool) -> HookResult {
    let mut said = object(said);
    let reason = said.remove("reason");
    let because = |how: String| {
        failed(match reason.as_ref().and_then(Value::as_str) {
            Some(reason) => format!("{reason} ({how})"),
            None => how,
        })
    };
    let result = match (status.code(), said.get("result")) {
        (Some(0), None | Some(Value::Bool(true))) => true,
        (Some(0), Some(Value::Bool(false))) | (Some(1), _) => false,
        (Some(0), Some(other)) => {
            return because(format!("its result is neither true nor false: {other}"));
        }
        (Some(code), _) => return because(format!("it ended with exit code {code}")),
        (None, _) => {
            let signal = status.signal().unwrap_or_default();
            return because(format!("it was ended by signal {signal}"));
        }
    };
    let data = match said.remove("stats").filter(|_| extended_stats && result) {
        None => None,
        Some(Value::Object(stats)) => Some(stats),
        Some(_) => return failed("its stats are no object".to_owned()),
    };
    HookResult {
        result,
        data,
        ..HookResult::default()
    }
}

/// The object that `said` is, alone or in its last line; one without members where there is none.
fn object(said: &[u8]) -> Object {
    let text = String::from_utf8_lossy(said);
    let last = text.trim().lines().next_back().unwrap_or_default();
    let found = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of `script`, asked for `hook`: yes or no, or why it could not say.
    fn check(hook: &str, script: &str, expected: Result<bool, &str>) -> HookResult {
        let context = serde_json::json!({
            "hook": hook, "watcher": {"name": "web"}, "process": {"wid": 2, "pid": 77}
        });
        let question = reply::RegisterHook {
            hook: Some(hook.to_owned()),
            context: context.as_object().cloned(),
            ..reply::RegisterHook::default()
        };
        let program = ["sh", "-c", script].map(str::to_owned);
        let result = ask(&program, &question);
        let said = match &result.error {
            Some(error) => Err(error.as_str()),
            None => Ok(result.result),
        };
        assert_eq!(said, expected, "{script}");
        result
    }

    #[test]
    fn a_program_answers_by_its_end_and_may_say_more() {
        let hook = "before_spawn";
        check(hook, "true", Ok(true));
        check(hook, "echo done", Ok(true));
        check(hook, "exit 1", Ok(false));
        check(hook, "echo '{\"result\": false}'", Ok(false));
        check(hook, "echo; echo '{\"result\": true}'", Ok(true));
        check(hook, "exit 2", Err("it ended with exit code 2"));
        check(hook, "kill -9 $$", Err("it was ended by signal 9"));
        check(
            hook,
            "echo '{\"reason\": \"no disk\"}'; exit 3",
            Err("no disk (it ended with exit code 3)"),
        );
        check(
            hook,
            "echo '{\"result\": 7}'",
            Err("its result is neither true nor false: 7"),
        );
        check(
            hook,
            "head -c 70000 /dev/zero; true",
            Err("its answer is longer than 65536 bytes"),
        );
    }

    #[test]
    fn a_program_finds_the_question_where_a_hook_of_the_configuration_does() {
        let known = "test $CIRCUS_HOOK,$CIRCUS_WATCHER,$CIRCUS_WID,$CIRCUS_PID,${CIRCUS_SIGNUM-} \
                     = before_spawn,web,2,77,";
        check("before_spawn", known, Ok(true));
        let read = r#"read -r line; case $line in '{"hook":'*) ;; *) exit 5 ;; esac"#;
        check("before_spawn", read, Ok(true));
    }

    #[test]
    fn only_extended_stats_are_added_to() {
        let script = "echo '{\"stats\": {\"jobs\": 3}}'";
        assert_eq!(check("before_start", script, Ok(true)).data, None);
        let data = check(EXTENDED_STATS, script, Ok(true)).data;
        assert_eq!(data.map(|stats| stats["jobs"].clone()), Some(3.into()));
        check(
            EXTENDED_STATS,
            "echo '{\"stats\": 3}'",
            Err("its stats are no object"),
        );
    }

    #[test]
    fn a_program_that_is_not_there_cannot_say() {
        let nobody = ["/nonexistent/program".to_owned()];
        let error = ask(&nobody, &reply::RegisterHook::default()).error.unwrap();
        assert!(
            error.starts_with("asking '/nonexistent/program': No such"),
            "{error}"
        );
    }
}
