//! Clients that answer for hooks: who has registered for what, and what each has been asked.
//!
//! A registration lives as long as the connection that made it; what was asked of it and is not
//! answered by then has failed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Answered, News, Point, Scene};
use crate::api::frame::{Reply, Terminator, encode};
use crate::api::reply;
use crate::api::select::Selector;
use crate::core::HookAnswer;
use crate::sys::socket::Peer;

/// How many invocations may wait for a client that does not read; further ones fail at once.
const UNREAD_MAX: usize = 64;

/// A registration's number.
pub(super) type RegistryId = u64;

/// Everybody who answers, and for what.
#[derive(Debug)]
pub(super) struct Registry {
    clients: BTreeMap<RegistryId, Client>,
    asked: BTreeMap<u64, Asked>,
    last: u64,
    news: mpsc::UnboundedSender<News>,
}

#[derive(Debug)]
struct Client {
    peer: Rc<Peer>,
    /// Of which it answers, for hooks of watchers.
    watchers: Selector,
    points: Vec<Point>,
    time: Time,
    terminator: Terminator,
    invocations: mpsc::Sender<Vec<u8>>,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// What it has asked for itself.
    pub(super) own: Option<Duration>,
    /// What holds where neither it nor the configuration of the hook says anything.
    pub(super) usual: Duration,
}

impl Time {
    /// `configured`: of the hook.
    pub(super) fn limit(self, configured: Option<Duration>) -> Duration {
        self.own.or(configured).unwrap_or(self.usual)
    }
}

#[derive(Debug)]
struct Asked {
    client: RegistryId,
    point: Point,
    answer: oneshot::Sender<Answered>,
}

/// What a client has registered, as its connection has it: while this lives, it is asked.
#[derive(Debug)]
pub(in crate::server) struct Registration {
    id: RegistryId,
    /// Messages for the client.
    pub(in crate::server) invocations: mpsc::Receiver<Vec<u8>>,
    registry: Rc<RefCell<Registry>>,
}

impl Registry {
    pub(super) fn new(news: mpsc::UnboundedSender<News>) -> Registry {
        Registry {
            clients: BTreeMap::new(),
            asked: BTreeMap::new(),
            last: 0,
            news,
        }
    }

    /// Who answers for this hook of this watcher, or of the daemon, and how long each may take, in
    /// the order of their registration.
    pub(super) fn who(&self, watcher: Option<&str>, point: Point) -> Vec<(RegistryId, Time)> {
        let fits = |client: &Client| {
            client.points.contains(&point)
                && watcher.is_none_or(|name| client.watchers.matches(name))
        };
        let clients = self.clients.iter().filter(|(_, client)| fits(client));
        clients.map(|(id, client)| (*id, client.time)).collect()
    }

    /// Whether a process answers for any hook of the daemon.
    pub(super) fn has_daemons(&self, peer: &Peer) -> bool {
        self.clients.values().any(|client| {
            (client.peer.pid, client.peer.uid) == (peer.pid, peer.uid)
                && client.points.iter().any(|point| point.is_daemons())
        })
    }

    /// Notes that a client answers from now on; with its registration, what it is told first.
    pub(super) fn register(
        registry: &Rc<RefCell<Registry>>,
        peer: &Rc<Peer>,
        watchers: Selector,
        points: Vec<Point>,
        time: Time,
        terminator: Terminator,
    ) -> (Registration, Vec<u8>) {
        let (sender, invocations) = mpsc::channel(UNREAD_MAX);
        let id = registry.borrow_mut().next();
        let client = Client {
            peer: Rc::clone(peer),
            watchers,
            points,
            time,
            terminator,
            invocations: sender,
        };
        registry.borrow_mut().clients.insert(id, client);
        let first = reply::RegisterHook {
            registration: id,
            ..Default::default()
        };
        let registration = Registration {
            id,
            invocations,
            registry: Rc::clone(registry),
        };
        (registration, encode(&Reply::continued(first), terminator))
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Asks a client and waits for its answer. Dropping the future takes the question back.
    pub(super) async fn ask(
        registry: &Rc<RefCell<Registry>>,
        id: RegistryId,
        scene: &Scene,
    ) -> Answered {
        const GONE: &str = "the client that answers for it has gone";
        let (invocation, answered) = match registry.borrow_mut().invoke(id, scene) {
            Ok(asked) => asked,
            Err(words) => return HookAnswer::Failed(words.into()).into(),
        };
        let _open = Open {
            registry,
            invocation,
        };
        let answer = answered.await;
        answer.unwrap_or_else(|_| HookAnswer::Failed(GONE.into()).into())
    }

    fn invoke(
        &mut self,
        id: RegistryId,
        scene: &Scene,
    ) -> Result<(u64, oneshot::Receiver<Answered>), &'static str> {
        let invocation = self.next();
        let client = self.clients.get(&id);
        let client = client.ok_or("the client that answers for it has gone")?;
        let message = reply::RegisterHook {
            registration: id,
            invocation: Some(invocation),
            hook: Some(scene.point.as_str().to_owned()),
            watcher: scene.watcher().map(ToString::to_string),
            context: Some(scene.context.clone()),
        };
        let message = encode(&Reply::continued(message), client.terminator);
        let sent = client.invocations.try_send(message);
        sent.map_err(|_| "the client that answers for it does not read what it is asked")?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            client: id,
            point: scene.point,
            answer,
        };
        self.asked.insert(invocation, asked);
        Ok((invocation, answered))
    }

    /// What was asked with that number; nothing if it was not, or is answered.
    pub(super) fn question(&self, invocation: u64) -> Option<Point> {
        self.asked.get(&invocation).map(|asked| asked.point)
    }

    /// Takes an answer; false if there is no such question, or no longer.
    pub(super) fn answer(&mut self, invocation: u64, said: Answered) -> bool {
        let asked = self.asked.remove(&invocation);
        asked.is_some_and(|asked| asked.answer.send(said).is_ok())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = self.registry.borrow_mut();
        registry.clients.remove(&self.id);
        registry.asked.retain(|_, asked| asked.client != self.id);
        // The daemon has ended if nobody hears it.
        let _ = registry.news.send(News::Unregistered);
    }
}

/// A question that waits for its answer.
struct Open<'a> {
    registry: &'a Rc<RefCell<Registry>>,
    invocation: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.registry.borrow_mut().asked.remove(&self.invocation);
    }
}
