//! Hooks that a plugin answers for, over restarts of circusd: registered again and again.
//!
//! What is answered, and over which connection, is not known here.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::api::frame::Call;
use crate::api::params::RegisterHook;
use crate::api::{Method, reply};
use crate::client::ClientError;

use super::connection::{Connection, refused};
use super::events::{Pause, is_passing};
use super::life::Asked;
use super::run::Input;

/// A registration, which lives as long as its connection.
#[derive(Debug)]
pub(super) struct Registration {
    socket: PathBuf,
    offer: RegisterHook,
    connection: Connection,
}

impl Registration {
    /// Registers; circusd asks from now on.
    ///
    /// # Errors
    ///
    /// As of any call; a hook that there is not is refused.
    pub(super) async fn open(socket: PathBuf, offer: RegisterHook) -> Result<Self, ClientError> {
        let connection = register(&socket, &offer).await?;
        Ok(Self {
            socket,
            offer,
            connection,
        })
    }

    /// Hands in every invocation, until nobody wants them or circusd refuses for good.
    pub(super) async fn follow(mut self, inputs: mpsc::Sender<Input>) {
        loop {
            let asked = match self.connection.receive().await {
                Ok(reply) => reply.result().map_err(refused),
                Err(error) => Err(error),
            };
            let input = match asked {
                Ok(asked) => match invocation(asked) {
                    Some(input) => input,
                    None => continue,
                },
                Err(error) => match self.come_back(error).await {
                    Ok(()) => continue,
                    Err(error) => Input::Failed(error),
                },
            };
            let is_end = matches!(input, Input::Failed(_));
            if inputs.send(input).await.is_err() || is_end {
                return;
            }
        }
    }

    async fn come_back(&mut self, mut error: ClientError) -> Result<(), ClientError> {
        let mut pause = Pause::default();
        while is_passing(&error) {
            pause.wait().await;
            match register(&self.socket, &self.offer).await {
                Ok(connection) => {
                    self.connection = connection;
                    return Ok(());
                }
                Err(again) => error = again,
            }
        }
        Err(error)
    }
}

async fn register(socket: &Path, offer: &RegisterHook) -> Result<Connection, ClientError> {
    let mut connection = Connection::open(socket).await?;
    let call = Call {
        more: true,
        ..Call::from(&Method::RegisterHook(offer.clone()))
    };
    connection.send(&call).await?;
    let first = connection.receive().await?;
    let _: reply::RegisterHook = first.result().map_err(refused)?;
    Ok(connection)
}

fn invocation(asked: reply::RegisterHook) -> Option<Input> {
    let invocation = asked.invocation?;
    let asked = Asked {
        hook: asked.hook.unwrap_or_default(),
        watcher: asked.watcher,
        context: asked.context.unwrap_or_default(),
    };
    Some(Input::Asked { invocation, asked })
}
