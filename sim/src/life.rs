//! One life of a log: it starts, is checked, takes records, is read, and dies.
//!
//! The loop is the shape of a shard's: wait, handle events, append what came, publish, drive.
//! Watermarks count as promises only while the process lives, which is what a client would have
//! seen of them. Never: a promise noted after the death.

use weir::commitlog::{ColdRead, Log, LogImage, Refusal, Retention, TOKEN_ROOM};
use weir_io::sim::{Random, World};
use weir_io::{Buf, Driver, Errno, Event, Token};

use crate::oracle::{Appended, Broken, Found, Oracle};
use crate::plan::{Kind, Plan};

/// Room number of the life's own reads.
const READ_ROOM: u64 = 99;
/// A log that is left alone settles within so many turns.
const SETTLE_TURNS: u32 = 20_000;

/// How a life ended.
#[derive(Debug)]
pub enum End {
    /// The process died, as planned.
    Dead,
    /// The log fenced itself after an error, as it must.
    Fenced,
    /// A promise was broken.
    Broken(Broken),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> End {
        End::Broken(broken)
    }
}

/// A checkpoint's part of the log: it can be used once its position is durable.
#[derive(Debug, Default)]
pub struct Shelf {
    newest: Option<LogImage>,
    usable: Option<LogImage>,
}

impl Shelf {
    fn settle(&mut self, durable: u64) {
        if self.newest.as_ref().is_some_and(|image| image.position <= durable) {
            self.usable = self.newest.take();
        }
    }

    /// Forgets images that were never durable: they died with the process.
    pub fn died(&mut self) {
        self.newest = None;
    }
}

/// What a round counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Starts that were checked.
    pub starts: u64,
    /// Deaths.
    pub deaths: u64,
    /// Records appended.
    pub records: u64,
    /// Cold reads compared.
    pub reads: u64,
    /// Bytes cut from torn tails.
    pub torn_bytes: u64,
    /// Bytes that only the staging memory had.
    pub replayed_bytes: u64,
}

/// A log that runs.
pub struct Life<'a> {
    world: &'a World,
    plan: &'a Plan,
    random: &'a mut Random,
    oracle: &'a mut Oracle,
    shelf: &'a mut Shelf,
    tally: &'a mut Tally,
    driver: Driver,
    log: Log,
    events: Vec<Event>,
    reads: Vec<(u64, Appended, ColdRead)>,
    reads_begun: u64,
    in_office: bool,
}

/// What outlives a life.
pub struct Estate<'a> {
    /// The world.
    pub world: &'a World,
    /// The plan.
    pub plan: &'a Plan,
    /// The workload's stream.
    pub random: &'a mut Random,
    /// What was promised.
    pub oracle: &'a mut Oracle,
    /// Checkpoints.
    pub shelf: &'a mut Shelf,
    /// Counts.
    pub tally: &'a mut Tally,
}

impl Estate<'_> {
    /// The same estate for a shorter while.
    pub fn lend(&mut self) -> Estate<'_> {
        Estate {
            world: self.world,
            plan: self.plan,
            random: self.random,
            oracle: self.oracle,
            shelf: self.shelf,
            tally: self.tally,
        }
    }
}

