//! What each method of `io.circusd` does: what can be said at once is said, the rest becomes a
//! request to core.

use std::time::Duration;

use serde::Serialize;

use super::connection::{Answer, Ask, since};
use super::driver::{Driver, Waiting};
use super::hooks::Wanted;
use super::orders::Standing;
use super::stats::Depth;
use super::{access, convert, explain, journal};
use crate::api::frame::{Reply, encode};
use crate::api::method::Method;
use crate::api::select::Selector;
use crate::api::topic::Filter;
use crate::api::{Error, params, reply, types};
use crate::core::{Command, Input, Name, Recipients, Request, RequestId, Scale, Who};

/// The shortest pause between two samples of one `Stats` call.
const SAMPLE_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest grace of a `Kill`, that of `graceful_timeout`.
const GRACE_MAX: Duration = Duration::from_secs(86_400);

/// What becomes of a call.
pub(super) enum Outcome {
    /// This is the answer.
    Now(Answer),
    /// Core is asked.
    Ask {
        command: Command,
        wait: bool,
        /// What is said if it is granted, if not what core says.
        instead: Option<Vec<u8>>,
    },
    /// The answer comes when it is known whether another program can go on.
    Reexec,
    /// Hooks are asked about these processes, and then this is the answer, again after the pause if
    /// there is one.
    Extend {
        processes: Vec<types::ProcessStats>,
        wanted: Vec<Wanted>,
        pause: Option<Duration>,
    },
}

impl Driver {
    /// Carries out a call.
    pub(super) fn call(&mut self, ask: Ask) {
        self.requests += 1;
        let role = ask.method.role();
        let may = ask.from_host || access::allows(&self.store.config().access, &ask.peer, role);
        if !may {
            journal::denied(Some(ask.method.name()), &ask.peer, "[access] says no");
            let answer = encode(&Error::PermissionDenied {}, ask.terminator);
            // Whoever is gone needs no answer.
            let _ = ask.answer.send(Answer::Last(answer));
            return;
        }
        let Some(ask) = self.keep_quit(ask) else {
            return;
        };
        match self.outcome(&ask) {
            Err(error) => {
                let _ = ask
                    .answer
                    .send(Answer::Last(encode(&error, ask.terminator)));
            }
            Ok(Outcome::Now(answer)) => {
                let _ = ask.answer.send(answer);
            }
            Ok(Outcome::Ask {
                command,
                wait,
                instead,
            }) => {
                self.request(ask, command, wait, instead);
            }
            Ok(Outcome::Reexec) => self.ask_to_reexec(Some((ask.terminator, ask.answer))),
            Ok(Outcome::Extend {
                processes,
                wanted,
                pause,
            }) => self.answer_extended(ask, processes, wanted, pause),
        }
        // Not all that changes the configuration is told to core, or not before it is answered.
        // Who asked shares our thread, and hears of it when it is written down.
        if self.written.store_changed {
            self.write_down();
        }
    }

