//! One client: its messages in, its answers out, one call at a time and in order.
//!
//! Decides nothing. What a call does is the loop's; a connection waits for it without holding
//! anybody up, and a client that does not read its answers stops only its own connection.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::descriptors::Budget;
use super::events::{Reader, SharedLog};
use super::gate::{Gate, Watched};
use super::hooks::{OwnHooks, Registration};
use super::stats::Samples;
use crate::api::frame::{Call, Frames, Reply, Terminator, encode};
use crate::api::method::{Method, Request};
use crate::api::topic::Filter;
use crate::api::{Error, params, service};
use crate::config::Access;
use crate::sys::socket::Peer;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// How much may wait to be taken up for more to be read while a call is carried out. It is read to
/// see the client go; one that has sent so much is believed to be there.
const AHEAD_BYTES_MAX: usize = 16 * 1024;

/// How many progress replies may wait for a client; further ones are left out, as the next tells
/// more.
const PROGRESS_QUEUED_MAX: usize = 16;

/// A call on its way to the loop.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) peer: Rc<Peer>,
    /// It is the program that we are in: nobody may forbid it anything.
    pub(super) from_host: bool,
    pub(super) method: Method,
    pub(super) terminator: Terminator,
    /// The figures that this client was told last.
    pub(super) samples: Rc<RefCell<Samples>>,
    /// Where progress goes; `None` if the client wants none.
    pub(super) progress: Option<mpsc::Sender<Vec<u8>>>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What the loop answers: messages ready to be sent.
#[derive(Debug)]
pub(super) enum Answer {
    /// The one answer, or the last.
    Last(Vec<u8>),
    /// The first reply of a subscription, and the number of the last event that it does not get.
    Subscribed(Vec<u8>, Filter, u64),
    /// A sample, after which the same is to be asked again.
    Sample(Vec<u8>, std::time::Duration),
    /// The first reply to one who answers for hooks from now on, until this is dropped.
    Registered(Vec<u8>, Registration),
}

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) asks: mpsc::UnboundedSender<Ask>,
    pub(super) budget: Budget,
    pub(super) log: Rc<SharedLog>,
    pub(super) connections: Rc<Cell<usize>>,
    /// A connection is over.
    pub(super) closed: Rc<Notify>,
    pub(super) connections_max: Rc<Cell<usize>>,
    pub(super) message_bytes_max: Rc<Cell<usize>>,
    /// What is asked about clients and their calls.
    pub(super) own: Rc<OwnHooks>,
    /// Who may do what, for those of whom others are asked.
    pub(super) access: Rc<RefCell<Access>>,
}

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    peer: Rc<Peer>,
    gate: Gate,
    frames: Frames<Call>,
    samples: Rc<RefCell<Samples>>,
    /// Of calls that want no answer, and may still be under way.
    unanswered: Vec<oneshot::Receiver<Answer>>,
    _counted: Counted,
    shared: Shared,
}

/// Counts a connection for as long as it lives.
#[derive(Debug)]
struct Counted {
    connections: Rc<Cell<usize>>,
    closed: Rc<Notify>,
}

impl Counted {
    fn new(shared: &Shared) -> Counted {
        shared.connections.set(shared.connections.get() + 1);
        Counted {
            connections: Rc::clone(&shared.connections),
            closed: Rc::clone(&shared.closed),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.set(self.connections.get() - 1);
        self.closed.notify_waiters();
    }
}

impl Shared {
    /// Tells all clients that there is nothing more to come, and waits until each has taken what
    /// there is for it, or has gone.
    pub(super) async fn farewell(&self) {
        self.log.end();
        while self.connections.get() > 0 {
            self.closed.notified().await;
        }
    }
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer, shared: Shared) -> Connection {
        let frames = Frames::new(shared.message_bytes_max.get());
        let samples = Rc::default();
        let peer = Rc::new(peer);
        Connection {
            stream,
            gate: Gate::new(&shared, &peer),
            peer,
            frames,
            samples,
            // From now on, not from when it is first served: of those who come at once, none is to
            // slip in beyond the limit.
            _counted: Counted::new(&shared),
            unanswered: Vec::new(),
            shared,
        }
    }

    /// Serves the client until it goes. Dropping the future closes the connection; a call that the
    /// loop has accepted is carried out all the same.
    pub(super) async fn serve(mut self) {
        if !self.gate.lets_in().await {
            let denied = encode(&Error::PermissionDenied {}, Terminator::default());
            // A fresh connection takes these few bytes at once, or it is gone.
            let _ = self.stream.try_write(&denied);
            return;
        }
        // A connection that breaks is the client's affair; there is nobody left to tell.
        let _ = self.converse().await;
        // The connection is closed before others are asked, however long they take.
        self.close().gone().await;
    }

