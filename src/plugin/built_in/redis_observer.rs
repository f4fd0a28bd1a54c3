//! `redis_observer`: asks a Redis how it is, and tells a statsd server the figures.
//!
//! A new connection each time: that one can be made is a part of the question.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::statsd_client::Statsd;
use super::{no_events, restart_aloud};
use crate::api::types::Event;
use crate::config::plugins::{RedisObserverSettings, RedisUrl};
use crate::plugin::{Handle, Outcome, Plugin};

/// What is told, of all that INFO says: the figures that Circus tells, and what newer Redis calls
/// some of them.
const FIGURES: [&str; 25] = [
    "pubsub_channels",
    "connected_slaves",
    "lru_clock",
    "connected_clients",
    "keyspace_misses",
    "used_memory",
    "used_memory_peak",
    "total_commands_processed",
    "used_memory_rss",
    "total_connections_received",
    "pubsub_patterns",
    "used_cpu_sys",
    "used_cpu_sys_children",
    "blocked_clients",
    "used_cpu_user",
    "client_biggest_input_buf",
    "client_recent_max_input_buffer",
    "mem_fragmentation_ratio",
    "expired_keys",
    "evicted_keys",
    "client_longest_output_list",
    "client_recent_max_output_buffer",
    "uptime_in_seconds",
    "keyspace_hits",
    "instantaneous_ops_per_sec",
];

/// What INFO says is some kilobytes long.
const INFO_BYTES_MAX: u64 = 1 << 20;

/// The plugin.
#[derive(Debug)]
pub(super) struct RedisObserver {
    settings: RedisObserverSettings,
    statsd: Statsd,
}

impl RedisObserver {
    pub(super) fn new(of: RedisObserverSettings) -> Self {
        Self {
            statsd: Statsd::new(&of.host, of.port, &of.application_name, of.sample_rate),
            settings: of,
        }
    }

    /// An answer that is an error; a restart would not mend a wrong password.
    async fn refused(&mut self, why: &str, handle: &Handle) {
        handle.log(&format!("redis: {why}"));
        self.statsd.increment("redis_error", handle).await;
    }

    async fn silent(&mut self, why: &str, handle: &Handle) {
        self.refused(why, handle).await;
        if let Some(watcher) = &self.settings.restart_on_timeout
            && restart_aloud(watcher, handle).await
        {
            self.statsd.increment("redis_restarted", handle).await;
        }
    }
}

impl Plugin for RedisObserver {
    fn name(&self) -> &str {
        "redis_observer"
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
        let limit = self.settings.timeout;
        match timeout(limit, info(&self.settings.redis_url)).await {
            Ok(Ok(text)) => {
                for (name, value) in figures(&text) {
                    self.statsd.gauge(name, value, handle).await;
                }
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                self.refused(&error.to_string(), handle).await;
            }
            Ok(Err(error)) => self.silent(&error.to_string(), handle).await,
            Err(_) => {
                self.silent(&format!("no answer within {limit:?}"), handle)
                    .await
            }
        }
        Ok(())
    }
}

/// The figures in what INFO says.
fn figures(text: &str) -> impl Iterator<Item = (&str, f64)> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.filter_map(|(name, value)| {
        let value = value.trim().parse().ok()?;
        FIGURES.contains(&name).then_some((name, value))
    })
}

/// What INFO answers.
///
/// # Errors
///
/// `InvalidData` where something answers, but not that; any other where nothing does.
async fn info(url: &RedisUrl) -> io::Result<String> {
    match &url.server {
        Ok((host, port)) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            ask(stream, url).await
        }
        Err(path) => ask(UnixStream::connect(path).await?, url).await,
    }
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, url: &RedisUrl) -> io::Result<String> {
    let mut stream = BufReader::new(stream);
    if let Some(password) = &url.password {
        let mut words = vec!["AUTH"];
        words.extend(url.user.as_deref());
        words.push(password);
        command(&mut stream, &words).await?;
    }
    if url.database != 0 {
        command(&mut stream, &["SELECT", &url.database.to_string()]).await?;
    }
    command(&mut stream, &["INFO"]).await
}

/// Sends a command and reads its answer: a simple string, an error, or a bulk string.
async fn command(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    words: &[&str],
) -> io::Result<String> {
    let strange = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    let count = (&mut *stream)
        .take(INFO_BYTES_MAX)
        .read_line(&mut line)
        .await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    if let Some(error) = line.strip_prefix('-') {
        return Err(strange(error));
    }
    if let Some(text) = line.strip_prefix('+') {
        return Ok(text.to_owned());
    }
    let size = line.strip_prefix('$').and_then(|size| size.parse().ok());
    let size: usize = size.ok_or_else(|| strange("what answers is no Redis"))?;
    if size as u64 > INFO_BYTES_MAX {
        return Err(strange("the answer is too long"));
    }
    let mut text = vec![0; size];
    stream.read_exact(&mut text).await?;
    // What ends a bulk string.
    stream.read_exact(&mut [0; 2]).await?;
    String::from_utf8(text).map_err(|_| strange("the answer is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_that_we_know_and_that_are_numbers() {
        let text = "# Memory\r\nused_memory:12\r\nused_memory_human:12K\r\nmem_fragmentation_ratio:1.5\r\n\
                    keyspace_hits:many\r\n";
        let found: Vec<_> = figures(text).collect();
        assert_eq!(
            found,
            [("used_memory", 12.0), ("mem_fragmentation_ratio", 1.5)]
        );
    }
}
