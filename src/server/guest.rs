//! The loop in somebody else's program: on a thread of its own, told and asked over channels.
//!
//! It is the daemon's loop and has the daemon's words. It deliberately has none of what belongs to a
//! whole process: no signal is caught, no limit or mask is changed, no child is waited for that it
//! has not started, nothing is logged but through `tracing`, and no state outlives it.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::unistd::{Pid, getegid, geteuid};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};

use super::connection::{Answer, Ask, Listening, Shared};
use super::driver::Ended;
use super::events::{Reader, SharedLog};
use super::hooks::Closures;
use super::notify::Manager;
use super::orders::{Orders, Standing};
use super::sockets::Sockets;
use super::start::{
    Assembled, FAREWELL_MAX, Failure, Grounds, StartError, accept, assemble, because, listen,
    socket_text,
};
use super::state;
use super::stats::Samples;
use super::streams::{Offered, Which};
use crate::api::frame::Terminator;
use crate::api::method::Method;
use crate::api::params;
use crate::api::topic::Filter;
use crate::api::types::Object;
use crate::config::Store;
use crate::core::{Announcement, ExitReason, Name};
use crate::sys::socket::{Listening as Listener, Peer};
use crate::sys::{caps, limits};

/// How many batches of events may wait for the program to take them; what comes meanwhile stays in
/// the log, for as long as it has room.
pub(crate) const BATCHES_MAX: usize = 4;

/// What the program wants.
#[derive(Debug)]
pub(crate) enum Message {
    /// A call that is answered once; without an answer the loop has ended.
    Call {
        method: Method,
        answer: oneshot::Sender<Vec<u8>>,
    },
    /// Events from now on, or from a cursor.
    Subscribe {
        params: params::Subscribe,
        first: oneshot::Sender<Vec<u8>>,
        events: mpsc::UnboundedSender<Vec<u8>>,
        /// One permit for each batch that the program has room for.
        room: Arc<Semaphore>,
    },
    /// Something that the program has to say of a watcher.
    Notice {
        watcher: String,
        name: String,
        data: Object,
    },
    /// Our end of what a process writes.
    Output {
        pid: i32,
        which: Which,
        answer: oneshot::Sender<Option<OwnedFd>>,
    },
}

/// How the loop is to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) store: Store,
    pub(crate) closures: Closures,
    /// The group below which we may make groups.
    pub(crate) cgroups: Option<PathBuf>,
    /// Whether clients are answered, on the socket of the configuration.
    pub(crate) listens: bool,
    /// Told when all watchers that start by themselves have settled.
    pub(crate) ready: oneshot::Sender<()>,
    pub(crate) messages: mpsc::UnboundedReceiver<Message>,
    /// SIGINT ends everything in order, a second one at once.
    pub(crate) orders: mpsc::UnboundedReceiver<i32>,
}

/// Runs the loop to its end. It has the thread meanwhile, on which `beside`, that does not block, goes
/// on for as long.
///
/// # Errors
///
/// It could not begin: nothing runs.
pub(crate) fn run(
    plan: Plan,
    beside: impl Future<Output = ()> + 'static,
) -> Result<Ended, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(because("failed to set up the loop"))?;
    let instance = state::new_instance();
    let private = private_directory(&instance);
    let tasks = LocalSet::new();
    // It goes with the others.
    drop(tasks.spawn_local(beside));
    let ended = tasks.block_on(&runtime, serve(plan, instance, &private));
    // It was made if a process had something to say, or was given something, and is empty.
    let _ = std::fs::remove_dir(private);
    ended
}

/// Where notify sockets are. A user's own directory is closed to workers of others, which root may
/// have.
fn private_directory(instance: &str) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    let above = match runtime {
        Some(runtime) if !geteuid().is_root() => runtime.into(),
        Some(_) | None => std::env::temp_dir(),
    };
    above.join(format!("circusd-{instance}"))
}

async fn serve(plan: Plan, instance: String, private: &Path) -> Result<Ended, Failure> {
    let mut sockets = Sockets::new(Vec::new());
    let opened = sockets.open(&plan.store)?;
    sockets.put(opened, plan.store.config());
    // Last of all that can fail here, so that no socket is left behind.
    let api = plan.listens.then(|| listen(&plan.store.config().circusd));
    let (api, file) = match api.transpose()? {
        Some(Listener { listener, file }) => (Some(listener), file),
        None => (None, None),
    };
    let served = look_after(plan, instance, private, sockets, api).await;
    if let Some(Err(error)) = file.map(|file| file.remove()) {
        tracing::warn!("failed to remove the socket: {error}");
    }
    served
}

async fn look_after(
    plan: Plan,
    instance: String,
    private: &Path,
    sockets: Sockets,
    api: Option<UnixListener>,
) -> Result<Ended, Failure> {
    let descriptors = limits::descriptors();
    let descriptors = descriptors.map_err(because("failed to read the limit on descriptors"))?;
    let grounds = Grounds {
        standing: Standing::Guest,
        notify: private.join(format!("{instance}.")),
        instance,
        previous: None,
        credentials: private.join("credentials."),
        directory: private.to_owned(),
        base: plan.cgroups,
        socket: api
            .is_some()
            .then(|| socket_text(&plan.store.config().circusd.socket)),
        manager: Manager::host(plan.ready),
        closures: plan.closures,
        held: caps::held().unwrap_or_default(),
    };
    let (asks, asked) = mpsc::unbounded_channel();
    let assembled = assemble(
        plan.store,
        grounds,
        (None, Vec::new()),
        sockets,
        asks,
        descriptors,
        (None, None),
    );
    let Assembled { mut driver, .. } = assembled?;
    let mut orders = Orders::Host(plan.orders);
    let starts = driver.may_start(&mut orders).await;
    if !starts.map_err(because("cannot start"))? {
        return Ok(Ended::new(ExitReason::Asked, 0));
    }
    driver.boot(None)?;
    driver.keep_vigil(driver.store.trace());
    let shared = driver.shared.clone();
    let offered = Rc::clone(&driver.workers.streams.offered);
    let desk = tokio::task::spawn_local(Desk::new(shared.clone(), offered).serve(plan.messages));
    let accepting = match api {
        Some(api) => Some(tokio::task::spawn_local(accept(
            api_of(api)?,
            shared.clone(),
        ))),
        None => None,
    };
    let ended = driver.run(orders, asked).await;
    if let Some(accepting) = accepting {
        accepting.abort();
    }
    let farewell = async {
        shared.farewell().await;
        // A desk that has panicked has nobody left to answer.
        let _ = desk.await;
    };
    // Who does not read is not waited for any longer; all others have their answers by then.
    let _ = tokio::time::timeout(FAREWELL_MAX, farewell).await;
    Ok(ended)
}

