//! Durations and sizes.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, or_variable, plain};
use crate::config::node::{Node, Value};
use crate::config::variables::Context;

/// Longer than any machine runs, and short enough that adding one to a clock never overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86400);

/// Longest first, so that a duration is shown in its largest units.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("min", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

const DURATION: &str = "a duration such as \"30s\" or \"1h 30min\", or a number of seconds";

impl Kind for Duration {
    const UNIT: &'static str = "s";

    fn name() -> String {
        "a duration".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        let duration = match &node.value {
            Value::String(text) => parse_duration(text).ok_or_else(|| {
                Problem::new(&node, format!("expected {DURATION}, found '{text}'"))
                    .suggesting(with_unit(text))
            })?,
            // Exact up to 2^53 seconds; beyond, it is refused below anyway.
            Value::Integer(seconds) => seconds_to_duration(&node, *seconds as f64)?,
            Value::Float(seconds) => seconds_to_duration(&node, *seconds)?,
            Value::Null
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => return Err(Problem::expected(DURATION, &node).into()),
        };
        if duration > LONGEST {
            return Err(Problem::new(&node, "longer than a hundred years").into());
        }
        Ok(duration)
    }

    /// The largest units that are exact; nothing below a microsecond is ever read.
    fn json(&self) -> Json {
        let mut rest = u64::try_from(self.as_micros()).unwrap_or(u64::MAX);
        if rest == 0 {
            return Json::from("0s");
        }
        let mut parts = Vec::new();
        for (unit, micros) in UNITS {
            if rest >= micros {
                parts.push(format!("{}{unit}", rest / micros));
                rest %= micros;
            }
        }
        Json::from(parts.join(" "))
    }

    fn schema() -> Json {
        or_variable(json!({"anyOf": [
            {"type": "number", "minimum": 0},
            {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*(d|h|min|s|ms|us)\s*)+$"},
        ]}))
    }

    fn magnitude(&self) -> Option<f64> {
        Some(self.as_secs_f64())
    }
}

/// "30" was probably meant as "30s", and "5m" as "5min".
fn with_unit(text: &str) -> Option<String> {
    let text = text.trim();
    ["in", "s"]
        .iter()
        .map(|unit| format!("{text}{unit}"))
        .find(|candidate| parse_duration(candidate).is_some())
}

fn seconds_to_duration(node: &Node, seconds: f64) -> Result<Duration, Problem> {
    // Rounded to the microsecond, the finest unit there is, so that it can be written again.
    Duration::try_from_secs_f64((seconds * 1e6).round() / 1e6).map_err(|_| {
        Problem::new(
            node,
            format!("{seconds} is no duration: expected {DURATION}"),
        )
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut micros = 0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        micros += number * *unit as f64;
        rest = rest[end..].trim_start();
    }
    Duration::try_from_secs_f64(micros.round() / 1e6).ok()
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Bytes(pub u64);

/// Powers of 1024, largest first.
const MULTIPLES: [(&str, u64); 4] = [
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
];

const SIZE: &str = "a size such as \"512M\" or \"2G\", or a number of bytes";

impl Kind for Bytes {
    const UNIT: &'static str = "bytes";

    fn name() -> String {
        "a size".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        let size = match &node.value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::String(text) => parse_size(text),
            Value::Null
            | Value::Boolean(_)
            | Value::Float(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => return Err(Problem::expected(SIZE, &node).into()),
        };
        size.map(Self).ok_or_else(|| {
            let written = node.to_json();
            Problem::new(&node, format!("expected {SIZE}, found {written}")).into()
        })
    }

    fn json(&self) -> Json {
        let exact = MULTIPLES
            .iter()
            .find(|(_, multiple)| self.0 != 0 && self.0.is_multiple_of(*multiple));
        match exact {
            Some((unit, multiple)) => Json::from(format!("{}{unit}", self.0 / multiple)),
            None => Json::from(self.0),
        }
    }

    fn schema() -> Json {
        or_variable(json!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+ ?([KMGT](i?B)?)?$"},
        ]}))
    }

    fn magnitude(&self) -> Option<f64> {
        // Only compared with ranges, which are far below 2^53.
        Some(self.0 as f64)
    }
}

/// `512M`, `512MB` and `512MiB` are the same, 512 × 1024 × 1024, as elsewhere on Linux.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    if unit.is_empty() {
        return Some(number);
    }
    let letter = unit.trim_end_matches('B').trim_end_matches('i');
    let (_, multiple) = MULTIPLES.iter().find(|(name, _)| *name == letter)?;
    number.checked_mul(*multiple)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let micros = |text| parse_duration(text).map(|d| d.as_micros());
        assert_eq!(micros("250ms"), Some(250_000));
        assert_eq!(micros("1h 30min"), Some(5_400_000_000));
        assert_eq!(micros("1h30min"), Some(5_400_000_000));
        assert_eq!(micros("1.5 s"), Some(1_500_000));
        for wrong in [
            "", " ", "30", "5m", "s", "-1s", "1s -1s", "1e3s", "..s", "é",
        ] {
            assert_eq!(micros(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_it_can_be_read() {
        for text in ["0s", "250ms", "1h 30min", "7s", "1d", "1s 1us"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.json(), Json::from(text));
        }
    }

    #[test]
    fn sizes_are_powers_of_1024_and_never_overflow() {
        assert_eq!(parse_size("512M"), Some(512 << 20));
        assert_eq!(parse_size("1 MiB"), Some(1 << 20));
        assert_eq!(parse_size("7"), Some(7));
        for wrong in ["", "M", "-1", "1X", "50%", "99999999T", "1MM", "1iB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(Bytes(1 << 20).json(), Json::from("1M"));
        assert_eq!(Bytes(1000).json(), Json::from(1000));
    }
}
