//! What a watcher and each of its processes may use, and what a want of memory ends.
//!
//! How much "50%" of the memory is depends on the machine: that is for whoever asks it.

use serde_json::{Map, Value as Json, json};

use super::parse_size;
use crate::config::diagnostic::nearest;
use crate::config::kind::{Kind, Problem, Read, not_within, or_variable, plain};
use crate::config::node::{Entry, Node, Table, Value};
use crate::config::shapes::choices;
use crate::config::variables::Context;

/// As many processes and threads as the kernel can count (PID_MAX_LIMIT of Linux).
const TASKS_MAX: u64 = 4_194_304;

/// The bounds of the kernel's cpu.weight and io.weight.
const WEIGHTS: std::ops::RangeInclusive<u64> = 1..=10_000;

/// The kernel's period when a limit of CPU time is given per cent, in microseconds.
const CPU_PERIOD_USEC: u64 = 100_000;

/// The bounds of a period and the least quota, in microseconds: cpu.max of the kernel.
const CPU_PERIODS_USEC: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
const CPU_QUOTA_MIN_USEC: u64 = 1_000;

/// Words for no limit: the kernel's, and that of rlimits.
const ENDLESS: [&str; 2] = ["max", "unlimited"];

/// An amount of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Memory {
    /// In bytes.
    Bytes(u64),
    /// A part of what the machine has, 0 to 1.
    Share(f64),
    /// As much as there is.
    Unlimited,
}

const MEMORY: &str = "a size such as \"512M\", a share such as \"50%\", or \"max\"";

