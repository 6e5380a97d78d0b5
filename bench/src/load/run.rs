//! One run of the generator: connect, warm up, measure, report.
//!
//! The loop is: wait for events, take the answers, put new requests into the free slots, hand
//! each connection's buffer to the kernel in one send. Time is read twice a turn, never per
//! message. It stops sending at the end of the measured time and does not count what comes later.

use std::io;
use std::time::SystemTime;

use weir_io::{Driver, Event, ReceiveEnd, Token};

use super::args::{LoadArgs, Mode};
use super::connection::{Connection, Outcome};
use super::jobs;
use super::report::{Failures, LoadReport, SATURATED_BELOW};
use super::schedule::{Peaks, Schedule};
use crate::latency::{Count, Latency, Served};
use crate::machine;
use crate::ring;
use crate::target::{self, Queue};

/// Intended times one connection may be behind; beyond it the run is hopeless and says so.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// Time between two tries to reach a broker that went away.
const RECONNECT_NS: u64 = 5_000_000;
const SECOND_NS: f64 = 1e9;

const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const CONNECT: u64 = 2;
const KINDS: u64 = 4;
/// Connections a token can name; above it stands the connection's epoch.
const PLACES: u64 = 1 << 16;

/// Runs the load, prints the report's JSON line to standard output and gives the report.
pub(crate) fn load(args: &LoadArgs) -> io::Result<LoadReport> {
    args.check()?;
    let queues = queues(args)?;
    if let Some(core) = args.core {
        weir_io::cpu::pin(core)?;
    }
    if args.mode == Mode::Pull {
        fill_tail(args, &queues)?;
    }
    let mut run = Run::new(args, ring::driver()?)?;
    run.connect(&queues)?;
    let started = SystemTime::now();
    run.measure()?;
    let report = run.report();
    if let Some(path) = &args.hdr_log {
        run.latency.write_log(path, started, "weir-bench load, nanoseconds")?;
    }
    if !args.quiet {
        report.print();
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(report)
}

/// The queues of all topics, after making them.
fn queues(args: &LoadArgs) -> io::Result<Vec<Queue>> {
    let mut queues = Vec::new();
    for topic in 0..args.topics {
        let name = match args.topics {
            1 => args.topic.clone(),
            _ => format!("{}_{topic}", args.topic),
        };
        queues.extend(match (&args.namesrv, &args.broker) {
            (Some(namesrv), _) => target::from_name_server(namesrv, &name, args.queues)?,
            (None, Some(broker)) => target::from_broker(broker, &name, args.queues)?,
            (None, None) => return Err(io::Error::other("neither --namesrv nor --broker given")),
        });
    }
    if queues.is_empty() {
        return Err(io::Error::other(format!("topic {} has no queue to write to", args.topic)));
    }
    Ok(queues)
}

/// Sends as many messages as the pulled tail shall have.
fn fill_tail(args: &LoadArgs, queues: &[Queue]) -> io::Result<()> {
    let messages = (args.tail / args.body.max(1)).max(u64::from(args.batch) * 2);
    let shape = LoadArgs {
        mode: Mode::Send,
        rate: None,
        count: Some(messages),
        warmup: 0.0,
        seconds: 600.0,
        ..args.clone()
    };
    let mut run = Run::new(&shape, ring::driver()?)?;
    run.connect(queues)?;
    run.measure()?;
    match run.failures.list().first() {
        Some(failure) => Err(io::Error::other(format!(
            "filling the tail: {} sends failed, code {}: {}",
            failure.count, failure.code, failure.remark
        ))),
        None => Ok(()),
    }
}

/// Counts of the measured time.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    pulled: u64,
    pulled_bytes: u64,
    /// Messages sent and pulled since the connections are open.
    handled: u64,
    /// Requests that came to their end, failed ones aside.
    done: u64,
    /// Requests whose connection went away before their answer.
    lost: u64,
}

struct Run<'a> {
    args: &'a LoadArgs,
    driver: Driver,
    connections: Vec<Connection>,
    /// When to try connections that went away again.
    retry_ns: u64,
    latency: Latency,
    served: Served,
    counts: Counts,
    failures: Failures,
    /// Sends asked for, for a run of a fixed count.
    asked: u64,
    schedule: Option<Schedule>,
    start_ns: u64,
    /// Measured time, of the driver's clock; empty before it is known.
    from_ns: u64,
    until_ns: u64,
    from_unix_ms: i64,
    cpu_ns: u64,
}

