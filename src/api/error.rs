//! The errors a call can be answered with: those of `io.circusd` and those every varlink service
//! has.
//!
//! Not here: what can go wrong with a connection. That is [`FrameError`](super::frame::FrameError)
//! on this end and `client`'s error on the other.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::types::{Object, Reason};

/// One answer that is an error.
///
/// Serialized it is the whole reply, `{"error": …, "parameters": …}`, so it is given to
/// [`encode`](super::frame::encode) as it is. `Display` is the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", content = "parameters")]
#[non_exhaustive]
pub enum Error {
    /// A plain name that no watcher has. (A pattern that matches nothing is no error.)
    #[serde(rename = "io.circusd.NoSuchWatcher")]
    #[error("there is no watcher '{watcher}'")]
    NoSuchWatcher {
        /// The name.
        watcher: String,
    },
    /// `Add` of a name that is taken.
    #[serde(rename = "io.circusd.WatcherExists")]
    #[error("there is already a watcher '{watcher}'")]
    WatcherExists {
        /// The name.
        watcher: String,
    },
    /// The watcher has no such process, or has it no longer.
    #[serde(rename = "io.circusd.NoSuchProcess")]
    #[error("watcher '{watcher}' has no {}", process(*wid, *pid))]
    NoSuchProcess {
        /// The watcher.
        watcher: String,
        /// The place that was named.
        #[serde(skip_serializing_if = "Option::is_none")]
        wid: Option<u64>,
        /// The pid that was named.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// No living process with that pid is below the process that was named.
    #[serde(rename = "io.circusd.NoSuchChild")]
    #[error(
        "{} of watcher '{watcher}' has no child with pid {child}",
        process(*wid, *pid)
    )]
    NoSuchChild {
        /// The watcher.
        watcher: String,
        /// The place that was named.
        #[serde(skip_serializing_if = "Option::is_none")]
        wid: Option<u64>,
        /// The pid that was named.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// The child that was named.
        child: u32,
    },
    /// A key that is unknown or a value it cannot have; nothing was changed.
    #[serde(rename = "io.circusd.InvalidOption")]
    #[error("option '{option}': {reason}{}", suggested(suggestion.as_deref()))]
    InvalidOption {
        /// The key.
        option: String,
        /// What is wrong.
        reason: String,
        /// What was probably meant.
        #[serde(skip_serializing_if = "Option::is_none")]
        suggestion: Option<String>,
    },
    /// The configuration files cannot be used; the old configuration stays in force.
    #[serde(rename = "io.circusd.InvalidConfig")]
    #[error("{file}{}: {reason}", position(*line, *column))]
    InvalidConfig {
        /// The file.
        file: String,
        /// The line, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
        /// The column, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        column: Option<u64>,
        /// What is wrong.
        reason: String,
    },
    /// More than one process was asked of a singleton.
    #[serde(rename = "io.circusd.Singleton")]
    #[error("watcher '{watcher}' is a singleton: it never has more than one process")]
    Singleton {
        /// The watcher.
        watcher: String,
    },
    /// What should have come up did not.
    #[serde(rename = "io.circusd.StartFailed")]
    #[error("watcher '{watcher}' could not be started: {}", reason.text)]
    StartFailed {
        /// The watcher.
        watcher: String,
        /// Why.
        reason: Reason,
    },
    /// A hook said no.
    #[serde(rename = "io.circusd.HookRefused")]
    #[error("hook '{hook}' of watcher '{watcher}' refused: {reason}")]
    HookRefused {
        /// The watcher.
        watcher: String,
        /// The hook.
        hook: String,
        /// What it said.
        reason: String,
    },
    /// A hook could not say: it crashed, ran out of time, or nobody was registered.
    #[serde(rename = "io.circusd.HookFailed")]
    #[error("hook '{hook}' of watcher '{watcher}' failed: {reason}")]
    HookFailed {
        /// The watcher.
        watcher: String,
        /// The hook.
        hook: String,
        /// How it failed.
        reason: String,
    },
    /// What came is not a message; after this answer the connection is closed.
    #[serde(rename = "io.circusd.InvalidMessage")]
    #[error("not a message: {reason}")]
    InvalidMessage {
        /// What is wrong with it.
        reason: String,
    },
    /// `HookResult` for what was not asked, or was answered, or is too late.
    #[serde(rename = "io.circusd.NoSuchInvocation")]
    #[error("there is no invocation {invocation} to answer")]
    NoSuchInvocation {
        /// The number that was named.
        invocation: u64,
    },
    /// A limit of the configuration is reached.
    #[serde(rename = "io.circusd.TooMany")]
    #[error("too many {what}: the limit is {limit}")]
    TooMany {
        /// Of what.
        what: String,
        /// How many there may be.
        limit: u64,
    },
    /// The daemon is stopping and takes on nothing new.
    #[serde(rename = "io.circusd.ShuttingDown")]
    #[error("circusd is shutting down")]
    ShuttingDown {},
    /// No other program can go on in the place of this one, which goes on.
    #[serde(rename = "io.circusd.ReexecFailed")]
    #[error("circusd was not replaced and goes on: {reason}")]
    ReexecFailed {
        /// Why, in one sentence.
        reason: String,
    },
    /// The service does not have the interface.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    #[error("there is no interface '{interface}'")]
    InterfaceNotFound {
        /// The interface.
        interface: String,
    },
    /// The interface does not have the method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    #[error("there is no method '{method}'")]
    MethodNotFound {
        /// The method with its interface.
        method: String,
    },
    /// The interface has the method, and this daemon cannot do it.
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    #[error("method '{method}' is not available here")]
    MethodNotImplemented {
        /// The method with its interface.
        method: String,
    },
    /// A parameter is unknown, missing, of the wrong type, or out of bounds.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    #[error("parameter '{parameter}' is unknown, missing or not valid")]
    InvalidParameter {
        /// Its name.
        parameter: String,
    },
    /// The caller's role does not include the method.
    #[serde(rename = "org.varlink.service.PermissionDenied")]
    #[error("permission denied")]
    PermissionDenied {},
    /// The method answers with a stream and was called without `more`.
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    #[error("the method must be called with 'more'")]
    ExpectedMore {},
}