    fn outcome(&mut self, ask: &Ask) -> Result<Outcome, Error> {
        match &ask.method {
            Method::List(params) => {
                let watchers = self.names(params.watchers.as_deref())?;
                let watchers = watchers.iter().map(Name::to_string).collect();
                self.say(ask, reply::Names { watchers })
            }
            Method::Status(params) => {
                let names = self.names(params.watchers.as_deref())?;
                let watchers = self.statuses(&names);
                self.say(ask, reply::Status { watchers })
            }
            Method::Explain(params) => self.explain(ask, params),
            Method::Stats(params) => self.stats(ask, params),
            Method::DaemonStats(_) => {
                let stats = self.daemon_stats();
                self.say(ask, reply::DaemonStats { stats })
            }
            Method::Get(params) => self.get(ask, params),
            Method::GetSettings(params) => self.get_settings(ask, params),
            Method::Start(params) => self.verb(params, Command::Start),
            Method::Stop(params) => self.verb(params, Command::Stop),
            Method::Restart(params) => self.verb(params, Command::Restart),
            Method::Reload(params) => self.reload(params),
            Method::Scale(params) => scale(params),
            Method::Signal(params) => self.signal(params),
            Method::Kill(params) => self.kill(params),
            Method::Freeze(params) => self.freeze(ask, params, true),
            Method::Thaw(params) => self.freeze(ask, params, false),
            Method::Add(params) => self.add(params),
            Method::Remove(params) => self.remove(params),
            Method::Set(params) => self.set(ask, params),
            Method::GetConfigChanges(_) => {
                let changes = self.config_changes()?;
                self.say(ask, reply::ConfigChanges { changes })
            }
            Method::ReloadConfig(_) => self.reload_config(ask),
            Method::Subscribe(params) => self.subscribe(ask, params),
            Method::RegisterHook(params) => self.register_hook(ask, params),
            Method::HookResult(params) => self.hook_result(ask, params),
            Method::Quit(params) => {
                let wait = params.wait.unwrap_or(true);
                Ok(Outcome::Ask {
                    command: Command::Quit,
                    wait,
                    instead: None,
                })
            }
            Method::ListSockets(_) => {
                let sockets = self.sockets.list(self.store.config());
                self.say(ask, reply::ListSockets { sockets })
            }
            Method::Reexec(_) if self.standing == Standing::Guest => {
                Err(not_available(&ask.method))
            }
            Method::Reexec(_) => Ok(Outcome::Reexec),
        }
    }

    /// Gives a request to core. The rest of what has happened comes first, so that nobody is told
    /// of a state that was over before he asked.
    fn request(&mut self, ask: Ask, command: Command, wait: bool, instead: Option<Vec<u8>>) {
        let id = RequestId(self.requests);
        let scales = match &command {
            Command::Scale { watcher, .. } => self
                .core
                .watcher(watcher)
                .map(|watcher| watcher.spec().numprocesses.into()),
            _ => None,
        };
        let scaled = match &command {
            Command::Scale { watcher, .. } => Some(watcher.clone()),
            _ => None,
        };
        let progress = ask.progress.is_some();
        let waiting = Waiting {
            terminator: ask.terminator,
            progress: ask.progress,
            answer: ask.answer,
            instead,
            scales,
        };
        self.waiting.insert(id, waiting);
        let request = Request {
            id,
            wait,
            progress,
            command,
        };
        self.inputs.push(Input::Request(request));
        self.pursue();
        if let Some(name) = scaled {
            self.keep_scale(&name);
        }
    }

    /// Says something at once.
    pub(super) fn say(&self, ask: &Ask, reply: impl Serialize) -> Result<Outcome, Error> {
        let message = encode(&Reply::last(reply), ask.terminator);
        Ok(Outcome::Now(Answer::Last(message)))
    }

    /// The watchers selected, in the order of their start.
    pub(super) fn names(&self, watchers: Option<&str>) -> Result<Vec<Name>, Error> {
        let selector = Selector::parameter(watchers)?;
        if let Selector::Name(name) = &selector {
            let name = Name::from(name.as_str());
            return match self.core.watcher(&name) {
                Some(_) => Ok(vec![name]),
                None => Err(Error::NoSuchWatcher {
                    watcher: name.to_string(),
                }),
            };
        }
        let all = self.core.watchers_in_order();
        Ok(all
            .filter(|watcher| selector.matches(watcher.spec().name.as_str()))
            .map(|watcher| watcher.spec().name.clone())
            .collect())
    }

    pub(super) fn statuses(&self, names: &[Name]) -> Vec<types::Watcher> {
        let watchers = names.iter().filter_map(|name| self.core.watcher(name));
        let seen = |worker| self.workers.seen(worker);
        watchers
            .map(|watcher| convert::watcher(watcher, &self.clock, seen))
            .collect()
    }

    fn explain(&self, ask: &Ask, params: &params::Explain) -> Result<Outcome, Error> {
        let missing = || Error::NoSuchWatcher {
            watcher: params.watcher.clone(),
        };
        let name = Name::from(params.watcher.as_str());
        let told = self.core.watcher(&name).ok_or_else(missing)?;
        let exits = told
            .exits()
            .map(|exit| convert::exit(exit, &self.clock))
            .collect();
        let lacking = self.workers.homes.resources.lacking(&params.watcher);
        let streams = self.workers.streams.story(name.as_str());
        let seen = |worker| self.workers.seen(worker);
        let text = explain::story(told, lacking, &streams, self.clock.now(), seen);
        let watcher = self.statuses(&[name]).pop().ok_or_else(missing)?;
        let reply = reply::Explain {
            watcher,
            exits,
            text,
        };
        self.say(ask, reply)
    }

