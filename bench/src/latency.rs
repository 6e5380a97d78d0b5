//! Latencies in HDR histograms: one for the whole run, one for each step of its time line.
//!
//! Values are nanoseconds with three digits, up to a minute; what is longer counts as a minute.
//! Percentiles are taken from the whole run's histogram, never averaged over steps. A step's
//! histogram is kept only when a log of them is wanted; else its summary stays.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::{Deserialize, Serialize};

const LONGEST_NS: u64 = 60_000_000_000;
/// The quantiles of a spectrum; those beyond what the count can tell are left out.
const SPECTRUM: [f64; 20] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999,
    0.9995, 0.9999, 0.99999, 0.999999,
];

/// Latencies of one run.
#[derive(Debug)]
pub(crate) struct Latency {
    whole: Histogram<u64>,
    interval_ns: u64,
    /// The step that is being filled.
    now: Step,
    moments: Vec<Moment>,
    /// Histogram of each step; kept only when a log is wanted.
    kept: Option<Vec<Histogram<u64>>>,
}

#[derive(Debug)]
struct Step {
    histogram: Histogram<u64>,
    sent: u64,
    pulled: u64,
    failed: u64,
}

/// The percentiles a report shows, microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
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

/// One step of a time line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Moment {
    /// Start of the step, seconds since measuring began.
    pub at_s: f64,
    /// Messages sent in it.
    pub sent: u64,
    /// Messages pulled in it.
    pub pulled: u64,
    /// Error answers in it.
    pub failed: u64,
    /// Median latency, microseconds; 0 when nothing ended in this step.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// What one event adds to the current step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Count {
    /// Messages sent.
    Sent(u64),
    /// Messages pulled.
    Pulled(u64),
    /// Error answers.
    Failed,
}

impl Latency {
    /// An empty recorder with steps of `interval_ns` (more than 0); `keep` keeps what
    /// [`Latency::write_log`] needs.
    pub(crate) fn new(interval_ns: u64, keep: bool) -> io::Result<Self> {
        let now = Step { histogram: empty()?, sent: 0, pulled: 0, failed: 0 };
        let kept = keep.then(Vec::new);
        Ok(Self { whole: empty()?, interval_ns, now, moments: Vec::new(), kept })
    }

    /// Records one latency that ended `since_start_ns` after measuring began. Times never go
    /// back by more than they were read at once.
    pub(crate) fn record(&mut self, latency_ns: u64, since_start_ns: u64) {
        self.roll(since_start_ns);
        self.whole.saturating_record(latency_ns.max(1));
        self.now.histogram.saturating_record(latency_ns.max(1));
    }

    /// Counts what happened `since_start_ns` after measuring began.
    pub(crate) fn count(&mut self, what: Count, since_start_ns: u64) {
        self.roll(since_start_ns);
        match what {
            Count::Sent(messages) => self.now.sent += messages,
            Count::Pulled(messages) => self.now.pulled += messages,
            Count::Failed => self.now.failed += 1,
        }
    }

    /// Closes the steps that end before this time, empty ones too.
    fn roll(&mut self, since_start_ns: u64) {
        while since_start_ns >= (self.moments.len() as u64 + 1) * self.interval_ns {
            self.close_step();
        }
    }

    fn close_step(&mut self) {
        let at = |quantile: f64| micros(self.now.histogram.value_at_quantile(quantile));
        self.moments.push(Moment {
            at_s: self.moments.len() as f64 * self.interval_ns as f64 / 1e9,
            sent: self.now.sent,
            pulled: self.now.pulled,
            failed: self.now.failed,
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: micros(self.now.histogram.max()),
        });
        if let Some(kept) = &mut self.kept {
            kept.push(self.now.histogram.clone());
        }
        self.now.histogram.reset();
        (self.now.sent, self.now.pulled, self.now.failed) = (0, 0, 0);
    }

    /// Closes the steps up to the end of measuring; what is left of a cut step is dropped from
    /// the time line (it stays in the whole).
    pub(crate) fn finish(&mut self, measured_ns: u64) {
        self.roll(measured_ns);
    }

    /// The steps that are over.
    pub(crate) fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// Percentiles of the whole run.
    pub(crate) fn percentiles(&self) -> Percentiles {
        percentiles(&self.whole)
    }

