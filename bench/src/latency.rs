//! Latencies in HDR histograms: one for the whole run, one for each second of it.
//!
//! Values are nanoseconds with three digits, up to a minute; what is longer counts as a minute.
//! Percentiles are taken from the whole run's histogram, never averaged over intervals.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::{Deserialize, Serialize};

const LONGEST_NS: u64 = 60_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Latencies of one run.
#[derive(Debug)]
pub(crate) struct Latency {
    whole: Histogram<u64>,
    /// Histogram of each second since the start of measuring; kept only when a log is wanted.
    seconds: Option<Vec<Histogram<u64>>>,
}

/// The percentiles a report shows, microseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Percentiles {
    /// Median.
    pub p50_us: f64,
    /// 90 of 100.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1000.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    /// An empty recorder; `by_second` keeps what [`Latency::write_log`] needs.
    pub(crate) fn new(by_second: bool) -> io::Result<Self> {
        Ok(Self { whole: empty()?, seconds: by_second.then(Vec::new) })
    }

    /// Records one latency that ended `since_start_ns` after measuring began.
    pub(crate) fn record(&mut self, latency_ns: u64, since_start_ns: u64) {
        self.whole.saturating_record(latency_ns.max(1));
        let Some(seconds) = &mut self.seconds else { return };
        let second = (since_start_ns / SECOND_NS) as usize;
        while seconds.len() <= second {
            // A histogram of the same bounds was built before, so this one can be too.
            let Ok(next) = empty() else { return };
            seconds.push(next);
        }
        seconds[second].saturating_record(latency_ns.max(1));
    }

    /// Percentiles of the whole run.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile: f64| self.whole.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.whole.max() as f64 / 1000.0,
        }
    }

    /// Writes the seconds as an HdrHistogram log (V2, compressed), which the usual plotters read.
    /// The log's unit for maxima is milliseconds.
    pub(crate) fn write_log(&self, path: &Path, started: SystemTime, note: &str) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut serializer = V2DeflateSerializer::new();
        let failed = |error: &dyn std::fmt::Debug| io::Error::other(format!("{error:?}"));
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment(note)
            .with_start_time(started)
            .with_max_value_divisor(1e6)
            .begin_log_with(&mut file, &mut serializer)?;
        for (second, histogram) in self.seconds.iter().flatten().enumerate() {
            let from = Duration::from_secs(second as u64);
            log.write_histogram(histogram, from, Duration::from_secs(1), None)
                .map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

fn empty() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3)
        .map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_a_log_that_can_be_read_back() {
        let mut latency = Latency::new(true).unwrap();
        for i in 0..100 {
            latency.record(1_000 * (i + 1), i * 30_000_000);
        }
        latency.record(u64::MAX, 0);
        assert_eq!(latency.whole.len(), 101);
        let percentiles = latency.percentiles();
        assert!((percentiles.p50_us - 51.0).abs() < 0.2, "{percentiles:?}");
        assert!(percentiles.max_us >= 60_000_000.0);
        let path = std::env::temp_dir().join(format!("weir-bench-{}.hlog", std::process::id()));
        latency.write_log(&path, SystemTime::now(), "test").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.contains("HIST")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(text.starts_with("#test"), "{text}");
    }
}