impl Memory {
    fn read(node: &Node, cx: &Context) -> Read<Self> {
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
                let share = percent(share)? / 100.0;
                (0.0..=1.0).contains(&share).then_some(Self::Share(share))
            }
            None => parse_size(text).map(Self::Bytes),
        }
    }

    fn is_nothing(self) -> bool {
        matches!(self, Self::Bytes(0)) || self == Self::Share(0.0)
    }

    fn json(self) -> Json {
        match self {
            Self::Bytes(bytes) => super::Bytes(bytes).json(),
            Self::Share(share) => Json::from(format!("{}%", share * 100.0)),
            Self::Unlimited => Json::from("max"),
        }
    }

    fn schema() -> Json {
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
    fn read(node: &Node, cx: &Context) -> Read<Self> {
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

    fn json(self) -> Json {
        match self.quota_usec {
            None => Json::from("max"),
            Some(quota) if self.period_usec == CPU_PERIOD_USEC => {
                let share = quota as f64 * 100.0 / CPU_PERIOD_USEC as f64;
                Json::from(format!("{share}%"))
            }
            Some(quota) => Json::from(format!("{quota} {}", self.period_usec)),
        }
    }

    fn schema() -> Json {
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

/// What a group of processes may use; `None` leaves the kernel's default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amounts {
    /// Memory that is never exceeded.
    pub memory_max: Option<Memory>,
    /// Memory above which processes are slowed down.
    pub memory_high: Option<Memory>,
    /// Swap that is never exceeded.
    pub memory_swap_max: Option<Memory>,
    /// The share of the CPUs.
    pub cpu_weight: Option<u32>,
    /// The most CPU time.
    pub cpu_max: Option<CpuMax>,
    /// The share of the disks.
    pub io_weight: Option<u32>,
    /// Processes and threads; `u64::MAX` is no limit.
    pub pids_max: Option<u64>,
}

/// `resources` of a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resources {
    /// All its processes together.
    pub all: Amounts,
    /// Each of them, with what it starts.
    pub each: Amounts,
    /// Whether the processes may run without what cannot be had here.
    pub optional: bool,
}

/// The keys of the table and what they mean.
const FIELDS: [(&str, &str); 9] = [
    (
        "memory_max",
        "Memory never exceeded, page cache included: when nothing is left to reclaim, the kernel \
         kills. A size, a share of the memory of the machine, or \"max\".",
    ),
    (
        "memory_high",
        "Memory above which the processes are slowed down and theirs is reclaimed; written in the \
         same way.",
    ),
    (
        "memory_swap_max",
        "Swap never exceeded; a share is one of all swap. \"0\" keeps the processes in memory.",
    ),
    (
        "cpu_weight",
        "The share of the CPUs when they are short, against other watchers: 1 to 10000, 100 \
         unless said otherwise.",
    ),
    (
        "cpu_max",
        "CPU time never exceeded: \"150%\" is one CPU and a half. Also \"QUOTA PERIOD\" in \
         microseconds, as the kernel has it, or \"max\".",
    ),
    (
        "io_weight",
        "As cpu_weight, for the disks; the disk's scheduler must know of it.",
    ),
    (
        "pids_max",
        "Processes and threads there may be at a time, or \"max\".",
    ),
    (
        "optional",
        "Start the processes without the limits that cannot be had here, instead of not at all; \
         the log and circusctl why say so.",
    ),
    (
        "each",
        "A table of the same, but for optional: for each process with all that it starts.",
    ),
];

const KEYS: [&str; 9] = {
    let mut keys = [""; 9];
    let mut index = 0;
    while index < keys.len() {
        keys[index] = FIELDS[index].0;
        index += 1;
    }
    keys
};

const EACH: &str = "each";

impl Kind for Resources {
    const ENTRIES: bool = true;
    const TABLES: &'static [&'static str] = &[EACH];

    fn name() -> String {
        "a table of resources".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let mut resources = Self::default();
        let mut problems = Vec::new();
        for entry in table(node)? {
            if let Err(wrong) = resources.read_entry(entry, cx) {
                problems.extend(wrong.into_iter().map(|p| p.inside(&entry.key)));
            }
        }
        match problems.is_empty() {
            true => Ok(resources),
            false => Err(problems),
        }
    }

    fn json(&self) -> Json {
        let mut map = self.all.json();
        if self.optional {
            map.insert("optional".into(), Json::from(true));
        }
        let each = self.each.json();
        if !each.is_empty() {
            map.insert(EACH.into(), Json::Object(each));
        }
        Json::Object(map)
    }

    fn schema() -> Json {
        let mut properties = Amounts::schema();
        let each = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        properties["optional"] = bool::schema();
        properties[EACH] = each;
        for (key, meaning) in FIELDS {
            properties[key]["description"] = meaning.into();
        }
        json!({"type": "object", "properties": properties, "additionalProperties": false})
    }

    fn fields() -> &'static [(&'static str, &'static str)] {
        &FIELDS
    }
}

impl Resources {
    fn read_entry(&mut self, entry: &Entry, cx: &Context) -> Read<()> {
        match entry.key.as_str() {
            "optional" => bool::read(&entry.node, cx).map(|optional| self.optional = optional),
            EACH => self.read_each(&entry.node, cx),
            key => self.all.read_entry(key, entry, cx),
        }
    }

    fn read_each(&mut self, node: &Node, cx: &Context) -> Read<()> {
        let mut problems = Vec::new();
        for entry in table(node)? {
            let read = match entry.key.as_str() {
                key @ ("optional" | EACH) => Err(unknown_key(entry, key)),
                key => self.each.read_entry(key, entry, cx),
            };
            if let Err(wrong) = read {
                problems.extend(wrong.into_iter().map(|p| p.inside(&entry.key)));
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems),
        }
    }
}

impl Amounts {
    fn read_entry(&mut self, key: &str, entry: &Entry, cx: &Context) -> Read<()> {
        let node = &entry.node;
        match key {
            "memory_max" => {
                let memory = Memory::read(node, cx)?;
                if memory.is_nothing() {
                    return Err(Problem::new(node, "nothing can run without memory").into());
                }
                self.memory_max = Some(memory);
            }
            "memory_high" => self.memory_high = Some(Memory::read(node, cx)?),
            "memory_swap_max" => self.memory_swap_max = Some(Memory::read(node, cx)?),
            "cpu_weight" => self.cpu_weight = Some(weight(node, cx)?),
            "cpu_max" => self.cpu_max = Some(CpuMax::read(node, cx)?),
            "io_weight" => self.io_weight = Some(weight(node, cx)?),
            "pids_max" => self.pids_max = Some(tasks(node, cx)?),
            unknown => return Err(unknown_key(entry, unknown)),
        }
        Ok(())
    }

