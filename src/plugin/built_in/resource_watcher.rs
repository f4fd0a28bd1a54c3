//! `resource_watcher`: processes that use too much, or too little, for too long are replaced; those
//! that run below them get a signal, if they are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::sampler::{Sample, Sampler};
use super::{is_meant, no_events};
use crate::api::types::Event;
use crate::api::{Method, params, reply};
use crate::config::plugins::{MemoryBound, Replaced, ResourceWatcherSettings};
use crate::plugin::{Handle, Outcome, Plugin};

/// The limits that a sample can be beyond; each is counted by itself.
const CRITERIA: usize = 5;

/// The plugin.
#[derive(Debug)]
pub(super) struct ResourceWatcher {
    settings: ResourceWatcherSettings,
    sampler: Sampler,
    counts: Counts,
}

impl ResourceWatcher {
    pub(super) fn new(settings: ResourceWatcherSettings) -> Self {
        let sampler = match settings.process_children {
            true => Sampler::of_children_too(),
            false => Sampler::default(),
        };
        Self {
            settings,
            sampler,
            counts: Counts::default(),
        }
    }

    /// Sends a child its signal; the process that it is below stays.
    async fn signal(&self, of: &Sample, why: &str, handle: &Handle) {
        let Sample {
            watcher,
            wid,
            worker,
            pid,
            ..
        } = of;
        handle.log(&format!(
            "{watcher}: pid {pid} below process {wid} (pid {worker}) {why}"
        ));
        let signal = Method::Signal(params::Signal {
            watcher: watcher.clone(),
            signal: self.settings.child_signal.number().to_string(),
            pid: Some(*worker),
            child: Some(*pid),
            ..params::Signal::default()
        });
        if let Err(error) = handle.call::<reply::Pids>(&signal).await {
            handle.log(&format!("{watcher}: pid {pid} was not signalled: {error}"));
        }
    }

    /// Whether one is gone when another is replaced.
    fn goes_with(&self, one: &Sample, replaced: &Sample) -> bool {
        match self.settings.restart {
            Replaced::Process => one.worker == replaced.worker,
            Replaced::Watcher => one.watcher == replaced.watcher,
        }
    }

    async fn replace(&self, of: &Sample, why: &str, handle: &Handle) {
        let watcher = of.watcher.clone();
        handle.log(&format!(
            "{watcher}: process {} (pid {}) {why}",
            of.wid, of.pid
        ));
        let replaced = match self.settings.restart {
            Replaced::Process => {
                let kill = Method::Kill(params::Kill {
                    watcher,
                    pid: Some(of.pid),
                    ..params::Kill::default()
                });
                handle.call::<reply::Pids>(&kill).await.map(drop)
            }
            Replaced::Watcher => {
                let restart = Method::Restart(params::Verb {
                    watchers: Some(watcher),
                    wait: Some(false),
                });
                handle.call::<reply::Changes>(&restart).await.map(drop)
            }
        };
        if let Err(error) = replaced {
            handle.log(&format!("{}: was not replaced: {error}", of.watcher));
        }
    }
}

impl Plugin for ResourceWatcher {
    fn name(&self) -> &str {
        "resource_watcher"
    }

    fn topics(&self) -> Option<Vec<String>> {
        no_events()
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.settings.loop_rate)
    }

    async fn event(&mut self, _event: Event, _handle: &Handle) -> Outcome {
        Ok(())
    }

    async fn tick(&mut self, handle: &Handle) -> Outcome {
        let watchers = Some(self.settings.watchers.as_str());
        let samples = match self.sampler.take(watchers, handle).await {
            Ok(samples) => samples,
            Err(error) => {
                handle.log(&format!("no statistics: {error}"));
                return Ok(());
            }
        };
        let is_meant = |of: &Sample| is_meant(self.settings.watchers.as_str(), &of.watcher);
        let samples: Vec<Sample> = samples.into_iter().filter(is_meant).collect();
        self.counts.retain(&samples);
        let mut replaced: Vec<&Sample> = Vec::new();
        for sample in &samples {
            let Some(why) = self.counts.take_in(sample, &self.settings) else {
                continue;
            };
            if replaced.iter().any(|of| self.goes_with(sample, of)) {
                continue;
            }
            if sample.is_of_child() {
                self.signal(sample, &why, handle).await;
            } else {
                self.replace(sample, &why, handle).await;
                replaced.push(sample);
            }
        }
        for of in &samples {
            if replaced.iter().any(|other| self.goes_with(of, other)) {
                self.counts.forget(of.pid);
            }
        }
        Ok(())
    }
}

/// How often in a row each process has been beyond each limit, by pid.
#[derive(Debug, Default)]
struct Counts(BTreeMap<u32, [u32; CRITERIA]>);

impl Counts {
    /// Takes in one more sample; why its process is to be replaced, if it is.
    fn take_in(&mut self, of: &Sample, settings: &ResourceWatcherSettings) -> Option<String> {
        if of.is_first {
            self.forget(of.pid);
        }
        let counts = self.0.entry(of.pid).or_default();
        let mut found = None;
        for (count, beyond) in counts.iter_mut().zip(beyond(of, settings)) {
            match beyond {
                Some(what) => {
                    *count += 1;
                    if *count > settings.max_count {
                        found = Some(format!("{what}, {count} samples in a row"));
                    }
                }
                None => *count = 0,
            }
        }
        if found.is_some() {
            *counts = [0; CRITERIA];
        }
        found
    }

