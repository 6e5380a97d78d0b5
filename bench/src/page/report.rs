//! One page from JSON files, and the ratios as lines.
//!
//! A file of another schema is refused; nothing is measured here.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::number;
use super::place::Place;
use crate::findings::{Findings, SCHEMA};

/// Several results in one page.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// JSON files that scenarios wrote.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Directory for the page.
    #[arg(long, default_value = ".")]
    pub out: PathBuf,
    /// Name of the page.
    #[arg(long, default_value = "report")]
    pub name: String,
}

/// Joins the files into one page (and one JSON file).
pub(crate) fn report(args: &ReportArgs) -> io::Result<()> {
    let mut place = Place::take(&args.out, &args.name)?;
    let mut all: Vec<Findings> = Vec::new();
    for path in &args.files {
        let wrong = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {error}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let findings: Vec<Findings> = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        if let Some(other) = findings.iter().find(|one| one.schema != SCHEMA) {
            let text = format!("schema {}, this program reads {SCHEMA}", other.schema);
            return Err(wrong(&text));
        }
        all.extend(findings);
    }
    eprintln!("{}", place.fill(&all)?);
    Ok(())
}

/// The ratios as lines for a person.
pub(crate) fn summary(findings: &Findings) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(void) = &findings.void {
        lines.push(format!("VOID: {void}"));
    }
    if !findings.ratios.is_empty() {
        lines.push(format!("{:52} {:>8}  {:18} {}", "ratio", "median", "min to max", "target"));
    }
    for ratio in &findings.ratios {
        let target = match (ratio.target, ratio.met()) {
            (Some(target), Some(true)) => format!("{target} met"),
            (Some(target), _) => format!("{target} MISSED"),
            _ => String::new(),
        };
        let spread = ratio.ratio;
        lines.push(format!(
            "{:52} {:>8.3}  {:18} {target:14} ({} / {} {})",
            ratio.figure,
            spread.median,
            format!("{:.3} to {:.3}", spread.min, spread.max),
            number::plain(ratio.over),
            number::plain(ratio.under),
            ratio.unit,
        ));
    }
    lines.extend(findings.notes.iter().map(|note| format!("note: {note}")));
    lines
}
