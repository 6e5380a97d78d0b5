//! A connection made to fetch records of damaged blocks from the other half.
//!
//! It is a connection of its own, so that it works before the log is open and whichever of the two
//! is the primary. It proves itself like a standby, says in its hello what it comes for, and asks
//! for one position after the other. Never: a record outside of what was asked for; one beyond the
//! position up to which both logs have the same history.

use std::net::SocketAddr;

use weir_io::{Driver, Event};

use super::frame::Kind;
use super::greet::{PRIMARY, STANDBY, WRONG_SECRET};
use super::handshake::{Hello, judge, proof, proves};
use super::link::{self, KIND_CONNECT, Link, token};
use super::options::ReplicaOptions;
use crate::base::limits::{HA_HANDSHAKE_MS, HEAL_BYTES_MAX};
use crate::commitlog::{Copied, open_shipment};

/// How far the acquaintance has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no connection.
    Idle,
    /// It is being opened.
    Connecting,
    /// Our hello is out.
    Greeting,
    /// The other half's hello is here, its proof is not.
    Greeted,
    /// Our proof is out.
    Proving,
    /// It answers.
    Open,
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// Nothing yet, or nothing was asked for.
    Waiting,
    /// All that was asked for.
    Whole(Copied),
    /// It cannot be had.
    Failed {
        /// Why.
        why: String,
        /// The other half said so; else it was not reached or not understood.
        told: bool,
    },
}

/// Records that are wanted, and what came of them.
#[derive(Debug)]
struct Want {
    next: u64,
    upto: u64,
    copied: Copied,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Fetcher {
    pub(super) link: Option<Link>,
    phase: Phase,
    attempt: u64,
    /// Our hello, and theirs.
    own: Vec<u8>,
    theirs: Vec<u8>,
    log_id: u64,
    /// Both logs have the same history up to here.
    common: u64,
    want: Option<Want>,
    /// The other half closed the connection; what it said before is still to be read.
    ended: bool,
    /// The next step must have come by then, nanoseconds.
    until_ns: u64,
}

impl Fetcher {
    /// Nothing is wanted.
    pub(super) fn new() -> Fetcher {
        Fetcher {
            link: None,
            phase: Phase::Idle,
            attempt: 0,
            own: Vec::new(),
            theirs: Vec::new(),
            log_id: 0,
            common: 0,
            want: None,
            ended: false,
            until_ns: 0,
        }
    }

    /// Whether the link of a token is this one.
    pub(super) fn is(&self, id: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.id == id)
    }

    /// Begins to fetch the positions `span` from the other half at `addr`; `hello` is what this
    /// node says of itself. `id` names a new connection, if one is needed.
    pub(super) fn fetch(
        &mut self,
        driver: &mut Driver,
        (addr, id): (SocketAddr, u64),
        hello: &Hello,
        (next, upto): (u64, u64),
    ) {
        self.want = Some(Want { next, upto, copied: Copied::default() });
        self.until_ns = driver.now_ns() + HA_HANDSHAKE_MS * 1_000_000;
        if self.phase == Phase::Open && !self.ended {
            return self.ask(driver);
        }
        self.part(driver);
        self.phase = Phase::Connecting;
        self.attempt = id;
        self.log_id = hello.log_id;
        self.own = hello.encode();
        driver.connect(addr, token(KIND_CONNECT, id));
    }

    /// Whether the attempt of a token is this one's.
    pub(super) fn dials(&self, attempt: u64) -> bool {
        self.phase == Phase::Connecting && self.attempt == attempt
    }

    /// An event of the connection.
    pub(super) fn on_event(&mut self, driver: &mut Driver, event: Event) {
        match event {
            Event::Connected { token, result } => {
                let socket = result.ok().filter(|_| self.dials(link::split(token).1));
                self.link = socket.and_then(|socket| Link::new(driver, socket, self.attempt));
                let Some(link) = &mut self.link else { return self.part(driver) };
                link.put(Kind::Hello, 0, 0, &[&self.own]);
                link.flush(driver);
                self.phase = Phase::Greeting;
            }
            Event::Received { chunk, .. } => {
                if let Some(link) = &mut self.link {
                    link.received(driver, &chunk);
                }
            }
            Event::ReceiveEnded { end, .. } => {
                let lives = self.link.as_mut().is_some_and(|link| link.receive_ended(driver, end));
                self.ended |= !lives;
            }
            Event::Sent { buf, result, .. } => {
                let lives = self.link.as_mut().is_some_and(|link| link.sent(buf, result.is_ok()));
                self.ended |= !lives;
            }
            _ => {}
        }
    }

    /// Takes what came.
    pub(super) fn look(
        &mut self,
        driver: &mut Driver,
        options: &ReplicaOptions,
        node: u64,
    ) -> Fetched {
        if let Some(link) = &mut self.link {
            link.flush(driver);
        }
        loop {
            match self.take(driver, options, node) {
                Ok(true) => {}
                Ok(false) => break,
                Err((why, told)) => return self.fail(driver, why, told),
            }
        }
        if self.ended {
            self.part(driver);
        }
        let Some(want) = &self.want else { return Fetched::Waiting };
        if want.next >= want.upto {
            let whole = self.want.take().map(|want| want.copied).unwrap_or_default();
            return Fetched::Whole(whole);
        }
        if self.phase == Phase::Idle {
            return self.fail(driver, "the other half cannot be reached".into(), false);
        }
        if driver.now_ns() >= self.until_ns {
            return self.fail(driver, "the other half did not answer in time".into(), false);
        }
        Fetched::Waiting
    }

