//! The page: ratios and their spread, pictures, then the numbers behind them.
//!
//! One file without scripts and without anything from elsewhere; it prints, and it reads on a
//! narrow screen. All text that comes from a broker is escaped.

use std::fmt::Write as _;
use std::io;

use super::number::{bytes, plain, time};
use super::picture::{self, Shown};
use super::spectrum;
use crate::findings::{Findings, Machine, Point, Ratio, Target};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:1320px;\
margin:2em auto;padding:0 1.2em}\
h1{font-size:1.5em;margin:0 0 .2em}h2{font-size:1.15em;margin:1.8em 0 .5em;\
border-bottom:1px solid #ddd}h3{font-size:1em;margin:1.2em 0 .2em}\
table{border-collapse:collapse;font-size:.9em}td,th{padding:.25em .7em;text-align:right;\
border-bottom:1px solid #eee;white-space:nowrap}th{background:#f6f6f6;text-align:right}\
td:first-child,th:first-child,td.l,th.l{text-align:left}\
.met{color:#00703c}.missed{color:#b00020;font-weight:600}\
.void{background:#fde8ea;border-left:5px solid #b00020;padding:.6em 1em;font-weight:600}\
.small{color:#555;font-size:.88em}.saturated td{color:#999}\
.row{display:flex;flex-wrap:wrap;gap:8px 24px}figure{margin:.3em 0}\
figcaption{font-size:.88em;color:#444;max-width:620px}\
svg{max-width:100%;height:auto}\
.key{display:inline-block;width:1.1em;height:.55em;margin:0 .35em 0 1em;border-radius:2px}\
details{margin:.8em 0}summary{cursor:pointer}.wide{overflow-x:auto}\
dl{display:grid;grid-template-columns:max-content auto;gap:.1em 1em;font-size:.9em}\
dt{color:#555}dd{margin:0}";

/// The whole page.
pub(super) fn page(all: &[Findings]) -> io::Result<String> {
    let names: Vec<&str> = all.iter().map(|one| one.scenario.as_str()).collect();
    let title = format!("weir-bench: {}", names.join(", "));
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content='width=device-width,initial-scale=1'><title>{}</title><style>{STYLE}</style>",
        escaped(&title)
    );
    for findings in all {
        section(&mut out, findings)?;
    }
    out.push_str("</html>\n");
    Ok(out)
}

fn section(out: &mut String, findings: &Findings) -> io::Result<()> {
    let _ = write!(
        out,
        "<h1>{}</h1><p class=small>weir-bench {} · {} UTC · took {:.0} s</p>",
        escaped(&findings.scenario),
        escaped(&findings.command),
        date(findings.started_unix_ms),
        findings.took_s
    );
    if let Some(void) = &findings.void {
        let _ = write!(out, "<p class=void>This run is void: {}</p>", escaped(void));
    }
    ratios(out, &findings.ratios);
    for note in &findings.notes {
        let _ = write!(out, "<p class=small>{}</p>", escaped(note));
    }
    machine(out, &findings.machine);
    pictures(out, findings)?;
    numbers(out, &findings.points);
    Ok(())
}

fn ratios(out: &mut String, ratios: &[Ratio]) {
    if ratios.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Ratios</h2><div class=wide><table><tr><th>figure<th>median<th>least<th>greatest\
         <th>rounds<th class=l>target<th class=l>spread<th class=l>medians above / below</tr>",
    );
    for ratio in ratios {
        let spread = ratio.ratio;
        let (class, verdict) = match (ratio.target, ratio.met()) {
            (Some(target), Some(true)) => ("met", format!("{target} met")),
            (Some(target), _) => ("missed", format!("{target} missed")),
            _ => ("", String::new()),
        };
        let _ = write!(
            out,
            "<tr><td>{}<td><b>{}</b><td>{}<td>{}<td>{}<td class='l {class}'>{}<td class=l>{}\
             <td class=l>{} / {} {}</tr>",
            escaped(&ratio.figure),
            plain(spread.median),
            plain(spread.min),
            plain(spread.max),
            spread.count,
            escaped(&verdict),
            bar(ratio),
            plain(ratio.over),
            plain(ratio.under),
            escaped(&ratio.unit)
        );
    }
    out.push_str("</table></div>");
}

/// A spread as a small drawing: the line is least to greatest, the dot the median, the upright
/// line the target (or 1).
fn bar(ratio: &Ratio) -> String {
    const WIDTH: f64 = 160.0;
    let bound = match ratio.target {
        Some(Target::AtLeast(bound) | Target::AtMost(bound)) => bound,
        None => 1.0,
    };
    let spread = ratio.ratio;
    let high = spread.max.max(bound) * 1.08;
    let at = |value: f64| value / high * WIDTH;
    let colour = match ratio.met() {
        Some(true) => "#00703c",
        Some(false) => "#b00020",
        None => "#0072b2",
    };
    format!(
        "<svg width={WIDTH} height=14 viewBox='0 0 {WIDTH} 14'><line x1=0 x2={WIDTH} y1=7 y2=7 \
         stroke='#ddd'/><line x1={b:.1} x2={b:.1} y1=0 y2=14 stroke='#888' \
         stroke-dasharray='2 2'/><line x1={l:.1} x2={h:.1} y1=7 y2=7 stroke='{colour}' \
         stroke-width=3 /><circle cx={m:.1} cy=7 r=4 fill='{colour}'/></svg>",
        b = at(bound),
        l = at(spread.min),
        h = at(spread.max),
        m = at(spread.median),
    )
}

fn machine(out: &mut String, machine: &Machine) {
    let cache = match machine.write_cache.as_str() {
        "write back" => "write back (volatile: has to be flushed)".to_owned(),
        other => other.to_owned(),
    };
    let disk = format!("{} ({}), rotates: {}", machine.device, machine.model, machine.rotational);
    let rows = [
        ("kernel", machine.kernel.clone()),
        ("processor", format!("{}, {} cores usable", machine.cpu, machine.cores)),
        ("governor", machine.governor.clone()),
        ("memory", bytes(machine.memory_bytes as f64)),
        ("file system", format!("{}: {}", machine.file_system, machine.mount_options)),
        ("device", disk),
        ("device cache", cache),
        ("FUA", machine.fua.clone()),
        ("scheduler", machine.scheduler.clone()),
    ];
    out.push_str("<h2>Machine</h2><dl>");
    for (name, value) in rows {
        let _ = write!(out, "<dt>{name}<dd>{}", escaped(&value));
    }
    out.push_str("</dl>");
}

fn pictures(out: &mut String, findings: &Findings) -> io::Result<()> {
    let mut drawn = String::new();
    for curve in &findings.curves {
        let names: Vec<&str> = curve.series.iter().map(|(name, _)| name.as_str()).collect();
        figure(&mut drawn, picture::curve(curve)?, &curve.title, &names);
    }
    if !drawn.is_empty() {
        let _ = write!(out, "<h2>Pictures</h2><div class=row>{drawn}</div>");
    }
    time_lines(out, findings)?;
    let points = &findings.points;
    for panel in picture::panels(findings) {
        let of_panel = points.iter().filter(|point| point.panel == panel);
        let series = spectrum::distinct(of_panel.map(|point| point.series.as_str()));
        let mut drawn = String::new();
        let caption = "Throughput against latency: thick with dots p99, thin p50; a cross is a \
                       saturated run, which belongs to no line.";
        let curves = picture::throughput_latency(points, panel, &series)?;
        figure(&mut drawn, curves, caption, &series);
        if let Some(step) = spectrum::step_to_show(points, panel) {
            let caption =
                format!("Latency by percentile, step “{step}” (the round with the median p99).");
            let spectra = picture::spectra(points, panel, &step, &series)?;
            figure(&mut drawn, spectra, &caption, &series);
        }
        if !drawn.is_empty() {
            let _ = write!(out, "<h2>{}</h2><div class=row>{drawn}</div>", escaped(panel));
        }
    }
    Ok(())
}

fn time_lines(out: &mut String, findings: &Findings) -> io::Result<()> {
    let panels = spectrum::distinct(findings.lines.iter().map(|line| line.panel.as_str()));
    for panel in panels {
        let lines: Vec<_> = findings.lines.iter().filter(|line| line.panel == panel).collect();
        let names: Vec<&str> = lines.iter().map(|line| line.series.as_str()).collect();
        let mut drawn = String::new();
        let marks: Vec<String> = lines
            .iter()
            .flat_map(|line| &line.marks)
            .map(|(at, what)| format!("{what} at {at:.2} s"))
            .collect();
        let marks = if marks.is_empty() {
            String::new()
        } else {
            format!(" Red lines: {}.", marks.join(", "))
        };
        let rate = picture::time_line(&lines, Shown::Rate)?;
        figure(&mut drawn, rate, &format!("Messages per second over time.{marks}"), &names);
        let late = picture::time_line(&lines, Shown::P99)?;
        figure(&mut drawn, late, "p99 latency of each step over time.", &names);
        let _ = write!(out, "<h2>{} over time</h2>{drawn}", escaped(panel));
    }
    Ok(())
}

fn figure(out: &mut String, svg: Option<String>, caption: &str, series: &[&str]) {
    let Some(svg) = svg else { return };
    let mut legend = String::new();
    for (i, name) in series.iter().enumerate() {
        let (r, g, b) = picture::COLOURS[i % picture::COLOURS.len()];
        let _ = write!(
            legend,
            "<span class=key style='background:rgb({r},{g},{b})'></span>{}",
            escaped(name)
        );
    }
    let _ = write!(
        out,
        "<figure>{svg}<figcaption>{legend}<br>{}</figcaption></figure>",
        escaped(caption)
    );
}

const COLUMNS: [&str; 19] = [
    "panel",
    "series",
    "step",
    "round",
    "intended /s",
    "achieved /s",
    "body bytes/s",
    "p50",
    "p99",
    "p99.9",
    "longest",
    "CPU ns/msg",
    "CPU share",
    "memory",
    "messages/write",
    "sends/tick",
    "device busy",
    "generator",
    "errors",
];

fn numbers(out: &mut String, points: &[Point]) {
    if points.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Runs</h2><details><summary>every run, in the order it was made; grey is \
                  saturated</summary><div class=wide><table><tr>",
    );
    for name in COLUMNS {
        let _ = write!(out, "<th>{name}");
    }
    for point in points {
        let class = if point.saturated { " class=saturated" } else { "" };
        let _ = write!(out, "</tr><tr{class}>");
        for cell in cells(point) {
            let _ = write!(out, "<td>{}", escaped(&cell));
        }
    }
    out.push_str("</tr></table></div>");
    for point in points {
        for failure in &point.failed {
            let _ = write!(
                out,
                "<p class=small>{}, {}, {}, round {}: {} answers with code {}: {}</p>",
                escaped(&point.panel),
                escaped(&point.series),
                escaped(&point.step),
                point.round,
                failure.count,
                failure.code,
                escaped(&failure.remark)
            );
        }
    }
    out.push_str("</details>");
}

fn cells(point: &Point) -> [String; 19] {
    let or_none = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), plain);
    let errors: u64 = point.failed.iter().map(|failure| failure.count).sum();
    let device = point.device;
    [
        point.panel.clone(),
        point.series.clone(),
        point.step.clone(),
        point.round.to_string(),
        or_none(point.intended_per_s),
        plain(point.per_s),
        bytes(point.bytes_per_s),
        time(point.latency.p50_us),
        time(point.latency.p99_us),
        time(point.latency.p999_us),
        time(point.latency.max_us),
        or_none(point.cpu_ns_per_message),
        or_none(point.cpu_share),
        point.memory_bytes.map_or_else(|| "–".to_owned(), |memory| bytes(memory as f64)),
        or_none(point.messages_per_write),
        or_none(point.tick_batch),
        or_none(device.map(|device| device.busy_share)),
        format!("{:.2}", point.generator_cpu_share),
        errors.to_string(),
    ]
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Milliseconds since 1970 as a date and a time (civil calendar, UTC).
fn date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days are counted from 1 March of year 0: leap days then end their years.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", rest / 3600, rest % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::SCHEMA;

    fn findings() -> Findings {
        let mut point = Point {
            panel: "1 KiB".to_owned(),
            series: "weir <SYNC>".to_owned(),
            per_s: 1000.0,
            intended_per_s: Some(1000.0),
            spectrum: vec![(0.0, 10.0), (0.5, 20.0), (0.99, 90.0)],
            ..Point::default()
        };
        (point.latency.p50_us, point.latency.p99_us) = (20.0, 90.0);
        let mut points = Vec::new();
        for (step, share) in [("10 %", 0.1), ("50 %", 0.5), ("110 %", 1.1)] {
            let saturated = share > 1.0;
            let per_s = 1000.0 * share;
            points.push(Point { step: step.to_owned(), per_s, saturated, ..point.clone() });
        }
        Findings {
            schema: SCHEMA,
            scenario: "test".to_owned(),
            command: String::new(),
            started_unix_ms: 1_763_731_491_000,
            took_s: 1.0,
            void: Some("5 < 6".to_owned()),
            notes: Vec::new(),
            machine: Machine::default(),
            ratios: Ratio::of("a / b", "/s", Some(Target::AtLeast(2.0)), [(1.0, 2.0)])
                .into_iter()
                .collect(),
            points,
            lines: Vec::new(),
            curves: Vec::new(),
        }
    }

    #[test]
    fn a_page_shows_ratios_before_pictures_before_numbers_and_escapes_text() {
        let page = page(&[findings()]).unwrap();
        let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what}"));
        assert!(at("This run is void: 5 &lt; 6") < at("<h2>Ratios"));
        assert!(at("&gt;= 2 missed") < at("<figure>"));
        assert!(at("</figure>") < at("<h2>Runs"));
        assert!(page.contains("weir &lt;SYNC&gt;") && !page.contains("weir <SYNC>"));
        assert!(!page.contains("<script") && !page.contains("href="));
        assert_eq!(page.matches("<figure>").count(), 2, "a curve and a spectrum");
    }

    #[test]
    fn a_date_is_the_civil_one() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(date(1_763_731_491_000), "2025-11-21 13:24");
    }
}