fn api_of(listener: UnixListener) -> Result<tokio::net::UnixListener, StartError> {
    let prepared = listener.set_nonblocking(true);
    let prepared = prepared.and_then(|()| tokio::net::UnixListener::from_std(listener));
    prepared.map_err(because("failed to listen"))
}

/// Where the program's calls come in: one client more, who needs no socket.
struct Desk {
    shared: Shared,
    offered: Rc<Offered>,
    host: Rc<Peer>,
    samples: Rc<RefCell<Samples>>,
    tasks: JoinSet<()>,
}

impl Desk {
    fn new(shared: Shared, offered: Rc<Offered>) -> Desk {
        let host = Peer {
            pid: Some(Pid::this()),
            uid: geteuid(),
            gid: getegid(),
            groups: Vec::new(),
        };
        Desk {
            shared,
            offered,
            host: Rc::new(host),
            samples: Rc::default(),
            tasks: JoinSet::new(),
        }
    }

    /// Until the loop has ended, and all that was asked before is answered.
    async fn serve(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        let log = Rc::clone(&self.shared.log);
        loop {
            tokio::select! {
                biased;
                () = log.ended() => break,
                Some(_) = self.tasks.join_next() => {}
                Some(message) = messages.recv() => self.take(message),
                // The program wants nothing any more.
                else => log.ended().await,
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Call { method, answer } => {
                let answered = self.ask(method);
                self.tasks.spawn_local(async move {
                    if let Ok(Answer::Last(message) | Answer::Sample(message, _)) = answered.await {
                        // Whoever does not wait any more needs no answer.
                        let _ = answer.send(message);
                    }
                });
            }
            Message::Subscribe {
                params,
                first,
                events,
                room,
            } => {
                let answered = self.ask(Method::Subscribe(params));
                let log = Rc::clone(&self.shared.log);
                self.tasks.spawn_local(async move {
                    match answered.await {
                        Ok(Answer::Subscribed(message, filter, after)) => {
                            let (begins, gap) = split_first(message);
                            if first.send(begins).is_ok() && events.send(gap).is_ok() {
                                follow(&log, &filter, Reader::behind(after), &events, &room).await;
                            }
                        }
                        Ok(Answer::Last(refusal)) => {
                            // Whoever does not wait any more needs no answer.
                            let _ = first.send(refusal);
                        }
                        Ok(Answer::Sample(..) | Answer::Registered(..)) | Err(_) => {}
                    }
                });
            }
            Message::Notice {
                watcher,
                name,
                data,
            } => self.shared.own.tell(Announcement::Notice {
                watcher: Name::from(watcher.as_str()),
                name,
                data: serde_json::Value::Object(data).to_string(),
            }),
            Message::Output { pid, which, answer } => {
                // An end that nobody takes is closed.
                let _ = answer.send(self.offered.take(pid, which));
            }
        }
    }

    fn ask(&self, method: Method) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            peer: Rc::clone(&self.host),
            from_host: true,
            method,
            terminator: Terminator::default(),
            samples: Rc::clone(&self.samples),
            progress: None,
            answer,
        };
        // If the loop has ended the answer says so, by not coming.
        let _ = self.shared.asks.send(ask);
        answered
    }
}

/// The first message, and what comes right behind it: nothing, or the gap with which a subscription
/// begins.
fn split_first(mut messages: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let end = messages
        .iter()
        .position(|byte| *byte == Terminator::default().byte());
    let rest = messages.split_off(end.map_or(messages.len(), |end| end + 1));
    (messages, rest)
}

/// Hands on events until the program wants no more, or the last has been handed on. While it has no
/// room, they stay in the log; at the end it is given all that is there.
async fn follow(
    log: &Rc<SharedLog>,
    filter: &Filter,
    mut reader: Reader,
    events: &mpsc::UnboundedSender<Vec<u8>>,
    room: &Semaphore,
) {
    let _listening = Listening::new(log);
    loop {
        tokio::select! {
            biased;
            () = events.closed() => return,
            permit = room.acquire() => match permit {
                // The program gives it back when it has taken the batch.
                Ok(permit) => permit.forget(),
                Err(_) => return,
            },
            () = log.ended() => {}
        }
        let mut batch = Vec::new();
        loop {
            reader = log.with(|log| log.collect(reader, filter, Terminator::default(), &mut batch));
            if !batch.is_empty() {
                break;
            }
            tokio::select! {
                // News first: the last events come before the end.
                biased;
                () = log.news() => {}
                () = events.closed() => return,
                () = log.ended() => return,
            }
        }
        if events.send(batch).is_err() {
            return;
        }
    }
}
