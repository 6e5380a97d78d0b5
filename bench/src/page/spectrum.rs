//! Which run of several stands for all of them in a picture.
//!
//! Nothing is averaged: of the rounds of one step the one with the median p99 is shown, and a
//! saturated run only when there is no other.

use crate::findings::Point;

/// The steps of one series in one panel, each by the run that stands for it, in order of rate.
pub(super) fn steps<'a>(points: &'a [Point], panel: &str, series: &str) -> Vec<&'a Point> {
    let of = |p: &&Point| p.panel == panel && p.series == series;
    let mut names: Vec<&str> = Vec::new();
    for point in points.iter().filter(of) {
        if !names.contains(&point.step.as_str()) {
            names.push(&point.step);
        }
    }
    let mut chosen: Vec<&Point> = names
        .into_iter()
        .filter_map(|step| middle(points.iter().filter(of).filter(|p| p.step == step).collect()))
        .collect();
    chosen.sort_by(|a, b| {
        let rate = |p: &Point| p.intended_per_s.unwrap_or(p.per_s);
        rate(a).total_cmp(&rate(b))
    });
    chosen
}

/// The run with the median p99, saturated ones last.
fn middle(mut runs: Vec<&Point>) -> Option<&Point> {
    if runs.iter().any(|run| !run.saturated) {
        runs.retain(|run| !run.saturated);
    }
    runs.sort_by(|a, b| a.latency.p99_us.total_cmp(&b.latency.p99_us));
    let at = runs.len().saturating_sub(1) / 2;
    runs.get(at).copied()
}

/// The step of a panel whose spectra are shown: the one nearest to half of the saturated rate
/// that all series have unsaturated; else the first step all have.
pub(super) fn step_to_show(points: &[Point], panel: &str) -> Option<String> {
    let of_panel: Vec<&Point> = points.iter().filter(|p| p.panel == panel).collect();
    let all_series = distinct(of_panel.iter().map(|p| p.series.as_str()));
    let mut steps = distinct(of_panel.iter().map(|p| p.step.as_str()));
    steps.retain(|step| {
        all_series.iter().all(|series| {
            of_panel.iter().any(|p| p.series == *series && p.step == *step && !p.saturated)
        })
    });
    let half = steps.iter().find(|step| step.starts_with("50 %"));
    let open = steps.iter().find(|step| step.ends_with('%'));
    half.or(open).or(steps.first()).map(|step| (*step).to_owned())
}

/// Values in order of appearance, each once.
pub(super) fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(step: &str, round: u32, p99_us: f64, saturated: bool) -> Point {
        let mut point = Point {
            panel: "1 KiB".to_owned(),
            series: "weir".to_owned(),
            step: step.to_owned(),
            round,
            saturated,
            ..Point::default()
        };
        point.latency.p99_us = p99_us;
        point
    }

    #[test]
    fn the_median_round_stands_for_a_step_and_a_saturated_one_only_alone() {
        let points = [
            run("50 %", 0, 300.0, false),
            run("50 %", 1, 100.0, false),
            run("50 %", 2, 200.0, false),
            run("110 %", 0, 9e6, true),
            run("90 %", 0, 5e6, true),
            run("90 %", 1, 700.0, false),
        ];
        let steps = steps(&points, "1 KiB", "weir");
        let shown: Vec<_> = steps.iter().map(|p| (p.step.as_str(), p.latency.p99_us)).collect();
        assert_eq!(shown, [("50 %", 200.0), ("110 %", 9e6), ("90 %", 700.0)]);
        assert_eq!(step_to_show(&points, "1 KiB").as_deref(), Some("50 %"));
    }
}
