//! Prometheus text from plain families, through `prometheus-client`'s encoder.
//!
//! A scrape builds its families from an answer and throws them away; nothing is registered for
//! good, so a topic that is gone leaves no series behind.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Names and values of a sample's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Upper bounds in base units, each with the count in it alone, and the sum of all values.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    /// Bound and count; the last bound is `f64::INFINITY`.
    pub counts: Vec<(f64, u64)>,
    /// Sum of the values.
    pub sum: f64,
}

/// One sample's value.
#[derive(Clone, Debug)]
pub(super) enum Sample {
    /// It only goes up.
    Counter(u64),
    /// It goes up and down.
    Gauge(f64),
    /// Counts by bucket.
    Histogram(Buckets),
}

/// Samples under one name.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Name, without the `_total` that counters get.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// All of one kind.
    pub samples: Vec<(Labels, Sample)>,
}

/// The content type of [`text`]'s result.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of a scrape.
pub(super) fn text(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = text::encode(&mut out, &registry);
    out
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for family in &self.0 {
            let kind = match family.samples.first() {
                None => continue,
                Some((_, Sample::Counter(_))) => MetricType::Counter,
                Some((_, Sample::Gauge(_))) => MetricType::Gauge,
                Some((_, Sample::Histogram(_))) => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, sample) in &family.samples {
                let mut one = metric.encode_family(labels)?;
                match sample {
                    Sample::Counter(value) => one.encode_counter::<Labels, _, f64>(value, None)?,
                    Sample::Gauge(value) => one.encode_gauge(value)?,
                    Sample::Histogram(Buckets { counts, sum }) => {
                        let count = counts.iter().map(|(_, count)| count).sum();
                        one.encode_histogram::<Labels>(*sum, count, counts, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}
