//! One run of the generator, with what the server and the device did meanwhile.
//!
//! Counters are read before and after; a server that was given by address has none, and its
//! fields stay absent. Messages are those the generator handled, warm-up included, since the
//! counters cover it too.

use std::io;
use std::time::Instant;

use super::generator::Load;
use super::server::{Kind, Server};
use super::ticks::Ticks;
use crate::findings::{DeviceUse, Disk, DiskCounts, Point};
use crate::load::LoadReport;
use crate::machine::{self, ThreadCpu};

/// Counters at one moment.
#[derive(Debug)]
pub(crate) struct Watch {
    at: Instant,
    threads: Vec<ThreadCpu>,
    read_bytes: Option<u64>,
    disk: Option<(Disk, DiskCounts)>,
    ticks: Option<Ticks>,
}

fn ticks(server: &Server) -> Option<Ticks> {
    let asked = server.setup.kind == Kind::Weir;
    asked.then(|| Ticks::of(server.port)).flatten()
}

/// What was counted since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    /// Seconds.
    pub seconds: f64,
    /// Processor time of the server.
    pub cpu_ns: Option<u64>,
    /// The same of its busiest thread.
    pub busiest_ns: Option<u64>,
    /// Bytes the server itself made the device read.
    pub read_bytes: Option<u64>,
    /// Sends of one turn of the server's loop.
    pub tick_batch: Option<f64>,
    /// What the device did for all.
    pub device: Option<DeviceUse>,
}

impl Watch {
    /// Reads the counters.
    pub(crate) fn begin(server: &Server, disk: Option<&Disk>) -> io::Result<Self> {
        let disk = match disk {
            Some(disk) => Some((disk.clone(), disk.counts()?)),
            None => None,
        };
        Ok(Self {
            at: Instant::now(),
            threads: server.pid().map_or(Ok(Vec::new()), machine::threads_cpu_ns)?,
            read_bytes: server.pid().and_then(|pid| machine::read_bytes(pid).ok()),
            disk,
            ticks: ticks(server),
        })
    }

    /// Reads them again.
    pub(crate) fn end(&self, server: &Server) -> io::Result<Spent> {
        let seconds = self.at.elapsed().as_secs_f64();
        let mut spent = Spent { seconds, ..Spent::default() };
        if let Some(pid) = server.pid() {
            let used: Vec<u64> = machine::threads_cpu_ns(pid)?
                .iter()
                .map(|thread| {
                    let earlier = self.threads.iter().find(|old| old.id == thread.id);
                    thread.cpu_ns - earlier.map_or(0, |old| old.cpu_ns)
                })
                .collect();
            spent.cpu_ns = Some(used.iter().sum());
            spent.busiest_ns = used.into_iter().max();
            let now = machine::read_bytes(pid).ok();
            spent.read_bytes = now.zip(self.read_bytes).map(|(now, then)| now - then);
        }
        let both = ticks(server).zip(self.ticks);
        spent.tick_batch = both.and_then(|(now, then)| now.since(then));
        if let Some((disk, before)) = &self.disk {
            spent.device = Some(disk.counts()?.since(before, seconds));
        }
        Ok(spent)
    }
}

/// Runs the load and reads the counters around it.
pub(crate) fn measure(
    server: &Server,
    disk: Option<&Disk>,
    load: &Load,
) -> io::Result<(LoadReport, Spent)> {
    let watch = Watch::begin(server, disk)?;
    let report = load.run()?;
    Ok((report, watch.end(server)?))
}

/// A point of a report; panel, series, step and round are the scenario's to fill.
pub(crate) fn point(report: &LoadReport, spent: &Spent, server: &Server) -> Point {
    let handled = report.handled.max(1) as f64;
    let pulls = matches!(report.mode.as_str(), "pull" | "drain");
    let per_s = if pulls { report.pulled_per_s } else { report.sent_per_s };
    Point {
        series: server.name.clone(),
        intended_per_s: report.intended_per_s,
        per_s,
        bytes_per_s: per_s * report.body_bytes as f64,
        saturated: report.saturated,
        latency: report.latency,
        spectrum: report.spectrum.clone(),
        cpu_ns_per_message: spent.cpu_ns.map(|ns| ns as f64 / handled),
        busiest_thread_ns_per_message: spent.busiest_ns.map(|ns| ns as f64 / handled),
        cpu_share: spent.cpu_ns.map(|ns| ns as f64 / (spent.seconds * 1e9)),
        memory_bytes: server.pid().and_then(|pid| machine::memory_bytes(pid).ok()),
        generator_cpu_share: report.generator_cpu_share,
        messages_per_write: spent
            .device
            .filter(|device| device.writes > 0 && !pulls)
            .map(|device| handled / device.writes as f64),
        tick_batch: spent.tick_batch,
        device: spent.device,
        failed_share: {
            let failed: u64 = report.failed.iter().map(|failure| failure.count).sum();
            let answered = failed + report.sent + report.pulled;
            failed as f64 / answered.max(1) as f64
        },
        failed: report.failed.clone(),
        ..Point::default()
    }
}
