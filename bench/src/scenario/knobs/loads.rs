//! The loads that knobs are about, by the names the catalogue uses, and the one figure of each.
//!
//! A value that a broker sees only at its start (huge pages, the queue of new connections) gets a
//! broker of its own in each run, started after the value was written; the others share two that
//! run all the time. Nothing here knows a knob.

use std::io;

use super::crowd::half_open_s;
use crate::bed::{Habit, Kind, Lengths, Load, Neighbour, Server, Session, Setup, measure, point};
use crate::findings::{Point, Ratio};
use crate::target::resolve;

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnobLoad {
    /// 4 connections with 256 sends of 1 KiB outstanding, SYNC_FLUSH.
    SendSync,
    /// The same, ASYNC_FLUSH.
    SendAsync,
    /// One send outstanding, SYNC_FLUSH.
    OneSync,
    /// The same while a neighbour writes 1 GiB buffered, and fsyncs it, over and over.
    DirtyNeighbour,
    /// The same while a neighbour reads 1 GiB through the page cache over and over.
    ReadingNeighbour,
    /// Pulls of hot messages, on a broker of its own.
    Pull,
    /// Thousands of connections at once, to a broker of its own.
    Connections,
}

/// Name, figure, whether more of it is better.
const LOADS: [(KnobLoad, &str, &str, bool); 7] = [
    (KnobLoad::SendSync, "send-sync", "messages/s", true),
    (KnobLoad::SendAsync, "send-async", "messages/s", true),
    (KnobLoad::OneSync, "one-outstanding-sync", "p50 in µs", false),
    (KnobLoad::DirtyNeighbour, "dirty-neighbour", "p99 in µs", false),
    (KnobLoad::ReadingNeighbour, "reading-neighbour", "p99 in µs", false),
    (KnobLoad::Pull, "pull", "CPU ns a message", false),
    (KnobLoad::Connections, "connections", "ms until half are open", false),
];

impl KnobLoad {
    /// The load of this name.
    pub(super) fn named(name: &str) -> io::Result<Self> {
        let found = LOADS.iter().find(|row| row.1 == name);
        let known = || LOADS.map(|row| row.1).join(", ");
        found
            .map(|row| row.0)
            .ok_or_else(|| io::Error::other(format!("load {name}: there are {}", known())))
    }

    fn row(self) -> (&'static str, &'static str, bool) {
        let row = LOADS.iter().find(|row| row.0 == self);
        row.map_or(("", "", true), |row| (row.1, row.2, row.3))
    }

    /// Its name in the catalogue.
    pub(super) fn name(self) -> &'static str {
        self.row().0
    }

    /// What its one number is.
    pub(super) fn figure(self) -> &'static str {
        self.row().1
    }

    /// Whether more of that is better.
    pub(super) fn more_is_better(self) -> bool {
        self.row().2
    }

    fn is_sync(self) -> bool {
        matches!(
            self,
            Self::SendSync | Self::OneSync | Self::DirtyNeighbour | Self::ReadingNeighbour
        )
    }

    fn has_own_server(self) -> bool {
        matches!(self, Self::Pull | Self::Connections)
    }

    fn habit(self) -> Option<Habit> {
        match self {
            Self::DirtyNeighbour => Some(Habit::Dirties),
            Self::ReadingNeighbour => Some(Habit::Reads),
            _ => None,
        }
    }
}

/// The brokers and the session of a run.
#[derive(Debug)]
pub(super) struct Bench {
    /// Lengths of a run.
    pub lengths: Lengths,
    session: Session,
    /// The two that stay: SYNC, ASYNC; each started when it is first needed.
    servers: [Option<Server>; 2],
    crowd: u32,
    each_s: f64,
}

impl Bench {
    /// Nothing started yet. `crowd` is the number of connections of that load, `each_s` the
    /// planned seconds of one run.
    pub(super) fn new(session: Session, lengths: Lengths, crowd: u32, each_s: f64) -> Self {
        Self { lengths, session, servers: [None, None], crowd, each_s }
    }