    fn close(self) -> Gate {
        self.gate
    }

    async fn converse(&mut self) -> io::Result<()> {
        while self.receive().await? > 0 {
            while let Some(frame) = self.frames.next() {
                match frame {
                    Ok(call) => self.handle(call).await?,
                    Err(error) => {
                        let answer = encode(&Error::from(error), self.frames.terminator());
                        return self.stream.write_all(&answer).await;
                    }
                }
            }
            self.settle().await;
        }
        Ok(())
    }

    /// Waits until the calls that want no answer are done. They are handed over together, as many as
    /// were read at once; not more, as each costs memory for as long as it is under way.
    async fn settle(&mut self) {
        for done in self.unanswered.drain(..) {
            // The daemon ends, which the next call will find.
            let _ = done.await;
        }
    }

    /// Reads once; says how much, 0 at the end of the stream, or of the daemon. May be dropped at any
    /// point: nothing is lost.
    async fn receive(&mut self) -> io::Result<usize> {
        let log = Rc::clone(&self.shared.log);
        loop {
            tokio::select! {
                biased;
                readable = self.stream.readable() => readable?,
                () = log.ended() => return Ok(0),
            }
            // On the stack, so that a silent connection holds no buffer.
            let mut buffer = [0; READ_BYTES];
            match self.stream.try_read(&mut buffer) {
                Ok(read) => {
                    self.frames.push(&buffer[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn handle(&mut self, call: Call) -> io::Result<()> {
        let terminator = self.frames.terminator();
        let oneway = call.oneway;
        let more = call.more && !oneway;
        let method = match understand(call, terminator) {
            Ok(method) => method,
            Err(answer) if !oneway => return self.stream.write_all(&answer).await,
            Err(_) => return Ok(()),
        };
        if let Some(watched) = self.gate.watch(&self.shared, &method) {
            return self.have_watched(method, watched, more, oneway).await;
        }
        if oneway {
            let handed_over = self.hand_over(method, terminator, None);
            self.unanswered.extend(handed_over);
            return Ok(());
        }
        self.settle().await;
        match self.ask(method, more, terminator).await? {
            Some(answer) => self.stream.write_all(&answer).await,
            None => Ok(()),
        }
    }

    /// Has a call carried out that others are asked about. Those that want no answer are done one
    /// after the other, too: each is over when all have been asked.
    async fn have_watched(
        &mut self,
        method: Method,
        watched: Watched,
        more: bool,
        oneway: bool,
    ) -> io::Result<()> {
        let terminator = self.frames.terminator();
        self.settle().await;
        let mut answer = match self.gate.lets_call(&watched).await {
            true => self.ask(method, more, terminator).await,
            false => Ok(Some(encode(&Error::PermissionDenied {}, terminator))),
        };
        if let Ok(Some(message)) = &answer
            && !oneway
            && let Err(error) = self.stream.write_all(message).await
        {
            answer = Err(error);
        }
        self.gate.called(watched, &answer).await;
        answer.map(drop)
    }

    async fn ask(
        &mut self,
        method: Method,
        more: bool,
        terminator: Terminator,
    ) -> io::Result<Option<Vec<u8>>> {
        loop {
            let answer = self.ask_once(method.clone(), more, terminator);
            match answer.await? {
                None => return Ok(None),
                Some(Answer::Last(answer)) => return Ok(Some(answer)),
                Some(Answer::Subscribed(first, filter, after)) => {
                    self.stream.write_all(&first).await?;
                    self.listen(&filter, Reader::behind(after), terminator)
                        .await?;
                    return Ok(None);
                }
                Some(Answer::Registered(first, registration)) => {
                    self.stream.write_all(&first).await?;
                    self.pass_on(registration).await?;
                    return Ok(None);
                }
                Some(Answer::Sample(sample, pause)) => {
                    self.stream.write_all(&sample).await?;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shared.log.ended() => return Ok(None),
                        gone = closed(&self.stream) => return gone.map(|()| None),
                    }
                }
            }
        }
    }

    /// Gives one call to the loop and waits for what it says; `None` if the daemon ends.
    ///
    /// # Errors
    ///
    /// The client has gone, while it should have stayed.
    async fn ask_once(
        &mut self,
        method: Method,
        more: bool,
        terminator: Terminator,
    ) -> io::Result<Option<Answer>> {
        let (progress, mut steps) = more.then(|| mpsc::channel(PROGRESS_QUEUED_MAX)).unzip();
        let Some(mut answered) = self.hand_over(method, terminator, progress) else {
            return Ok(None);
        };
        let mut listens = true;
        loop {
            let room = self.frames.pending_bytes() < AHEAD_BYTES_MAX;
            tokio::select! {
                biased;
                Some(step) = next(&mut steps) => self.stream.write_all(&step).await?,
                answer = &mut answered => return Ok(answer.ok()),
                read = self.receive(), if listens && room => match read? {
                    0 if hung_up(&self.stream) => return Err(io::ErrorKind::BrokenPipe.into()),
                    // It has said all it has to say, and waits for the answer.
                    0 => listens = false,
                    _ => {}
                }
            }
        }
    }

    /// Gives one call to the loop; `None` if the daemon ends.
    fn hand_over(
        &self,
        method: Method,
        terminator: Terminator,
        progress: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Option<oneshot::Receiver<Answer>> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            peer: Rc::clone(&self.peer),
            from_host: false,
            method,
            terminator,
            samples: Rc::clone(&self.samples),
            progress,
            answer,
        };
        self.shared.asks.send(ask).is_ok().then_some(answered)
    }

    /// Sends events until the client goes, or the daemon ends.
    async fn listen(
        &mut self,
        filter: &Filter,
        mut reader: Reader,
        terminator: Terminator,
    ) -> io::Result<()> {
        let log = Rc::clone(&self.shared.log);
        let _listening = Listening::new(&log);
        loop {
            // Anew each time, so that one who listens to silence holds no buffer.
            let mut batch = Vec::new();
            reader = log.with(|log| log.collect(reader, filter, terminator, &mut batch));
            if batch.is_empty() {
                tokio::select! {
                    // News first: the last events come before the end.
                    biased;
                    () = log.news() => {}
                    gone = closed(&self.stream) => return gone,
                    // The last events have been sent.
                    () = log.ended() => return Ok(()),
                }
                continue;
            }
            self.stream.write_all(&batch).await?;
        }
    }

    /// Sends what hooks ask of the client, until it goes, or the daemon ends.
    async fn pass_on(&mut self, mut registration: Registration) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                // The last hooks are asked before the end.
                Some(invocation) = registration.invocations.recv() => {
                    self.stream.write_all(&invocation).await?;
                }
                gone = closed(&self.stream) => return gone,
                () = self.shared.log.ended() => return Ok(()),
            }
        }
    }
}

/// What is called; the answer, where that is clear already.
fn understand(call: Call, terminator: Terminator) -> Result<Method, Vec<u8>> {
    let refuse = |error: Error| encode(&error, terminator);
    if call.upgrade {
        return Err(refuse(Error::invalid_parameter("upgrade")));
    }
    match Request::parse(&call.method, call.parameters).map_err(refuse)? {
        Request::Service(method) => Err(describe(&method, terminator)),
        Request::Circusd(method) => {
            method
                .check_more(call.more && !call.oneway)
                .map_err(refuse)?;
            Ok(method)
        }
    }
}

/// The next step; for ever if there are none to come.
async fn next(steps: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match steps {
        Some(steps) => steps.recv().await,
        None => std::future::pending().await,
    }
}

/// Counts a subscriber for as long as it listens.
pub(super) struct Listening(Rc<SharedLog>);

impl Listening {
    pub(super) fn new(log: &Rc<SharedLog>) -> Listening {
        log.with(|log| log.subscribers += 1);
        Listening(Rc::clone(log))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.with(|log| log.subscribers -= 1);
    }
}

/// Whether the other end can neither send nor receive: it is closed, and not only by half.
fn hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let asked = poll(&mut fds, PollTimeout::ZERO);
    let events = fds[0].revents().unwrap_or(PollFlags::empty());
    asked.is_ok() && events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
}

