//! Amounts of memory and of processor time, as limits are given.
//!
//! How much "50%" of the memory is depends on the machine: that is for whoever asks it.

use serde_json::{Value as Json, json};

use super::parse_size;
use crate::config::kind::{Kind, Problem, Read, or_variable, plain};
use crate::config::node::{Node, Value};
use crate::config::variables::Context;

/// The kernel's period when a limit of CPU time is given per cent, in microseconds.
const CPU_PERIOD_USEC: u64 = 100_000;

/// The bounds of a period and the least quota, in microseconds: cpu.max of the kernel.
const CPU_PERIODS_USEC: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const CPU_QUOTA_MIN_USEC: u64 = 1_000;

/// Words for no limit: the kernel's, and that of rlimits.
pub(super) const ENDLESS: [&str; 2] = ["max", "unlimited"];

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Memory {
    /// In bytes.
    Bytes(u64),
    /// A part of what the machine has, 0 to 100 per cent.
    Percent(f64),
    /// As much as there is.
    Unlimited,
}

const MEMORY: &str = "a size such as \"512M\", a share such as \"50%\", or \"max\"";

impl Memory {
    pub(super) fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        let found = match &node.value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Self::Bytes),
            Value::String(text) => Self::parse(text),
            _ => return Err(Problem::expected(MEMORY, &node).into()),
        };
        found.ok_or_else(|| {
            let found = node.to_json();
            Problem::new(&node, format!("expected {MEMORY}, found {found}")).into()
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if ENDLESS.contains(&text) {
            return Some(Self::Unlimited);
        }
        match text.strip_suffix('%') {
            Some(share) => {
                let share = percent(share)?;
                (0.0..=100.0)
                    .contains(&share)
                    .then_some(Self::Percent(share))
            }
            None => parse_size(text).map(Self::Bytes),
        }
    }

    pub(super) fn is_nothing(self) -> bool {
        matches!(self, Self::Bytes(0)) || self == Self::Percent(0.0)
    }

    pub(super) fn json(self) -> Json {
        match self {
            Self::Bytes(bytes) => super::Bytes(bytes).json(),
            Self::Percent(share) => Json::from(format!("{share}%")),
            Self::Unlimited => Json::from("max"),
        }
    }

    pub(super) fn schema() -> Json {
        or_variable(json!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": r"^([0-9]+ ?([KMGT](i?B)?)?|[0-9]+(\.[0-9]+)?%|max|unlimited)$"},
        ]}))
    }
}

/// The most CPU time, all processors together: `quota` in each `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    /// At least 1000; `None` is no limit.
    pub quota_usec: Option<u64>,
    /// 1000 to 1000000.
    pub period_usec: u64,
}

const CPU_MAX: &str = "a share of one CPU such as \"150%\", \"QUOTA PERIOD\" in microseconds as the \
                       kernel has it, or \"max\"";

impl CpuMax {
    pub(super) fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        let Value::String(text) = &node.value else {
            return Err(Problem::expected(CPU_MAX, &node)
                .suggesting(with_percent(&node))
                .into());
        };
        let max = Self::parse(text)
            .ok_or_else(|| Problem::new(&node, format!("expected {CPU_MAX}, found '{text}'")))?;
        if max
            .quota_usec
            .is_some_and(|quota| quota < CPU_QUOTA_MIN_USEC)
        {
            let reason = "less than the kernel can give, which is 1%, or 1000 microseconds";
            return Err(Problem::new(&node, reason).into());
        }
        if !CPU_PERIODS_USEC.contains(&max.period_usec) {
            let (min, most) = (CPU_PERIODS_USEC.start(), CPU_PERIODS_USEC.end());
            let reason = format!(
                "a period of {} is out of range, which is {min} to {most} microseconds",
                max.period_usec
            );
            return Err(Problem::new(&node, reason).into());
        }
        Ok(max)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(share) = text.strip_suffix('%') {
            // Far below 2^53, or it is no share of a machine's processors.
            let quota = (percent(share)? / 100.0 * CPU_PERIOD_USEC as f64).round();
            return (quota < 1e12).then_some(Self {
                quota_usec: Some(quota as u64),
                period_usec: CPU_PERIOD_USEC,
            });
        }
        let mut words = text.split_whitespace();
        let quota_usec = match words.next()? {
            word if ENDLESS.contains(&word) => None,
            word => Some(word.parse().ok()?),
        };
        let period_usec = match words.next() {
            Some(word) => word.parse().ok()?,
            // A number alone would be a quota to the kernel, and a share to everybody else.
            None if quota_usec.is_some() => return None,
            None => CPU_PERIOD_USEC,
        };
        words.next().is_none().then_some(Self {
            quota_usec,
            period_usec,
        })
    }

    pub(super) fn json(self) -> Json {
        match self.quota_usec {
            None => Json::from("max"),
            Some(quota) if self.period_usec == CPU_PERIOD_USEC => {
                let share = quota as f64 * 100.0 / CPU_PERIOD_USEC as f64;
                Json::from(format!("{share}%"))
            }
            Some(quota) => Json::from(format!("{quota} {}", self.period_usec)),
        }
    }

    pub(super) fn schema() -> Json {
        or_variable(json!({
            "type": "string",
            "pattern": r"^([0-9]+(\.[0-9]+)?%|([0-9]+|max|unlimited) +[0-9]+|max|unlimited)$",
        }))
    }
}

/// "150" was probably meant as "150%", and 1.5 so too.
fn with_percent(node: &Node) -> Option<String> {
    match node.value {
        Value::Integer(share) => Some(format!("\"{share}%\"")),
        Value::Float(share) => Some(format!("\"{}%\"", share * 100.0)),
        _ => None,
    }
}

fn percent(digits: &str) -> Option<f64> {
    let digits = digits.trim_end();
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_size_a_share_or_everything() {
        assert_eq!(Memory::parse("512M"), Some(Memory::Bytes(512 << 20)));
        assert_eq!(Memory::parse("50%"), Some(Memory::Percent(50.0)));
        assert_eq!(Memory::parse(" 12.5 %"), Some(Memory::Percent(12.5)));
        for word in ENDLESS {
            assert_eq!(Memory::parse(word), Some(Memory::Unlimited));
        }
        for wrong in [
            "", "%", "101%", "-1%", "1e1%", "inf%", "nan%", "512X", "Max",
        ] {
            assert_eq!(Memory::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cpu_time_is_a_share_or_what_the_kernel_says() {
        let max = |quota_usec, period_usec| {
            Some(CpuMax {
                quota_usec,
                period_usec,
            })
        };
        assert_eq!(CpuMax::parse("150%"), max(Some(150_000), 100_000));
        assert_eq!(CpuMax::parse("0.5%"), max(Some(500), 100_000));
        assert_eq!(CpuMax::parse("5000 20000"), max(Some(5000), 20_000));
        assert_eq!(CpuMax::parse("max 20000"), max(None, 20_000));
        assert_eq!(CpuMax::parse("unlimited"), max(None, 100_000));
        for wrong in ["", "150", "150 %%", "a 1", "1 2 3", "-1%", "99999999999%"] {
            assert_eq!(CpuMax::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_shown_as_they_can_be_read() {
        for text in ["512M", "7%", "12.5%", "max"] {
            assert_eq!(Memory::parse(text).unwrap().json(), Json::from(text));
        }
        for text in ["150%", "12.5%", "5000 20000", "max"] {
            assert_eq!(CpuMax::parse(text).unwrap().json(), Json::from(text));
        }
    }
}
