//! Healing: damaged places of this log, fetched from the other half and written back.
//!
//! A place is looked through from one mark of the segment's map to the next; the records of its
//! gaps are fetched, laid out as they stood, written durably, and read once more: only what is
//! then whole counts as healed. One place at a time. What cannot be healed stays refused, is named
//! with the reason, and is tried again later.
//! Never: a segment that leaves the log while it is written to; healing claimed and not read back.

use std::collections::VecDeque;
use std::net::SocketAddr;

use weir_io::{Buf, Driver, Errno, Event, Source};

use super::fetcher::{Fetched, Fetcher};
use super::handshake::Hello;
use super::link::{KIND_MEND_READ, KIND_MEND_WRITE, token};
use super::options::Role;
use super::pair::Pair;
use crate::base::limits::{
    HA_ASK_MS, HA_RETRY_MS, HEAL_BYTES_MAX, HEAL_PLACES_MAX, HEAL_RETRY_MS, PREPARE_STEP,
    SCRUB_EVERY_MS,
};
use crate::commitlog::{BlockFault, Copied, Damage, Gap, Log, Stretch, gaps, patch};

/// Without a sealed segment, one is looked for after this, nanoseconds.
const SCRUB_LOOK_NS: u64 = 60_000_000_000;

/// A damaged place.
#[derive(Debug)]
struct Place {
    damage: Damage,
    /// It is not tried before, nanoseconds.
    due_ns: u64,
    /// Why it could not be healed when it was tried last.
    why: Option<String>,
}

/// What is done about the first place.
#[derive(Debug)]
enum Stage {
    /// Nothing.
    Idle,
    /// Its stretch is being read; with the gap that was just written.
    Reading(Stretch, Option<Gap>),
    /// The records of its first gap are being fetched.
    Fetching(Stretch, Buf, Gap),
    /// A gap is being written, in pieces; how much of it was.
    Writing(Stretch, Gap, Buf, usize),
    /// A stretch is being read over, although nothing is known to be wrong with it.
    Scrubbing(Stretch),
}

/// How healing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// Places that are damaged and not healed.
    pub damaged: u64,
    /// Gaps healed since the start.
    pub healed: u64,
    /// Why the last of the damaged places could not be healed.
    pub why: Option<String>,
}

/// The damaged places and the work on them.
#[derive(Debug)]
pub(super) struct Mender {
    pub(super) fetcher: Fetcher,
    places: VecDeque<Place>,
    stage: Stage,
    healed: u64,
    /// Something was healed since the last question.
    fresh: bool,
    /// The stretch that was read over last, when the round began and when the next one is due
    /// (nanoseconds).
    scrubbed: ((u32, u64), u64, u64),
    /// The other half did not answer while the log was opened: it is not asked again.
    gone: Option<String>,
}

impl Mender {
    /// Nothing is known to be damaged.
    pub(super) fn new() -> Mender {
        Mender {
            fetcher: Fetcher::new(),
            places: VecDeque::new(),
            stage: Stage::Idle,
            healed: 0,
            fresh: false,
            scrubbed: ((0, 0), 0, 0),
            gone: None,
        }
    }

    /// How healing is.
    pub(super) fn report(&self) -> Healing {
        Healing {
            damaged: self.places.len() as u64,
            healed: self.healed,
            why: self.places.iter().rev().find_map(|place| place.why.clone()),
        }
    }

    fn note(&mut self, damage: Damage) {
        let known = self.places.iter().any(|place| is_same(&place.damage, &damage));
        if !known && self.places.len() < HEAL_PLACES_MAX {
            self.places.push_back(Place { damage, due_ns: 0, why: None });
        }
    }

    /// The first place could not be healed: it goes to the end of the row.
    fn give_up(&mut self, now_ns: u64, why: &str) -> Option<Damage> {
        self.stage = Stage::Idle;
        let mut place = self.places.pop_front()?;
        place.due_ns = now_ns + HEAL_RETRY_MS * 1_000_000;
        let new = place.why.as_deref() != Some(why);
        place.why = Some(why.to_owned());
        let damage = place.damage;
        self.places.push_back(place);
        new.then_some(damage)
    }
}

/// What is said of a gap that was healed.
fn healed(gap: &Gap) -> String {
    format!("{gap} were fetched from the other half and written back")
}

