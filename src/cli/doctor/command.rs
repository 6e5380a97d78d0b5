//! `weir doctor` from its words to its exit code.
//!
//! The order of the findings is fixed here. A configuration that is refused ends the command as it
//! would end `weir serve`: there is no broker to judge then.

use serde_json::json;
use weir_io::probe;

use super::finding::{Finding, Verdict};
use super::{host, plan, storage};
use crate::cli::args::Doctor;
use crate::cli::output::Output;
use crate::cli::{config, tune};
use crate::config::Config;
use crate::exit::{self, Stop};

/// Looks, prints every finding, and ends with [`exit::NOT_READY`] when one of them says so.
pub(crate) fn run(args: &Doctor, out: &mut Output) -> Result<(), Stop> {
    let (loaded, _) = config::read(&args.look.broker)?;
    let tree = tune::Tree::new(&args.look.root);
    let findings = examine(&tree, &loaded.config, !args.no_device)?;
    for finding in &findings {
        out.row(&finding.line(), &finding.value())?;
    }
    let topics = |verdict: Verdict| -> Vec<&str> {
        findings.iter().filter(|f| f.verdict == verdict).map(|f| f.topic).collect()
    };
    let (faults, warnings) = (topics(Verdict::NotReady), topics(Verdict::Warn));
    let value = json!({ "ready": faults.is_empty(), "notReady": faults, "warnings": warnings });
    if faults.is_empty() {
        return out.row(&format!("ready, with {} warning(s)", warnings.len()), &value);
    }
    let line = format!("not ready: {}", faults.join(", "));
    out.row(&line, &value)?;
    Err(Stop::new(exit::NOT_READY, line))
}

/// Every finding, in the order of the report.
pub(super) fn examine(
    tree: &tune::Tree,
    config: &Config,
    may_write: bool,
) -> Result<Vec<Finding>, Stop> {
    let facts = tune::facts(tree, config);
    let knobs = tune::catalogue()?;
    let readings = tune::judge(&knobs, tree, &facts);
    let (shards, count) = plan::shards(config);
    let mut findings =
        vec![host::surroundings(tree), host::kernel(&probe::release()), host::ring(), shards];
    findings.push(plan::memory(tree, config, count));
    findings.push(plan::huge_pages(tree, facts.arena_bytes));
    findings.extend(storage::look(tree, &facts, config, count, may_write));
    findings.push(plan::ports(config, count));
    findings.extend(plan::primary(config));
    findings.push(plan::addresses(config, count));
    findings.extend(host::settings(&readings));
    Ok(findings)
}