impl<'a> Run<'a> {
    fn new(args: &'a LoadArgs, driver: Driver) -> io::Result<Self> {
        Ok(Self {
            args,
            driver,
            connections: Vec::new(),
            retry_ns: u64::MAX,
            served: Served::new()?,
            latency: Latency::new(args.interval_ms * 1_000_000, args.hdr_log.is_some())?,
            counts: Counts::default(),
            failures: Failures::default(),
            asked: 0,
            schedule: None,
            start_ns: 0,
            from_ns: u64::MAX,
            until_ns: u64::MAX,
            from_unix_ms: 0,
            cpu_ns: 0,
        })
    }

    /// Opens the connections. Connection `i` goes to the broker of queue `i` (modulo).
    fn connect(&mut self, queues: &[Queue]) -> io::Result<()> {
        for i in 0..usize::from(self.args.connections) {
            let addr = queues[i % queues.len()].addr;
            self.driver.connect(addr, Token(i as u64 * KINDS + CONNECT));
            let socket = loop {
                let mut events = Vec::new();
                self.driver.wait(u64::MAX, &mut events)?;
                let connected = events.into_iter().find_map(|event| match event {
                    Event::Connected { result, .. } => Some(result),
                    _ => None,
                });
                if let Some(result) = connected {
                    break result?;
                }
            };
            let job = jobs::job(self.args, i, queues)?;
            let connection = Connection::new(addr, socket, job, self.args.outstanding);
            self.connections.push(connection);
        }
        for (i, connection) in self.connections.iter().enumerate() {
            let Some(socket) = connection.socket else { continue };
            self.driver.receive(socket, Token(i as u64 * KINDS + RECEIVE));
        }
        Ok(())
    }

    /// Warm-up and measured time.
    fn measure(&mut self) -> io::Result<()> {
        self.start_ns = self.driver.now_ns();
        let bounded = self.args.count.is_some() || self.ends_when_read();
        let warmup = if bounded { 0.0 } else { self.args.warmup };
        self.from_ns = self.start_ns + (warmup * SECOND_NS) as u64;
        self.until_ns = self.from_ns + (self.args.seconds * SECOND_NS) as u64;
        let nanos = |seconds: f64| (seconds * SECOND_NS) as u64;
        let peaks = Peaks {
            factor: self.args.peak,
            every_ns: nanos(self.args.peak_every),
            lasts_ns: nanos(self.args.peak_seconds),
        };
        self.schedule = self.args.rate.map(|rate| Schedule::new(self.start_ns, rate, peaks));
        let mut events = Vec::new();
        let mut cpu_from = None;
        loop {
            let now_ns = self.driver.now_ns();
            if now_ns >= self.until_ns {
                if bounded {
                    return Err(self.too_slow());
                }
                break;
            }
            if self.is_done() {
                self.until_ns = now_ns;
                break;
            }
            if cpu_from.is_none() && now_ns >= self.from_ns {
                cpu_from = Some(machine::thread_cpu_ns()?);
                self.from_unix_ms = self.driver.wall_ms();
            }
            self.reconnect(now_ns);
            self.ask_all(now_ns)?;
            self.flush();
            // An open loop polls: sleeping would be late for the next intended time.
            let deadline = match self.args.rate {
                Some(_) => 0,
                None if now_ns < self.from_ns => self.from_ns,
                None => self.until_ns.min(self.retry_ns),
            };
            self.driver.wait(deadline, &mut events)?;
            self.take(&mut events)?;
        }
        self.cpu_ns = machine::thread_cpu_ns()? - cpu_from.unwrap_or(0);
        self.latency.finish(self.until_ns - self.from_ns);
        Ok(())
    }

    fn ends_when_read(&self) -> bool {
        self.args.mode == Mode::Drain && !self.args.again
    }

    /// Whether a run of a fixed amount has done it.
    fn is_done(&self) -> bool {
        if self.ends_when_read() {
            return self.connections.iter().all(Connection::over);
        }
        let sent_all = self.args.count.is_some_and(|count| self.asked >= count);
        sent_all && self.connections.iter().all(Connection::idle)
    }

    fn too_slow(&self) -> io::Error {
        let Counts { sent, pulled, .. } = self.counts;
        io::Error::other(format!(
            "not done after {} seconds ({sent} sent, {pulled} pulled): raise --seconds",
            self.args.seconds
        ))
    }

