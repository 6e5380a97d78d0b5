//! What scenarios share: one labelled run, the order of a round, pairs of runs for a ratio.
//!
//! The order turns from round to round, so that a drift of the machine hits another server each
//! time. Nothing here knows what is measured.

use std::io;

use crate::bed::{Load, Server, Session, measure, point};
use crate::findings::Point;

/// Bytes of requests outstanding over all connections, at most: large bodies get fewer.
const OUTSTANDING_BYTES: u64 = 32 * 1024 * 1024;
/// Starting and connecting a generator, in planned seconds.
pub(super) const START_S: f64 = 0.4;

/// Where a run belongs.
#[derive(Clone, Debug)]
pub(super) struct Label {
    /// Panel.
    pub panel: String,
    /// Series, when it is not the server's name.
    pub series: Option<String>,
    /// Step.
    pub step: String,
    /// Round.
    pub round: u32,
}

impl Label {
    /// A label whose series is the server's name.
    pub(super) fn new(panel: impl Into<String>, step: impl Into<String>, round: u32) -> Self {
        Self { panel: panel.into(), series: None, step: step.into(), round }
    }
}

/// Runs the load, keeps the point in the findings and gives it.
pub(super) fn run(
    session: &mut Session,
    server: &Server,
    load: &Load,
    label: &Label,
    planned_s: f64,
) -> io::Result<Point> {
    let series = label.series.clone().unwrap_or_else(|| server.name.clone());
    session.progress.doing(format!("{series}, {} {}", label.panel, label.step));
    let (report, spent) = measure(server, session.disk.as_ref(), load)?;
    let mut point = point(&report, &spent, server);
    point.series = series;
    point.panel.clone_from(&label.panel);
    point.step.clone_from(&label.step);
    point.round = label.round;
    session.progress.done(planned_s);
    session.keep(point.clone())?;
    Ok(point)
}

/// The order of `count` things in a round: turned by one each time, backwards in odd rounds.
pub(super) fn order(count: usize, round: u32) -> Vec<usize> {
    (0..count)
        .map(|i| {
            let forward = (i + round as usize) % count;
            if round.is_multiple_of(2) { forward } else { count - 1 - forward }
        })
        .collect()
}

/// Outstanding sends on each of `connections` for bodies of this size, at most `most`.
pub(super) fn outstanding(body: u64, connections: u16, most: u32) -> u32 {
    let room = OUTSTANDING_BYTES / (body.max(1) * u64::from(connections));
    u32::try_from(room).unwrap_or(most).clamp(1, most)
}

/// Which run of a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Which<'a> {
    /// Panel.
    pub panel: &'a str,
    /// Series.
    pub series: &'a str,
    /// Step.
    pub step: &'a str,
}

/// A value of each round's two runs; saturated runs, runs without an answer and rounds without
/// both are left out.
pub(super) fn pairs(
    points: &[Point],
    over: Which<'_>,
    under: Which<'_>,
    value: impl Fn(&Point) -> f64,
) -> Vec<(f64, f64)> {
    let find = |round: u32, which: Which<'_>| {
        points.iter().find(|p| {
            p.round == round
                && !p.saturated
                && p.per_s > 0.0
                && (p.panel.as_str(), p.series.as_str(), p.step.as_str())
                    == (which.panel, which.series, which.step)
        })
    };
    let rounds = points.iter().map(|point| point.round + 1).max().unwrap_or(0);
    (0..rounds)
        .filter_map(|round| Some((value(find(round, over)?), value(find(round, under)?))))
        .collect()
}

/// Processor time of a message, NaN when it is not known.
pub(super) fn cpu(point: &Point) -> f64 {
    point.cpu_ns_per_message.unwrap_or(f64::NAN)
}

/// Messages per second.
pub(super) fn rate(point: &Point) -> f64 {
    point.per_s
}

/// The median of a value over the runs of one step.
pub(super) fn median(
    points: &[Point],
    which: Which<'_>,
    value: impl Fn(&Point) -> f64,
) -> Option<f64> {
    let same = |p: &&Point| {
        p.per_s > 0.0
            && (p.panel.as_str(), p.series.as_str(), p.step.as_str())
                == (which.panel, which.series, which.step)
    };
    let values: Vec<f64> = points.iter().filter(same).map(value).collect();
    (!values.is_empty()).then(|| crate::spread::Spread::of(values).median)
}

/// A body size as a panel's name.
pub(super) fn size_name(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_everybody_once_and_another_first() {
        let orders: Vec<_> = (0..4).map(|round| order(3, round)).collect();
        assert_eq!(orders[..2], [[0, 1, 2], [1, 0, 2]]);
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
    }

    #[test]
    fn pairs_are_of_one_round_and_never_of_a_saturated_run() {
        let point = |series: &str, round, per_s, saturated| Point {
            series: series.to_owned(),
            round,
            per_s,
            saturated,
            ..Point::default()
        };
        let points = [
            point("a", 0, 10.0, false),
            point("b", 0, 5.0, false),
            point("a", 1, 20.0, true),
            point("b", 1, 5.0, false),
            point("a", 2, 30.0, false),
        ];
        let which = |series| Which { panel: "", series, step: "" };
        assert_eq!(pairs(&points, which("a"), which("b"), rate), [(10.0, 5.0)]);
        assert_eq!(median(&points, which("a"), rate), Some(20.0));
    }

    #[test]
    fn large_bodies_get_fewer_outstanding() {
        let found = [100, 1024, 65_536, 1 << 20, 5 << 20].map(|body| outstanding(body, 4, 256));
        assert_eq!(found, [256, 256, 128, 8, 1]);
    }
}