/// Waits until the other end has gone. What it sends meanwhile is thrown away: a client that has
/// subscribed has nothing more to say on this connection.
async fn closed(stream: &UnixStream) -> io::Result<()> {
    loop {
        if stream.ready(Interest::READABLE).await?.is_read_closed() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let mut buffer = [0; 1024];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn describe(method: &service::Method, terminator: Terminator) -> Vec<u8> {
    match method {
        service::Method::GetInfo => encode(&Reply::last(service::info()), terminator),
        service::Method::GetInterfaceDescription(params) => match service::describe(params) {
            Ok(description) => encode(&Reply::last(description), terminator),
            Err(error) => encode(&error, terminator),
        },
    }
}

/// Refuses a client that is one too many: it is told so, and closed.
pub(super) fn turn_away(stream: &UnixStream, limit: usize) {
    let error = Error::TooMany {
        what: "connections".into(),
        limit: limit as u64,
    };
    // A fresh connection takes these few bytes at once, or it is gone; either way we are done.
    let _ = stream.try_write(&encode(&error, Terminator::default()));
}

/// Reads `since` of a subscription.
pub(super) fn since(
    params: &params::Subscribe,
) -> Result<Option<crate::api::cursor::Cursor>, Error> {
    match &params.since {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| Error::invalid_parameter("since")),
    }
}
