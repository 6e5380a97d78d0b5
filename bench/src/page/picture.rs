//! Pictures as SVG, by `plotters`: curves of throughput and latency, spectra, time lines.
//!
//! Every axis is labelled with its unit, latencies are logarithmic, saturated points are crosses
//! that no line goes through. The legend is the page's: it is text that can be read and copied.

use std::fmt::Display;
use std::io;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::number;
use super::spectrum;
use crate::findings::{Curve, Findings, Point, TimeLine};

const SIZE: (u32, u32) = (620, 340);
const WIDE: (u32, u32) = (960, 300);
/// Colours that stay apart for most eyes (Okabe and Ito), dark ones first.
pub(super) const COLOURS: [(u8, u8, u8); 8] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 140, 100),
    (160, 60, 130),
    (90, 90, 90),
    (200, 140, 0),
    (86, 180, 233),
    (120, 50, 20),
];

type Root<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colour of series `i`.
pub(super) fn colour(i: usize) -> RGBColor {
    let (r, g, b) = COLOURS[i % COLOURS.len()];
    RGBColor(r, g, b)
}

fn failed(error: impl Display) -> io::Error {
    io::Error::other(format!("a picture could not be drawn: {error}"))
}

fn drawn(size: (u32, u32), draw: impl FnOnce(&Root<'_>) -> io::Result<()>) -> io::Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        draw(&root)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Bounds of positive values for a logarithmic axis, a little wider than they are.
fn log_bounds(values: impl Iterator<Item = f64>) -> Option<std::ops::Range<f64>> {
    let values = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) = values.fold((f64::MAX, 0.0_f64), |(l, h), v| (l.min(v), h.max(v)));
    (high > 0.0).then_some(low / 1.3..high * 1.5)
}

/// Throughput against latency: p99 as a line with dots, p50 thin.
pub(super) fn throughput_latency(
    points: &[Point],
    panel: &str,
    series: &[&str],
) -> io::Result<Option<String>> {
    let curves: Vec<Vec<&Point>> = series
        .iter()
        .map(|one| {
            let mut steps = spectrum::steps(points, panel, one);
            steps.retain(|point| point.intended_per_s.is_some());
            steps
        })
        .collect();
    let all = || curves.iter().flatten();
    let latencies = all().flat_map(|p| [p.latency.p50_us, p.latency.p99_us]);
    let (Some(y), Some(x)) = (log_bounds(latencies), log_bounds(all().map(|p| p.per_s))) else {
        return Ok(None);
    };
    if all().count() < 2 {
        return Ok(None);
    }
    drawn(SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(68)
            .build_cartesian_2d(0.0..x.end / 1.5 * 1.06, y.log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc("messages per second (achieved)")
            .y_desc("latency from the intended time")
            .x_label_formatter(&|x| number::plain(*x))
            .y_label_formatter(&|y| round_one(*y, number::time))
            .x_labels(7)
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 13))
            .draw()
            .map_err(failed)?;
        for (i, curve) in curves.iter().enumerate() {
            let colour = colour(i);
            let steady: Vec<&&Point> = curve.iter().filter(|p| !p.saturated).collect();
            let p99 = |p: &Point| (p.per_s, p.latency.p99_us);
            let p50 = |p: &Point| (p.per_s, p.latency.p50_us);
            let style = ShapeStyle::from(colour).stroke_width(2);
            let line = LineSeries::new(steady.iter().map(|p| p99(p)), style);
            chart.draw_series(line).map_err(failed)?;
            let thin = ShapeStyle::from(colour.mix(0.45)).stroke_width(1);
            let line = LineSeries::new(steady.iter().map(|p| p50(p)), thin);
            chart.draw_series(line).map_err(failed)?;
            let dots = steady.iter().map(|p| Circle::new(p99(p), 4, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
            let crosses = curve.iter().filter(|p| p.saturated);
            let crosses = crosses.map(|p| Cross::new(p99(p), 5, style));
            chart.draw_series(crosses).map_err(failed)?;
        }
        Ok(())
    })
    .map(Some)
}

/// Latency by percentile, one line a series, at one step.
pub(super) fn spectra(
    points: &[Point],
    panel: &str,
    step: &str,
    series: &[&str],
) -> io::Result<Option<String>> {
    let curves: Vec<Option<&Point>> = series
        .iter()
        .map(|one| spectrum::steps(points, panel, one).into_iter().find(|point| point.step == step))
        .collect();
    let all = || curves.iter().flatten().flat_map(|p| p.spectrum.iter());
    let Some(y) = log_bounds(all().map(|(_, us)| *us)) else { return Ok(None) };
    let nines = |quantile: f64| 1.0 / (1.0 - quantile).max(1e-7);
    let end = all().map(|(q, _)| nines(*q)).fold(100.0, f64::max);
    drawn(SIZE, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            // Half of the last label may stand beyond the axis.
            .margin_right(40)
            .x_label_area_size(42)
            .y_label_area_size(68)
            .build_cartesian_2d((1.0..end * 1.2).log_scale(), y.log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_desc("percentile")
            .y_desc("latency")
            .x_label_formatter(&|x| percentile(*x))
            .y_label_formatter(&|y| round_one(*y, number::time))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 13))
            .draw()
            .map_err(failed)?;
        for (i, point) in curves.iter().enumerate() {
            let Some(point) = point else { continue };
            let line = point.spectrum.iter().map(|(q, us)| (nines(*q), *us));
            let style = ShapeStyle::from(colour(i)).stroke_width(2);
            chart.draw_series(LineSeries::new(line, style)).map_err(failed)?;
        }
        Ok(())
    })
    .map(Some)
}

