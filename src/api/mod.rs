//! What goes over the socket: the IDL, the wire types, framing. No I/O, and no knowledge of what
//! the calls do.

pub mod params;
pub mod reply;
pub mod types;

/// The interface `io.circusd` in the varlink interface definition language, as it is served by
/// `GetInterfaceDescription`.
pub const IDL: &str = include_str!("io.circusd.varlink");
