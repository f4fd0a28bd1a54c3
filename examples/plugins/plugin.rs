//! A plugin of circusd in Rust, with the blocking client: `plugin DIRECTORY`.
//!
//! It logs every event to DIRECTORY/events.jsonl, lets no watcher start while there is a file
//! DIRECTORY/WATCHER.hold, and stops a watcher that flaps. Whether circusd or the plugin is restarted
//! or killed, no event is lost and none is logged twice: each line has its cursor in it, and the
//! last one says where to go on. It takes no care of its own end, as none is needed.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use circusd::api::types::{Event, ReasonCause};
use circusd::api::{Method, params, reply};
use circusd::client::{Client, ClientError, Item, default_socket};
use serde_json::{Value, json};

/// The first pause before connecting again; each is twice the one before it.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a connection, or the plugin itself, has come to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// circusd is gone, or has refused: that may be otherwise the next time.
    #[error(transparent)]
    Connection(#[from] ClientError),
    /// The log is why we are here.
    #[error(transparent)]
    Log(#[from] io::Error),
}

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        tell("usage: plugin DIRECTORY");
        return ExitCode::from(2);
    };
    let log = Log::open(&directory.join("events.jsonl"));
    thread::spawn(move || for_ever(|pause| answer_hooks(&directory, pause)));
    let error = match log {
        Ok(mut log) => for_ever(|pause| log_events(&mut log, pause)),
        Err(error) => error,
    };
    tell(&format!("the log cannot be used: {error}"));
    ExitCode::FAILURE
}

#[expect(
    clippy::print_stderr,
    reason = "the log of a plugin is its standard error"
)]
fn tell(text: &str) {
    eprintln!("plugin: {text}");
}

/// Does with one connection after the other what `connected` does with one, until there is no log.
/// When that has heard something, it makes the pause before the next connection short again.
fn for_ever(mut connected: impl FnMut(&mut Duration) -> Result<(), Ended>) -> io::Error {
    let mut pause = PAUSE_MIN;
    loop {
        match connected(&mut pause) {
            Err(Ended::Log(error)) => return error,
            // Once is enough.
            Err(Ended::Connection(error)) if pause == PAUSE_MIN => {
                tell(&format!("{error}; trying again"));
            }
            Err(Ended::Connection(_)) | Ok(()) => {}
        }
        thread::sleep(pause);
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// Logs what comes over one connection.
fn log_events(log: &mut Log, pause: &mut Duration) -> Result<(), Ended> {
    let mut subscribe = params::Subscribe::default();
    subscribe.since.clone_from(&log.cursor);
    let mut events = Client::connect(default_socket())?.subscribe(subscribe)?;
    *pause = PAUSE_MIN;
    if log.cursor.is_none() {
        // Where we begin is news only if we did not say it.
        log.add(events.cursor(), json!({}))?;
    }
    while let Some(item) = events.next() {
        let line = match item? {
            Item::Gap(gap) => json!({ "gap": gap }),
            Item::Event(event) => {
                // Killed before the line is written, we do this again, which changes nothing then.
                stop_if_flapping(&event)?;
                json!({ "event": event })
            }
        };
        log.add(events.cursor(), line)?;
    }
    Ok(())
}

/// Stops a watcher that flaps until somebody starts it.
fn stop_if_flapping(event: &Event) -> Result<(), ClientError> {
    let Some(watcher) = event.watcher.as_ref() else {
        return Ok(());
    };
    if event.action != "flapping" {
        return Ok(());
    }
    match stop_if_it_still_does(watcher) {
        // It is gone by now, or we may not; it would be so the next time.
        Err(ClientError::Refused(error)) => {
            tell(&format!("{watcher} is not stopped: {error}"));
            Ok(())
        }
        stopped => stopped,
    }
}

/// The same of what is so now: an event of the past may be true no more.
fn stop_if_it_still_does(watcher: &str) -> Result<(), ClientError> {
    let mut client = Client::connect(default_socket())?;
    let mut which = params::Watchers::default();
    which.watchers = Some(watcher.to_owned());
    let status: reply::Status = client.call(&Method::Status(which))?;
    let reason = status.watchers.into_iter().find_map(|now| now.reason);
    if let Some(reason) = reason.filter(|now| now.cause == ReasonCause::Flapping) {
        tell(&format!("stopping {watcher}: {}", reason.text));
        let mut stop = params::Verb::default();
        stop.watchers = Some(watcher.to_owned());
        stop.wait = Some(false);
        client.call::<Value>(&Method::Stop(stop))?;
    }
    Ok(())
}

/// Answers what is asked over one connection.
fn answer_hooks(directory: &Path, pause: &mut Duration) -> Result<(), Ended> {
    let mut register = params::RegisterHook::default();
    register.hooks = vec!["before_start".to_owned()];
    let register = Method::RegisterHook(register);
    for question in
        Client::connect(default_socket())?.call_more::<reply::RegisterHook>(&register)?
    {
        *pause = PAUSE_MIN;
        answer(directory, question?)?;
    }
    Ok(())
}

/// Answers one question, over a connection of its own: the other one is busy with asking.
fn answer(directory: &Path, question: reply::RegisterHook) -> Result<(), ClientError> {
    // The first reply only confirms that we will be asked.
    let (Some(invocation), Some(watcher)) = (question.invocation, question.watcher) else {
        return Ok(());
    };
    let hold = directory.join(watcher + ".hold");
    let mut answer = params::HookResult::default();
    answer.invocation = invocation;
    answer.result = !hold.exists();
    match Client::connect(default_socket())?.call::<Value>(&Method::HookResult(answer)) {
        // As the watcher was stopped meanwhile.
        Err(ClientError::Refused(error)) => tell(&format!("too late: {error}")),
        answered => drop(answered?),
    }
    Ok(())
}

/// One reply of `Subscribe` a line.
struct Log {
    file: File,
    /// The place in circusd's log behind what the last line tells.
    cursor: Option<String>,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let (mut end, mut cursor) = (0, None);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            end += line.len() as u64;
            let logged: Value = serde_json::from_slice(&line)?;
            cursor = logged["cursor"].as_str().map(str::to_owned);
            line.clear();
        }
        // Half a line: we were killed while we wrote, and hear it again.
        file.set_len(end)?;
        Ok(Self { file, cursor })
    }

    /// Writes `line`, in one piece, with `cursor` before it.
    fn add(&mut self, cursor: &str, line: Value) -> io::Result<()> {
        let mut whole = json!({ "cursor": cursor });
        if let (Some(whole), Value::Object(line)) = (whole.as_object_mut(), line) {
            whole.extend(line);
        }
        self.file.write_all(format!("{whole}\n").as_bytes())?;
        self.cursor = Some(cursor.to_owned());
        Ok(())
    }
}