/// 1, 10, 100, … as 0 %, 90 %, 99 %, …
fn percentile(nines: f64) -> String {
    let digits = (nines.log10().round() as usize).saturating_sub(2);
    format!("{:.digits$} %", 100.0 - 100.0 / nines)
}

/// What one picture of a time line shows of each moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Messages per second.
    Rate,
    /// p99 latency.
    P99,
}

/// One picture for the time lines of a panel.
pub(super) fn time_line(lines: &[&TimeLine], shown: Shown) -> io::Result<Option<String>> {
    let value = |line: &TimeLine, moment: &crate::latency::Moment| match shown {
        Shown::Rate => (moment.sent + moment.pulled) as f64 / line.step_s,
        Shown::P99 => moment.p99_us,
    };
    let all = || lines.iter().flat_map(|line| line.moments.iter().map(|m| value(line, m)));
    let end = lines.iter().flat_map(|l| l.moments.iter().map(|m| m.at_s + l.step_s));
    let end = end.fold(0.0, f64::max);
    let Some(bounds) = log_bounds(all()) else { return Ok(None) };
    let y_label = |y: &f64| match shown {
        Shown::Rate => number::plain(*y),
        Shown::P99 => round_one(*y, number::time),
    };
    let y_desc = if shown == Shown::Rate { "messages per second" } else { "p99 latency" };
    drawn(WIDE, |root| {
        let mut builder = ChartBuilder::on(root);
        builder.margin(12).x_label_area_size(42).y_label_area_size(68);
        macro_rules! draw {
            ($range:expr, $least:expr) => {{
                let mut chart = builder.build_cartesian_2d(0.0..end, $range).map_err(failed)?;
                chart
                    .configure_mesh()
                    .light_line_style(TRANSPARENT)
                    .bold_line_style(BLACK.mix(0.12))
                    .x_desc("seconds")
                    .y_desc(y_desc)
                    .y_label_formatter(&y_label)
                    .x_label_formatter(&|x| number::plain(*x))
                    .label_style(("sans-serif", 13))
                    .axis_desc_style(("sans-serif", 13))
                    .draw()
                    .map_err(failed)?;
                for (i, line) in lines.iter().enumerate() {
                    // Without an answer there is no latency: a step of none is left out.
                    let told =
                        line.moments.iter().filter(|m| shown == Shown::Rate || m.p99_us > 0.0);
                    let points = told.map(|m| (m.at_s, value(line, m)));
                    let style = ShapeStyle::from(colour(i)).stroke_width(2);
                    chart.draw_series(LineSeries::new(points, style)).map_err(failed)?;
                    for (at_s, _) in &line.marks {
                        let mark = [(*at_s, $least), (*at_s, bounds.end)];
                        let style = ShapeStyle::from(RED.mix(0.7)).stroke_width(1);
                        chart.draw_series(LineSeries::new(mark, style)).map_err(failed)?;
                    }
                }
                Ok(())
            }};
        }
        match shown {
            Shown::Rate => draw!(0.0..bounds.end / 1.5 * 1.08, 0.0),
            Shown::P99 => draw!(bounds.clone().log_scale(), bounds.start),
        }
    })
    .map(Some)
}

