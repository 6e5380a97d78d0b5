//! What a run found, as one JSON line and as a few lines for a person.
//!
//! A rate stands beside what it has to be read against: the intended rate in an open loop, the
//! generator's own processor share in a closed one (near 1 it measured itself, not the broker).

use serde::{Deserialize, Serialize};

use crate::latency::{Moment, Percentiles};

/// Below this share of the intended rate an open-loop run is saturated: its latencies describe a
/// growing queue, not the broker, and are never averaged with others.
pub(crate) const SATURATED_BELOW: f64 = 0.98;

/// Kinds of error answers that are told apart; the rest is counted with the last.
const KINDS_MAX: usize = 32;

/// Answers with one code and one remark, numbers in the remark aside.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Failure {
    /// Response code.
    pub code: i32,
    /// The remark of the first of them.
    pub remark: String,
    /// How many.
    pub count: u64,
    /// Seconds from the start of measuring to the first and the last.
    pub first_s: f64,
    /// The last of them.
    pub last_s: f64,
}

/// Error answers, counted by code and remark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures(Vec<(String, Failure)>);

impl Failures {
    /// Counts one. Remarks that differ in digits only are one kind.
    pub(crate) fn add(&mut self, code: i32, remark: String, at_s: f64) {
        let kind = format!("{code} {}", without_numbers(&remark));
        let full = self.0.len() >= KINDS_MAX;
        let known = self.0.iter_mut().find(|(other, _)| *other == kind);
        match known {
            Some((_, failure)) => (failure.count, failure.last_s) = (failure.count + 1, at_s),
            None if full => {
                if let Some((_, last)) = self.0.last_mut() {
                    last.count += 1;
                }
            }
            None => {
                let failure = Failure { code, remark, count: 1, first_s: at_s, last_s: at_s };
                self.0.push((kind, failure));
            }
        }
    }

    /// The kinds, most frequent first.
    pub(crate) fn list(&self) -> Vec<Failure> {
        let mut list: Vec<Failure> = self.0.iter().map(|(_, failure)| failure.clone()).collect();
        list.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        list
    }
}

/// Digit runs as `#`.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let shown = if c.is_ascii_digit() { '#' } else { c };
        if shown != '#' || !out.ends_with('#') {
            out.push(shown);
        }
    }
    out
}

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
    /// When measuring began, milliseconds since 1970.
    pub started_unix_ms: i64,
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
    /// Requests whose connection went away before their answer.
    pub lost: u64,
    /// Sends per second.
    pub sent_per_s: f64,
    /// Pulled messages per second.
    pub pulled_per_s: f64,
    /// Intended rate of an open loop, peaks included.
    pub intended_per_s: Option<f64>,
    /// Achieved over intended.
    pub achieved_ratio: Option<f64>,
    /// Achieved less than 0.98 of what was intended.
    pub saturated: bool,
    /// Answers with another code than 0; "no message yet" of a following pull aside.
    pub failed: Vec<Failure>,
    /// Sends that were taken, from being handed to the socket on: in an open loop that is behind
    /// its schedule, what the broker and the connection answer for.
    #[serde(default)]
    pub taken: Percentiles,
    /// Sends that were refused, from the moment the broker decided: the same less the time it says
    /// they waited. `None`: none was.
    #[serde(default)]
    pub refused: Option<Percentiles>,
    /// Share of its core that the generator used.
    pub generator_cpu_share: f64,
    /// Request latency: of sends when there are any, else of pulls.
    pub latency: Percentiles,
    /// Quantile and microseconds.
    pub spectrum: Vec<(f64, f64)>,
    /// The time line.
    pub moments: Vec<Moment>,
}

impl LoadReport {
    /// Prints the report for a person, to standard error.
    pub(crate) fn print(&self) {
        let against = match self.achieved_ratio {
            Some(ratio) => format!(
                "{:.3} of the intended {:.0} /s{}",
                ratio,
                self.intended_per_s.unwrap_or(0.0),
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
        for Failure { code, remark, count, first_s, last_s } in &self.failed {
            eprintln!(
                "  {count} answers with code {code}, {first_s:.2} to {last_s:.2} s: {remark}"
            );
        }
        eprintln!("  (one number alone says little on a shared machine: see weir-bench compare)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_answers_are_told_apart_by_code_and_words_not_by_numbers() {
        let mut failures = Failures::default();
        failures.add(2, "busy, waited: 51ms".to_owned(), 0.5);
        failures.add(2, "busy, waited: 1234ms".to_owned(), 0.7);
        failures.add(2, "another reason".to_owned(), 0.8);
        failures.add(14, "busy, waited: 51ms".to_owned(), 0.9);
        let seen: Vec<_> = failures.list().into_iter().map(|f| (f.code, f.count)).collect();
        assert_eq!(seen, [(2, 2), (2, 1), (14, 1)]);
        assert_eq!(failures.list()[0].remark, "busy, waited: 51ms");
        for kind in 0..2 * KINDS_MAX {
            failures.add(kind as i32 + 100, String::new(), 1.0);
        }
        let total: u64 = failures.list().iter().map(|f| f.count).sum();
        assert_eq!((failures.list().len(), total), (KINDS_MAX, 4 + 2 * KINDS_MAX as u64));
    }
}