    fn ask_all(&mut self, now_ns: u64) -> io::Result<()> {
        let Some(schedule) = &mut self.schedule else {
            self.ask_closed(now_ns);
            return Ok(());
        };
        // Senders alone follow the schedule; in mixed mode they are the even ones.
        let step = if self.args.mode == Mode::Mixed { 2 } else { 1 };
        let senders = self.connections.len().div_ceil(step);
        while let Some(intended_ns) = schedule.due(now_ns) {
            let connection = &mut self.connections[(schedule.next as usize) % senders * step];
            if connection.waiting.len() >= WAITING_MAX {
                return Err(io::Error::other(format!(
                    "one connection is {WAITING_MAX} sends behind the schedule: --rate {} is far \
                     beyond what the broker takes; lower it",
                    self.args.rate.unwrap_or(0)
                )));
            }
            connection.waiting.push_back(intended_ns);
        }
        for connection in self.connections.iter_mut().filter(|c| c.socket.is_some()) {
            if !connection.sends() {
                while connection.ask(now_ns, now_ns) {}
            }
            while let Some(intended_ns) = connection.waiting.pop_front() {
                if !connection.ask(intended_ns, now_ns) {
                    connection.waiting.push_front(intended_ns);
                    break;
                }
            }
        }
        Ok(())
    }

    fn ask_closed(&mut self, now_ns: u64) {
        let count = self.args.count.unwrap_or(u64::MAX);
        for connection in self.connections.iter_mut().filter(|c| c.socket.is_some()) {
            while self.asked < count && connection.ask(now_ns, now_ns) {
                self.asked += u64::from(connection.sends());
            }
        }
    }

    /// Hands every filled buffer to the kernel, one send per connection at a time.
    fn flush(&mut self) {
        for (i, connection) in self.connections.iter_mut().enumerate() {
            let Some(socket) = connection.socket else { continue };
            if connection.sending || connection.out.is_empty() {
                continue;
            }
            let spare = std::mem::take(&mut connection.spare);
            let full = std::mem::replace(&mut connection.out, spare);
            connection.sending = true;
            let token = token_of(i, connection.epoch, SEND);
            self.driver.send(socket, full, token);
        }
    }