/// One number against another.
pub(super) fn curve(curve: &Curve) -> io::Result<Option<String>> {
    let all = || curve.series.iter().flat_map(|(_, points)| points.iter());
    let x = log_bounds(all().map(|point| point.0));
    let y = log_bounds(all().map(|point| point.1));
    let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
    drawn(SIZE, |root| {
        let mut builder = ChartBuilder::on(root);
        builder.margin(12).x_label_area_size(42).y_label_area_size(68);
        let y = 0.0..y.end / 1.5 * 1.08;
        macro_rules! draw {
            ($x:expr, $x_label:expr) => {{
                let mut chart = builder.build_cartesian_2d($x, y).map_err(failed)?;
                chart
                    .configure_mesh()
                    .light_line_style(TRANSPARENT)
                    .bold_line_style(BLACK.mix(0.12))
                    .x_desc(&curve.x)
                    .y_desc(&curve.y)
                    .x_label_formatter($x_label)
                    .y_label_formatter(&|y| number::plain(*y))
                    .x_labels(7)
                    .label_style(("sans-serif", 13))
                    .axis_desc_style(("sans-serif", 13))
                    .draw()
                    .map_err(failed)?;
                for (i, (_, points)) in curve.series.iter().enumerate() {
                    let style = ShapeStyle::from(colour(i)).stroke_width(2);
                    let line = LineSeries::new(points.iter().copied(), style);
                    chart.draw_series(line).map_err(failed)?;
                    let dots = points.iter().map(|p| Circle::new(*p, 4, colour(i).filled()));
                    chart.draw_series(dots).map_err(failed)?;
                }
                Ok(())
            }};
        }
        match curve.log_x {
            true => draw!(x.log_scale(), &|x| round_one(*x, number::plain)),
            false => draw!(0.0..x.end / 1.5 * 1.06, &|x| number::plain(*x)),
        }
    })
    .map(Some)
}

/// The text of a value on a logarithmic axis: only of 1, 2 and 5 times a power of ten, or the
/// texts would lie over each other. A place that is given twice, once a hair below, gets the same
/// text twice.
fn round_one(value: f64, text: fn(f64) -> String) -> String {
    let power = 10_f64.powf((value.abs().log10() + 1e-9).floor());
    let (lead, whole) = (value / power, (value / power).round());
    let shown = [1.0, 2.0, 5.0].contains(&whole) && (lead - whole).abs() < 1e-6;
    if shown { text(whole * power) } else { String::new() }
}

/// Panels of the findings in order of appearance.
pub(super) fn panels(findings: &Findings) -> Vec<&str> {
    spectrum::distinct(findings.points.iter().map(|point| point.panel.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_a_hair_below_a_power_of_ten_has_the_power_s_text() {
        let text = |value: f64| round_one(value, number::time);
        assert_eq!(text(99_999.999_999_99), text(100_000.0));
        assert_eq!((text(30_000.0), text(90_000.0)), (String::new(), String::new()));
        assert!([10.0, 20.0, 5e6].iter().all(|value| !text(*value).is_empty()));
    }
}
