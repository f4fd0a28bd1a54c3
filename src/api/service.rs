//! `org.varlink.service`: what every varlink service says about itself.
//!
//! Its errors are in [`Error`], with ours. The definition is that of <https://varlink.org/Service>.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::method::split;
use super::types::Object;
use super::{named, params};

/// The name of the interface.
pub const INTERFACE: &str = "org.varlink.service";

/// The interface in the varlink interface definition language.
pub const IDL: &str = include_str!("org.varlink.service.varlink");

/// A call of `org.varlink.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Who answers here, and with what interfaces.
    GetInfo,
    /// The definition of one interface.
    GetInterfaceDescription(GetInterfaceDescription),
}

/// What `GetInterfaceDescription` is called with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetInterfaceDescription {
    /// The interface's name.
    pub interface: String,
}

/// The answer of `GetInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// Who made the service.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// The interfaces it has, sorted.
    pub interfaces: Vec<String>,
}

/// The answer of `GetInterfaceDescription`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    /// The definition.
    pub description: String,
}

impl Method {
    /// Reads a call of this interface. `name` is the method with its interface.
    ///
    /// # Errors
    ///
    /// [`Error::MethodNotFound`], and [`Error::InvalidParameter`] with the first parameter that
    /// is wrong.
    pub fn parse(name: &str, parameters: Object) -> Result<Self, Error> {
        match split(name).1 {
            "GetInfo" => named::parse(parameters).map(|params::Nothing {}| Self::GetInfo),
            "GetInterfaceDescription" => {
                named::parse(parameters).map(Self::GetInterfaceDescription)
            }
            _ => Err(Error::MethodNotFound {
                method: name.to_owned(),
            }),
        }
    }
}

/// What this daemon answers to `GetInfo`.
#[must_use]
pub fn info() -> Info {
    Info {
        vendor: "The circusd maintainers".to_owned(),
        product: "circusd".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: env!("CARGO_PKG_REPOSITORY").to_owned(),
        interfaces: vec![super::INTERFACE.to_owned(), INTERFACE.to_owned()],
    }
}

/// What this daemon answers to `GetInterfaceDescription`.
///
/// # Errors
///
/// [`Error::InterfaceNotFound`] for an interface that it does not have.
pub fn describe(asked: &GetInterfaceDescription) -> Result<Description, Error> {
    let idl = match asked.interface.as_str() {
        super::INTERFACE => super::IDL,
        INTERFACE => IDL,
        _ => {
            return Err(Error::InterfaceNotFound {
                interface: asked.interface.clone(),
            });
        }
    };
    Ok(Description {
        description: idl.to_owned(),
    })
}