    /// Forgets the processes that are no more.
    fn retain(&mut self, samples: &[Sample]) {
        let pids: BTreeSet<u32> = samples.iter().map(|of| of.pid).collect();
        self.0.retain(|pid, _| pids.contains(pid));
    }

    fn forget(&mut self, pid: u32) {
        self.0.remove(&pid);
    }
}

/// What is beyond which limit, in words.
fn beyond(of: &Sample, limits: &ResourceWatcherSettings) -> [Option<String>; CRITERIA] {
    let (cpu, share) = (of.cpu, of.memory_percent);
    let health = (cpu + share) / 2.0;
    let is_more = |value: f64, most: f64| most > 0.0 && value > most;
    let much = match limits.max_mem {
        MemoryBound::Percent(most) => is_more(share, most),
        MemoryBound::Bytes(most) => most > 0 && of.memory > most,
    };
    let little = limits.min_mem.is_some_and(|least| match least {
        MemoryBound::Percent(least) => share < least,
        MemoryBound::Bytes(least) => of.memory < least,
    });
    let memory = || format!("has {} bytes of memory ({share:.1} %)", of.memory);
    let time = || format!("uses {cpu:.0} % of a CPU");
    [
        is_more(cpu, limits.max_cpu).then(time),
        limits.min_cpu.is_some_and(|least| cpu < least).then(time),
        much.then(memory),
        little.then(memory),
        is_more(health, limits.health_threshold)
            .then(|| format!("uses {cpu:.0} % of a CPU and {share:.0} % of the memory")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::plugins::{BuiltIn, BuiltInSettings, read_settings};

    fn settings(more: Value) -> ResourceWatcherSettings {
        let Value::Object(mut given) = more else {
            panic!("not an object");
        };
        given.insert("watchers".into(), json!("web"));
        match read_settings(BuiltIn::ResourceWatcher, &given, &[], "/".as_ref()) {
            Ok(BuiltInSettings::ResourceWatcher(settings)) => settings,
            other => panic!("{other:?}"),
        }
    }

    fn sample(cpu: f64, memory: u64) -> Sample {
        Sample {
            watcher: "web".into(),
            wid: 1,
            worker: 7,
            pid: 7,
            is_first: false,
            cpu,
            memory,
            memory_percent: memory as f64 / 10.0,
        }
    }

    /// Whether each of these samples is one too many.
    fn check(more: Value, samples: &[(f64, u64)], expected: &str) {
        let settings = settings(more);
        let mut counts = Counts::default();
        let told = samples.iter().map(|(cpu, memory)| {
            match counts.take_in(&sample(*cpu, *memory), &settings) {
                Some(_) => '!',
                None => '.',
            }
        });
        assert_eq!(told.collect::<String>(), expected, "{samples:?}");
    }

    #[test]
    fn more_than_max_count_in_a_row_of_one_criterion_are_too_many() {
        let (busy, idle, large) = ((91.0, 1), (0.0, 1), (0.0, 950));
        let rest = json!({"max_count": 2});
        check(
            rest.clone(),
            &[busy, busy, busy, busy, busy, busy],
            "..!..!",
        );
        check(
            rest.clone(),
            &[busy, busy, idle, busy, busy, busy],
            ".....!",
        );
        check(rest, &[busy, busy, large, busy, busy, large], "......");
    }

    #[test]
    fn each_limit_can_be_given_and_switched_off() {
        let now = |mut more: Value| {
            more["max_count"] = json!(0);
            more
        };
        check(now(json!({})), &[(90.0, 1), (90.1, 1), (1.0, 901)], ".!!");
        check(
            now(json!({"max_cpu": 0, "health_threshold": 0})),
            &[(400.0, 1)],
            ".",
        );
        check(
            now(json!({"max_mem": 0, "health_threshold": 0})),
            &[(1.0, 999)],
            ".",
        );
        check(
            now(json!({"max_mem": "100"})),
            &[(1.0, 100), (1.0, 101)],
            ".!",
        );
        check(now(json!({"min_cpu": 2})), &[(1.9, 1), (2.0, 1)], "!.");
        check(
            now(json!({"min_mem": "50%"})),
            &[(1.0, 499), (1.0, 500)],
            "!.",
        );
        // 80 % of a CPU and 80 % of the memory.
        check(now(json!({})), &[(80.0, 800), (70.0, 790)], "!.");
    }

    #[test]
    fn another_process_with_the_same_pid_begins_anew() {
        let settings = settings(json!({"max_count": 1}));
        let mut counts = Counts::default();
        let mut is_too_many = |is_first| {
            let sample = Sample {
                is_first,
                ..sample(91.0, 1)
            };
            counts.take_in(&sample, &settings).is_some()
        };
        let told = [true, true, false, false].map(&mut is_too_many);
        assert_eq!(told, [false, false, true, false]);
    }

    #[test]
    fn who_is_replaced_takes_its_children_with_it() {
        let of = |watcher: &str, worker, pid| Sample {
            watcher: watcher.into(),
            worker,
            pid,
            ..sample(0.0, 0)
        };
        let (replaced, child) = (of("web", 7, 7), of("web", 7, 70));
        let (other, elsewhere) = (of("web", 8, 80), of("api", 9, 90));
        for (restart, expected) in [
            ("process", [true, true, false, false]),
            ("watcher", [true, true, true, false]),
        ] {
            let plugin = ResourceWatcher::new(settings(json!({"restart": restart})));
            let goes =
                [&replaced, &child, &other, &elsewhere].map(|one| plugin.goes_with(one, &replaced));
            assert_eq!(goes, expected, "{restart}");
        }
    }
}
