//! What processes use, in the middle between two samples.

use std::collections::BTreeMap;
use std::{fs, iter};

use crate::api::types::ProcessStats;
use crate::api::{Method, params, reply};
use crate::client::ClientError;
use crate::plugin::Handle;

/// What one process uses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) watcher: String,
    /// The place of the process of the watcher, and its pid.
    pub(super) wid: u64,
    pub(super) worker: u32,
    /// The process that was measured: that one, or one below it.
    pub(super) pid: u32,
    /// Whether there is none of it before; its pid may have been another's.
    pub(super) is_first: bool,
    /// Per cent of one CPU since the sample before, or for the first one, since it started.
    pub(super) cpu: f64,
    /// Resident, in bytes.
    pub(super) memory: u64,
    /// The same, per cent of what the machine has.
    pub(super) memory_percent: f64,
}

impl Sample {
    /// Whether it is of a process below one of the watcher.
    pub(super) fn is_of_child(&self) -> bool {
        self.pid != self.worker
    }
}

/// Takes samples, and knows the one before.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// Whether those below the processes of the watchers are looked at, too.
    children: bool,
    /// Processor time and age when it was last asked, in microseconds, by pid.
    before: BTreeMap<u32, (u64, u64)>,
    /// What the machine has, in bytes; 0 where that cannot be found out.
    memory: u64,
}

/// What is told of a process, be it one of the watcher or below that.
#[derive(Debug, Clone, Copy)]
struct Figures {
    pid: u32,
    age_usec: u64,
    cpu_usec: u64,
    memory: u64,
}

impl Sampler {
    /// One that looks at the processes below those of the watchers, too.
    pub(super) fn of_children_too() -> Sampler {
        Sampler {
            children: true,
            ..Sampler::default()
        }
    }

    /// Everything that runs of these watchers: a name or pattern, or all; each process before those
    /// below it. One that has just been started is left out until there is something to divide by.
    pub(super) async fn take(
        &mut self,
        watchers: Option<&str>,
        handle: &Handle,
    ) -> Result<Vec<Sample>, ClientError> {
        let stats = params::Stats {
            watchers: watchers.map(ToOwned::to_owned),
            descendants: self.children.then_some(true),
            ..params::Stats::default()
        };
        let stats: reply::Stats = handle.call(&Method::Stats(stats)).await?;
        if self.memory == 0 {
            self.memory = memory_of_machine().unwrap_or_default();
        }
        let seen = || {
            let processes = stats.processes.iter();
            processes.flat_map(|of| figures(of).map(move |seen| (of, seen)))
        };
        let samples = seen().filter_map(|(of, seen)| self.sample(of, seen));
        let samples = samples.collect();
        self.before = seen()
            .map(|(_, seen)| (seen.pid, (seen.cpu_usec, seen.age_usec)))
            .collect();
        Ok(samples)
    }

    fn sample(&self, of: &ProcessStats, seen: Figures) -> Option<Sample> {
        let known = self.before.get(&seen.pid).copied();
        // A pid may be another's by now, which is younger.
        let known = known.filter(|(cpu, age)| *age < seen.age_usec && *cpu <= seen.cpu_usec);
        let (cpu, age) = known.unwrap_or_default();
        let time = seen.age_usec - age;
        (time > 0).then(|| Sample {
            watcher: of.watcher.clone(),
            wid: of.wid,
            worker: of.pid,
            pid: seen.pid,
            is_first: known.is_none(),
            cpu: (seen.cpu_usec - cpu) as f64 * 100.0 / time as f64,
            memory: seen.memory,
            memory_percent: match self.memory {
                0 => 0.0,
                all => seen.memory as f64 * 100.0 / all as f64,
            },
        })
    }
}

/// Those of a process of a watcher, and of all that are below it, if these are told.
fn figures(of: &ProcessStats) -> impl Iterator<Item = Figures> {
    let own = Figures {
        pid: of.pid,
        age_usec: of.age_usec,
        cpu_usec: of.cpu_usec,
        memory: of.memory_rss,
    };
    let below = of.descendants.iter().flatten().map(|child| Figures {
        pid: child.pid,
        age_usec: child.age_usec,
        cpu_usec: child.cpu_usec,
        memory: child.memory_rss,
    });
    iter::once(own).chain(below)
}

/// `MemTotal` of proc_meminfo(5), in bytes.
fn memory_of_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats(pid: u32, cpu_usec: u64, age_usec: u64) -> ProcessStats {
        ProcessStats {
            watcher: "web".into(),
            wid: 1,
            pid,
            state: "running".into(),
            age_usec,
            cpu_usec,
            cpu_percent: None,
            memory_rss: 50,
            memory_current: None,
            memory_peak: None,
            tasks: 1,
            fds: None,
            children: 0,
            io_read_bytes: None,
            io_write_bytes: None,
            descendants: None,
            extended: None,
        }
    }

    #[test]
    fn cpu_time_is_that_since_the_sample_before() {
        let sampler = Sampler {
            before: BTreeMap::from([(7, (1000, 10_000))]),
            memory: 200,
            children: false,
        };
        let sample = |of: &ProcessStats| {
            let own = figures(of).next().expect("a process has figures");
            sampler.sample(of, own)
        };
        let cpu = |of: &ProcessStats| sample(of).map(|sample| sample.cpu);
        assert_eq!(cpu(&stats(7, 1500, 11_000)), Some(50.0));
        assert_eq!(cpu(&stats(8, 2000, 10_000)), Some(20.0), "the first one");
        assert_eq!(cpu(&stats(7, 10, 100)), Some(10.0), "another process");
        assert_eq!(cpu(&stats(8, 0, 0)), None);
        let sample = sample(&stats(7, 1500, 11_000));
        assert_eq!(sample.map(|sample| sample.memory_percent), Some(25.0));
    }

    #[test]
    fn those_below_a_process_follow_it() {
        let child = json!({"pid": 8, "ppid": 7, "age_usec": 10, "cpu_usec": 5, "memory_rss": 1});
        let below = serde_json::from_value(json!([child])).unwrap();
        let of = ProcessStats {
            descendants: Some(below),
            ..stats(7, 1, 100)
        };
        let sampler = Sampler::of_children_too();
        let samples = figures(&of).filter_map(|seen| sampler.sample(&of, seen));
        let told = samples.map(|of| (of.worker, of.pid, of.is_of_child(), of.cpu));
        assert!(told.eq([(7, 7, false, 1.0), (7, 8, true, 50.0)]));
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(memory_of_machine().unwrap() > 1 << 20);
    }
}
