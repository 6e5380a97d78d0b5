//! One run of the generator: connect, warm up, measure, report.
//!
//! The loop is: wait for events, take the answers, put new requests into the free slots, hand
//! each connection's buffer to the kernel in one send. Time is read twice a turn, never per
//! message. It stops sending at the end of the measured time and does not count what comes later.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use weir_io::{Driver, Event, ReceiveEnd, Token};

use super::args::{LoadArgs, Mode};
use super::connection::{Connection, Job, Outcome, Tail};
use super::report::{LoadReport, SATURATED_BELOW};
use crate::frame::{PullShape, SendShape, Template};
use crate::latency::Latency;
use crate::machine;
use crate::ring;
use crate::target::{self, Queue};

/// Intended times one connection may be behind; beyond it the run is hopeless and says so.
const WAITING_MAX: usize = 4 * 1024 * 1024;
/// A following pull is held for this long when nothing is new.
const HOLD_MS: u32 = 1000;
const SECOND_NS: f64 = 1e9;

const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const CONNECT: u64 = 2;
const KINDS: u64 = 4;

/// Runs the load, prints the report's JSON line to standard output and gives the report.
pub(crate) fn load(args: &LoadArgs) -> io::Result<LoadReport> {
    let queues = match (&args.namesrv, &args.broker) {
        (Some(namesrv), _) => target::from_name_server(namesrv, &args.topic, args.queues)?,
        (None, Some(broker)) => target::from_broker(broker, &args.topic, args.queues)?,
        (None, None) => return Err(io::Error::other("neither --namesrv nor --broker was given")),
    };
    if queues.is_empty() {
        return Err(io::Error::other(format!("topic {} has no queue to write to", args.topic)));
    }
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

/// Sends as many messages as the pulled tail shall have.
fn fill_tail(args: &LoadArgs, queues: &[Queue]) -> io::Result<()> {
    let messages = (args.tail / args.body.max(1) as u64).max(u64::from(args.batch) * 2);
    let shape = LoadArgs { mode: Mode::Send, rate: None, ..args.clone() };
    let mut run = Run::new(&shape, ring::driver()?)?;
    run.connect(queues)?;
    run.send_exactly(messages)
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
    failed: BTreeMap<i32, u64>,
}

struct Run<'a> {
    args: &'a LoadArgs,
    driver: Driver,
    connections: Vec<Connection<'a>>,
    latency: Latency,
    counts: Counts,
    /// Measured time, of the driver's clock; empty before it is known.
    from_ns: u64,
    until_ns: u64,
    cpu_ns: u64,
}

impl<'a> Run<'a> {
    fn new(args: &'a LoadArgs, driver: Driver) -> io::Result<Self> {
        Ok(Self {
            args,
            driver,
            connections: Vec::new(),
            latency: Latency::new(args.hdr_log.is_some())?,
            counts: Counts::default(),
            from_ns: u64::MAX,
            until_ns: u64::MAX,
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
            let job = self.job(i, queues)?;
            self.connections.push(Connection::new(socket, job, self.args.outstanding));
        }
        for (i, connection) in self.connections.iter().enumerate() {
            self.driver.receive(connection.socket, Token(i as u64 * KINDS + RECEIVE));
        }
        Ok(())
    }

    fn job(&self, i: usize, queues: &[Queue]) -> io::Result<Job<'a>> {
        let args = self.args;
        let queue = &queues[i % queues.len()];
        let same_broker = queues.iter().filter(|other| other.addr == queue.addr);
        let tail = |queue: &Queue, high: u64, low: u64, next: u64, hold_ms: u32| Tail {
            shape: PullShape {
                encoding: args.headers,
                topic: &args.topic,
                queue_id: queue.queue_id,
                batch: args.batch,
                hold_ms,
            },
            low,
            high,
            next,
        };
        match args.mode {
            Mode::Pull => {
                let high = target::max_offset(queue, &args.topic)?;
                let per_queue = args.tail / args.body.max(1) as u64 / queues.len() as u64;
                let low = high.saturating_sub(per_queue.max(u64::from(args.batch)));
                // Connections on the same queue start at different places of it.
                let apart = (high - low) / u64::from(args.connections) * i as u64;
                let start = low + apart / u64::from(args.batch) * u64::from(args.batch);
                let start = if start + u64::from(args.batch) > high { low } else { start };
                Ok(Job::PullTail { tail: tail(queue, high, low, start, 0), asked: Vec::new() })
            }
            Mode::Mixed if i % 2 == 1 => {
                let followers = usize::from(args.connections) / 2;
                let mine = queues.iter().enumerate().filter(|(q, _)| q % followers == i / 2);
                let tails = mine
                    .filter(|(_, other)| other.addr == queue.addr)
                    .map(|(_, other)| {
                        let high = target::max_offset(other, &args.topic)?;
                        Ok(tail(other, u64::MAX, high, high, HOLD_MS))
                    })
                    .collect::<io::Result<_>>()?;
                Ok(Job::Follow { tails })
            }
            Mode::Send | Mode::Mixed => {
                let templates = same_broker
                    .map(|queue| {
                        Template::send(&SendShape {
                            encoding: args.headers,
                            topic: &args.topic,
                            broker_name: &queue.broker_name,
                            queue_id: queue.queue_id,
                            body_bytes: args.body,
                        })
                    })
                    .collect();
                Ok(Job::Send { templates, counter: (i as u64) << 24 })
            }
        }
    }

