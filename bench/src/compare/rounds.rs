//! The rounds: every server once, in an order that turns from round to round.
//!
//! A drift of the machine during a round hits another server in the next one. What a run found
//! goes out as a JSON line at once, so an interrupted comparison is not lost.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use super::args::CompareArgs;
use super::child::{Kind, Server};
use super::summary;
use crate::load::LoadReport;
use crate::machine;

/// One run of the generator against one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// Round, from 0.
    pub round: u32,
    /// weir, ceiling or java.
    pub server: &'static str,
    /// Whether the server acknowledges after the device has the bytes.
    pub sync: bool,
    /// True for a pull of the hot tail, false for sends.
    pub pull: bool,
    /// Messages per second.
    pub per_s: f64,
    /// Processor time of all the server's threads for one message.
    pub cpu_ns_per_message: f64,
    /// The same of its busiest thread.
    pub busiest_thread_ns_per_message: f64,
    /// The server's memory after the run (resident and huge pages).
    pub memory_bytes: u64,
    /// Median and 99th percentile latency, microseconds.
    pub p50_us: f64,
    /// 99th percentile latency, microseconds.
    pub p99_us: f64,
    /// Share of its core that the generator used: near 1, the generator was the limit.
    pub generator_cpu_share: f64,
    /// Answers that were errors.
    pub failed: u64,
}

/// Runs the comparison; prints runs and summary as JSON lines, and a table for a person.
pub(crate) fn compare(args: &CompareArgs) -> io::Result<()> {
    let root = args.dir.canonicalize()?.join(format!("weir-bench-{}", std::process::id()));
    fs::create_dir_all(&root)?;
    let result = measured(args, &root);
    fs::remove_dir_all(&root)?;
    let runs = result?;
    summary::print(args, &runs)
}

fn measured(args: &CompareArgs, root: &Path) -> io::Result<Vec<Measured>> {
    let file_system = machine::file_system(root)?;
    if file_system == "tmpfs" {
        return Err(io::Error::other("--dir is in memory (tmpfs); give a directory on a disk"));
    }
    let mut servers = Vec::new();
    for kind in [Kind::Weir, Kind::Ceiling, Kind::Java] {
        if kind == Kind::Java && args.java_classpath.is_none() {
            continue;
        }
        for sync in [true, false] {
            servers.push(Server::start(args, root, kind, sync)?);
        }
    }
    // Neighbours in a round are the two that are divided by each other.
    servers.sort_by_key(|server| (!server.sync, server.kind));
    for server in &servers {
        let seconds = if server.kind == Kind::Java { args.java_prime } else { args.prime };
        eprintln!("priming {} for {seconds} s", server.kind.name());
        generate(&CompareArgs { seconds, ..args.clone() }, server, false)?;
    }
    let mut runs = Vec::new();
    for round in 0..args.rounds {
        let count = servers.len();
        for i in 0..count {
            let forward = (i + round as usize) % count;
            let i = if round % 2 == 0 { forward } else { count - 1 - forward };
            let server = &servers[i];
            runs.push(run(args, server, round, false)?);
            if server.kind == Kind::Weir && !server.sync && !args.no_pull {
                runs.push(run(args, server, round, true)?);
            }
        }
    }
    Ok(runs)
}

fn run(args: &CompareArgs, server: &Server, round: u32, pull: bool) -> io::Result<Measured> {
    let before = machine::threads_cpu_ns(server.pid())?;
    let report = generate(args, server, pull)?;
    let after = machine::threads_cpu_ns(server.pid())?;
    let handled = report.handled.max(1) as f64;
    let total = |threads: &[machine::ThreadCpu]| threads.iter().map(|t| t.cpu_ns).sum::<u64>();
    let busiest = after
        .iter()
        .map(|thread| {
            let earlier = before.iter().find(|old| old.id == thread.id);
            thread.cpu_ns - earlier.map_or(0, |old| old.cpu_ns)
        })
        .max();
    let measured = Measured {
        round,
        server: server.kind.name(),
        sync: server.sync,
        pull,
        per_s: if pull { report.pulled_per_s } else { report.sent_per_s },
        cpu_ns_per_message: total(&after).saturating_sub(total(&before)) as f64 / handled,
        busiest_thread_ns_per_message: busiest.unwrap_or(0) as f64 / handled,
        memory_bytes: machine::memory_bytes(server.pid())?,
        p50_us: report.latency.p50_us,
        p99_us: report.latency.p99_us,
        generator_cpu_share: report.generator_cpu_share,
        failed: report.failed.values().sum(),
    };
    println!("{}", serde_json::to_string(&measured)?);
    eprintln!(
        "round {round}: {:8}{:6}{:5} {:>10.0} /s  {:>7.0} cpu ns  p99 {:>7.0} us",
        measured.server,
        if server.sync { "sync" } else { "async" },
        if pull { "pull" } else { "send" },
        measured.per_s,
        measured.cpu_ns_per_message,
        measured.p99_us
    );
    Ok(measured)
}

/// Runs the generator as a process of its own, as a person would.
fn generate(args: &CompareArgs, server: &Server, pull: bool) -> io::Result<LoadReport> {
    let output = Command::new(std::env::current_exe()?)
        .arg("load")
        .args(["--broker", &server.addr])
        .args(["--mode", if pull { "pull" } else { "send" }])
        .args(["--connections", &args.connections.to_string()])
        .args(["--outstanding", &(if pull { args.pulls } else { args.outstanding }).to_string()])
        .args(["--body", &args.body.to_string()])
        .args(["--headers", args.headers.name()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--warmup", &args.warmup.to_string()])
        .args(["--core", &args.load_core.to_string()])
        .arg("--quiet")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let name = server.kind.name();
    if !output.status.success() {
        return Err(io::Error::other(format!("the load on {name} failed: {}", output.status)));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