fn is_same(one: &Damage, other: &Damage) -> bool {
    (one.segment, one.offset) == (other.segment, other.offset)
}

/// Healing in a log that is open.
impl Pair {
    /// A block was met that is not what it should be: it is fetched from the other half.
    pub fn heal(&mut self, damage: Damage) {
        self.mender.note(damage);
    }

    /// Whether the damage may be healed soon, so that nobody should go around it yet.
    pub fn may_heal(&self, damage: &Damage) -> bool {
        let mut places = self.mender.places.iter();
        places.any(|place| is_same(&place.damage, damage) && place.why.is_none())
    }

    /// Whether something was healed since the last call: what was read before is out of date.
    pub fn take_healed(&mut self) -> bool {
        std::mem::take(&mut self.mender.fresh)
    }

    /// Goes on with healing.
    pub(super) fn tick_mender(&mut self, driver: &mut Driver, log: &mut Log) {
        match std::mem::replace(&mut self.mender.stage, Stage::Idle) {
            Stage::Idle => self.begin_mending(driver, log),
            Stage::Fetching(stretch, old, gap) => {
                let node = self.file.state.node;
                match self.mender.fetcher.look(driver, &self.options, node) {
                    Fetched::Waiting => {
                        self.mender.stage = Stage::Fetching(stretch, old, gap);
                    }
                    Fetched::Whole(copy) => {
                        self.write_gap(driver, log, stretch, (&old, gap, &copy));
                    }
                    Fetched::Failed { why, .. } => self.not_healed(driver, log, &why),
                }
            }
            busy => self.mender.stage = busy,
        }
    }

    fn begin_mending(&mut self, driver: &mut Driver, log: &mut Log) {
        self.mender.places.retain(|place| log.has_segment(place.damage.segment));
        let Some(first) = self.mender.places.front() else {
            self.mender.fetcher.part(driver);
            return self.scrub(driver, log);
        };
        if driver.now_ns() < first.due_ns || log.fenced().is_some() || self.restart {
            return;
        }
        let Some(stretch) = log.stretch(first.damage) else {
            return self.not_healed(driver, log, "its place is still being written");
        };
        log.hold(Some(stretch.segment));
        self.read_stretch(driver, stretch, None);
    }

    /// Reads the next stretch over, at the pace that is allowed.
    fn scrub(&mut self, driver: &mut Driver, log: &mut Log) {
        let (now_ns, rate) = (driver.now_ns(), self.options.scrub_bytes);
        let (last, began_ns, due_ns) = self.mender.scrubbed;
        if rate == 0 || now_ns < due_ns || log.fenced().is_some() || self.restart {
            return;
        }
        let Some(stretch) = log.next_stretch(last) else {
            // The round is over, or there is nothing sealed yet.
            let none = last == (0, 0);
            let pause_ns = if none { SCRUB_LOOK_NS } else { SCRUB_EVERY_MS * 1_000_000 };
            let since_ns = if none { now_ns } else { began_ns };
            self.mender.scrubbed = ((0, 0), 0, since_ns + pause_ns);
            return;
        };
        let began_ns = if last == (0, 0) { now_ns } else { began_ns };
        let pause_ns = (stretch.len as u64).saturating_mul(1_000_000_000) / rate;
        self.mender.scrubbed = ((stretch.segment, stretch.offset), began_ns, now_ns + pause_ns);
        log.hold(Some(stretch.segment));
        let buf = Buf::new(stretch.read_len());
        driver.read(stretch.file, stretch.offset, buf, token(KIND_MEND_READ, 0));
        self.mender.stage = Stage::Scrubbing(stretch);
    }

    /// What was read over is here: damage in it is this node's, as if a reader had met it.
    fn read_over(&mut self, log: &mut Log, stretch: &Stretch, mut buf: Buf, got: usize) {
        log.hold(None);
        buf[got..].fill(0);
        let Some(gap) = gaps(log.log_id(), stretch, &buf).into_iter().next() else { return };
        let damage =
            Damage { segment: gap.segment, offset: gap.offset, fault: BlockFault::Checksum };
        log.note_damage(damage);
        self.notes.say("log-damaged", damage.to_string());
        self.heal(damage);
    }