    fn take(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let now_ns = self.driver.now_ns();
        for event in events.drain(..) {
            match event {
                Event::Received { token, chunk } => {
                    if let Some(i) = self.current(token) {
                        self.answers(i, &chunk, now_ns)?;
                    }
                }
                Event::Sent { token, buf, result } => {
                    let Some(i) = self.current(token) else { continue };
                    if let Err(errno) = result {
                        self.went_away(i, errno.into(), now_ns)?;
                        continue;
                    }
                    self.connections[i].sending = false;
                    self.connections[i].spare = buf;
                }
                Event::ReceiveEnded { token, end } => {
                    let Some(i) = self.current(token) else { continue };
                    let error = match end {
                        ReceiveEnd::Failed(errno) => errno.into(),
                        _ => io::Error::other("the broker closed a connection"),
                    };
                    self.went_away(i, error, now_ns)?;
                }
                Event::Connected { token, result } => {
                    let Some(i) = self.current(token) else { continue };
                    match result {
                        Ok(socket) => {
                            let connection = &mut self.connections[i];
                            connection.socket = Some(socket);
                            self.driver.receive(socket, token_of(i, connection.epoch, RECEIVE));
                        }
                        Err(_) => self.retry_ns = now_ns + RECONNECT_NS,
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The connection of an event, unless the event is of an earlier socket.
    fn current(&self, token: Token) -> Option<usize> {
        let i = (token.0 / KINDS % PLACES) as usize;
        let epoch = token.0 / KINDS / PLACES;
        (self.connections.get(i)?.epoch == epoch).then_some(i)
    }

    fn went_away(&mut self, i: usize, error: io::Error, now_ns: u64) -> io::Result<()> {
        if !self.args.reconnect {
            return Err(error);
        }
        let connection = &mut self.connections[i];
        if let Some(socket) = connection.socket {
            self.driver.close(socket);
        }
        self.counts.lost += connection.lose();
        self.retry_ns = self.retry_ns.min(now_ns + RECONNECT_NS);
        Ok(())
    }

    /// Tries the connections that are away, every [`RECONNECT_NS`]. A new epoch for each try:
    /// an earlier one may still end.
    fn reconnect(&mut self, now_ns: u64) {
        if now_ns < self.retry_ns {
            return;
        }
        self.retry_ns = u64::MAX;
        for (i, connection) in self.connections.iter_mut().enumerate() {
            if connection.socket.is_none() {
                connection.epoch += 1;
                self.driver.connect(connection.addr, token_of(i, connection.epoch, CONNECT));
            }
        }
    }

    fn answers(&mut self, i: usize, bytes: &[u8], now_ns: u64) -> io::Result<()> {
        let mut splitter = std::mem::take(&mut self.connections[i].splitter);
        let connection = &mut self.connections[i];
        let (counts, latency) = (&mut self.counts, &mut self.latency);
        let (failures, served) = (&mut self.failures, &mut self.served);
        let measured = now_ns >= self.from_ns && now_ns < self.until_ns;
        let since_ns = now_ns.saturating_sub(self.from_ns);
        let only_sends = matches!(self.args.mode, Mode::Send | Mode::Mixed);
        let mut stray = None;
        let result = splitter.feed(bytes, &mut |reply| {
            let Some((started_ns, asked_ns, outcome)) = connection.answered(reply) else {
                stray = Some(reply.opaque);
                return;
            };
            counts.handled += match outcome {
                Outcome::Sent => 1,
                Outcome::Pulled(messages) => messages,
                Outcome::Empty | Outcome::Failed(_) => 0,
            };
            if !measured {
                return;
            }
            let is_send = outcome == Outcome::Sent;
            match outcome {
                Outcome::Sent => {
                    served.taken(now_ns.saturating_sub(asked_ns));
                    counts.sent += 1;
                    latency.count(Count::Sent(1), since_ns);
                }
                Outcome::Pulled(messages) => {
                    counts.pulled += messages;
                    counts.pulled_bytes += reply.body_bytes as u64;
                    latency.count(Count::Pulled(messages), since_ns);
                }
                Outcome::Empty => return,
                Outcome::Failed(code) => {
                    let remark = reply.remark();
                    served.refused(now_ns.saturating_sub(asked_ns), &remark);
                    failures.add(code, remark, since_ns as f64 / SECOND_NS);
                    latency.count(Count::Failed, since_ns);
                    return;
                }
            }
            if is_send == only_sends {
                counts.done += 1;
                latency.record(now_ns.saturating_sub(started_ns), since_ns);
            }
        });
        self.connections[i].splitter = splitter;
        match stray {
            Some(opaque) => Err(io::Error::other(format!("an answer nobody asked for: {opaque}"))),
            None => result,
        }
    }

    fn report(&self) -> LoadReport {
        let (args, counts) = (self.args, &self.counts);
        let seconds = (self.until_ns - self.from_ns) as f64 / SECOND_NS;
        let intended = self
            .schedule
            .as_ref()
            .map(|schedule| schedule.intended(self.start_ns, self.from_ns, self.until_ns));
        let achieved = intended.map(|intended| counts.done as f64 / intended.max(1.0));
        LoadReport {
            mode: args.mode.name().to_owned(),
            schedule: if args.rate.is_some() { "open" } else { "closed" }.to_owned(),
            headers: args.headers.name().to_owned(),
            connections: self.connections.len(),
            outstanding: args.outstanding,
            body_bytes: args.body_bytes(),
            started_unix_ms: self.from_unix_ms,
            seconds,
            sent: counts.sent,
            handled: counts.handled,
            pulled: counts.pulled,
            pulled_bytes: counts.pulled_bytes,
            lost: counts.lost,
            sent_per_s: counts.sent as f64 / seconds,
            pulled_per_s: counts.pulled as f64 / seconds,
            intended_per_s: intended.map(|intended| intended / seconds),
            achieved_ratio: achieved,
            saturated: achieved.is_some_and(|ratio| ratio < SATURATED_BELOW),
            failed: self.failures.list(),
            taken: self.served.taken_percentiles(),
            refused: self.served.refused_percentiles(),
            generator_cpu_share: self.cpu_ns as f64 / (seconds * SECOND_NS),
            latency: self.latency.percentiles(),
            spectrum: self.latency.spectrum(),
            moments: self.latency.moments().to_vec(),
        }
    }
}

fn token_of(i: usize, epoch: u64, kind: u64) -> Token {
    Token((epoch * PLACES + i as u64) * KINDS + kind)
}