    fn verb(
        &self,
        params: &params::Verb,
        command: impl Fn(Vec<Name>) -> Command,
    ) -> Result<Outcome, Error> {
        let names = self.names(params.watchers.as_deref())?;
        let wait = params.wait.unwrap_or(true);
        Ok(Outcome::Ask {
            command: command(names),
            wait,
            instead: None,
        })
    }

    fn reload(&self, params: &params::Reload) -> Result<Outcome, Error> {
        let watchers = self.names(params.watchers.as_deref())?;
        let command = match params.graceful {
            Some(false) => Command::Restart(watchers),
            _ => Command::Reload {
                watchers,
                sequential: params.sequential.unwrap_or(false),
            },
        };
        Ok(Outcome::Ask {
            command,
            wait: params.wait.unwrap_or(true),
            instead: None,
        })
    }

    fn signal(&self, params: &params::Signal) -> Result<Outcome, Error> {
        let command = Command::Signal {
            watcher: Name::from(params.watcher.as_str()),
            who: who(params.wid, params.pid)?,
            signal: signal_number(&params.signal)?,
            recipients: match (params.recipients, params.child) {
                (None | Some(types::Recipients::Process), None) => Recipients::Process,
                (Some(types::Recipients::Children), None) => Recipients::Children,
                (Some(types::Recipients::All), None) => Recipients::Tree,
                (None, Some(child)) => self.child(params, child)?,
                (Some(_), Some(_)) => return Err(Error::invalid_parameter("recipients")),
            },
        };
        Ok(Outcome::Ask {
            command,
            wait: true,
            instead: None,
        })
    }

    /// The child that is meant. That it is one is found out before any hook is asked, and once more
    /// when the signal is sent.
    fn child(&self, params: &params::Signal, child: u32) -> Result<Recipients, Error> {
        let who = who(params.wid, params.pid)?;
        if who == Who::All {
            return Err(Error::invalid_parameter("child"));
        }
        // 0 is nobody's, and so is one that is too large.
        let pid = i32::try_from(child).unwrap_or(0);
        let watcher = self.core.watcher(&Name::from(params.watcher.as_str()));
        match watcher.map(|watcher| watcher.who(who)) {
            Some(Ok(above)) if !above.iter().any(|id| self.workers.is_below(*id, pid)) => {
                Err(Error::NoSuchChild {
                    watcher: params.watcher.clone(),
                    wid: params.wid,
                    pid: params.pid,
                    child,
                })
            }
            // That there is no such watcher or process is core's to say.
            Some(_) | None => Ok(Recipients::Child(pid)),
        }
    }

    fn kill(&self, params: &params::Kill) -> Result<Outcome, Error> {
        let grace = params.graceful_timeout_usec.map(Duration::from_micros);
        if grace.is_some_and(|grace| grace > GRACE_MAX) {
            return Err(Error::invalid_parameter("graceful_timeout_usec"));
        }
        let command = Command::Kill {
            watcher: Name::from(params.watcher.as_str()),
            who: who(params.wid, params.pid)?,
            signal: params.signal.as_deref().map(signal_number).transpose()?,
            grace,
        };
        Ok(Outcome::Ask {
            command,
            wait: true,
            instead: None,
        })
    }

    fn freeze(&self, ask: &Ask, params: &params::Watchers, frozen: bool) -> Result<Outcome, Error> {
        if !self.workers.homes.has_cgroups() {
            return Err(not_available(&ask.method));
        }
        let names = self.names(params.watchers.as_deref())?;
        let watchers = names.iter().map(Name::to_string).collect();
        let instead = Some(encode(
            &Reply::last(reply::Names { watchers }),
            ask.terminator,
        ));
        let command = if frozen {
            Command::Freeze(names)
        } else {
            Command::Thaw(names)
        };
        Ok(Outcome::Ask {
            command,
            wait: true,
            instead,
        })
    }

