//! Reads the parameters of a call and, where they are wrong, says which one.
//!
//! serde's own errors are sentences; varlink wants the name of the parameter alone. It does not
//! say what is wrong with it, because varlink has no place for that.

use std::fmt::Display;

use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess};
use serde_json::Value;

use super::error::Error;
use super::types::Object;

/// Reads `parameters` as a `T`.
///
/// # Errors
///
/// [`Error::InvalidParameter`] with the first parameter that `T` does not have, or has with
/// another type, or lacks.
pub(super) fn parse<T: DeserializeOwned>(parameters: Object) -> Result<T, Error> {
    let mut members = Members {
        rest: parameters.into_iter(),
        name: String::new(),
        value: None,
    };
    T::deserialize(MapAccessDeserializer::new(&mut members)).map_err(|error| match error {
        Wrong::Missing(field) => Error::invalid_parameter(field),
        Wrong::Current => Error::invalid_parameter(members.name),
    })
}

/// The members of an object, and the name of the one being read.
struct Members {
    rest: serde_json::map::IntoIter,
    name: String,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for &mut Members {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Some((name, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.name.clone_from(&name);
        self.value = Some(value);
        let name: StringDeserializer<Wrong> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let value = self
            .value
            .take()
            .expect("serde asks for a value after its key");
        seed.deserialize(value).map_err(|_| Wrong::Current)
    }
}

/// Which parameter is wrong.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("missing parameter '{0}'")]
    Missing(&'static str),
    #[error("the parameter that was read last")]
    Current,
}

impl de::Error for Wrong {
    fn custom<T: Display>(_: T) -> Self {
        Self::Current
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::params::{HookResult, Nothing, Signal};

    fn check<T: DeserializeOwned>(parameters: Value, wrong: Option<&str>) {
        let Value::Object(object) = parameters.clone() else {
            panic!("not an object")
        };
        let named = parse::<T>(object).err();
        let expected = wrong.map(Error::invalid_parameter);
        assert_eq!(named, expected, "{parameters}");
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        check::<Signal>(json!({"watcher": "w", "signal": "HUP"}), None);
        check::<Signal>(json!({"watcher": "w", "signal": "HUP", "wid": null}), None);
        check::<Signal>(json!({"watcher": "w"}), Some("signal"));
        check::<Signal>(json!({"signal": "HUP"}), Some("watcher"));
        check::<Signal>(json!({"watcher": null, "signal": "HUP"}), Some("watcher"));
        check::<Signal>(json!({"watcher": "w", "signal": 1}), Some("signal"));
        check::<Signal>(
            json!({"watcher": "w", "signal": "HUP", "wid": -1}),
            Some("wid"),
        );
        check::<Signal>(
            json!({"watcher": "w", "signal": "HUP", "wid": 1.5}),
            Some("wid"),
        );
        check::<Signal>(
            json!({"watcher": "w", "signal": "HUP", "pid": 5_000_000_000_u64}),
            Some("pid"),
        );
        check::<Signal>(
            json!({"watcher": "w", "signal": "HUP", "recipients": "us"}),
            Some("recipients"),
        );
        check::<Signal>(json!({"watcher": "w", "Signal": "HUP"}), Some("Signal"));
        check::<Nothing>(json!({}), None);
        check::<Nothing>(json!({"x": null}), Some("x"));
        check::<HookResult>(
            json!({"invocation": 1, "result": true, "data": []}),
            Some("data"),
        );
    }
}