    /// Warm-up and measured time.
    fn measure(&mut self) -> io::Result<()> {
        let start_ns = self.driver.now_ns();
        self.from_ns = start_ns + (self.args.warmup * SECOND_NS) as u64;
        self.until_ns = self.from_ns + (self.args.seconds * SECOND_NS) as u64;
        let mut schedule = Schedule { start_ns, rate: self.args.rate.unwrap_or(0), next: 0 };
        let mut events = Vec::new();
        let mut cpu_from = None;
        loop {
            let now_ns = self.driver.now_ns();
            if now_ns >= self.until_ns {
                break;
            }
            if cpu_from.is_none() && now_ns >= self.from_ns {
                cpu_from = Some(machine::thread_cpu_ns()?);
            }
            self.ask_all(&mut schedule, now_ns)?;
            self.flush();
            // An open loop polls: sleeping would be late for the next intended time.
            let deadline = match self.args.rate {
                Some(_) => 0,
                None if now_ns < self.from_ns => self.from_ns,
                None => self.until_ns,
            };
            self.driver.wait(deadline, &mut events)?;
            self.take(&mut events)?;
        }
        self.cpu_ns = machine::thread_cpu_ns()? - cpu_from.unwrap_or(0);
        Ok(())
    }

    /// Sends this many messages and waits for all answers.
    fn send_exactly(&mut self, messages: u64) -> io::Result<()> {
        let mut events = Vec::new();
        (self.from_ns, self.until_ns) = (0, u64::MAX);
        let mut asked = 0;
        while asked < messages || !self.connections.iter().all(Connection::idle) {
            let now_ns = self.driver.now_ns();
            for connection in &mut self.connections {
                while asked < messages && connection.ask(now_ns) {
                    asked += 1;
                }
            }
            self.flush();
            self.driver.wait(u64::MAX, &mut events)?;
            self.take(&mut events)?;
        }
        match self.counts.failed.iter().next() {
            Some((code, count)) => Err(io::Error::other(format!(
                "filling the tail: {count} sends failed, code {code}"
            ))),
            None => Ok(()),
        }
    }

