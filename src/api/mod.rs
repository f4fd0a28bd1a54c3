//! What goes over the socket: the IDL, the types of its messages, and framing.
//!
//! No I/O, no clock, and no knowledge of what a call does: that is `server`'s, on one end, and
//! `client`'s, on the other. What is here is the same for both.

pub mod action;
pub mod cursor;
pub mod error;
pub mod frame;
pub mod method;
mod named;
pub mod params;
pub mod reply;
pub mod select;
pub mod service;
pub mod topic;
pub mod types;

#[cfg(test)]
mod idl_tests;

pub use error::Error;
pub use method::{Method, Request, Role, Streaming};

/// The interface `io.circusd` in the varlink interface definition language, as it is served by
/// `GetInterfaceDescription`.
pub const IDL: &str = include_str!("io.circusd.varlink");

/// The name of the interface that [`IDL`] defines.
pub const INTERFACE: &str = "io.circusd";