    fn read_stretch(&mut self, driver: &mut Driver, stretch: Stretch, written: Option<Gap>) {
        let buf = Buf::new(stretch.read_len());
        driver.read(stretch.file, stretch.offset, buf, token(KIND_MEND_READ, 0));
        self.mender.stage = Stage::Reading(stretch, written);
    }

    /// A read or write of the mender ended.
    pub(super) fn mender_event(&mut self, driver: &mut Driver, log: &mut Log, event: Event) {
        match (event, std::mem::replace(&mut self.mender.stage, Stage::Idle)) {
            (Event::Read { buf, result, .. }, Stage::Reading(stretch, written)) => {
                self.looked_through(driver, log, (stretch, written), (buf, result));
            }
            (Event::Read { buf, result, .. }, Stage::Scrubbing(stretch)) => {
                let got = result.unwrap_or(0).min(buf.len());
                self.read_over(log, &stretch, buf, got);
            }
            (Event::Written { result, .. }, Stage::Writing(stretch, gap, bytes, done)) => {
                match result {
                    Ok(()) => self.write_piece(driver, (stretch, gap), bytes, done),
                    Err(errno) => {
                        let why = format!("it cannot be written back: {errno}");
                        self.not_healed(driver, log, &why);
                    }
                }
            }
            (_, stage) => self.mender.stage = stage,
        }
    }

    fn looked_through(
        &mut self,
        driver: &mut Driver,
        log: &mut Log,
        (stretch, written): (Stretch, Option<Gap>),
        (mut buf, got): (Buf, Result<usize, Errno>),
    ) {
        // What the device cannot read is taken for zeros: writing it often mends the place.
        let got = got.unwrap_or(0).min(buf.len());
        buf[got..].fill(0);
        let found = gaps(log.log_id(), &stretch, &buf);
        if let Some(gap) = &written {
            if found.iter().any(|left| left.offset == gap.offset) {
                let why = "what was written back does not read as good blocks: look at the disk";
                return self.not_healed(driver, log, why);
            }
            self.mender.healed += 1;
            self.notes.say("log-healed", healed(gap));
        }
        let Some(gap) = found.into_iter().next() else { return self.is_whole(log, &stretch) };
        let Some(addr) = self.other_half() else {
            return self.not_healed(driver, log, "the other half was never met");
        };
        let hello = Hello { heals: true, ..self.hello(driver, log) };
        self.ids += 1;
        self.mender.fetcher.fetch(driver, (addr, self.ids), &hello, gap.span);
        let from = usize::try_from(gap.offset - stretch.offset).unwrap_or(0);
        let mut old = Buf::new(gap.bytes);
        old.copy_from_slice(&buf[from..from + gap.bytes]);
        self.mender.stage = Stage::Fetching(stretch, old, gap);
    }

    /// No gap is left in the stretch.
    fn is_whole(&mut self, log: &mut Log, stretch: &Stretch) {
        let places = &mut self.mender.places;
        let inside = stretch.offset..stretch.offset + stretch.len as u64;
        places.retain(|place| {
            place.damage.segment != stretch.segment || !inside.contains(&place.damage.offset)
        });
        if places.iter().all(|place| place.damage.segment != stretch.segment) {
            log.mended(stretch.segment);
        }
        log.hold(None);
        self.mender.fresh = true;
    }

    fn not_healed(&mut self, driver: &mut Driver, log: &mut Log, why: &str) {
        log.hold(None);
        if let Some(damage) = self.mender.give_up(driver.now_ns(), why) {
            let text = format!(
                "segment {} offset {} could not be healed: {why}; it stays refused, and is tried \
                 again every {} s",
                damage.segment,
                damage.offset,
                HEAL_RETRY_MS / 1000
            );
            self.notes.say("log-not-healed", text);
        }
    }

    /// Where the other half takes connections.
    fn other_half(&self) -> Option<SocketAddr> {
        match self.role {
            Role::Standby => self.primary_address(),
            Role::Primary => self.file.state.peer.map(|(_, addr)| addr),
        }
    }

    fn write_gap(
        &mut self,
        driver: &mut Driver,
        log: &mut Log,
        stretch: Stretch,
        (old, gap, copy): (&Buf, Gap, &Copied),
    ) {
        match patch(log.log_id(), &gap, old, copy) {
            Ok(bytes) => self.write_piece(driver, (stretch, gap), bytes, 0),
            Err(why) => self.not_healed(driver, log, &why),
        }
    }

