//! The plugins that come with circusd, and the keys of each: the one list, from which parser,
//! manual, JSON Schema and `circus-plugin describe` are made.
//!
//! Names and defaults are those of Circus, where Circus has them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::patterns::{Heartbeat, NamePattern, Topics};
use super::values::{Form, Loopback, MemoryBound, RedisUrl, RegularExpression, Renewal, Replaced};
use crate::config::kind::Read;
use crate::config::node::Table;
use crate::config::shapes::choices;
use crate::config::table::{Row, Settings, section};
use crate::config::values::{Bytes, FromText, HttpUrl, Retries, Signal};
use crate::config::variables::Context;

/// Writes, from one list, the names, the ways to their rows, and the settings of any of them.
macro_rules! built_ins {
    ($($(#[doc = $doc:literal])+ $Name:ident($Settings:ident) = $word:literal;)+) => {
        choices! {
            /// A plugin that comes with circusd.
            pub enum BuiltIn {
                $($(#[doc = $doc])+ $Name = $word,)+
            }
        }

        impl BuiltIn {
            /// All of them, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$Name),+];

            /// The one of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|plugin| plugin.as_str() == name)
            }

            /// What it does: a sentence or more.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$Name => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// Its own keys, in the order of the manual.
            pub fn rows(self) -> &'static [Row] {
                match self {
                    $(Self::$Name => <$Settings as Settings>::ROWS,)+
                }
            }

            /// Its settings with the defaults filled in, as JSON.
            pub(crate) fn filled_in(self, table: &Table, cx: &Context) -> Read<Map<String, Json>> {
                match self {
                    $(Self::$Name => <$Settings>::read(table, cx).map(|read| read.to_json()),)+
                }
            }

            pub(crate) fn settings(self, table: &Table, cx: &Context) -> Read<BuiltInSettings> {
                match self {
                    $(Self::$Name => <$Settings>::read(table, cx).map(BuiltInSettings::$Name),)+
                }
            }
        }

        /// The settings of one of them, read and checked.
        #[derive(Debug, Clone, PartialEq)]
        pub enum BuiltInSettings {
            $($(#[doc = $doc])+ $Name($Settings),)+
        }
    };
}

built_ins! {
    /// Writes every event to a file. With format = "json" it goes on behind the last event in the
    /// file when it is started again, as far as circusd still has what follows (event_buffer), and a
    /// line with gap tells of what it has not; so nothing is missing unsaid, or there twice.
    Logger(LoggerSettings) = "logger";
    /// Has no process: its keys are flapping of every watcher that has none of its own.
    Flapping(FlappingSettings) = "flapping";
    /// Counts events at a statsd server, as circus.APP.watcher.WATCHER.EVENT.
    Statsd(StatsdSettings) = "statsd";
    /// What statsd does; and sends what the processes of each watcher use, as gauges
    /// circus.APP.watcher._stats.WATCHER.GAUGE: watchers_num (how many processes), cpu_max and
    /// cpu_sum (per cent of one CPU), mem_pct_max and mem_pct_sum (per cent of the memory of the
    /// machine), mem_max and mem_sum (resident, in bytes).
    FullStats(FullStatsSettings) = "full_stats";
    /// Has watchers run the new program when the file of their program has changed.
    CommandReloader(CommandReloaderSettings) = "command_reloader";
    /// Replaces processes of a watcher that use too much, or too little: when there are more than
    /// max_count samples in a row beyond one and the same limit. With process_children it looks at
    /// those that run below them as well.
    ResourceWatcher(ResourceWatcherSettings) = "resource_watcher";
    /// Asks for a page again and again, and sends to a statsd server how long that took.
    HttpObserver(HttpObserverSettings) = "http_observer";
    /// Asks a Redis how it is (INFO), and sends the figures to a statsd server as gauges.
    RedisObserver(RedisObserverSettings) = "redis_observer";
    /// Replaces processes that do not say again and again, in a UDP datagram, that they live. Better,
    /// where the program can: watchdog of [watcher.NAME].
    Watchdog(WatchdogSettings) = "watchdog";
    /// Answers GET /metrics with what circusd does and what its processes use, in the formats of
    /// OpenMetrics and Prometheus.
    Metrics(MetricsSettings) = "metrics";
}

/// A section of a plugin that tells a statsd server: the keys about that server, and its own.
macro_rules! statsd_section {
    ($(#[$doc:meta])+ pub struct $Name:ident, application $application:literal; $($own:tt)*) => {
        section! {
            $(#[$doc])+
            pub struct $Name for Plugin, given cx;
            also {}
            $($own)*
            /// The statsd server, by name or address.
            host: String = "localhost".into(), Reload;
            /// Its UDP port.
            port: u16 = 8125, Reload, 1.0 => 65535.0;
            /// APP in the names of what is sent.
            application_name: String = $application.into(), Reload;
            /// The part of what could be sent that is sent, chosen at random; the server is told.
            sample_rate: f64 = 1.0, Reload, 0.0 => 1.0;
            later {}
        }
    };
}

section! {
    /// `use = "logger"`, read and checked.
    pub struct LoggerSettings for Plugin, given cx;
    also {}
    /// The file. It is made with mode 0640 if there is none, and made anew when it was moved or
    /// removed.
    filename: PathBuf = PathBuf::new() => "required", Reload;
    /// How: "json", an Event of io.circusd(7) per line; or "text": the time, the topic and the data.
    format: Form = Form::Json, Reload;
    /// Which events, as Subscribe of io.circusd(7) has it: "watcher.web.*", "*.spawn", "circusd.*".
    topics: Topics = Topics(vec!["*".into()]), Reload;
    /// Turn the file over before it is longer than this; 0: never.
    max_bytes: Bytes = Bytes(0), Reload;
    /// How many files that were turned over are kept, as FILENAME.1, FILENAME.2 and so on.
    backup_count: u32 = 1, Reload, 1.0 => 1000.0;
    later {}
}

section! {
    /// `use = "flapping"`, read and checked.
    pub struct FlappingSettings for Plugin, given cx;
    also {}
    /// Unexpected ends of one place within window that make a round.
    attempts: u32 = 5, Live, 1.0 => 1e6;
    /// The time in which they are counted.
    window: Duration = Duration::from_secs(10), Live, 0.001 => 86400.0;
    /// How long the place is then held.
    retry_in: Duration = Duration::from_secs(7), Live, 0.0 => 86400.0;
    /// Rounds after which the place is given up; -1: never.
    max_retry: Retries = Retries::Times(5), Live;
    /// Whether there is such a thing at all.
    active: bool = true, Live;
    later {}
}

statsd_section! {
    /// `use = "statsd"`, read and checked.
    pub struct StatsdSettings, application "app";
}

statsd_section! {
    /// `use = "full_stats"`, read and checked.
    pub struct FullStatsSettings, application "app";
    /// How often the gauges are sent.
    loop_rate: Duration = Duration::from_secs(60), Reload, 0.01 => 86400.0;
}

section! {
    /// `use = "command_reloader"`, read and checked.
    pub struct CommandReloaderSettings for Plugin, given cx;
    also {}
    /// Which watchers, by name or shell-style pattern; plugins only where it begins with plugin:.
    watchers: NamePattern = NamePattern::of("*"), Reload;
    /// How: "restart", or "reload", which replaces the processes as reload of the watcher says.
    action: Renewal = Renewal::Restart, Reload;
    /// How long a file must have been left alone; a copy that is still being written is no program.
    loop_rate: Duration = Duration::from_secs(1), Reload, 0.01 => 3600.0;
    later {}
}

section! {
    /// `use = "resource_watcher"`, read and checked.
    pub struct ResourceWatcherSettings for Plugin, given cx;
    also {}
    /// Whose processes, by name or shell-style pattern; plugins only where it begins with plugin:.
    /// Circus calls it watcher, which here are the options of the plugin's own.
    watchers: NamePattern = NamePattern::of("") => "required", Reload;
    /// How often a sample is taken; CPU time is measured between two of them.
    loop_rate: Duration = Duration::from_secs(60), Reload, 0.01 => 86400.0;
    /// The most CPU time, per cent of one CPU; 0: any.
    max_cpu: f64 = 90.0, Reload, 0.0 => 1e6;
    /// The least CPU time, per cent of one CPU.
    min_cpu: Option<f64> = None => "any", Reload, 0.0 => 1e6;
    /// The most resident memory, as a size or per cent of what the machine has; 0: any.
    max_mem: MemoryBound = MemoryBound::Percent(90.0), Reload;
    /// The least resident memory, as a size or per cent of what the machine has.
    min_mem: Option<MemoryBound> = None => "any", Reload;
    /// The most that CPU time and memory, both per cent, may be in the middle; 0: any.
    health_threshold: f64 = 75.0, Reload, 0.0 => 1e6;
    /// How many samples in a row may be beyond a limit; one that is not begins anew.
    max_count: u32 = 3, Reload, 0.0 => 1e6;
    /// What is replaced: "process", the one beyond the limit; or "watcher", all of them.
    restart: Replaced = Replaced::Process, Reload;
    /// Whether the limits also hold for each process that runs below one of a watcher, of 1000 at
    /// most. One that is beyond a limit gets child_signal, and nobody else does; the one it is below
    /// stays.
    process_children: bool = false, Reload;
    /// The signal for a process below one of a watcher that is beyond a limit. It is sent again when
    /// there are as many samples more.
    child_signal: Signal = Signal::TERM, Reload;
    later {}
}

statsd_section! {
    /// `use = "http_observer"`, read and checked.
    pub struct HttpObserverSettings, application "http_observer";
    /// The page, as http://ADDRESS:PORT/PATH or http://unix:SOCKET:/PATH. Any status from 200 to 399 is
    /// good. Names are not looked up, but for localhost, and https is not spoken.
    check_url: HttpUrl = HttpUrl::from_text("http://localhost/").expect("it is a URL"), Reload;
    /// How long the answer may take.
    timeout: Duration = Duration::from_secs(10), Reload, 0.001 => 3600.0;
    /// The watcher that is restarted when there is no answer, or a bad one.
    restart_on_error: Option<String> = None => "none", Reload;
    /// How often it is asked for.
    loop_rate: Duration = Duration::from_secs(60), Reload, 0.01 => 86400.0;
}

statsd_section! {
    /// `use = "redis_observer"`, read and checked.
    pub struct RedisObserverSettings, application "redis_observer";
    /// The Redis: redis://USER:PASSWORD@HOST:PORT/DATABASE, of which HOST alone must be there, or
    /// unix://USER:PASSWORD@/PATH, of which /PATH alone must be.
    redis_url: RedisUrl = RedisUrl::parse("redis://localhost:6379/0").expect("it is a URL"), Reload;
    /// How long an answer may take.
    timeout: Duration = Duration::from_secs(5), Reload, 0.001 => 3600.0;
    /// The watcher that is restarted when there is no answer. An error is one, such as that of a wrong
    /// password.
    restart_on_timeout: Option<String> = None => "none", Reload;
    /// How often it is asked.
    loop_rate: Duration = Duration::from_secs(60), Reload, 0.01 => 86400.0;
}

section! {
    /// `use = "watchdog"`, read and checked.
    pub struct WatchdogSettings for Plugin, given cx;
    also {}
    /// Where heartbeats are taken: an address that only this machine can reach.
    ip: Loopback = Loopback::V4, Reload;
    /// The UDP port.
    port: u16 = 1664, Reload, 1.0 => 65535.0;
    /// The watchers whose processes must send them: those whose whole name this matches; plugins
    /// only where it begins with plugin:.
    watchers_regex: RegularExpression = RegularExpression::of(".*"), Reload;
    /// What a heartbeat is, with the group pid. When it came counts, not what time it tells; and it
    /// counts only from a socket that is held by that process, or by one that this has started.
    msg_regex: Heartbeat = Heartbeat(RegularExpression::of(
        "^(?P<pid>[0-9]+);(?P<timestamp>[0-9.]+)$"
    )), Reload;
    /// How often it is looked who was silent.
    loop_rate: Duration = Duration::from_secs(60), Reload, 0.01 => 86400.0;
    /// How many times loop_rate a process may be silent before it is replaced.
    max_count: u32 = 3, Reload, 1.0 => 1e6;
    /// The signal that ends it; after graceful_timeout of its watcher it is killed.
    stop_signal: Option<Signal> = None => "that of the watcher", Reload;
    later {}
}

section! {
    /// `use = "metrics"`, read and checked.
    pub struct MetricsSettings for Plugin, given cx;
    also {}
    /// A Unix socket to answer on, instead of a port. Whoever may write to it may ask.
    path: Option<PathBuf> = None => "none", Reload;
    /// The address to answer on, one that only this machine can reach.
    host: Loopback = Loopback::V4, Reload;
    /// The port to answer on.
    port: u16 = 9664, Reload, 1.0 => 65535.0;
    later {}
}
