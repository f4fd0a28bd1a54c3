//! stub
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::command::{Call, Parameters};
use super::failure::Failure;
use super::parser::Globals;
use crate::api;

/// A connection to the daemon for one command.
#[derive(Debug)]
pub(super) struct Daemon {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Daemon {
    pub(super) fn connect(globals: &Globals) -> Result<Self, Failure> {
        let socket = globals
            .socket
            .clone()
            .unwrap_or_else(|| "/run/circusd/circusd.sock".into());
        let stream = UnixStream::connect(&socket).map_err(|source| Failure::Unreachable {
            socket: socket.clone(),
            source,
        })?;
        Ok(Self {
            socket,
            stream: BufReader::new(stream),
        })
    }

    pub(super) fn call(
        &mut self,
        call: &Call,
        more: bool,
        mut each: impl FnMut(Parameters) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let lost = |reason: String| Failure::Lost {
            socket: self.socket.clone(),
            reason,
        };
        let line = serde_json::json!({"method": format!("io.circusd.{}", call.method), "parameters": call.parameters, "more": more});
        self.stream
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|e| lost(e.to_string()))?;
        loop {
            let mut line = String::new();
            self.stream
                .read_line(&mut line)
                .map_err(|e| lost(e.to_string()))?;
            let reply: Parameters = serde_json::from_str(&line).map_err(|e| lost(e.to_string()))?;
            if let Some(error) = reply.get("error") {
                return Err(
                    match api::Error::from_wire(
                        error.as_str().unwrap_or_default(),
                        reply.get("parameters").cloned(),
                    ) {
                        Ok(error) => Failure::Refused(error),
                        Err(error) => Failure::RefusedOddly(error),
                    },
                );
            }
            let parameters = reply
                .get("parameters")
                .and_then(|p| p.as_object())
                .cloned()
                .unwrap_or_default();
            each(parameters)?;
            if reply.get("continues") != Some(&true.into()) {
                return Ok(());
            }
        }
    }
}