    fn ask_all(&mut self, schedule: &mut Schedule, now_ns: u64) -> io::Result<()> {
        if self.args.rate.is_none() {
            for connection in &mut self.connections {
                while connection.ask(now_ns) {}
            }
            return Ok(());
        }
        let count = self.connections.len();
        while let Some(intended_ns) = schedule.due(now_ns) {
            let connection = &mut self.connections[(schedule.next as usize) % count];
            if connection.waiting.len() >= WAITING_MAX {
                return Err(io::Error::other("the schedule is far beyond what the broker takes"));
            }
            connection.waiting.push_back(intended_ns);
        }
        for connection in &mut self.connections {
            if !connection.sends() && connection.waiting.is_empty() {
                continue;
            }
            while let Some(intended_ns) = connection.waiting.pop_front() {
                if !connection.ask(intended_ns) {
                    connection.waiting.push_front(intended_ns);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hands every filled buffer to the kernel, one send per connection at a time.
    fn flush(&mut self) {
        for (i, connection) in self.connections.iter_mut().enumerate() {
            if connection.sending || connection.out.is_empty() {
                continue;
            }
            let spare = std::mem::take(&mut connection.spare);
            let full = std::mem::replace(&mut connection.out, spare);
            connection.sending = true;
            self.driver.send(connection.socket, full, Token(i as u64 * KINDS + SEND));
        }
    }

    fn take(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let now_ns = self.driver.now_ns();
        for event in events.drain(..) {
            match event {
                Event::Received { token, chunk } => {
                    self.answers((token.0 / KINDS) as usize, &chunk, now_ns)?;
                }
                Event::Sent { token, buf, result } => {
                    result?;
                    let connection = &mut self.connections[(token.0 / KINDS) as usize];
                    connection.sending = false;
                    connection.spare = buf;
                }
                Event::ReceiveEnded { end, .. } => {
                    return Err(match end {
                        ReceiveEnd::Failed(errno) => errno.into(),
                        _ => io::Error::other("the broker closed a connection"),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn answers(&mut self, i: usize, bytes: &[u8], now_ns: u64) -> io::Result<()> {
        let mut splitter = std::mem::take(&mut self.connections[i].splitter);
        let connection = &mut self.connections[i];
        let (counts, latency) = (&mut self.counts, &mut self.latency);
        let measured = now_ns >= self.from_ns && now_ns < self.until_ns;
        let (from_ns, only_sends) = (self.from_ns, self.args.mode != Mode::Pull);
        let mut stray = None;
        let result = splitter.feed(bytes, &mut |reply| {
            let Some((started_ns, outcome)) = connection.answered(reply) else {
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
                Outcome::Sent => counts.sent += 1,
                Outcome::Pulled(messages) => {
                    counts.pulled += messages;
                    counts.pulled_bytes += reply.body_bytes as u64;
                }
                Outcome::Empty => return,
                Outcome::Failed(code) => {
                    *counts.failed.entry(code).or_default() += 1;
                    return;
                }
            }
            if is_send == only_sends {
                counts.done += 1;
                latency.record(now_ns.saturating_sub(started_ns), now_ns - from_ns);
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
        let seconds = args.seconds;
        let achieved = args.rate.map(|rate| counts.done as f64 / (rate as f64 * seconds));
        LoadReport {
            mode: args.mode.name().to_owned(),
            schedule: if args.rate.is_some() { "open" } else { "closed" }.to_owned(),
            headers: args.headers.name().to_owned(),
            connections: self.connections.len(),
            outstanding: args.outstanding,
            body_bytes: args.body,
            seconds,
            sent: counts.sent,
            handled: counts.handled,
            pulled: counts.pulled,
            pulled_bytes: counts.pulled_bytes,
            sent_per_s: counts.sent as f64 / seconds,
            pulled_per_s: counts.pulled as f64 / seconds,
            intended_per_s: args.rate,
            achieved_ratio: achieved,
            saturated: achieved.is_some_and(|ratio| ratio < SATURATED_BELOW),
            failed: counts.failed.clone(),
            generator_cpu_share: self.cpu_ns as f64 / (seconds * SECOND_NS),
            latency: self.latency.percentiles(),
        }
    }
}

/// The fixed arrival schedule of an open loop: request `n` is due `n / rate` after the start,
/// whatever happened to the ones before.
struct Schedule {
    start_ns: u64,
    rate: u64,
    next: u64,
}

impl Schedule {
    /// The intended time of the next request if it is due by now.
    fn due(&mut self, now_ns: u64) -> Option<u64> {
        let after_ns = u128::from(self.next) * 1_000_000_000 / u128::from(self.rate);
        let intended_ns = self.start_ns + after_ns as u64;
        (intended_ns <= now_ns).then(|| {
            self.next += 1;
            intended_ns
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_does_not_wait_for_anybody() {
        let mut schedule = Schedule { start_ns: 1000, rate: 3, next: 0 };
        let due: Vec<_> = std::iter::from_fn(|| schedule.due(1_000_001_000)).collect();
        assert_eq!(due, [1000, 333_334_333, 666_667_666, 1_000_001_000]);
        assert_eq!(schedule.due(1_333_000_000), None);
    }
}
