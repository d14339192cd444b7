//! The recorder of this process and its text for Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::names::{self, Kind};

/// Upper bounds in seconds: from a read in memory to the longest deadline.
const LATENCY_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    60.0,
];

/// How often samples are folded into their buckets, also when nobody fetches them.
const UPKEEP: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// The recorder, set up at the first call. A program that brought its own recorder keeps it; our text is
/// then empty.
pub fn handle() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(names::REQUEST_SECONDS.name.into()), &LATENCY_BUCKETS)
            .expect("there are buckets");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("this process has a metrics recorder of its own; /metrics stays empty");
            return handle;
        }
        describe();
        let upkeep = handle.clone();
        // A thread of the process, as the recorder is: it outlives every radiant.
        #[allow(clippy::disallowed_methods)] // nothing to wait for but time
        let started = std::thread::Builder::new().name("metrics-upkeep".into()).spawn(move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        if let Err(error) = started {
            tracing::warn!("no thread for metrics: {error}; samples gather until /metrics is fetched");
        }
        handle
    })
}

/// All metrics of all radiants in this process, in Prometheus' text format.
pub fn render() -> String {
    sorted(&handle().render())
}

/// The same with metrics and their samples in order, so that two looks can be compared.
fn sorted(text: &str) -> String {
    let mut metrics: Vec<Vec<&str>> = text
        .split("\n\n")
        .map(|metric| metric.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>())
        .filter(|lines| !lines.is_empty())
        .collect();
    for lines in &mut metrics {
        // Of histograms the buckets come by their bounds, which are no text.
        if !lines.iter().any(|line| line.contains("_bucket{")) {
            lines
                .sort_by_key(|line| (!line.starts_with('#'), if line.starts_with('#') { "" } else { *line }));
        }
    }
    metrics.sort_by_key(|lines| lines.last().map(|line| line.split(['{', ' ']).next()));
    metrics.into_iter().map(|lines| lines.join("\n") + "\n\n").collect()
}

fn describe() {
    for metric in names::ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.meaning),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.meaning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sorted;

    #[test]
    fn metrics_are_in_order_and_complete() {
        let text = "# HELP b x\n# TYPE b gauge\nb{o=\"2\"} 1\nb{o=\"1\"} 1\n\n# TYPE a histogram\na_bucket{le=\"9\"} 1\n\
                    a_bucket{le=\"10\"} 1\na_sum 1\na_count 1\n\n";
        let expected = "# TYPE a histogram\na_bucket{le=\"9\"} 1\na_bucket{le=\"10\"} 1\na_sum 1\na_count 1\n\n\
                        # HELP b x\n# TYPE b gauge\nb{o=\"1\"} 1\nb{o=\"2\"} 1\n\n";
        assert_eq!(sorted(text), expected);
        assert_eq!(sorted(""), "");
    }
}
