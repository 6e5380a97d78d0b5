//! The process from its first recovered shard to its end: ready, alive, draining, gone.
//!
//! One thread hears the shards, the signals and the clock, and tells the service manager. It ends
//! the shards in two steps, so that one that still waits for another is answered: all drain, then
//! all close. Never: readiness before every listener is open; a second signal that is not obeyed.

use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use weir_io::mailbox::Sender;
use weir_io::{service, signal};

use super::watch::Watch;
use crate::config::Config;
use crate::exit::{self, Stop};
use crate::measure::AtRisk;
use crate::server::{Drained, Health, Letter, Question, Reply};
use crate::shard::Voice;

/// The start, or the end, may take this long from each sign of progress.
const PROGRESS: Duration = Duration::from_secs(90);
/// A shard's state is asked for this often when no watchdog wants to know more often.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Shards may take this much longer than the drain's own time before they are closed.
const GRACE: Duration = Duration::from_secs(1);

/// What a thread says to this one.
#[derive(Debug)]
pub(super) enum Word {
    /// The shard has read this many bytes of its log.
    Folding(u16, u64),
    /// It serves; this is one line about its recovery.
    Ready(u16, String),
    /// It turns.
    Alive(u16, Health),
    /// It finished what it had taken, or ran out of time.
    Drained(Drained),
    /// Whoever was to be told that the process goes has been told.
    Left,
    /// It ended.
    Ended(Result<(), Stop>),
    /// The process was asked to end.
    Signal,
}

/// How a life went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All threads have ended, or will.
    Over(Result<(), Stop>),
    /// The process ends now, whatever its threads do.
    Now(Result<(), Stop>),
}

/// The hearing thread's side.
pub(super) struct Life<'a> {
    pub(super) config: &'a Config,
    pub(super) boxes: &'a [Sender<Letter>],
    pub(super) heard: &'a mpsc::Receiver<Word>,
    pub(super) words: mpsc::Sender<Word>,
    /// Bytes of each shard's log at the start.
    pub(super) log_bytes: Vec<u64>,
    /// The manager's watchdog, when it has one.
    pub(super) watchdog: Option<Duration>,
}

