//! Counts for `/metrics`, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use crate::EngineStats;

/// Upper bounds of the histogram of latencies, in seconds.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// Requests that were answered so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Requests by path (the route, not what the client wrote) and status.
    requests: BTreeMap<(String, u16), u64>,
    /// Latencies by path.
    latencies: BTreeMap<String, Latencies>,
}

#[derive(Debug, Default)]
struct Latencies {
    /// Requests whose latency is at most each of [`BOUNDS`].
    below: [u64; BOUNDS.len()],
    seconds: f64,
    count: u64,
}

impl Metrics {
    /// Counts a request whose answer has been sent.
    pub fn count(&self, path: &str, status: u16, took: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(|broken| broken.into_inner());
        *counts.requests.entry((path.to_owned(), status)).or_default() += 1;
        let latencies = counts.latencies.entry(path.to_owned()).or_default();
        let seconds = took.as_secs_f64();
        for (count, bound) in latencies.below.iter_mut().zip(BOUNDS) {
            *count += u64::from(seconds <= bound);
        }
        latencies.seconds += seconds;
        latencies.count += 1;
    }

    /// Writes everything in the text format of Prometheus.
    pub fn to_text(&self, engine: &EngineStats) -> String {
        let mut text = String::new();
        let counts = self.counts.lock().unwrap_or_else(|broken| broken.into_inner());
        counts.write(&mut text).expect("a text takes everything");
        drop(counts);
        write_engine(&mut text, engine).expect("a text takes everything");
        text
    }
}

impl Counts {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let name = "mm_http_requests_total";
        writeln!(text, "# HELP {name} Requests that were answered.\n# TYPE {name} counter")?;
        for ((path, status), count) in &self.requests {
            writeln!(text, "{name}{{path=\"{path}\",status=\"{status}\"}} {count}")?;
        }
        let name = "mm_http_request_duration_seconds";
        writeln!(text, "# HELP {name} Time to the end of an answer.\n# TYPE {name} histogram")?;
        for (path, latencies) in &self.latencies {
            for (bound, count) in BOUNDS.iter().zip(latencies.below) {
                writeln!(text, "{name}_bucket{{path=\"{path}\",le=\"{bound}\"}} {count}")?;
            }
            let Latencies { seconds, count, .. } = latencies;
            writeln!(text, "{name}_bucket{{path=\"{path}\",le=\"+Inf\"}} {count}")?;
            writeln!(text, "{name}_sum{{path=\"{path}\"}} {seconds}")?;
            writeln!(text, "{name}_count{{path=\"{path}\"}} {count}")?;
        }
        Ok(())
    }
}

/// A number of the engine.
struct Number {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: u64,
}

fn write_engine(text: &mut String, stats: &EngineStats) -> std::fmt::Result {
    let gauge =
        |name, help, value: usize| Number { name, kind: "gauge", help, value: value as u64 };
    let counter = |name, help, value| Number { name, kind: "counter", help, value };
    let numbers = [
        gauge("mm_jobs_waiting", "Jobs that wait for their turn.", stats.waiting),
        gauge("mm_jobs_running", "Jobs in progress.", stats.running),
        counter("mm_jobs_finished_total", "Jobs that ended well.", stats.finished),
        counter("mm_jobs_failed_total", "Jobs that failed.", stats.failed),
        counter("mm_jobs_cancelled_total", "Jobs whose client went away.", stats.cancelled),
        counter("mm_passes_total", "Passes through a network.", stats.passes),
        counter("mm_rows_total", "Rows of all passes.", stats.rows),
        counter("mm_text_tokens_total", "Tokens of text that were made.", stats.text_tokens),
        counter("mm_images_total", "Images that were made.", stats.images),
    ];
    for Number { name, kind, help, value } in numbers {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_every_bucket_that_holds_it() {
        let metrics = Metrics::default();
        metrics.count("/v1/models", 200, Duration::from_millis(30));
        metrics.count("/v1/models", 404, Duration::from_secs(90));
        let text = metrics.to_text(&EngineStats { waiting: 3, images: 7, ..Default::default() });
        for line in [
            "mm_http_requests_total{path=\"/v1/models\",status=\"404\"} 1",
            "mm_http_request_duration_seconds_bucket{path=\"/v1/models\",le=\"0.025\"} 0",
            "mm_http_request_duration_seconds_bucket{path=\"/v1/models\",le=\"0.05\"} 1",
            "mm_http_request_duration_seconds_bucket{path=\"/v1/models\",le=\"60\"} 1",
            "mm_http_request_duration_seconds_bucket{path=\"/v1/models\",le=\"+Inf\"} 2",
            "mm_http_request_duration_seconds_sum{path=\"/v1/models\"} 90.03",
            "mm_jobs_waiting 3",
            "mm_images_total 7",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }
}