    fn subscribe(&mut self, ask: &Ask, params: &params::Subscribe) -> Result<Outcome, Error> {
        let filter = Filter::parameter(params.topics.as_deref())?;
        let since = since(params)?;
        // A state of now before events of the past would tell everything twice.
        if since.is_some() && params.snapshot == Some(true) {
            return Err(Error::invalid_parameter("snapshot"));
        }
        let start = self.log.with(|log| log.start(since.as_ref()));
        let watchers = match params.snapshot {
            Some(true) => Some(self.statuses(&self.names(None)?)),
            _ => None,
        };
        let cursor = self.log.with(|log| log.cursor(start.after));
        let first = reply::Subscribe {
            cursor,
            watchers,
            event: None,
            gap: None,
        };
        let mut message = encode(&Reply::continued(first), ask.terminator);
        if let Some(first) = start.missed {
            message.extend(
                self.log
                    .with(|log| log.gap(first, start.after, ask.terminator)),
            );
        }
        Ok(Outcome::Now(Answer::Subscribed(
            message,
            filter,
            start.after,
        )))
    }

    fn stats(&mut self, ask: &Ask, params: &params::Stats) -> Result<Outcome, Error> {
        let pause = match params.interval_usec.map(Duration::from_micros) {
            Some(pause) if pause < SAMPLE_PAUSE_MIN => {
                return Err(Error::invalid_parameter("interval_usec"));
            }
            pause => pause,
        };
        let names = self.names(params.watchers.as_deref())?;
        let pause = pause.filter(|_| ask.progress.is_some());
        let depth = match params.descendants {
            Some(true) => Depth::Descendants,
            Some(false) | None => Depth::Workers,
        };
        let processes = self.samples(&names, depth, &mut ask.samples.borrow_mut());
        let wanted = match params.extended {
            Some(true) => self.extended_stats(&processes),
            Some(false) | None => Vec::new(),
        };
        if !wanted.is_empty() {
            return Ok(Outcome::Extend {
                processes,
                wanted,
                pause,
            });
        }
        let reply = reply::Stats { processes };
        match pause {
            Some(pause) => {
                let message = encode(&Reply::continued(reply), ask.terminator);
                Ok(Outcome::Now(Answer::Sample(message, pause)))
            }
            None => self.say(ask, reply),
        }
    }
}

/// This daemon cannot do that here.
fn not_available(method: &Method) -> Error {
    Error::MethodNotImplemented {
        method: method.name().to_owned(),
    }
}

fn scale(params: &params::Scale) -> Result<Outcome, Error> {
    let to = match (params.numprocesses, params.delta) {
        (Some(number), None) => {
            let number = u32::try_from(number);
            Scale::To(number.map_err(|_| Error::invalid_parameter("numprocesses"))?)
        }
        (None, Some(delta)) => Scale::By(delta),
        _ => return Err(Error::invalid_parameter("numprocesses")),
    };
    let command = Command::Scale {
        watcher: Name::from(params.watcher.as_str()),
        to,
    };
    Ok(Outcome::Ask {
        command,
        wait: params.wait.unwrap_or(true),
        instead: None,
    })
}

fn who(wid: Option<u64>, pid: Option<u32>) -> Result<Who, Error> {
    match (wid, pid) {
        (None, None) => Ok(Who::All),
        (Some(wid), None) => u32::try_from(wid)
            .map(Who::Wid)
            .map_err(|_| Error::invalid_parameter("wid")),
        (None, Some(pid)) => i32::try_from(pid)
            .map(Who::Pid)
            .map_err(|_| Error::invalid_parameter("pid")),
        (Some(_), Some(_)) => Err(Error::invalid_parameter("pid")),
    }
}

fn signal_number(text: &str) -> Result<i32, Error> {
    let signal = crate::config::Signal::parse(text);
    signal
        .map(crate::config::Signal::number)
        .ok_or_else(|| Error::invalid_parameter("signal"))
}
