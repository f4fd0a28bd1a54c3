//! How lines stand in a file of output, and when the file is turned over by time.
//!
//! Knows no clock: what a moment means is told by whoever has one.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, text};
use crate::config::node::{Node, Value};
use crate::config::variables::{Context, Filling, Template};

/// The format of the time before each line, as strftime(3) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat(pub String);

/// What each locale writes in another way; ours is none of them.
const LOCALES: [&str; 4] = ["%c", "%r", "%x", "%X"];

impl Kind for TimeFormat {
    fn name() -> String {
        "a format of strftime(3)".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let format = text(node, &Self::name(), cx)?;
        let pairs = format.replace("%%", "");
        if let Some(local) = LOCALES.iter().find(|local| pairs.contains(**local)) {
            let reason = format!("'{local}' depends on the locale, of which circusd has none");
            return Err(Problem::new(node, reason)
                .suggesting(Some("%Y-%m-%d %H:%M:%S".into()))
                .into());
        }
        let moment = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        match strtime::format(&format, &moment) {
            Ok(told) if told.is_empty() => Err(Problem::new(node, "comes to nothing").into()),
            Ok(told) if told.contains('\n') => Err(Problem::new(node, LINE_BREAK).into()),
            Ok(_) => Ok(Self(format)),
            Err(error) => {
                let reason = format!("no format of strftime(3): {error}");
                Err(Problem::new(node, reason).into())
            }
        }
    }

    fn json(&self) -> Json {
        Json::from(self.0.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

const LINE_BREAK: &str = "a line break would make two lines of one";

/// What stands before each line of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefix(Template);

impl Prefix {
    /// What Circus writes between the time and the line.
    pub(crate) fn after_time() -> Self {
        let template = Template::parse_prefix("[$(circus.pid)] | ", &Context::default());
        Self(template.expect("it has no variable of the environment"))
    }

    /// The text for one process.
    pub fn expand(&self, watcher: &str, wid: u32, pid: i32) -> String {
        self.0.expand(Filling {
            wid,
            watcher,
            pid,
            sockets: &[],
        })
    }
}

impl Kind for Prefix {
    fn name() -> String {
        "a string".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::String(written) = &node.value else {
            return Err(Problem::expected(&Self::name(), node).into());
        };
        let prefix =
            Template::parse_prefix(written, cx).map_err(|error| Problem::variable(node, &error))?;
        match prefix.to_string().contains('\n') {
            true => Err(Problem::new(node, LINE_BREAK).into()),
            false => Ok(Self(prefix)),
        }
    }

    fn json(&self) -> Json {
        Json::from(self.0.to_string())
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// When a file is turned over by time: where one period of the clock ends and the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotate {
    /// Periods of this many whole seconds, counted from a midnight.
    Every(u64),
    /// Weeks that begin on this day, 0 to 6 from Monday.
    Weekly(u8),
    /// Months.
    Monthly,
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Nobody wants more files than this makes; a year is the most that a clock is trusted for.
const SECONDS: std::ops::RangeInclusive<u64> = 60..=366 * DAY;

const PERIODS: [(&str, Rotate); 11] = [
    ("hourly", Rotate::Every(HOUR)),
    ("daily", Rotate::Every(DAY)),
    ("weekly", Rotate::Weekly(0)),
    ("monthly", Rotate::Monthly),
    ("monday", Rotate::Weekly(0)),
    ("tuesday", Rotate::Weekly(1)),
    ("wednesday", Rotate::Weekly(2)),
    ("thursday", Rotate::Weekly(3)),
    ("friday", Rotate::Weekly(4)),
    ("saturday", Rotate::Weekly(5)),
    ("sunday", Rotate::Weekly(6)),
];

impl Kind for Rotate {
    fn name() -> String {
        "'hourly', 'daily', 'weekly', 'monthly', a day of the week, or a duration".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let word = match &node.value {
            Value::String(_) => Some(text(node, &Self::name(), cx)?),
            _ => None,
        };
        let period = PERIODS
            .iter()
            .find(|(known, _)| Some(*known) == word.as_deref());
        if let Some((_, period)) = period {
            return Ok(*period);
        }
        if let Some(word) = word.filter(|word| word.chars().all(char::is_alphabetic)) {
            let known = PERIODS.iter().map(|(known, _)| *known);
            let nearest = crate::config::diagnostic::nearest(&word, known);
            let reason = format!("expected {}, found '{word}'", Self::name());
            return Err(Problem::new(node, reason).suggesting(nearest).into());
        }
        let every = Duration::read(node, cx)?;
        match SECONDS.contains(&every.as_secs()) && every.subsec_nanos() == 0 {
            true => Ok(Self::Every(every.as_secs())),
            false => {
                let reason = "must be whole seconds, from a minute to a year";
                Err(Problem::new(node, reason).into())
            }
        }
    }

    fn json(&self) -> Json {
        match PERIODS.iter().find(|(_, period)| period == self) {
            Some((word, _)) => Json::from(*word),
            None => match self {
                Self::Every(seconds) => Duration::from_secs(*seconds).json(),
                Self::Weekly(_) | Self::Monthly => unreachable!("they have words"),
            },
        }
    }

    fn schema() -> Json {
        let words: Vec<&str> = PERIODS.iter().map(|(word, _)| *word).collect();
        json!({"anyOf": [{"enum": words}, Duration::schema()]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::{Origin, Place, Source};

    fn read<T: Kind>(value: Json) -> Result<T, String> {
        let at = Place::start(&Source::named("test", Origin::Default, None));
        T::read(&Node::from_json(&value, &at), &Context::default())
            .map_err(|problems| problems[0].reason.clone())
    }

    #[test]
    fn periods_are_words_or_durations_and_are_shown_as_words() {
        let shown = |value: Json| read::<Rotate>(value).map(|rotate| rotate.json());
        assert_eq!(shown(json!("daily")), Ok(json!("daily")));
        assert_eq!(shown(json!("24h")), Ok(json!("daily")));
        assert_eq!(shown(json!("monday")), Ok(json!("weekly")));
        assert_eq!(shown(json!("sunday")), Ok(json!("sunday")));
        assert_eq!(shown(json!("6h")), Ok(json!("6h")));
        assert_eq!(shown(json!(90)), Ok(json!("1min 30s")));
        for wrong in [
            json!("dayly"),
            json!("59s"),
            json!("2m"),
            json!("61.5s"),
            json!(true),
        ] {
            assert!(shown(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_format_is_tried_before_it_is_needed() {
        assert!(read::<TimeFormat>(json!("%Y-%m-%dT%H:%M:%S%.3f%z 100%%c")).is_ok());
        for wrong in ["", "%", "%!", "%c", "%H%n", "%E"] {
            assert!(read::<TimeFormat>(json!(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_is_one_line() {
        let prefix = read::<Prefix>(json!("$(circus.watcher)-$(circus.wid) ")).unwrap();
        assert_eq!(prefix.expand("web", 3, 42), "web-3 ");
        assert!(read::<Prefix>(json!("a\nb")).is_err());
        assert!(read::<Prefix>(json!("$(circus.sockets.web)")).is_err());
        assert_eq!(Prefix::after_time().expand("web", 3, 42), "[42] | ");
    }
}
