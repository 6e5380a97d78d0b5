//! The one result of every command: what was measured where, ratios before numbers.
//!
//! A scenario fills a [`Findings`] and nothing else; the JSON file is this structure, the page is
//! drawn from it, and `weir-bench report` reads it back to join several into one page. A field
//! that could not be measured is absent, never 0; a run that proves nothing says so in `void`.

use serde::{Deserialize, Serialize};

use super::{DeviceUse, Machine};
use crate::latency::{Moment, Percentiles};
use crate::load::Failure;
use crate::spread::Spread;

/// Version of the schema; it goes up when a field changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// Everything a command found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Findings {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The command's name.
    pub scenario: String,
    /// The command as it was given, without the program.
    pub command: String,
    /// When it began, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Seconds it took.
    pub took_s: f64,
    /// Why the run proves nothing; absent when it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub void: Option<String>,
    /// What a reader has to know beside the numbers.
    pub notes: Vec<String>,
    /// Where it was measured.
    pub machine: Machine,
    /// The ratios.
    pub ratios: Vec<Ratio>,
    /// The runs behind them.
    pub points: Vec<Point>,
    /// Time lines.
    pub lines: Vec<TimeLine>,
    /// Further pictures: one number against another.
    pub curves: Vec<Curve>,
}

/// One number against another, by series.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Curve {
    /// What it shows.
    pub title: String,
    /// What is on the horizontal axis.
    pub x: String,
    /// Whether that axis is logarithmic; else it begins at 0.
    pub log_x: bool,
    /// What is on the vertical axis, which begins at 0.
    pub y: String,
    /// Name and points of each series.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

/// Which way a target bounds a ratio.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The median must reach it.
    AtLeast(f64),
    /// The median must not exceed it.
    AtMost(f64),
}

impl Target {
    /// Whether a median meets it.
    pub(crate) fn met_by(self, median: f64) -> bool {
        match self {
            Target::AtLeast(bound) => median >= bound,
            Target::AtMost(bound) => median <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::AtLeast(bound) => write!(f, ">= {bound}"),
            Target::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

/// One ratio, formed within each round and summarised over the rounds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ratio {
    /// What over what.
    pub figure: String,
    /// Least, median, greatest, count.
    pub ratio: Spread,
    /// The ratio of each round, in order.
    pub rounds: Vec<f64>,
    /// What it has to reach; absent for what is only told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Target>,
    /// Median above the line.
    pub over: f64,
    /// Median below the line.
    pub under: f64,
    /// Unit of both.
    pub unit: String,
}

impl Ratio {
    /// Divides the pairs; `None` when there is no pair of two finite numbers.
    pub(crate) fn of(
        figure: impl Into<String>,
        unit: &str,
        target: Option<Target>,
        pairs: impl IntoIterator<Item = (f64, f64)>,
    ) -> Option<Self> {
        let pairs: Vec<(f64, f64)> = pairs
            .into_iter()
            .filter(|(over, under)| over.is_finite() && under.is_finite() && *under != 0.0)
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let rounds: Vec<f64> = pairs.iter().map(|(over, under)| over / under).collect();
        Some(Self {
            figure: figure.into(),
            ratio: Spread::of(rounds.clone()),
            rounds,
            target,
            over: Spread::of(pairs.iter().map(|pair| pair.0).collect()).median,
            under: Spread::of(pairs.iter().map(|pair| pair.1).collect()).median,
            unit: unit.to_owned(),
        })
    }

    /// Whether the target is met; `None` without one.
    pub(crate) fn met(&self) -> Option<bool> {
        self.target.map(|target| target.met_by(self.ratio.median))
    }
}

/// One run of the generator against one server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Point {
    /// Picture it belongs to: what all its points have in common, such as the body size.
    pub panel: String,
    /// Curve it belongs to: the server and its mode.
    pub series: String,
    /// What this run was, such as "closed" or "50 %".
    pub step: String,
    /// Round, from 0.
    pub round: u32,
    /// Messages per second intended by an open loop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intended_per_s: Option<f64>,
    /// Messages per second.
    pub per_s: f64,
    /// Body bytes per second.
    pub bytes_per_s: f64,
    /// Achieved less than 0.98 of what was intended: latencies describe a growing queue.
    pub saturated: bool,
    /// Latency.
    pub latency: Percentiles,
    /// Quantile and microseconds.
    pub spectrum: Vec<(f64, f64)>,
    /// Processor time of the server for one message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu_ns_per_message: Option<f64>,
    /// Processor time of the server's busiest thread for one message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub busiest_thread_ns_per_message: Option<f64>,
    /// Processor time of the server over the time of the run; 1 is one core.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu_share: Option<f64>,
    /// The server's memory after the run (resident and huge pages).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub memory_bytes: Option<u64>,
    /// Share of its core that the generator used: near 1, the generator was the limit.
    pub generator_cpu_share: f64,
    /// Messages answered in one tick of the broker's loop, from its metrics; absent when they
    /// could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tick_batch: Option<f64>,
    /// Messages for one write of the device: the group commit as the device sees it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub messages_per_write: Option<f64>,
    /// What the device did meanwhile.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<DeviceUse>,
    /// Share of the answers that were errors.
    #[serde(default)]
    pub failed_share: f64,
    /// Error answers by code and remark.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub failed: Vec<Failure>,
}

/// What happened second by second (or step by step) in one run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct TimeLine {
    /// Picture it belongs to.
    pub panel: String,
    /// Whose it is.
    pub series: String,
    /// Length of a step, seconds.
    pub step_s: f64,
    /// The steps.
    pub moments: Vec<Moment>,
    /// Things that happened, seconds and name.
    pub marks: Vec<(f64, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_formed_within_rounds_and_absent_sides_are_left_out() {
        // The machine's mood changed fourfold; the ratio does not notice.
        let pairs = [(700.0, 1000.0), (350.0, 500.0), (1400.0, 2000.0), (f64::NAN, 1.0)];
        let ratio = Ratio::of("a / b", "/s", Some(Target::AtLeast(0.6)), pairs).unwrap();
        assert_eq!(ratio.rounds.len(), 3);
        assert!((ratio.ratio.max - ratio.ratio.min).abs() < 1e-9);
        assert_eq!((ratio.met(), ratio.over, ratio.under), (Some(true), 700.0, 1000.0));
        assert!(Ratio::of("a / b", "/s", None, [(1.0, 0.0)]).is_none());
        assert!(!Target::AtMost(1.1).met_by(1.2) && Target::AtMost(1.1).met_by(1.1));
    }
}
