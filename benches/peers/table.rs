//! What was measured, and what DESIGN allows: the rows, their units and budgets, and how they print.
//!
//! [`ROWS`] is the only list; a scene only adds samples.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use crate::contestant::Contestant;

/// What a sample is a sample of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sample {
    /// From a worker's death to its successor's `main`, among ten workers.
    Death,
    /// The same among a thousand.
    DeathAmong1000,
    /// The same among ten thousand.
    DeathAmong10000,
    /// The same among ten, while fifty clients hear of ten thousand events a second.
    DeathAmongListeners,
    /// The same while others ask as fast as they can.
    DeathAmongCallers,
    /// The same with fifty plugins that run, and one that crashes again and again.
    DeathAmongPlugins,
    /// Events per second that each of the fifty has heard meanwhile.
    Heard,
    /// From the first of a hundred kills to the last successor's `main`.
    Hundred,
    /// From the start of the daemon to the last worker's `main`.
    Start1000,
    /// The same for ten thousand.
    Start10000,
    /// Status over an open connection, with one watcher.
    Status1,
    /// The same with a hundred watchers.
    Status100,
    /// The status command.
    StatusCommand,
    /// Proportional set size with so many workers.
    Memory1,
    Memory100,
    Memory1000,
    Memory10000,
    /// Context switches per second.
    WakeUps,
    /// CPU time per time.
    IdleCpu,
    /// The restart command, for ten workers.
    Restart10,
    /// Events times subscribers per second.
    Deliveries,
}

/// How a figure is written.
#[derive(Clone, Copy)]
enum Unit {
    Nanoseconds,
    Bytes,
    PerSecond,
    /// Of one CPU; samples are fractions.
    Percent,
}

/// What DESIGN allows.
#[derive(Clone, Copy)]
enum Budget {
    /// So many times the floor; the second number where workers have cgroups of their own.
    Floor(f64, f64),
    AtMost(f64),
    AtLeast(f64),
    /// So many times the median of another of one's own figures.
    Own(f64, Sample),
    /// Shown for what it explains.
    None,
}

struct Row {
    title: &'static str,
    sample: Sample,
    /// Which of the sorted samples is shown, in percent: 50 is the median.
    percentile: usize,
    unit: Unit,
    budget: Budget,
}

const fn row(
    title: &'static str,
    sample: Sample,
    percentile: usize,
    unit: Unit,
    budget: Budget,
) -> Row {
    Row {
        title,
        sample,
        percentile,
        unit,
        budget,
    }
}

/// In the order of DESIGN's budget, which is where the numbers come from; memory is dinit's.
const ROWS: [Row; 22] = {
    use Budget::{AtLeast, AtMost, Floor, None, Own};
    use Sample::*;
    use Unit::{Bytes, Nanoseconds, PerSecond, Percent};
    [
        row(
            "worker dies → its successor's `main`, p50",
            Death,
            50,
            Nanoseconds,
            Floor(1.3, 1.8),
        ),
        row("the same, p99", Death, 99, Nanoseconds, None),
        row(
            "the same among 1000 workers, p50",
            DeathAmong1000,
            50,
            Nanoseconds,
            None,
        ),
        row(
            "the same while 50 clients hear 10 000 events a second",
            DeathAmongListeners,
            50,
            Nanoseconds,
            Own(2.0, Death),
        ),
        row(
            "events that each of them hears",
            Heard,
            50,
            PerSecond,
            AtLeast(9e3),
        ),
        row(
            "the same while two clients ask without end",
            DeathAmongCallers,
            50,
            Nanoseconds,
            Own(2.0, Death),
        ),
        row(
            "the same among 50 plugins and one that crashes",
            DeathAmongPlugins,
            50,
            Nanoseconds,
            Own(2.0, Death),
        ),
        row(
            "100 killed at once → all back",
            Hundred,
            50,
            Nanoseconds,
            Floor(1.4, 1.4),
        ),
        row(
            "1000 workers from nothing",
            Start1000,
            50,
            Nanoseconds,
            Floor(1.3, 1.8),
        ),
        row(
            "status over an open connection, 1 watcher, p50",
            Status1,
            50,
            Nanoseconds,
            Floor(2.0, 2.0),
        ),
        row("the same, 100 watchers", Status100, 50, Nanoseconds, None),
        row(
            "`status` as a whole process",
            StatusCommand,
            50,
            Nanoseconds,
            Floor(2.0, 2.0),
        ),
        row(
            "memory (PSS) with 1 worker",
            Memory1,
            50,
            Bytes,
            AtMost(2.3e6),
        ),
        row(
            "memory (PSS) with 100 workers",
            Memory100,
            50,
            Bytes,
            AtMost(2.5e6),
        ),
        row(
            "memory (PSS) with 1000 workers",
            Memory1000,
            50,
            Bytes,
            AtMost(4.2e6),
        ),
        row(
            "wake-ups per second, idle",
            WakeUps,
            50,
            PerSecond,
            AtMost(0.0),
        ),
        row("CPU, idle", IdleCpu, 50, Percent, None),
        row(
            "restart of 10 processes, whole command",
            Restart10,
            50,
            Nanoseconds,
            Floor(3.0, 3.0),
        ),
        row(
            "deliveries of events to 100 subscribers",
            Deliveries,
            50,
            PerSecond,
            AtLeast(500e3),
        ),
        row(
            "10 000 workers from nothing",
            Start10000,
            50,
            Nanoseconds,
            None,
        ),
        row(
            "worker dies → `main`, among 10 000, p50",
            DeathAmong10000,
            50,
            Nanoseconds,
            None,
        ),
        row(
            "memory (PSS) with 10 000 workers",
            Memory10000,
            50,
            Bytes,
            None,
        ),
    ]
};