impl Life<'_> {
    /// Waits until all serve, says so, and waits for the end. What `serving` gives is kept while
    /// the shards serve, and dropped before they drain.
    pub(super) fn live<T: Send + 'static>(
        &self,
        serving: impl FnOnce() -> Result<T, Stop>,
    ) -> Outcome {
        let words = self.words.clone();
        std::thread::spawn(move || {
            loop {
                signal::wait_for_termination();
                if words.send(Word::Signal).is_err() {
                    return;
                }
            }
        });
        match self.recover() {
            Ok(true) => {}
            Ok(false) => {
                eprintln!("weir: stopped while it recovered; the next start does it again");
                return Outcome::Now(Ok(()));
            }
            Err(stop) => return Outcome::Over(Err(stop)),
        }
        // Only now: half of the shards would answer "no such topic" for the others.
        for mailbox in self.boxes {
            let _ = mailbox.send(Letter::Open);
        }
        let kept = match serving() {
            Ok(kept) => kept,
            Err(stop) => return Outcome::Over(Err(stop)),
        };
        let line = self.ready_line();
        println!("weir ready: {line}");
        service::ready(&format!("serving: {line}"));
        match self.serve().and_then(|()| self.leave(kept)) {
            Ok(true) => self.end(),
            Ok(false) => hurried(),
            Err(stop) => Outcome::Over(Err(stop)),
        }
    }

    /// Drops what was kept while the shards served, which may take seconds (name servers outside
    /// that do not answer); they serve on meanwhile. False: a second signal came first.
    fn leave<T: Send + 'static>(&self, kept: T) -> Result<bool, Stop> {
        service::stopping("leaving: name servers are told");
        let words = self.words.clone();
        std::thread::spawn(move || {
            drop(kept);
            let _ = words.send(Word::Left);
        });
        loop {
            match self.heard.recv() {
                Ok(Word::Left) => return Ok(true),
                Ok(Word::Signal) => return Ok(false),
                Ok(Word::Ended(ended)) => return Err(ended.err().unwrap_or_else(ended_itself)),
                Ok(_) => {}
                Err(_) => return Err(ended_itself()),
            }
        }
    }

    /// Hears of recovery until all serve. False: the process was asked to end before.
    fn recover(&self) -> Result<bool, Stop> {
        let mut folded = vec![0; self.boxes.len()];
        let mut waiting = self.boxes.len();
        service::progress("recovering", PROGRESS);
        while waiting > 0 {
            match self.heard.recv() {
                Ok(Word::Folding(index, bytes)) => {
                    if let Some(place) = folded.get_mut(usize::from(index)) {
                        *place = bytes;
                    }
                    service::progress(&self.folding_line(&folded), PROGRESS);
                }
                Ok(Word::Ready(index, line)) => {
                    eprintln!("recovered shard-{index}: {line}");
                    waiting -= 1;
                    service::progress(&format!("shard-{index} recovered: {line}"), PROGRESS);
                }
                Ok(Word::Signal) => return Ok(false),
                Ok(Word::Ended(Err(stop))) => return Err(stop),
                Ok(Word::Alive(..) | Word::Drained(_) | Word::Left) => {}
                Ok(Word::Ended(Ok(()))) | Err(_) => {
                    return Err(Stop::new(exit::DISK_FAILED, "a shard ended"));
                }
            }
        }
        Ok(true)
    }

    /// How far recovery is. The log's size is the most there can be to read.
    fn folding_line(&self, folded: &[u64]) -> String {
        let mib = |bytes: u64| bytes >> 20;
        let (done, all): (u64, u64) = (folded.iter().sum(), self.log_bytes.iter().sum());
        format!("recovering: {} MiB of the log read, of at most {} MiB", mib(done), mib(all))
    }

    fn ready_line(&self) -> String {
        let config = self.config;
        let shards = self.boxes.len() as u16;
        let last = config.shard_port(shards.saturating_sub(1));
        let control = match config.control_port() {
            0 => String::new(),
            port => format!(", control {}", SocketAddr::new(config.control_bind, port)),
        };
        format!(
            "name server {}:{}, {shards} shard(s) on ports {}-{last}{control}, data in {}",
            config.bind,
            config.namesrv_listen_port,
            config.listen_port,
            config.store_path_root_dir.display()
        )
    }

    /// Feeds the watchdog until the process is asked to end.
    fn serve(&self) -> Result<(), Stop> {
        let every = self.watchdog.map_or(ASK_EVERY, |limit| (limit / 4).min(ASK_EVERY));
        let mut watch = Watch::new(self.boxes.len() as u16);
        let mut known = Known::new(self.boxes.len());
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next {
                next = now + every;
                let due = if service::is_managed() { watch.due() } else { Vec::new() };
                for shard in due {
                    self.ask(shard);
                }
            }
            match self.heard.recv_timeout(next.saturating_duration_since(now)) {
                Ok(Word::Signal) => return Ok(()),
                Ok(Word::Ended(ended)) => return ended.and(Err(ended_itself())),
                Ok(Word::Alive(shard, health)) => {
                    let all = watch.answered(shard);
                    if all {
                        service::alive();
                    }
                    self.tell_status(&mut known, shard, health, all);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop::new(exit::DISK_FAILED, "all shards ended"));
                }
            }
        }
    }

    fn ask(&self, shard: u16) {
        let Some(mailbox) = self.boxes.get(usize::from(shard)) else { return };
        let words = self.words.clone();
        let reply = Reply::new(move |health| {
            let _ = words.send(Word::Alive(shard, health));
        });
        // A mailbox that is full belongs to a shard that does not turn: the watchdog's business.
        let _ = mailbox.send(Letter::Ask(Question::Health(reply)));
    }

    /// Keeps the manager's status line true: trouble is told at once, what a power cut would cost
    /// when all shards have answered.
    fn tell_status(&self, known: &mut Known, shard: u16, health: Health, all: bool) {
        let trouble = health.failed.or(health.refusing);
        let (Some(before), Some(risk)) =
            (known.troubles.get_mut(usize::from(shard)), known.risks.get_mut(usize::from(shard)))
        else {
            return;
        };
        *risk = health.at_risk;
        let changed = *before != trouble;
        *before = trouble;
        if !changed && !all {
            return;
        }
        let line = known.line(&self.ready_line());
        if line != known.said {
            service::status(&line);
            known.said = line;
        }
    }

    /// Drains all shards, then closes them.
    fn end(&self) -> Outcome {
        let began = Instant::now();
        let timeout_ms = self.config.shutdown_drain_ms;
        service::stopping("draining: answering what was taken");
        for mailbox in self.boxes {
            let words = self.words.clone();
            let reply = Reply::new(move |drained| {
                let _ = words.send(Word::Drained(drained));
            });
            let _ = mailbox.send(Letter::Drain(timeout_ms, reply));
        }
        let mut total = Drained::default();
        let (mut drained, mut ended) = (0, 0);
        let mut failed = Ok(());
        let until = began + Duration::from_millis(timeout_ms) + GRACE;
        let mut closing = false;
        while ended < self.boxes.len() {
            if !closing && (drained + ended >= self.boxes.len() || Instant::now() >= until) {
                closing = true;
                service::progress("closing: making the log durable, writing checkpoints", PROGRESS);
                for mailbox in self.boxes {
                    let _ = mailbox.send(Letter::Stop);
                }
            }
            match self.heard.recv_timeout(Duration::from_millis(100)) {
                Ok(Word::Drained(one)) => {
                    drained += 1;
                    total.connections += one.connections;
                    total.in_flight += one.in_flight;
                    total.unfinished += one.unfinished;
                    total.behind_bytes += one.behind_bytes;
                }
                Ok(Word::Ended(outcome)) => {
                    ended += 1;
                    failed = failed.and(outcome);
                }
                Ok(Word::Signal) => return hurried(),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let took = began.elapsed();
        self.tell_end(&total, took, failed.is_ok());
        Outcome::Over(failed)
    }

    fn tell_end(&self, total: &Drained, took: Duration, clean: bool) {
        let Drained { connections, in_flight, unfinished, behind_bytes } = *total;
        let done = if clean { "made durable, checkpoints written" } else { "not closed cleanly" };
        let line = format!(
            "{} shard(s): {in_flight} requests in flight, {unfinished} not finished, {connections} \
             connections closed, {behind_bytes} bytes behind the device, {done}, {} ms",
            self.boxes.len(),
            took.as_millis()
        );
        Voice::new("weir".to_owned(), false).say("drained", &format_args!("{line}"));
        service::status(&line);
    }
}

/// What the manager was told of the shards.
struct Known {
    /// Why each refuses something.
    troubles: Vec<Option<String>>,
    risks: Vec<AtRisk>,
    said: String,
}

impl Known {
    fn new(shards: usize) -> Known {
        Known {
            troubles: vec![None; shards],
            risks: vec![AtRisk::default(); shards],
            said: String::new(),
        }
    }

    /// The status line; `ready` is what is served.
    fn line(&self, ready: &str) -> String {
        let trouble = |(shard, trouble): (usize, &Option<String>)| {
            trouble.as_ref().map(|trouble| format!("shard-{shard}: {trouble}"))
        };
        let lines: Vec<String> = self.troubles.iter().enumerate().filter_map(trouble).collect();
        let state = match lines.is_empty() {
            true => format!("serving: {ready}"),
            false => lines.join("; "),
        };
        let messages: u64 = self.risks.iter().map(|risk| risk.messages).sum();
        let bytes: u64 = self.risks.iter().map(|risk| risk.bytes).sum();
        match messages {
            0 => format!("{state}; a power cut now would cost nothing acknowledged"),
            _ => format!("{state}; a power cut now would cost {messages} messages, {bytes} bytes"),
        }
    }
}

fn ended_itself() -> Stop {
    Stop::new(exit::DISK_FAILED, "a shard ended by itself")
}

/// A second signal: the process ends as it stands.
fn hurried() -> Outcome {
    let line = "stopped by a second signal before all was written; the next start recovers as \
                after a kill";
    Outcome::Now(Err(Stop::new(exit::HURRIED, line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_of_trouble_and_of_what_a_power_cut_would_cost_over_all_shards() {
        let mut known = Known::new(2);
        let cost = |known: &Known| {
            let line = known.line("two ports");
            line.split_once("; a power cut now ").unwrap().1.to_owned()
        };
        assert!(known.line("two ports").starts_with("serving: two ports; "));
        assert_eq!(cost(&known), "would cost nothing acknowledged");
        known.risks[0] = AtRisk { messages: 3, bytes: 300, oldest_ms: 9 };
        known.risks[1] = AtRisk { messages: 1, bytes: 50, oldest_ms: 1 };
        assert_eq!(cost(&known), "would cost 4 messages, 350 bytes");
        known.troubles[1] = Some("the disk is full".into());
        assert!(known.line("two ports").starts_with("shard-1: the disk is full; "));
    }
}