    /// Writes the next piece of a gap, or reads it all again when there is none.
    fn write_piece(
        &mut self,
        driver: &mut Driver,
        (stretch, gap): (Stretch, Gap),
        bytes: Buf,
        done: usize,
    ) {
        if done >= bytes.len() {
            return self.read_stretch(driver, stretch, Some(gap));
        }
        let len = (bytes.len() - done).min(PREPARE_STEP);
        let mut piece = Buf::new(len);
        piece.copy_from_slice(&bytes[done..done + len]);
        let (offset, token) = (gap.offset + done as u64, token(KIND_MEND_WRITE, 0));
        driver.write(stretch.file, offset, Source::Buf(piece), true, token);
        self.mender.stage = Stage::Writing(stretch, gap, bytes, done + len);
    }
}

/// Turns without a moment passing, after which nobody will answer any more.
const STILL_TURNS: u32 = 10_000;
/// Longest turn, nanoseconds.
const TURN_NS: u64 = 10_000_000;

/// Healing while the log is being opened.
impl Pair {
    /// The log was opened, and this was healed before.
    pub fn was_healed(&mut self, gaps: &[Gap]) {
        self.mender.healed += gaps.len() as u64;
        for gap in gaps {
            self.notes.say("log-healed", healed(gap));
        }
    }

    /// Fetches the records of a gap of log `log_id`, which is not open yet. Waits for the other
    /// half for [`HA_ASK_MS`], and calls `waiting` meanwhile. The error says why there is no copy.
    pub fn fetch_now(
        &mut self,
        driver: &mut Driver,
        log_id: u64,
        gap: &Gap,
        waiting: &mut dyn FnMut(),
    ) -> Result<Copied, String> {
        if let Some(why) = &self.mender.gone {
            return Err(why.clone());
        }
        let addr = self.other_half().ok_or("the other half was never met")?;
        if gap.bytes > HEAL_BYTES_MAX || gap.span.1 - gap.span.0 > gap.bytes as u64 {
            return Err(format!("{gap}: more than {HEAL_BYTES_MAX} bytes in one piece"));
        }
        let hello = Hello { heals: true, ..self.hello_of(driver, log_id, (0, u64::MAX)) };
        let until_ns = driver.now_ns() + HA_ASK_MS * 1_000_000;
        let mut still = Still::default();
        let mut due_ns = Some(0);
        loop {
            if due_ns.is_some_and(|due_ns| driver.now_ns() >= due_ns) {
                due_ns = None;
                self.ids += 1;
                self.mender.fetcher.fetch(driver, (addr, self.ids), &hello, gap.span);
            }
            let fetched = self.fetched_in_turn(driver)?;
            match fetched {
                Fetched::Whole(copy) => return Ok(copy),
                Fetched::Failed { why, told: true } => return Err(why),
                Fetched::Failed { why, .. } if driver.now_ns() >= until_ns => {
                    self.mender.gone = Some(why.clone());
                    return Err(why);
                }
                Fetched::Failed { .. } => {
                    due_ns = Some(driver.now_ns() + HA_RETRY_MS * 1_000_000);
                }
                Fetched::Waiting => {}
            }
            waiting();
            if still.for_ever(driver.now_ns()) {
                return Err("the other half did not answer".into());
            }
        }
    }

    /// One turn of a loop in which nothing but the connection to the other half runs.
    fn fetched_in_turn(&mut self, driver: &mut Driver) -> Result<Fetched, String> {
        let mut events = Vec::new();
        driver
            .wait(driver.now_ns() + TURN_NS, &mut events)
            .map_err(|errno| format!("the network failed: {errno}"))?;
        for event in events {
            self.mender.fetcher.on_event(driver, event);
        }
        let node = self.file.state.node;
        Ok(self.mender.fetcher.look(driver, &self.options, node))
    }
}

/// A clock that is looked at in turns.
#[derive(Debug, Default)]
struct Still {
    now_ns: u64,
    turns: u32,
}

impl Still {
    /// Whether it has stood still for so many turns that it will not move again: a simulated one
    /// that nobody drives.
    fn for_ever(&mut self, now_ns: u64) -> bool {
        let stands = std::mem::replace(&mut self.now_ns, now_ns) == now_ns;
        self.turns = if stands { self.turns + 1 } else { 0 };
        self.turns > STILL_TURNS
    }
}
