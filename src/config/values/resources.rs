//! What a watcher and each of its processes may use, and what a want of memory ends.
//!
//! How a single amount is written is in `amounts`.

use serde_json::{Map, Value as Json, json};

use super::amounts::{CpuMax, ENDLESS, Memory};
use crate::config::diagnostic::nearest;
use crate::config::kind::{Kind, Problem, Read, not_within, or_variable, plain};
use crate::config::node::{Entry, Node, Table, Value};
use crate::config::shapes::choices;
use crate::config::variables::Context;

/// As many processes and threads as the kernel can count (PID_MAX_LIMIT of Linux).
const TASKS_MAX: u64 = 4_194_304;

/// The bounds of the kernel's cpu.weight and io.weight.
const WEIGHTS: std::ops::RangeInclusive<u64> = 1..=10_000;

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