impl<'a> Life<'a> {
    /// Starts the log, compares it with what was promised, and makes its first record durable.
    pub fn start(estate: Estate<'a>) -> Result<Life<'a>, End> {
        let Estate { world, plan, random, oracle, shelf, tally } = estate;
        let mut driver = world.driver();
        let image = if random.coin() { shelf.usable.clone() } else { None };
        let image_position = image.as_ref().map_or(0, |image| image.position);
        let mut records = Vec::new();
        let opened = Log::open(&mut driver, plan.log.clone(), image, &mut |_, position, bytes| {
            records.push((position, bytes.to_vec()));
            0
        });
        let (log, report) = match opened {
            Ok(opened) => opened,
            Err(_) if world.is_dead() => return Err(End::Dead),
            Err(error) => return Err(End::Broken(format!("a start was refused: {error}"))),
        };
        if world.is_dead() {
            return Err(End::Dead);
        }
        tally.starts += 1;
        world.note("oracle: started", &[report.end, report.torn_bytes, report.replayed_bytes]);
        tally.torn_bytes += report.torn_bytes;
        tally.replayed_bytes += report.replayed_bytes;
        let min = log.min_position();
        let from = if report.resumed { image_position } else { min };
        oracle.recovered(&Found { records, from, min, end: report.end })?;
        let (events, reads) = (Vec::new(), Vec::new());
        let mut life = Life {
            world,
            plan,
            random,
            oracle,
            shelf,
            tally,
            driver,
            log,
            events,
            reads,
            reads_begun: 0,
            in_office: false,
        };
        life.take_office()?;
        Ok(life)
    }

    /// The first record of a generation must be durable before anything is promised.
    fn take_office(&mut self) -> Result<(), End> {
        let mut turns = 0;
        while !self.append()? {
            // The next segment may still be in the making, or have to be tried again.
            if turns == SETTLE_TURNS || self.log.fenced().is_some() {
                return Err(self.refused("its first record"));
            }
            turns += 1;
            self.log.retry_road();
            self.turn()?;
        }
        self.settle()?;
        self.in_office = true;
        self.observe()
    }

    fn refused(&self, what: &str) -> End {
        match self.log.fenced() {
            Some(_) => End::Fenced,
            None if self.world.is_dead() => End::Dead,
            None if self.plan.kind == Kind::DiskFull => End::Fenced,
            None => End::Broken(format!("the log refused {what}")),
        }
    }

    /// Turns until everything is durable.
    pub fn settle(&mut self) -> Result<(), End> {
        for _ in 0..SETTLE_TURNS {
            if self.log.is_settled() {
                return Ok(());
            }
            self.log.want_durable(self.log.watermarks().appended);
            self.turn()?;
        }
        Err(End::Broken(format!("not settled after {SETTLE_TURNS} turns: {:?}", self.log)))
    }

    /// Lives until the death, or for `turns` turns.
    pub fn live(&mut self, turns: u64) -> Result<(), End> {
        for _ in 0..turns {
            let burst = self.random.range(0..self.plan.burst + 1);
            for _ in 0..burst {
                if !self.append()? {
                    break;
                }
            }
            self.ask()?;
            self.turn()?;
        }
        Ok(())
    }

    /// Appends a record, if the log takes it.
    fn append(&mut self) -> Result<bool, End> {
        let len = self.random.skewed(self.plan.record_len.clone()) as usize;
        if self.log.can_take(len).is_err() {
            return Ok(false);
        }
        let salt = self.random.next_u64();
        let mut record = Appended { position: 0, len, salt };
        let taken = self.log.append(&mut self.driver, len, 0, |position, room| {
            record.position = position;
            record.fill(room);
        });
        match taken {
            Ok(_) => {
                self.oracle.appended(record)?;
                self.tally.records += 1;
                Ok(true)
            }
            Err(Refusal::Full | Refusal::Fenced(_)) => Ok(false),
        }
    }

    /// What a shard asks for now and then.
    fn ask(&mut self) -> Result<(), End> {
        match self.random.range(0..64) {
            0..8 => self.log.want_durable(self.log.watermarks().appended),
            8..10 => self.expire()?,
            10 => self.shelf.newest = Some(self.log.image()),
            11..16 => self.begin_read(),
            16 => self.log.retry_road(),
            _ => {}
        }
        self.check_resident()
    }

    fn expire(&mut self) -> Result<(), End> {
        let durable = self.log.watermarks().durable;
        let keep_from = if self.random.coin() { durable } else { self.log.min_position() };
        self.oracle.may_forget(keep_from);
        let rule = Retention {
            age_ms: 0,
            now_ms: 0,
            by_age: false,
            size_bytes: self.plan.keep_bytes,
            keep_from,
            forced: self.plan.kind == Kind::DiskFull,
        };
        match self.log.expire(&mut self.driver, rule) {
            Ok(_) => Ok(()),
            Err(_) if self.world.is_dead() => Err(End::Dead),
            Err(_) if self.plan.kind == Kind::Errors => Ok(()),
            Err(errno) => Err(End::Broken(format!("retention failed: {errno}"))),
        }
    }

    fn any_record(&mut self, from: u64, upto: u64) -> Option<Appended> {
        let records = self.oracle.records();
        let first = records.partition_point(|record| record.position < from);
        let last = records.partition_point(|record| record.end() <= upto);
        (first < last).then(|| records[self.random.size(first..last)])
    }

    /// Reads some record from disk.
    fn begin_read(&mut self) {
        let Some(record) = self.any_record(self.log.min_position(), self.log.written()) else {
            return;
        };
        let Some(cold) = self.log.cold(record.position) else { return };
        self.reads_begun += 1;
        let token = Token(READ_ROOM << 56 | self.reads_begun);
        self.reads.push((token.0, record, cold));
        self.driver.read(cold.file, cold.offset, Buf::new(cold.len), token);
    }

    fn end_read(
        &mut self,
        token: Token,
        buf: Buf,
        got: Result<usize, Errno>,
    ) -> Result<(), Broken> {
        let Some(at) = self.reads.iter().position(|read| read.0 == token.0) else {
            return Err(format!("an event for a read that was not begun: {token:?}"));
        };
        let (_, record, cold) = self.reads.swap_remove(at);
        let Ok(got) = got else { return Ok(()) };
        let gone = record.position < self.log.min_position();
        let window = self.log.open_window(cold, buf, got);
        self.tally.reads += 1;
        match window.record_at(record.position) {
            Some(bytes) if *bytes == record.bytes() => Ok(()),
            _ if gone => Ok(()),
            Some(_) => Err(format!("a cold read at {} found other bytes", record.position)),
            None => {
                let damage = window.damage();
                Err(format!("a cold read at {} found nothing ({damage:?})", record.position))
            }
        }
    }

    /// Whatever is resident is right.
    fn check_resident(&mut self) -> Result<(), End> {
        let upto = self.log.watermarks().appended;
        let Some(record) = self.any_record(self.log.resident_from(), upto) else { return Ok(()) };
        match self.log.resident_record_at(record.position) {
            Some(bytes) if *bytes == record.bytes() => Ok(()),
            Some(_) => Err(format!("resident record {} has other bytes", record.position).into()),
            None => Err(format!("record {} should be resident", record.position).into()),
        }
    }

    /// One turn of the loop.
    fn turn(&mut self) -> Result<(), End> {
        self.log.publish();
        self.observe()?;
        self.log.drive(&mut self.driver);
        self.log.invariants();
        let nap_ns = self.random.skewed(1..3_000_000);
        let mut deadline_ns = self.driver.now_ns() + nap_ns;
        if let Some(next_ns) = self.log.next_deadline_ns() {
            deadline_ns = deadline_ns.min(next_ns);
        }
        if let Err(errno) = self.driver.wait(deadline_ns, &mut self.events) {
            let dead = self.world.is_dead();
            return Err(if dead { End::Dead } else { End::Broken(format!("wait: {errno}")) });
        }
        let before = self.log.fenced().map(|_| self.log.watermarks());
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Read { token, buf, result } => self.end_read(token, buf, result)?,
                event => {
                    debug_assert!(matches!(room(&event), Some(TOKEN_ROOM)));
                    self.log.on_event(&mut self.driver, event);
                }
            }
        }
        if before.is_some_and(|before| before != self.log.watermarks()) {
            return Err(End::Broken("a fenced log moved a watermark".to_owned()));
        }
        self.observe()?;
        if self.log.fenced().is_some() && self.random.range(0..50) == 0 {
            return Err(End::Fenced);
        }
        Ok(())
    }

    /// Notes the watermarks a client could have seen.
    fn observe(&mut self) -> Result<(), End> {
        if self.world.is_dead() {
            return Err(End::Dead);
        }
        if !self.in_office {
            return Ok(());
        }
        let marks = self.log.watermarks();
        self.world.note("oracle: marks", &[marks.appended, marks.staged, marks.durable]);
        self.oracle.promised(marks.staged, marks.durable)?;
        self.shelf.settle(marks.durable);
        Ok(())
    }
}

fn room(event: &Event) -> Option<u8> {
    match event {
        Event::Written { token, .. }
        | Event::Synced { token, .. }
        | Event::Chored { token, .. } => Some((token.0 >> 56) as u8),
        _ => None,
    }
}