/// An error reply with a name, or with parameters, that we do not know: the other end is newer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown error '{name}' with parameters {parameters}")]
#[non_exhaustive]
pub struct UnknownError {
    /// The name with its interface.
    pub name: String,
    /// Its parameters as they came.
    pub parameters: Value,
}

impl Error {
    /// Reads an error from a reply's `error` and `parameters`.
    ///
    /// # Errors
    ///
    /// [`UnknownError`] if it is none of ours.
    pub fn from_wire(name: &str, parameters: Option<Value>) -> Result<Self, UnknownError> {
        let parameters = parameters.unwrap_or_else(|| Value::Object(Object::new()));
        let wire = json!({ "error": name, "parameters": &parameters });
        serde_json::from_value(wire).map_err(|_| UnknownError {
            name: name.to_owned(),
            parameters,
        })
    }

    /// The `error` and the `parameters` of the reply.
    #[must_use]
    pub fn to_wire(&self) -> (String, Object) {
        let wire = serde_json::to_value(self);
        match wire
            .expect("an error has only strings for keys and plain values")
            .take()
        {
            Value::Object(mut wire) => match (wire.remove("error"), wire.remove("parameters")) {
                (Some(Value::String(name)), Some(Value::Object(parameters))) => (name, parameters),
                other => unreachable!("an error is a name and an object, not {other:?}"),
            },
            other => unreachable!("an error is an object, not {other}"),
        }
    }

    /// What it says, in one sentence for people, without a full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.to_string()
    }

    /// The error that names `parameter` as the wrong one.
    pub fn invalid_parameter(parameter: impl Into<String>) -> Self {
        Self::InvalidParameter {
            parameter: parameter.into(),
        }
    }
}

fn process(wid: Option<u64>, pid: Option<u32>) -> String {
    match (wid, pid) {
        (Some(wid), Some(pid)) => format!("process {wid} with pid {pid}"),
        (Some(wid), None) => format!("process {wid}"),
        (None, Some(pid)) => format!("process with pid {pid}"),
        (None, None) => "such process".to_owned(),
    }
}

fn suggested(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |meant| format!("; did you mean '{meant}'?"))
}

fn position(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!(":{line}:{column}"),
        (Some(line), None) => format!(":{line}"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &Error, name: &str, parameters: Value, sentence: &str) {
        let wire = serde_json::to_value(error).unwrap();
        assert_eq!(wire, json!({"error": name, "parameters": &parameters}));
        assert_eq!(
            error.to_wire(),
            (name.to_owned(), parameters.as_object().unwrap().clone())
        );
        assert_eq!(Error::from_wire(name, Some(parameters)).as_ref(), Ok(error));
        assert_eq!(error.sentence(), sentence);
    }

    #[test]
    fn an_error_goes_over_the_wire_and_back_and_says_what_is_wrong() {
        check(
            &Error::NoSuchProcess {
                watcher: "web".into(),
                wid: Some(3),
                pid: None,
            },
            "io.circusd.NoSuchProcess",
            json!({"watcher": "web", "wid": 3}),
            "watcher 'web' has no process 3",
        );
        check(
            &Error::NoSuchChild {
                watcher: "web".into(),
                wid: None,
                pid: Some(11),
                child: 12,
            },
            "io.circusd.NoSuchChild",
            json!({"watcher": "web", "pid": 11, "child": 12}),
            "process with pid 11 of watcher 'web' has no child with pid 12",
        );
        check(
            &Error::InvalidOption {
                option: "numproceses".into(),
                reason: "unknown key".into(),
                suggestion: Some("numprocesses".into()),
            },
            "io.circusd.InvalidOption",
            json!({"option": "numproceses", "reason": "unknown key", "suggestion": "numprocesses"}),
            "option 'numproceses': unknown key; did you mean 'numprocesses'?",
        );
        check(
            &Error::InvalidConfig {
                file: "web.toml".into(),
                line: Some(3),
                column: Some(7),
                reason: "no".into(),
            },
            "io.circusd.InvalidConfig",
            json!({"file": "web.toml", "line": 3, "column": 7, "reason": "no"}),
            "web.toml:3:7: no",
        );
        check(
            &Error::PermissionDenied {},
            "org.varlink.service.PermissionDenied",
            json!({}),
            "permission denied",
        );
    }

    #[test]
    fn an_error_without_parameters_may_leave_them_out() {
        let error = Error::from_wire("io.circusd.ShuttingDown", None);
        assert_eq!(error, Ok(Error::ShuttingDown {}));
    }

    #[test]
    fn a_stranger_is_kept_as_it_came() {
        let parameters = json!({"a": 1});
        let error = Error::from_wire("org.example.Odd", Some(parameters.clone())).unwrap_err();
        assert_eq!(
            error,
            UnknownError {
                name: "org.example.Odd".into(),
                parameters
            }
        );
    }
}
