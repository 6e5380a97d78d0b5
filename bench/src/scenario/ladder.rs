//! A ladder of open-loop rates, up to and past saturation.
//!
//! All series climb the same absolute rates, so that their latencies can be held against each
//! other; then each goes on near its own saturation. A step past saturation is there to be seen
//! saturated.

use std::io;

use super::steps::{self, Label, START_S, Which};
use crate::bed::{Load, Server, Session};

/// Shares of the slowest series' saturated rate that all climb.
pub(super) const COMMON: [f64; 6] = [0.1, 0.25, 0.5, 0.75, 0.9, 1.05];
/// Shares of its own saturated rate that a faster series adds.
pub(super) const OWN: [f64; 3] = [0.75, 0.9, 1.05];
/// Name of the closed-loop step that gives the saturated rate.
pub(super) const CLOSED: &str = "closed";
/// A series is faster than the slowest when its rate is above it by this factor.
const FASTER: f64 = 1.2;
/// Requests an open loop may have out on a connection before it waits for answers.
const OPEN_OUTSTANDING: u32 = 4096;

/// One who climbs.
#[derive(Debug)]
pub(super) struct Climber<'a> {
    /// The server.
    pub server: &'a Server,
    /// Its series.
    pub series: String,
    /// More options of its loads, such as `no-wait`.
    pub flags: &'static [&'static str],
}

/// Bodies, connections and times of the steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// Body bytes.
    pub body: u64,
    /// Connections.
    pub connections: u16,
    /// Seconds measured.
    pub seconds: f64,
    /// Seconds before.
    pub warmup: f64,
}

impl Steps {
    /// Planned seconds of one step.
    pub(super) fn planned_s(&self) -> f64 {
        self.seconds + self.warmup + START_S
    }

    /// A load of these steps, without its rate.
    pub(super) fn load(&self, session: &Session, climber: &Climber<'_>) -> Load {
        let load = Load::new(&session.bed, &climber.server.addr, &climber.series)
            .with("body", self.body)
            .with("connections", self.connections)
            .with("seconds", self.seconds)
            .with("warmup", self.warmup);
        climber.flags.iter().fold(load, |load, flag| load.flag(flag))
    }
}

/// Climbs with everybody. The closed-loop runs of the panel must have been made.
pub(super) fn climb(
    session: &mut Session,
    climbers: &[Climber<'_>],
    panel: &str,
    steps: Steps,
) -> io::Result<()> {
    let saturated: Vec<f64> = climbers
        .iter()
        .filter_map(|climber| {
            let which = Which { panel, series: &climber.series, step: CLOSED };
            steps::median(&session.findings.points, which, steps::rate)
        })
        .collect();
    if saturated.len() < climbers.len() {
        session
            .note(format!("{panel}: somebody answered nothing under load; no ladder is climbed."));
        let runs = climbers.len() * (COMMON.len() + OWN.len());
        session.progress.done(runs as f64 * steps.planned_s());
        return Ok(());
    }
    let slowest = saturated.iter().copied().fold(f64::MAX, f64::min);
    for share in COMMON {
        for climber in climbers {
            let step = format!("{:.0} %", share * 100.0);
            one(session, climber, panel, steps, (share * slowest, step))?;
        }
    }
    for (climber, own) in climbers.iter().zip(saturated) {
        for share in OWN {
            if own < FASTER * slowest {
                session.progress.done(steps.planned_s());
                continue;
            }
            let step = format!("own {:.0} %", share * 100.0);
            one(session, climber, panel, steps, (share * own, step))?;
        }
    }
    Ok(())
}

fn one(
    session: &mut Session,
    climber: &Climber<'_>,
    panel: &str,
    steps: Steps,
    (rate, step): (f64, String),
) -> io::Result<()> {
    let load = steps
        .load(session, climber)
        .with("outstanding", steps::outstanding(steps.body, steps.connections, OPEN_OUTSTANDING))
        .with("rate", (rate as u64).max(1));
    let label = Label { panel: panel.into(), series: Some(climber.series.clone()), step, round: 0 };
    steps::run(session, climber.server, &load, &label, steps.planned_s()).map(drop)
}
