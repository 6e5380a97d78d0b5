//! One scenario from start to report: its directory, its servers' ports, its findings.
//!
//! The report's room is taken before the first server starts, so a full or read-only disk is
//! found at once and not after an hour. Dropping a session removes its directory and, when it
//! did not come to a report, the report's place.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::args::{BedArgs, PORTS};
use super::held::Held;
use super::java::JavaArgs;
use super::progress::Progress;
use super::server::{Server, Setup};
use crate::findings::{Disk, Findings, Machine, Point, Ratio, SCHEMA};
use crate::page::Place;

/// Above this share of error answers a run says nothing about the work it was to measure.
const REFUSED: f64 = 0.1;

/// A scenario at work.
#[derive(Debug)]
pub(crate) struct Session {
    /// The checked options.
    pub bed: BedArgs,
    /// How far it is.
    pub progress: Progress,
    /// What was found so far.
    pub findings: Findings,
    /// The device of the measured directory.
    pub disk: Option<Disk>,
    /// Directory of the servers; removed at the end.
    pub root: PathBuf,
    place: Place,
    began: Instant,
    servers: u16,
    held: Arc<Held>,
    /// Refusals are what is measured.
    refusals_wanted: bool,
}

impl Session {
    /// Checks the options and takes the report's place. `planned_s` is how long it will take.
    pub(crate) fn begin(bed: &BedArgs, scenario: &str, planned_s: f64) -> io::Result<Self> {
        let bed = bed.checked()?;
        let place = Place::take(&bed.out, bed.name.as_deref().unwrap_or(scenario))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let findings = Findings {
            schema: SCHEMA,
            scenario: scenario.to_owned(),
            command: command(),
            started_unix_ms: now.as_millis() as u64,
            took_s: 0.0,
            void: None,
            notes: Vec::new(),
            machine: Machine::of(&bed.dir)?,
            ratios: Vec::new(),
            points: Vec::new(),
            lines: Vec::new(),
            curves: Vec::new(),
        };
        let root = bed.dir.join(format!("weir-bench-{}", std::process::id()));
        fs::create_dir(&root)
            .map_err(|error| io::Error::other(format!("--dir {}: {error}", bed.dir.display())))?;
        let disk = Disk::of(&root).ok();
        let progress = Progress::new(planned_s);
        let began = Instant::now();
        let (held, servers) = (Arc::default(), 0);
        let refusals_wanted = false;
        Ok(Self {
            bed,
            progress,
            findings,
            disk,
            root,
            place,
            began,
            servers,
            held,
            refusals_wanted,
        })
    }

    /// Starts one more server.
    pub(crate) fn server(&mut self, setup: Setup, java: Option<&JavaArgs>) -> io::Result<Server> {
        const EACH: u16 = 20;
        // A broker may also listen two and eleven below its port.
        let offset = 12 + EACH * self.servers;
        if offset + EACH > PORTS {
            return Err(io::Error::other(format!("more servers than {PORTS} ports are for")));
        }
        self.servers += 1;
        self.progress.doing(format!("starting {}", setup.name()));
        Server::start(&self.bed, java, &self.held, &self.root, self.bed.port_base + offset, setup)
    }

    /// Starts a server that is ended before the next call: each gets the same ports, the last ones.
    pub(crate) fn again(&mut self, setup: Setup) -> io::Result<Server> {
        self.progress.doing(format!("starting {}", setup.name()));
        Server::start(
            &self.bed,
            None,
            &self.held,
            &self.root,
            self.bed.port_base + PORTS - 8,
            setup,
        )
    }

    /// Keeps a run: into the findings, as a JSON line, as a line for a person.
    pub(crate) fn keep(&mut self, point: Point) -> io::Result<()> {
        println!("{}", serde_json::to_string(&point)?);
        let mark = if point.saturated { "  SATURATED" } else { "" };
        self.progress.say(&format!(
            "{:>3} {:24} {:14} {:>10.0} /s  p50 {:>7.0} p99 {:>8.0} us  {:>7.0} cpu ns{mark}",
            point.round,
            point.series,
            format!("{} {}", point.panel, point.step),
            point.per_s,
            point.latency.p50_us,
            point.latency.p99_us,
            point.cpu_ns_per_message.unwrap_or(f64::NAN),
        ));
        for failure in &point.failed {
            self.progress.say(&format!(
                "    {} answers with code {} ({:.2} to {:.2} s): {}",
                failure.count, failure.code, failure.first_s, failure.last_s, failure.remark
            ));
        }
        self.findings.points.push(point);
        Ok(())
    }

    /// Says that refusals are what is measured: they do not make the run void.
    pub(crate) fn wants_refusals(&mut self) {
        self.refusals_wanted = true;
    }

    /// Keeps a ratio, when there is one.
    pub(crate) fn ratio(&mut self, ratio: Option<Ratio>) {
        self.findings.ratios.extend(ratio);
    }

    /// A remark for the reader.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.findings.notes.push(note.into());
    }

    /// Ends the servers, then writes the report and prints the ratios. A server that outlived the
    /// session's directory would make it anew when it writes its state at the end.
    pub(crate) fn finish<T>(mut self, servers: T) -> io::Result<()> {
        drop(servers);
        self.ratio(self.held.ratio());
        self.findings.took_s = self.began.elapsed().as_secs_f64();
        self.common_notes();
        let findings = &self.findings;
        for line in crate::page::summary(findings) {
            self.progress.say(&line);
        }
        println!("{}", serde_json::json!({"ratios": findings.ratios, "void": findings.void}));
        let said = self.place.fill(std::slice::from_ref(findings))?;
        self.progress.say(&said);
        Ok(())
    }

    fn common_notes(&mut self) {
        let points = &self.findings.points;
        let limited = points.iter().filter(|p| p.generator_cpu_share > 0.97);
        let limited = limited.filter(|p| p.intended_per_s.is_none()).count();
        let failed: u64 = points.iter().flat_map(|p| &p.failed).map(|f| f.count).sum();
        let saturated = points.iter().filter(|p| p.saturated).count();
        let silent = points.iter().filter(|p| p.per_s == 0.0 && p.failed.is_empty()).count();
        if silent > 0 {
            self.findings.void = Some(format!(
                "{silent} runs got no answer at all: the server hung or the time was too short"
            ));
        }
        let refused = points.iter().filter(|p| p.failed_share > REFUSED).count();
        if refused > 0 && !self.refusals_wanted && self.findings.void.is_none() {
            self.findings.void = Some(format!(
                "in {refused} runs more than {:.0} % of the answers were errors: the ratios are \
                 about refusals; the runs say which",
                REFUSED * 100.0
            ));
        }
        if limited > 0 {
            self.note(format!(
                "{limited} closed-loop runs used the generator's whole core: there it was the \
                 limit, not the server."
            ));
        }
        if failed > 0 {
            self.note(format!("{failed} answers were errors; the table of runs says which."));
        }
        if saturated > 0 {
            self.note(format!(
                "{saturated} open-loop runs are saturated (achieved less than 0.98 of what was \
                 intended): marked; what they say against their schedule is in no ratio."
            ));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root.display());
        }
    }
}

/// The command as given, without the path of the program; paths in it are cut to their last part.
fn command() -> String {
    let short = |word: String| match word.starts_with('/') {
        true => word.rsplit('/').next().unwrap_or_default().to_owned(),
        false => word,
    };
    std::env::args().skip(1).map(short).collect::<Vec<_>>().join(" ")
}
