//! Metrics as text: OpenMetrics 1.0, and the text format 0.0.4 of Prometheus.
//!
//! They differ in how a counter is announced and in how the text ends. What the metrics are is not
//! known here.

use std::fmt::Write as _;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// What a client without a wish gets.
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// What a request with these headers wants.
    pub(super) fn wanted(headers: &str) -> Self {
        let mut accepts = headers.lines().filter_map(|line| line.split_once(':'));
        let wants = accepts.any(|(name, value)| {
            name.eq_ignore_ascii_case("accept") && value.contains("application/openmetrics-text")
        });
        match wants {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up, or begins anew; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The text, family by family.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    text: String,
    /// The name of the samples that come now.
    name: &'static str,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
            name: "",
        }
    }

    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let announced = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.trim_end_matches("_total"),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.line(format_args!("# HELP {announced} {help}"));
        self.line(format_args!("# TYPE {announced} {kind}"));
    }

    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let name = self.name;
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut out = Exposition::new(format);
        out.family("a_total", Kind::Counter, "What a is.");
        out.sample(&[("w", "x\"\\\n")], 3.0);
        out.family("b", Kind::Gauge, "What b is.");
        out.sample(&[], 0.5);
        out.finish()
    }

    #[test]
    fn each_format_has_its_own_way_with_counters() {
        assert_eq!(
            text(Format::Prometheus),
            "# HELP a_total What a is.\n# TYPE a_total counter\na_total{w=\"x\\\"\\\\\\n\"} 3\n\
             # HELP b What b is.\n# TYPE b gauge\nb 0.5\n"
        );
        assert_eq!(
            text(Format::OpenMetrics),
            "# HELP a What a is.\n# TYPE a counter\na_total{w=\"x\\\"\\\\\\n\"} 3\n\
             # HELP b What b is.\n# TYPE b gauge\nb 0.5\n# EOF\n"
        );
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let accept = "Host: x\r\nACCEPT: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n";
        assert_eq!(Format::wanted(accept), Format::OpenMetrics);
        assert_eq!(Format::wanted("Accept: text/plain\r\n"), Format::Prometheus);
        assert_eq!(Format::wanted(""), Format::Prometheus);
    }
}
