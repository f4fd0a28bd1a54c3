//! A plugin's life, from its beginning to its end.
//!
//! What comes from circusd is handed in by tasks; here it is given to the plugin, one after the
//! other, so that a plugin need not know that anything happens at the same time.

use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::api::types::{Event, Gap};
use crate::api::{Method, params, reply};
use crate::client::ClientError;

use super::events::{Events, Rest};
use super::handle::Handle;
use super::hooks::Registration;
use super::life::{Answer, Asked, BoxError, Outcome, Plugin};

/// What has been received and not yet been given to the plugin. Few: circusd has room for more, and
/// tells of what it could not keep.
const INPUTS_MAX: usize = 16;

/// How long what is going on may go on when the plugin is told to end.
const TURN_MAX: Duration = Duration::from_secs(5);

/// How long `pre_stop` and `stop` may take, each. With twice [`TURN_MAX`], as what is left to be heard
/// has its time, too, that is less than the usual grace, 30 s.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Why a plugin has ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// circusd cannot be reached at the beginning, or has refused what the plugin cannot do without.
    #[error("circusd does not let it {what}: {source}")]
    Circusd {
        /// `hear events` or `answer hooks`.
        what: &'static str,
        /// Its answer.
        source: ClientError,
    },
    /// A turn of its life has failed.
    #[error("{turn} has failed: {source}")]
    Turn {
        /// `init`, `event`, ….
        turn: &'static str,
        /// Why.
        source: BoxError,
    },
}

/// What is to be given to the plugin.
#[derive(Debug)]
pub(super) enum Input {
    Heard { cursor: String, what: Heard },
    Asked { invocation: u64, asked: Asked },
    Failed(ClientError),
}

/// What circusd has told about.
#[derive(Debug)]
pub(super) enum Heard {
    Event(Event),
    Gap(Gap),
    /// Nothing that is to be heard has happened up to here.
    Nothing,
}

/// Lets a plugin live, with the circusd that answers at `socket`, until `end` is there or something
/// fails.
///
/// It must run on a thread of its own, or in a [`LocalSet`]: a plugin need not be `Send`. While
/// circusd is away it waits for it, and goes on behind the last event.
///
/// # Errors
///
/// [`PluginError`]: circusd is not there at the beginning, or refuses; or a turn has failed.
pub async fn run<P: Plugin>(
    plugin: P,
    socket: &Path,
    end: impl Future<Output = ()>,
) -> Result<(), PluginError> {
    let local = LocalSet::new();
    local.run_until(live(plugin, socket, end)).await
}

