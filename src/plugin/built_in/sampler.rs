//! What processes use, in the middle between two samples.

use std::collections::BTreeMap;
use std::fs;

use crate::api::types::ProcessStats;
use crate::api::{Method, params, reply};
use crate::client::ClientError;
use crate::plugin::Handle;

/// What one process uses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) watcher: String,
    pub(super) wid: u64,
    pub(super) pid: u32,
    /// Per cent of one CPU since the sample before, or for the first one, since it started.
    pub(super) cpu: f64,
    /// Resident, in bytes.
    pub(super) memory: u64,
    /// The same, per cent of what the machine has.
    pub(super) memory_percent: f64,
}

/// Takes samples, and knows the one before.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// Processor time and age when it was last asked, in microseconds, by pid.
    before: BTreeMap<u32, (u64, u64)>,
    /// What the machine has, in bytes; 0 where that cannot be found out.
    memory: u64,
}

impl Sampler {
    /// Everything that runs of these watchers: a name or pattern, or all. A process that has just
    /// been started is left out until there is something to divide by.
    pub(super) async fn take(
        &mut self,
        watchers: Option<&str>,
        handle: &Handle,
    ) -> Result<Vec<Sample>, ClientError> {
        let stats = params::Stats {
            watchers: watchers.map(ToOwned::to_owned),
            ..params::Stats::default()
        };
        let stats: reply::Stats = handle.call(&Method::Stats(stats)).await?;
        if self.memory == 0 {
            self.memory = memory_of_machine().unwrap_or_default();
        }
        let samples = stats.processes.iter().filter_map(|of| self.sample(of));
        let samples = samples.collect();
        let seen = stats.processes.iter();
        self.before = seen
            .map(|of| (of.pid, (of.cpu_usec, of.age_usec)))
            .collect();
        Ok(samples)
    }

    fn sample(&self, of: &ProcessStats) -> Option<Sample> {
        let known = self.before.get(&of.pid).copied();
        // A pid may be another's by now, which is younger.
        let known = known.filter(|(cpu, age)| *age < of.age_usec && *cpu <= of.cpu_usec);
        let (cpu, age) = known.unwrap_or_default();
        let time = of.age_usec - age;
        (time > 0).then(|| Sample {
            watcher: of.watcher.clone(),
            wid: of.wid,
            pid: of.pid,
            cpu: (of.cpu_usec - cpu) as f64 * 100.0 / time as f64,
            memory: of.memory_rss,
            memory_percent: match self.memory {
                0 => 0.0,
                all => of.memory_rss as f64 * 100.0 / all as f64,
            },
        })
    }
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
        };
        let cpu = |of: &ProcessStats| sampler.sample(of).map(|sample| sample.cpu);
        assert_eq!(cpu(&stats(7, 1500, 11_000)), Some(50.0));
        assert_eq!(cpu(&stats(8, 2000, 10_000)), Some(20.0), "the first one");
        assert_eq!(cpu(&stats(7, 10, 100)), Some(10.0), "another process");
        assert_eq!(cpu(&stats(8, 0, 0)), None);
        let sample = sampler.sample(&stats(7, 1500, 11_000));
        assert_eq!(sample.map(|sample| sample.memory_percent), Some(25.0));
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(memory_of_machine().unwrap() > 1 << 20);
    }
}
