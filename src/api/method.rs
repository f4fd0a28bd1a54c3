//! The table of methods: what each is called with, who may call it, and how it answers.
//!
//! A method is here if and only if the IDL has it; a test compares the two. What a method does,
//! and whether this daemon can do it yet, is `server`'s to know.

use super::error::Error;
use super::types::Object;
use super::{INTERFACE, named, params, service};

/// What a caller must be allowed to, as `[access]` of the configuration grants it. Each role
/// includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looking and hearing.
    Observe,
    /// Acting.
    Operate,
    /// Changing, hooks, the daemon itself.
    Admin,
}

/// What `more` does to a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Streaming {
    /// Nothing: there is one reply.
    Never,
    /// With it there may be several replies, without it one.
    Optional,
    /// Without it the answer is [`Error::ExpectedMore`].
    Required,
}

/// One row of the table: what is known of a method without its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// Its name with the interface, as it is called.
    pub name: &'static str,
    /// Its name without the interface.
    pub short_name: &'static str,
    /// Who may call it.
    pub role: Role,
    /// What `more` does to it.
    pub streaming: Streaming,
}

/// Writes, from one list, the enum, the table, and the ways between name, parameters and variant.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($params:ident), $role:ident, $streaming:ident;)+) => {
        /// A call of `io.circusd`: the method and its parameters.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$doc])* $name(params::$params),)+
        }

        /// All methods, in the order of the IDL.
        pub const METHODS: &[Row] = &[$(Row {
            name: concat!("io.circusd.", stringify!($name)),
            short_name: stringify!($name),
            role: Role::$role,
            streaming: Streaming::$streaming,
        },)+];

        /// The place of each method in [`METHODS`].
        #[derive(Clone, Copy)]
        enum Place {
            $($name,)+
        }

        impl Method {
            /// `parameters` read as those of the method `name`, or `None` if there is no such.
            fn read(name: &str, parameters: Object) -> Option<Result<Self, Error>> {
                Some(match name {
                    $(stringify!($name) => named::parse(parameters).map(Self::$name),)+
                    _ => return None,
                })
            }

            fn place(&self) -> Place {
                match self {
                    $(Self::$name(_) => Place::$name,)+
                }
            }

            /// The parameters as they go over the wire.
            pub fn parameters(&self) -> Object {
                match self {
                    $(Self::$name(params) => object(params),)+
                }
            }
        }
    };
}

methods! {
    /// The names of the watchers.
    List(Watchers), Observe, Never;
    /// The state of the watchers.
    Status(Watchers), Observe, Never;
    /// The story of one watcher.
    Explain(Explain), Observe, Never;
    /// What the processes use.
    Stats(Stats), Observe, Optional;
    /// What the daemon uses.
    DaemonStats(Nothing), Observe, Never;
    /// The listening sockets.
    ListSockets(Nothing), Observe, Never;
    /// The options of a watcher.
    Get(Get), Observe, Never;
    /// The settings of the daemon.
    GetSettings(GetSettings), Observe, Never;
    /// Starts watchers.
    Start(Verb), Operate, Optional;
    /// Stops watchers.
    Stop(Verb), Operate, Optional;
    /// Stops watchers and starts them.
    Restart(Verb), Operate, Optional;
    /// Replaces processes without stopping the service.
    Reload(Reload), Operate, Optional;
    /// Changes the number of processes.
    Scale(Scale), Operate, Optional;
    /// Sends a signal.
    Signal(Signal), Operate, Never;
    /// Ends processes; the watcher replaces them.
    Kill(Kill), Operate, Never;
    /// Freezes watchers.
    Freeze(Watchers), Operate, Never;
    /// Thaws watchers.
    Thaw(Watchers), Operate, Never;
    /// Adds a watcher.
    Add(Add), Admin, Never;
    /// Removes a watcher.
    Remove(Remove), Admin, Never;
    /// Changes options of a watcher.
    Set(Set), Admin, Never;
    /// What `ReloadConfig` would do.
    GetConfigChanges(Nothing), Admin, Never;
    /// Reads the configuration again.
    ReloadConfig(Nothing), Admin, Never;
    /// Hears events.
    Subscribe(Subscribe), Observe, Required;
    /// Answers for hooks.
    RegisterHook(RegisterHook), Admin, Required;
    /// Answers one invocation of a hook.
    HookResult(HookResult), Admin, Never;
    /// Replaces the running program.
    Reexec(Nothing), Admin, Never;
    /// Ends the daemon.
    Quit(Quit), Admin, Never;
}