/// All samples of a run, by contestant in the order of the run.
#[derive(Default)]
pub(crate) struct Measured {
    samples: BTreeMap<(Sample, usize), Vec<f64>>,
    with_cgroups: BTreeSet<usize>,
}

impl Measured {
    /// Adds one sample, in the unit of its rows.
    pub(crate) fn add(&mut self, sample: Sample, contestant: usize, value: f64) {
        self.samples
            .entry((sample, contestant))
            .or_default()
            .push(value);
    }

    /// Adds one sample of time.
    pub(crate) fn add_time(&mut self, sample: Sample, contestant: usize, time: Duration) {
        self.add(sample, contestant, time.as_secs_f64() * 1e9);
    }

    /// Notes that the workers of `contestant` have cgroups of their own.
    pub(crate) fn note_cgroups(&mut self, contestant: usize) {
        self.with_cgroups.insert(contestant);
    }

    /// The table, in Markdown; the first contestant is what the others are told by.
    pub(crate) fn table(&self, contestants: &[Contestant]) -> String {
        let mut lines = vec![
            self.heading(contestants),
            vec!["---".into(); 2 * contestants.len() + 1],
        ];
        let measured = ROWS
            .iter()
            .filter(|row| self.samples.contains_key(&(row.sample, 0)) || self.of(row, 1).is_some());
        lines.extend(measured.map(|row| self.line(row, contestants.len())));
        aligned(&lines)
    }

    fn heading(&self, contestants: &[Contestant]) -> Vec<String> {
        let mut heading = vec!["what".into(), contestants[0].name.clone()];
        for (place, contestant) in contestants.iter().enumerate().skip(1) {
            let cgroups = if self.with_cgroups.contains(&place) {
                "a cgroup each"
            } else {
                "no cgroups"
            };
            heading.extend([format!("{}, {cgroups}", contestant.name), "× floor".into()]);
        }
        heading.push("no worse than".into());
        heading
    }

    fn line(&self, row: &Row, contestants: usize) -> Vec<String> {
        let floor = self.of(row, 0);
        let mut line = vec![row.title.into(), written(floor, row.unit)];
        for place in 1..contestants {
            let (ours, cgroups) = (self.of(row, place), self.with_cgroups.contains(&place));
            let own = |sample| self.median(sample, place);
            let missed = ours.is_some_and(|ours| row.budget.misses(ours, floor, cgroups, own));
            let ratio = ours
                .zip(floor)
                .filter(|&(_, floor)| floor > 0.0)
                .map(|(ours, floor)| ours / floor);
            line.push(format!(
                "{}{}",
                written(ours, row.unit),
                if missed { " MISSED" } else { "" }
            ));
            line.push(ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")));
        }
        line.push(row.budget.written(row.unit));
        line
    }

    fn of(&self, row: &Row, contestant: usize) -> Option<f64> {
        self.percentile(row.sample, contestant, row.percentile)
    }

    fn median(&self, sample: Sample, contestant: usize) -> Option<f64> {
        self.percentile(sample, contestant, 50)
    }

    fn percentile(&self, sample: Sample, contestant: usize, percentile: usize) -> Option<f64> {
        let mut samples = self.samples.get(&(sample, contestant))?.clone();
        samples.sort_by(f64::total_cmp);
        // Nearest rank: the smallest sample that is not below so many percent of all.
        let rank = (samples.len() * percentile).div_ceil(100).max(1);
        samples.get(rank - 1).copied()
    }
}

impl Budget {
    fn misses(
        self,
        ours: f64,
        floor: Option<f64>,
        cgroups: bool,
        own: impl Fn(Sample) -> Option<f64>,
    ) -> bool {
        match self {
            Budget::Floor(plain, with) => {
                floor.is_some_and(|floor| ours > floor * if cgroups { with } else { plain })
            }
            Budget::AtMost(most) => ours > most,
            Budget::AtLeast(least) => ours < least,
            Budget::Own(times, sample) => own(sample).is_some_and(|own| ours > own * times),
            Budget::None => false,
        }
    }

    fn written(self, unit: Unit) -> String {
        match self {
            Budget::Floor(plain, with) if plain == with => format!("{plain} × floor"),
            Budget::Floor(plain, with) => format!("{plain} × floor; {with} × with cgroups"),
            Budget::AtMost(most) => written(Some(most), unit),
            Budget::AtLeast(least) => format!("at least {}", written(Some(least), unit)),
            Budget::Own(times, _) => format!("{times} × its own when idle"),
            Budget::None => "–".into(),
        }
    }
}

/// Three digits that mean something, and the unit.
fn written(value: Option<f64>, unit: Unit) -> String {
    let Some(value) = value else {
        return "–".into();
    };
    let scaled = |steps: &[(f64, &str)]| {
        let &(scale, name) = steps
            .iter()
            .find(|&&(scale, _)| value >= scale)
            .unwrap_or(&steps[steps.len() - 1]);
        let value = value / scale;
        let decimals = if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        };
        format!("{value:.decimals$}{name}")
    };
    match unit {
        Unit::Nanoseconds => scaled(&[(1e9, " s"), (1e6, " ms"), (1e3, " µs")]),
        Unit::Bytes => scaled(&[(1e6, " MB"), (1e3, " kB")]),
        Unit::PerSecond if value == 0.0 => "0".into(),
        Unit::PerSecond => scaled(&[(1e6, " M/s"), (1e3, " k/s"), (1.0, " /s")]),
        Unit::Percent => format!("{:.3} %", value * 100.0),
    }
}

/// Markdown, readable as it stands: every column as wide as its widest cell.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            write!(text, "| {cell:width$} ").expect("a String takes all");
        }
        text.push_str("|\n");
    }
    text
}
