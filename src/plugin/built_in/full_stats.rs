//! `full_stats`: what the processes of each watcher use, as gauges at a statsd server; and what
//! `statsd` does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::sampler::{Sample, Sampler};
use super::statsd::count;
use super::statsd_client::Statsd;
use crate::api::types::Event;
use crate::config::plugins::{FullStatsSettings, plugin_of};
use crate::plugin::{Handle, Outcome, Plugin};

/// The plugin.
#[derive(Debug)]
pub(super) struct FullStats {
    statsd: Statsd,
    sampler: Sampler,
    loop_rate: Duration,
    /// The watchers whose gauges are not at zero.
    told: BTreeSet<String>,
}

impl FullStats {
    pub(super) fn new(of: FullStatsSettings) -> Self {
        Self {
            statsd: Statsd::new(&of.host, of.port, &of.application_name, of.sample_rate),
            sampler: Sampler::default(),
            loop_rate: of.loop_rate,
            told: BTreeSet::new(),
        }
    }

    async fn tell(&mut self, watcher: &str, samples: &[Sample], handle: &Handle) {
        let max = |values: &dyn Fn(&Sample) -> f64| samples.iter().map(values).fold(0.0, f64::max);
        let sum = |values: &dyn Fn(&Sample) -> f64| samples.iter().map(values).sum::<f64>();
        let (cpu, share) = (|of: &Sample| of.cpu, |of: &Sample| of.memory_percent);
        // Exact up to 2^53, and no process is that large.
        let memory = |of: &Sample| of.memory as f64;
        let gauges = [
            ("watchers_num", samples.len() as f64),
            ("cpu_max", max(&cpu)),
            ("cpu_sum", sum(&cpu)),
            ("mem_pct_max", max(&share)),
            ("mem_pct_sum", sum(&share)),
            ("mem_max", max(&memory)),
            ("mem_sum", sum(&memory)),
        ];
        for (gauge, value) in gauges {
            let name = format!("_stats.{watcher}.{gauge}");
            self.statsd.gauge(&name, value, handle).await;
        }
    }
}

impl Plugin for FullStats {
    fn name(&self) -> &str {
        "full_stats"
    }

    fn topics(&self) -> Option<Vec<String>> {
        Some(vec!["watcher.*".into()])
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.loop_rate)
    }

    async fn event(&mut self, event: Event, handle: &Handle) -> Outcome {
        count(&mut self.statsd, &event, handle).await;
        Ok(())
    }

    async fn tick(&mut self, handle: &Handle) -> Outcome {
        let samples = match self.sampler.take(None, handle).await {
            Ok(samples) => samples,
            Err(error) => {
                self.statsd.increment("_stats.error", handle).await;
                handle.log(&format!("no statistics: {error}"));
                return Ok(());
            }
        };
        let mut by_watcher: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        // Plugins are no service of anybody's.
        for sample in samples
            .into_iter()
            .filter(|of| plugin_of(&of.watcher).is_none())
        {
            by_watcher
                .entry(sample.watcher.clone())
                .or_default()
                .push(sample);
        }
        for watcher in std::mem::take(&mut self.told) {
            // Without a process any more: a gauge stays at what it was told last.
            by_watcher.entry(watcher).or_default();
        }
        for (watcher, samples) in by_watcher {
            self.tell(&watcher, &samples, handle).await;
            if !samples.is_empty() {
                self.told.insert(watcher);
            }
        }
        Ok(())
    }
}