    fn json(&self) -> Map<String, Json> {
        let tasks = |tasks| match tasks {
            u64::MAX => Json::from("max"),
            tasks => Json::from(tasks),
        };
        let values = [
            ("memory_max", self.memory_max.map(Memory::json)),
            ("memory_high", self.memory_high.map(Memory::json)),
            ("memory_swap_max", self.memory_swap_max.map(Memory::json)),
            ("cpu_weight", self.cpu_weight.map(Json::from)),
            ("cpu_max", self.cpu_max.map(CpuMax::json)),
            ("io_weight", self.io_weight.map(Json::from)),
            ("pids_max", self.pids_max.map(tasks)),
        ];
        let set = values
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        set.collect()
    }

    fn schema() -> Json {
        let weight = or_variable(json!({
            "type": "integer", "minimum": WEIGHTS.start(), "maximum": WEIGHTS.end(),
        }));
        json!({
            "memory_max": Memory::schema(),
            "memory_high": Memory::schema(),
            "memory_swap_max": Memory::schema(),
            "cpu_weight": weight,
            "cpu_max": CpuMax::schema(),
            "io_weight": weight,
            "pids_max": or_variable(json!({"anyOf": [
                {"type": "integer", "minimum": 1, "maximum": TASKS_MAX},
                {"enum": ENDLESS},
            ]})),
        })
    }
}

fn table(node: &Node) -> Read<&Table> {
    match &node.value {
        Value::Table(table) => Ok(table),
        _ => Err(Problem::expected(&Resources::name(), node).into()),
    }
}

fn unknown_key(entry: &Entry, key: &str) -> Vec<Problem> {
    let mut problem = Problem::new(&entry.node, "unknown key");
    problem.at = entry.key_at.clone();
    // What is nearest to a key of the whole table that is not for each is itself.
    let nearest = nearest(key, KEYS).filter(|nearest| nearest != key);
    problem.suggesting(nearest).into()
}

fn weight(node: &Node, cx: &Context) -> Read<u32> {
    let weight = u32::read(node, cx)?;
    match WEIGHTS.contains(&weight.into()) {
        true => Ok(weight),
        false => Err(not_within(node, weight, &WEIGHTS)),
    }
}

fn tasks(node: &Node, cx: &Context) -> Read<u64> {
    let node = plain(node, cx)?;
    match &node.value {
        Value::String(word) if ENDLESS.contains(&word.as_str()) => Ok(u64::MAX),
        Value::Integer(count) => match u64::try_from(*count) {
            Ok(count) if (1..=TASKS_MAX).contains(&count) => Ok(count),
            _ => Err(not_within(&node, count, &(1..=TASKS_MAX))),
        },
        _ => Err(Problem::expected("an integer, or 'max'", &node).into()),
    }
}

choices! {
    /// What a want of memory ends.
    pub enum Oom {
        /// Whom the kernel chooses.
        Process = "process",
        /// Everything of the process to which that belongs.
        Group = "group",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_size_a_share_or_everything() {
        assert_eq!(Memory::parse("512M"), Some(Memory::Bytes(512 << 20)));
        assert_eq!(Memory::parse("50%"), Some(Memory::Share(0.5)));
        assert_eq!(Memory::parse(" 12.5 %"), Some(Memory::Share(0.125)));
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
        for text in ["512M", "50%", "12.5%", "max"] {
            assert_eq!(Memory::parse(text).unwrap().json(), Json::from(text));
        }
        for text in ["150%", "12.5%", "5000 20000", "max"] {
            assert_eq!(CpuMax::parse(text).unwrap().json(), Json::from(text));
        }
    }
}
