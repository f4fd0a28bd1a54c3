//! `http_observer`: asks for a page again and again, and tells a statsd server how long that took.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::http;
use super::statsd_client::Statsd;
use super::{no_events, restart_aloud};
use crate::api::types::Event;
use crate::config::plugins::HttpObserverSettings;
use crate::plugin::{Handle, Outcome, Plugin};

/// The plugin.
#[derive(Debug)]
pub(super) struct HttpObserver {
    settings: HttpObserverSettings,
    statsd: Statsd,
}

impl HttpObserver {
    pub(super) fn new(of: HttpObserverSettings) -> Self {
        Self {
            statsd: Statsd::new(&of.host, of.port, &of.application_name, of.sample_rate),
            settings: of,
        }
    }

    async fn failed(&mut self, code: u16, why: &str, handle: &Handle) {
        let url = &self.settings.check_url;
        handle.log(&format!("{url}: {why}"));
        self.statsd.increment("http_stats.error", handle).await;
        let name = format!("http_stats.error.{code}");
        self.statsd.increment(&name, handle).await;
        if let Some(watcher) = &self.settings.restart_on_error
            && restart_aloud(watcher, handle).await
        {
            self.statsd
                .increment("http_stats.restart_on_error", handle)
                .await;
        }
    }
}

/// What Circus, as tornado, counts where there is no answer.
const NO_ANSWER: u16 = 599;

impl Plugin for HttpObserver {
    fn name(&self) -> &str {
        "http_observer"
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
        let start = Instant::now();
        let limit = self.settings.timeout;
        match timeout(limit, http::get(&self.settings.check_url)).await {
            Ok(Ok(200..400)) => {
                let took = start.elapsed().as_millis();
                self.statsd
                    .timed("http_stats.request_time", took, handle)
                    .await;
            }
            Ok(Ok(code)) => {
                self.failed(code, &format!("answered with {code}"), handle)
                    .await
            }
            Ok(Err(error)) => self.failed(NO_ANSWER, &error.to_string(), handle).await,
            Err(_) => {
                let why = format!("no answer within {limit:?}");
                self.failed(NO_ANSWER, &why, handle).await;
            }
        }
        Ok(())
    }
}