impl Method {
    /// Reads a call of this interface. `name` is the method with its interface.
    ///
    /// # Errors
    ///
    /// [`Error::InterfaceNotFound`] if it is another interface's, [`Error::MethodNotFound`],
    /// and [`Error::InvalidParameter`] with the first parameter that is wrong.
    pub fn parse(name: &str, parameters: Object) -> Result<Self, Error> {
        let (interface, method) = split(name);
        if interface != INTERFACE {
            return Err(Error::InterfaceNotFound {
                interface: interface.to_owned(),
            });
        }
        Self::read(method, parameters).unwrap_or_else(|| {
            Err(Error::MethodNotFound {
                method: name.to_owned(),
            })
        })
    }

    /// What the table says of it.
    #[must_use]
    pub fn row(&self) -> &'static Row {
        &METHODS[self.place() as usize]
    }

    /// Its name with the interface.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// Who may call it.
    #[must_use]
    pub fn role(&self) -> Role {
        self.row().role
    }

    /// Whether it may be called with `more` as given.
    ///
    /// # Errors
    ///
    /// [`Error::ExpectedMore`] if it answers with a stream and `more` is false.
    pub fn check_more(&self, more: bool) -> Result<(), Error> {
        match self.row().streaming {
            Streaming::Required if !more => Err(Error::ExpectedMore {}),
            Streaming::Required | Streaming::Optional | Streaming::Never => Ok(()),
        }
    }
}

/// A call of any interface that the daemon has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Of `org.varlink.service`; everyone who may connect may call it.
    Service(service::Method),
    /// Of `io.circusd`.
    Circusd(Method),
}

impl Request {
    /// Reads a call. `name` is the method with its interface.
    ///
    /// # Errors
    ///
    /// As [`Method::parse`].
    pub fn parse(name: &str, parameters: Object) -> Result<Self, Error> {
        if split(name).0 == service::INTERFACE {
            return service::Method::parse(name, parameters).map(Self::Service);
        }
        Method::parse(name, parameters).map(Self::Circusd)
    }
}

/// The interface and the method; where there is no dot, all of it is taken for the interface.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}

fn object(params: &impl serde::Serialize) -> Object {
    let value = serde_json::to_value(params);
    match value.expect("parameters have only strings for keys and plain values") {
        serde_json::Value::Object(object) => object,
        other => unreachable!("parameters are a struct, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_is_not_ours_says_what_is_unknown() {
        let check = |name: &str, error| {
            assert_eq!(Request::parse(name, Object::new()), Err(error), "{name}");
        };
        let interface = |name: &str| Error::InterfaceNotFound {
            interface: name.into(),
        };
        let method = |name: &str| Error::MethodNotFound {
            method: name.into(),
        };
        check("", interface(""));
        check("List", interface("List"));
        check("io.circus.List", interface("io.circus"));
        check("io.circusd", interface("io"));
        check("io.circusd.", method("io.circusd."));
        check("io.circusd.list", method("io.circusd.list"));
        check("io.circusd.List ", method("io.circusd.List "));
        check(
            "org.varlink.service.List",
            method("org.varlink.service.List"),
        );
    }

    #[test]
    fn only_a_stream_insists_on_more() {
        let subscribe = Method::Subscribe(params::Subscribe::default());
        assert_eq!(subscribe.check_more(false), Err(Error::ExpectedMore {}));
        assert_eq!(subscribe.check_more(true), Ok(()));
        assert_eq!(
            Method::Start(params::Verb::default()).check_more(false),
            Ok(())
        );
        assert_eq!(
            Method::List(params::Watchers::default()).check_more(true),
            Ok(())
        );
    }

    #[test]
    fn a_method_goes_over_the_wire_and_back() {
        let scale = params::Scale {
            watcher: "web".into(),
            delta: Some(-2),
            ..Default::default()
        };
        let method = Method::Scale(scale);
        assert_eq!(method.name(), "io.circusd.Scale");
        assert_eq!(
            json!(method.parameters()),
            json!({"watcher": "web", "delta": -2})
        );
        assert_eq!(
            Method::parse(method.name(), method.parameters()),
            Ok(method)
        );
    }
}
