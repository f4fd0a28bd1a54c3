//! `statsd`: every event of a watcher is counted at a statsd server.

use super::statsd_client::Statsd;
use crate::api::types::Event;
use crate::config::plugins::StatsdSettings;
use crate::plugin::{Handle, Outcome, Plugin};

/// The plugin.
#[derive(Debug)]
pub(super) struct Counter {
    statsd: Statsd,
}

impl Counter {
    pub(super) fn new(of: StatsdSettings) -> Self {
        Self {
            statsd: Statsd::new(&of.host, of.port, &of.application_name, of.sample_rate),
        }
    }
}

impl Plugin for Counter {
    fn name(&self) -> &str {
        "statsd"
    }

    fn topics(&self) -> Option<Vec<String>> {
        Some(vec!["watcher.*".into()])
    }

    async fn event(&mut self, event: Event, handle: &Handle) -> Outcome {
        count(&mut self.statsd, &event, handle).await;
        Ok(())
    }
}

/// Counts an event of a watcher as `WATCHER.EVENT`.
pub(super) async fn count(statsd: &mut Statsd, event: &Event, handle: &Handle) {
    if let Some(watcher) = &event.watcher {
        let name = format!("{watcher}.{}", event.action);
        statsd.increment(&name, handle).await;
    }
}