    /// Quantile and microseconds, as far as the count of values tells them apart; the last is
    /// the longest, at the quantile one less than all.
    pub(crate) fn spectrum(&self) -> Vec<(f64, f64)> {
        let count = self.whole.len() as f64;
        if count < 1.0 {
            return Vec::new();
        }
        let told = SPECTRUM.iter().filter(|quantile| (1.0 - *quantile) * count >= 1.0);
        let mut points: Vec<_> =
            told.map(|q| (*q, micros(self.whole.value_at_quantile(*q)))).collect();
        points.push((1.0 - 1.0 / (count + 1.0), micros(self.whole.max())));
        points
    }

    /// Writes the steps as an HdrHistogram log (V2, compressed), which the usual plotters read.
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
        let step = Duration::from_nanos(self.interval_ns);
        for (at, histogram) in self.kept.iter().flatten().enumerate() {
            log.write_histogram(histogram, step * at as u32, step, None)
                .map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn empty() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3)
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Sends that were taken and sends that were refused, apart from the schedule they were due by.
#[derive(Debug)]
pub(crate) struct Served {
    taken: Histogram<u64>,
    refused: Histogram<u64>,
}

impl Served {
    /// Nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { taken: empty()?, refused: empty()? })
    }

    /// A send was taken `ns` after it was handed to the socket.
    pub(crate) fn taken(&mut self, ns: u64) {
        self.taken.saturating_record(ns.max(1));
    }

    /// A send was refused `ns` after it was handed to the socket; the remark says how long it had
    /// waited when that was decided.
    pub(crate) fn refused(&mut self, ns: u64, remark: &str) {
        let waited_ns = waited_ms(remark) * 1_000_000;
        self.refused.saturating_record(ns.saturating_sub(waited_ns).max(1));
    }

    /// Of the sends that were taken.
    pub(crate) fn taken_percentiles(&self) -> Percentiles {
        percentiles(&self.taken)
    }

    /// Of the sends that were refused, when there are any.
    pub(crate) fn refused_percentiles(&self) -> Option<Percentiles> {
        (!self.refused.is_empty()).then(|| percentiles(&self.refused))
    }
}

/// The milliseconds behind `waited: ` in a refusal's remark, 0 without them.
fn waited_ms(remark: &str) -> u64 {
    let behind = remark.split_once("waited: ").map_or("", |(_, behind)| behind);
    let digits = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
    behind[..digits].parse().unwrap_or(0)
}

fn percentiles(of: &Histogram<u64>) -> Percentiles {
    let at = |quantile: f64| micros(of.value_at_quantile(quantile));
    Percentiles {
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: micros(of.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_written_as_a_log_that_can_be_read_back() {
        let mut latency = Latency::new(1_000_000_000, true).unwrap();
        for i in 0..100 {
            latency.record(1_000 * (i + 1), i * 30_000_000);
        }
        latency.record(u64::MAX, 2_990_000_000);
        latency.finish(3_000_000_000);
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

    #[test]
    fn a_stall_leaves_empty_steps_and_a_spectrum_says_no_more_than_the_count() {
        let mut latency = Latency::new(100_000_000, false).unwrap();
        for i in 0..10 {
            latency.count(Count::Sent(2), i * 10_000_000);
            latency.record(5_000, i * 10_000_000);
        }
        latency.count(Count::Failed, 450_000_000);
        latency.finish(500_000_000);
        let sent: Vec<_> = latency.moments().iter().map(|m| (m.sent, m.failed)).collect();
        assert_eq!(sent, [(20, 0), (0, 0), (0, 0), (0, 0), (0, 1)]);
        let spectrum = latency.spectrum();
        assert!(spectrum.iter().all(|(q, _)| *q <= 10.0 / 11.0), "{spectrum:?}");
    }

    #[test]
    fn a_refusal_counts_from_the_decision_its_remark_tells() {
        let mut served = Served::new().unwrap();
        assert!(served.refused_percentiles().is_none());
        served.refused(52_000_000, "[PC_SYNCHRONIZED]broker busy, reason: device, waited: 50ms, x");
        served.refused(1_000_000, "service not available now");
        let told = served.refused_percentiles().unwrap();
        assert!((told.max_us - 2000.0).abs() < 3.0 && (told.p50_us - 1000.0).abs() < 2.0);
    }
}