async fn live<P: Plugin>(
    mut plugin: P,
    socket: &Path,
    end: impl Future<Output = ()>,
) -> Result<(), PluginError> {
    let handle = Handle::new(plugin.name(), socket);
    let mut end = pin!(end);
    let mut life = Life {
        tasks: JoinSet::new(),
        servers: JoinSet::new(),
        cursor: String::new(),
        has_begun: false,
        handle,
    };
    let lived = life.start(&mut plugin, end.as_mut()).await;
    let lived = match lived {
        Ok(Some(inputs)) => {
            let lived = life.go_on(&mut plugin, inputs, end.as_mut()).await;
            if lived.is_ok() {
                life.hear_the_rest(&mut plugin).await;
            }
            lived
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if life.has_begun {
        life.finish("pre_stop", plugin.pre_stop(&life.handle)).await;
    }
    // Those who hand in have nobody to hand in to any more.
    life.servers.shutdown().await;
    life.tasks.shutdown().await;
    life.finish("stop", plugin.stop()).await;
    lived
}

struct Life {
    /// Those who receive.
    tasks: JoinSet<()>,
    servers: JoinSet<Outcome>,
    /// Behind the last event that the plugin was given.
    cursor: String,
    /// `post_start` was reached, whatever came of it.
    has_begun: bool,
    handle: Handle,
}

impl Life {
    /// None where it was told to end meanwhile.
    async fn start<P: Plugin>(
        &mut self,
        plugin: &mut P,
        mut end: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<mpsc::Receiver<Input>>, PluginError> {
        let handle = self.handle.clone();
        let turns = async {
            plugin.init().await.map_err(of("init"))?;
            let socket = handle.socket();
            plugin.pre_start(&handle).await.map_err(of("pre_start"))?;
            let (sender, inputs) = mpsc::channel(INPUTS_MAX);
            let events = Events::subscribe(socket.to_owned(), plugin.topics(), plugin.since());
            let events = events.await.map_err(by("hear events"))?;
            events.cursor().clone_into(&mut self.cursor);
            for offer in plugin.hooks() {
                let open = Registration::open(socket.to_owned(), offer).await;
                let registration = open.map_err(by("answer hooks"))?;
                self.tasks.spawn_local(registration.follow(sender.clone()));
            }
            self.tasks.spawn_local(events.follow(sender));
            self.has_begun = true;
            plugin.post_start(&handle).await.map_err(of("post_start"))?;
            for server in plugin.servers(&handle) {
                self.servers.spawn_local(server);
            }
            tell_ready().map_err(|error| of("telling READY=1")(error.into()))?;
            Ok(inputs)
        };
        tokio::select! {
            started = turns => started.map(Some),
            () = end.as_mut() => Ok(None),
        }
    }

    async fn go_on<P: Plugin>(
        &mut self,
        plugin: &mut P,
        mut inputs: mpsc::Receiver<Input>,
        mut end: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), PluginError> {
        let interval = plugin.interval().filter(|interval| !interval.is_zero());
        let period = interval.unwrap_or(Duration::from_secs(3600));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = tokio::select! {
                biased;
                () = end.as_mut() => return Ok(()),
                Some(ended) = self.servers.join_next() => Turn::Server(ended.unwrap_or_else(|lost| {
                    Err(lost.into())
                })),
                _ = ticks.tick(), if interval.is_some() => Turn::Tick,
                Some(input) = inputs.recv() => Turn::Input(input),
            };
            if let Turn::Input(Input::Heard { cursor, .. }) = &turn {
                cursor.clone_into(&mut self.cursor);
            }
            let (is_tick, start) = (matches!(turn, Turn::Tick), Instant::now());
            let handle = self.handle.clone();
            let mut doing = pin!(give(plugin, turn, &handle));
            let done = tokio::select! {
                done = doing.as_mut() => done,
                () = end.as_mut() => {
                    return match timeout(TURN_MAX, doing).await {
                        Ok(done) => done,
                        Err(_) => {
                            handle.log("what was going on has taken too long, and is left undone");
                            Ok(())
                        }
                    };
                }
            };
            done?;
            if is_tick && start.elapsed() >= period {
                // Else the next one were due already, and nothing would ever be heard.
                ticks.reset();
            }
        }
    }

    /// Gives the plugin what had happened when it was told to end: the watchers stop before it does,
    /// and that is to be heard of.
    async fn hear_the_rest<P: Plugin>(&mut self, plugin: &mut P) {
        self.tasks.shutdown().await;
        let hear = async {
            let topics = plugin.topics();
            let rest = Rest::since(self.handle.socket(), topics.as_deref(), &self.cursor);
            let mut rest = rest.await.map_err(by("hear what is left"))?;
            while let Some(input) = rest.next().await {
                give(plugin, Turn::Input(input), &self.handle).await?;
            }
            Ok::<_, PluginError>(())
        };
        match timeout(TURN_MAX, hear).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.handle.log(&error.to_string()),
            Err(_) => self
                .handle
                .log("not everything could be heard before the end"),
        }
    }

    /// A turn at the end, which changes nothing if it fails.
    async fn finish(&self, turn: &'static str, doing: impl Future<Output = Outcome>) {
        match timeout(STOP_MAX, doing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.handle.log(&format!("{turn} has failed: {error}")),
            Err(_) => self.handle.log(&format!("{turn} has taken too long")),
        }
    }
}

/// Says READY=1 as sd_notify(3) has it, where somebody wants to know: circusd, which then starts the
/// watchers that this plugin is to hear of.
fn tell_ready() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(b"READY=1", &address)
        .map(drop)
}

/// What happens next.
enum Turn {
    Input(Input),
    Tick,
    Server(Outcome),
}

async fn give<P: Plugin>(plugin: &mut P, turn: Turn, handle: &Handle) -> Result<(), PluginError> {
    match turn {
        Turn::Tick => plugin.tick(handle).await.map_err(of("tick")),
        Turn::Server(ended) => ended.map_err(of("a server")),
        Turn::Input(Input::Heard { cursor, what }) => match what {
            Heard::Event(event) => plugin.event(event, handle).await.map_err(of("event")),
            Heard::Gap(gap) => plugin.gap(gap, &cursor, handle).await.map_err(of("gap")),
            Heard::Nothing => Ok(()),
        },
        Turn::Input(Input::Failed(error)) => Err(by("go on")(error)),
        Turn::Input(Input::Asked { invocation, asked }) => {
            let result = result(invocation, plugin.hook(asked, handle).await);
            let answered = handle.call(&Method::HookResult(result)).await;
            if let Err(error) = answered.map(|_: reply::Empty| ()) {
                // It was too late, or circusd has gone: then nobody waits for the answer any more.
                handle.log(&format!("the answer to a hook did not arrive: {error}"));
            }
            Ok(())
        }
    }
}

fn result(invocation: u64, answer: Outcome<Answer>) -> params::HookResult {
    let (result, error, data) = match answer {
        Ok(Answer::Yes) => (true, None, None),
        Ok(Answer::No) => (false, None, None),
        Ok(Answer::Data(data)) => (true, None, Some(data)),
        Err(error) => (false, Some(error.to_string()), None),
    };
    params::HookResult {
        invocation,
        result,
        error,
        data,
    }
}

fn of(turn: &'static str) -> impl Fn(BoxError) -> PluginError {
    move |source| PluginError::Turn { turn, source }
}

fn by(what: &'static str) -> impl Fn(ClientError) -> PluginError {
    move |source| PluginError::Circusd { what, source }
}
