//! What the daemon's own hooks say of a client and of what it calls.
//!
//! Each connection has one, and waits for it alone: a hook that hangs holds up the client it is
//! asked about and nobody else. Where nothing is configured, nobody is asked and nothing is made.

use std::io;
use std::rc::Rc;

use serde_json::{Value as Json, json};

use super::access;
use super::connection::Shared;
use super::hooks::{OwnHooks, peer_context};
use super::journal;
use crate::api::method::Method;
use crate::api::types::Object;
use crate::config::DaemonHook;
use crate::sys::socket::Peer;

/// What stands between one client and the daemon.
#[derive(Debug)]
pub(super) struct Gate {
    own: Rc<OwnHooks>,
    peer: Rc<Peer>,
    /// It is itself part of an answer, for as long as it is connected.
    is_asked: bool,
}

/// A call that others are asked about.
#[derive(Debug)]
pub(super) struct Watched {
    context: Object,
    /// Only who may call at all is asked about before.
    may: bool,
}

impl Gate {
    /// To be made when the client connects: later its pid may be another's.
    pub(super) fn new(shared: &Shared, peer: &Rc<Peer>) -> Gate {
        let own = Rc::clone(&shared.own);
        Gate {
            is_asked: own.is_asked(peer),
            own,
            peer: Rc::clone(peer),
        }
    }

    /// Whether the client may stay.
    pub(super) async fn lets_in(&self) -> bool {
        if self.passes(DaemonHook::ConnectionMade) {
            return true;
        }
        let asked = self.own.ask(DaemonHook::ConnectionMade, self.context());
        match asked.await {
            Ok(()) => true,
            Err(refused) => {
                journal::denied(None, &self.peer, &refused.to_string());
                false
            }
        }
    }

    /// Tells that the client, which was let in, has gone.
    pub(super) async fn gone(&self) {
        if !self.passes(DaemonHook::ConnectionLost) {
            // Nobody is left to be told of the answer.
            let _ = self
                .own
                .ask(DaemonHook::ConnectionLost, self.context())
                .await;
        }
    }

    /// The call as others are asked about it; `None` where nobody is.
    pub(super) fn watch(&self, shared: &Shared, method: &Method) -> Option<Watched> {
        let nobody = self.passes(DaemonHook::PreRequest) && self.passes(DaemonHook::PostRequest);
        // An answer that others must be asked about would never come.
        if nobody || matches!(method, Method::HookResult(_)) {
            return None;
        }
        let mut context = self.context();
        context.insert("method".into(), method.name().into());
        context.insert("parameters".into(), Json::Object(method.parameters()));
        let may = access::allows(&shared.access.borrow(), &self.peer, method.role());
        Some(Watched { context, may })
    }

    /// Whether the call may be made.
    pub(super) async fn lets_call(&self, call: &Watched) -> bool {
        if !call.may || self.passes(DaemonHook::PreRequest) {
            return true;
        }
        let asked = self.own.ask(DaemonHook::PreRequest, call.context.clone());
        match asked.await {
            Ok(()) => true,
            Err(refused) => {
                let method = call.context.get("method").and_then(Json::as_str);
                journal::denied(method, &self.peer, &refused.to_string());
                false
            }
        }
    }

    /// Tells how the call went.
    pub(super) async fn called(&self, call: Watched, answer: &io::Result<Option<Vec<u8>>>) {
        if self.passes(DaemonHook::PostRequest) {
            return;
        }
        let mut context = call.context;
        context.extend(outcome(answer));
        // What was done is done.
        let _ = self.own.ask(DaemonHook::PostRequest, context).await;
    }

    fn passes(&self, hook: DaemonHook) -> bool {
        !self.own.has(hook) || self.is_asked || self.own.has_registered(&self.peer)
    }

    fn context(&self) -> Object {
        Object::from_iter([("peer".to_owned(), peer_context(&self.peer))])
    }
}

/// `outcome`: `success`, `error` with the `error` itself, or `gone` for a client that did not wait
/// for its answer, as who subscribes never does.
fn outcome(answer: &io::Result<Option<Vec<u8>>>) -> Object {
    let told = match answer {
        Err(_) => json!({"outcome": "gone"}),
        Ok(None) => json!({"outcome": "success"}),
        Ok(Some(message)) => match error_of(message) {
            Some(error) => json!({"outcome": "error", "error": error}),
            None => json!({"outcome": "success"}),
        },
    };
    match told {
        Json::Object(told) => told,
        _ => unreachable!("it is written as an object"),
    }
}

/// The error that a message is, if it is one.
fn error_of(message: &[u8]) -> Option<Json> {
    let message = message
        .trim_ascii_end()
        .strip_suffix(&[0])
        .unwrap_or(message);
    // A long reply is not looked through: an error says so first.
    if !message.starts_with(br#"{"error""#) {
        return None;
    }
    serde_json::from_slice(message).ok()
}