    /// A line for the person and a remark of the report.
    pub(super) fn tell(&mut self, line: &str) {
        self.session.progress.say(line);
        self.session.note(line);
    }

    /// Keeps a ratio, when there is one.
    pub(super) fn keep(&mut self, ratio: Option<Ratio>) {
        self.session.ratio(ratio);
    }

    /// Ends the brokers and writes the report.
    pub(super) fn finish(self) -> io::Result<()> {
        self.session.finish(self.servers)
    }

    /// One run with what the knob (name, value) is now; its figure.
    pub(super) fn run(
        &mut self,
        load: KnobLoad,
        (knob, value): (&str, &str),
        round: u32,
    ) -> io::Result<f64> {
        let own = match load.has_own_server() {
            true => Some(self.session.again(Setup::new(Kind::Weir, load.is_sync()))?),
            false => None,
        };
        self.session.progress.doing(format!("{knob} = {value}, {}", load.name()));
        let (figure, mut point) = match (load, &own) {
            (KnobLoad::Connections, Some(server)) => crowd(server, self.crowd)?,
            (_, Some(server)) => loaded(&self.session, self.lengths, load, server)?,
            (_, None) => {
                self.shared(load.is_sync())?;
                let Some(server) = &self.servers[usize::from(!load.is_sync())] else {
                    return Err(io::Error::other("no broker"));
                };
                loaded(&self.session, self.lengths, load, server)?
            }
        };
        (point.panel, point.series) = (knob.to_owned(), value.to_owned());
        (point.step, point.round) = (load.name().to_owned(), round);
        self.session.progress.done(self.each_s);
        self.session.keep(point)?;
        Ok(figure)
    }

    /// Starts the broker that stays, when it does not run yet, and lets it make its first files.
    fn shared(&mut self, sync: bool) -> io::Result<()> {
        let i = usize::from(!sync);
        if self.servers[i].is_none() {
            let server = self.session.server(Setup::new(Kind::Weir, sync), None)?;
            let first = Load::new(&self.session.bed, &server.addr, &server.name);
            first.with("seconds", 3).run()?;
            self.servers[i] = Some(server);
        }
        Ok(())
    }
}

fn loaded(
    session: &Session,
    lengths: Lengths,
    load: KnobLoad,
    server: &Server,
) -> io::Result<(f64, Point)> {
    let (bed, lengthened) = (&session.bed, if load.habit().is_some() { 2.0 } else { 1.0 });
    let usual = Load::new(bed, &server.addr, &server.name)
        .with("seconds", lengths.seconds * lengthened)
        .with("warmup", lengths.warmup);
    let run = match load {
        KnobLoad::SendSync | KnobLoad::SendAsync => usual,
        KnobLoad::Pull => usual.with("mode", "pull"),
        _ => usual.with("connections", 1).with("outstanding", 1),
    };
    let path = session.root.join("neighbour");
    let neighbour = load.habit().map(|habit| Neighbour::start(path, habit, bed.load_core));
    let neighbour = neighbour.transpose()?;
    let (report, spent) = measure(server, session.disk.as_ref(), &run)?;
    neighbour.map_or(Ok(()), Neighbour::end)?;
    let point = point(&report, &spent, server);
    let figure = match load {
        KnobLoad::SendSync | KnobLoad::SendAsync => point.per_s,
        KnobLoad::Pull => point.cpu_ns_per_message.unwrap_or(f64::NAN),
        KnobLoad::OneSync => point.latency.p50_us,
        _ => point.latency.p99_us,
    };
    Ok((figure, point))
}

/// Opens `count` connections at once; milliseconds until half of them are open.
fn crowd(server: &Server, count: u32) -> io::Result<(f64, Point)> {
    let half_s = half_open_s(resolve(&server.addr)?, count)?;
    let per_s = f64::from(count.div_ceil(2)) / half_s;
    Ok((half_s * 1000.0, Point { per_s, ..Point::default() }))
}
