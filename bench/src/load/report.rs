//! What a run found, as one JSON line and as a few lines for a person.
//!
//! A rate stands beside what it has to be read against: the intended rate in an open loop, the
//! generator's own processor share in a closed one (near 1 it measured itself, not the broker).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::Percentiles;

/// Below this share of the intended rate an open-loop run is saturated: its latencies describe a
/// growing queue, not the broker, and are never averaged with others.
pub(crate) const SATURATED_BELOW: f64 = 0.98;

/// Findings of one run. `compare` reads it back from the JSON line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LoadReport {
    /// send, pull or mixed.
    pub mode: String,
    /// closed or open.
    pub schedule: String,
    /// json or binary.
    pub headers: String,
    /// Connections.
    pub connections: usize,
    /// Outstanding requests per connection.
    pub outstanding: u32,
    /// Body bytes.
    pub body_bytes: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// Sends answered with code 0.
    pub sent: u64,
    /// Messages sent and pulled before, during and after the measured time: what the broker's
    /// processor time has to be divided by.
    pub handled: u64,
    /// Messages pulled.
    pub pulled: u64,
    /// Bytes of pulled records.
    pub pulled_bytes: u64,
    /// Sends per second.
    pub sent_per_s: f64,
    /// Pulled messages per second.
    pub pulled_per_s: f64,
    /// Intended rate of an open loop.
    pub intended_per_s: Option<u64>,
    /// Achieved over intended.
    pub achieved_ratio: Option<f64>,
    /// Achieved less than 0.98 of what was intended.
    pub saturated: bool,
    /// Answers with another code than 0, by code; "no message yet" of a following pull aside.
    pub failed: BTreeMap<i32, u64>,
    /// Share of its core that the generator used.
    pub generator_cpu_share: f64,
    /// Request latency: of sends when there are any, else of pulls.
    pub latency: Percentiles,
}

impl LoadReport {
    /// Prints the report for a person, to standard error.
    pub(crate) fn print(&self) {
        let against = match self.achieved_ratio {
            Some(ratio) => format!(
                "{:.3} of the intended {} /s{}",
                ratio,
                self.intended_per_s.unwrap_or(0),
                if self.saturated { "  SATURATED" } else { "" }
            ),
            None => format!("generator used {:.2} of its core", self.generator_cpu_share),
        };
        let l = &self.latency;
        eprintln!(
            "{} {} {} headers, {} x {} outstanding, {} B bodies, {:.1} s",
            self.mode,
            self.schedule,
            self.headers,
            self.connections,
            self.outstanding,
            self.body_bytes,
            self.seconds
        );
        if self.sent > 0 {
            eprintln!("  sent    {:>12.0} /s   {against}", self.sent_per_s);
        }
        if self.pulled > 0 {
            eprintln!("  pulled  {:>12.0} /s   {against}", self.pulled_per_s);
        }
        eprintln!(
            "  latency us  p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0}",
            l.p50_us, l.p90_us, l.p99_us, l.p999_us, l.max_us
        );
        for (code, count) in &self.failed {
            eprintln!("  code {code}: {count} answers");
        }
        eprintln!("  (one number alone says little on a shared machine: see weir-bench compare)");
    }
}