    /// Gives the connection up.
    pub(super) fn part(&mut self, driver: &mut Driver) {
        if let Some(link) = self.link.take() {
            link.close(driver);
        }
        self.phase = Phase::Idle;
        self.ended = false;
    }

    fn fail(&mut self, driver: &mut Driver, why: String, told: bool) -> Fetched {
        self.part(driver);
        self.want = None;
        Fetched::Failed { why, told }
    }

    fn ask(&mut self, driver: &mut Driver) {
        let (Some(link), Some(want)) = (&mut self.link, &self.want) else { return };
        link.put(Kind::Want, 0, want.next, &[]);
        link.flush(driver);
        self.until_ns = driver.now_ns() + HA_HANDSHAKE_MS * 1_000_000;
    }

    /// Takes one frame; `false`: none is whole.
    fn take(
        &mut self,
        driver: &mut Driver,
        options: &ReplicaOptions,
        node: u64,
    ) -> Result<bool, (String, bool)> {
        let ours = |why: String| (why, false);
        let Some(link) = &self.link else { return Ok(false) };
        let Some((frame, len)) = link.front().map_err(|fault| ours(fault.to_string()))? else {
            return Ok(false);
        };
        let (kind, value) = (frame.kind, frame.value);
        let payload = frame.payload.to_vec();
        if let Some(link) = &mut self.link {
            link.take(driver, len);
        }
        match (kind, self.phase) {
            (Kind::Hello, Phase::Greeting) => {
                self.theirs = payload;
                self.phase = Phase::Greeted;
            }
            (Kind::Proof, Phase::Greeted) => {
                self.prove(driver, options, node, &payload).map_err(ours)?;
            }
            (Kind::Accept, Phase::Proving) => {
                self.common = value;
                self.phase = Phase::Open;
                self.ask(driver);
            }
            (Kind::Copy, Phase::Open) => self.copied(driver, &payload).map_err(ours)?,
            (Kind::Lack | Kind::Refuse, _) => {
                return Err((String::from_utf8_lossy(&payload).into_owned(), true));
            }
            (kind, _) => return Err(ours(format!("an unexpected frame ({kind:?})"))),
        }
        Ok(true)
    }

    fn prove(
        &mut self,
        driver: &mut Driver,
        options: &ReplicaOptions,
        node: u64,
        theirs: &[u8],
    ) -> Result<(), String> {
        let hellos: (&[u8], &[u8]) = (&self.own, &self.theirs);
        if !proves(&options.secret, PRIMARY, hellos, theirs) {
            return Err(WRONG_SECRET.into());
        }
        let own = proof(&options.secret, STANDBY, hellos);
        let hello = Hello::decode(&self.theirs).ok_or("a malformed hello")?;
        judge(options, node, &hello)?;
        if hello.log_id != self.log_id {
            return Err("it holds another history".into());
        }
        if let Some(link) = &mut self.link {
            link.put(Kind::Proof, 0, 0, &[&own]);
            link.flush(driver);
        }
        self.phase = Phase::Proving;
        Ok(())
    }

    fn copied(&mut self, driver: &mut Driver, payload: &[u8]) -> Result<(), String> {
        let Some(want) = &mut self.want else { return Ok(()) };
        let (header, records) = open_shipment(payload, self.log_id)
            .map_err(|fault| format!("what it sent is no good block ({fault:?})"))?;
        if header.start != want.next {
            return Err(format!("it sent position {}, not {}", header.start, want.next));
        }
        let end = header.end().min(want.upto);
        if end > self.common {
            let common = self.common;
            return Err(format!("both logs have the same history up to {common} only, not {end}"));
        }
        let len = usize::try_from(end - header.start).unwrap_or(0);
        let records = whole_records(records, len).ok_or("its records have other bounds")?;
        if want.copied.records.len() + len > HEAL_BYTES_MAX {
            return Err(format!("more than {HEAL_BYTES_MAX} bytes in one piece"));
        }
        want.copied.records.extend_from_slice(records);
        want.copied.pieces.push((end, header.epoch));
        want.next = end;
        if want.next < want.upto {
            self.ask(driver);
        }
        Ok(())
    }
}

/// The first `len` bytes, if a record ends there.
fn whole_records(records: &[u8], len: usize) -> Option<&[u8]> {
    let mut at = 0;
    while at < len {
        let size = u32::from_be_bytes(*records.get(at..)?.first_chunk()?) as usize;
        at += size.max(1);
    }
    records.get(..len).filter(|_| at == len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_only_where_one_ends() {
        let mut bytes = Vec::new();
        for len in [8u32, 12, 9] {
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.resize(bytes.len() + len as usize - 4, 0);
        }
        let ends: Vec<usize> =
            (0..=bytes.len()).filter(|len| whole_records(&bytes, *len).is_some()).collect();
        assert_eq!(ends, [0, 8, 20, 29]);
        assert_eq!(whole_records(&bytes, 30), None);
    }
}
