//! The fold of a start: the newest checkpoint, then every record behind it, into one broker.
//!
//! Records come in log order; where the positions have a gap, damage took what was between, and the
//! rules are told so. A record that cannot be applied ends the start, or, when the operator chose
//! to serve around damage, is set aside.
//! Never: a record passed over without a line and a copy.

use weir_io::{Buf, Driver, Errno, File, Memory};

use super::checkpoint::{self, Loaded};
use super::open::{OpenFault, ShardOptions};
use super::replay::{Replay, Turn};
use super::voice::Voice;
use crate::base::limits::{INDEX_ARENA_SOFT, INDEX_CHUNK};
use crate::broker::{ApplyError, Broker, MessageApplied, Meta};
use crate::commitlog::{Log, LogImage};
use crate::queue::Arena;

/// The fold over checkpoint and log.
pub(super) struct Fold {
    /// The state so far.
    pub(super) broker: Broker,
    index: File,
    /// The checkpoint's part of the log, until the log takes it.
    pub(super) image: Option<LogImage>,
    /// File and position of the checkpoint that was used.
    pub(super) loaded: Option<(u8, u64)>,
    /// What the checkpoint speaks of lies below, and was durable: the log reaches as far.
    upto: u64,
    /// Why the start cannot go on.
    pub(super) fault: Option<OpenFault>,
    replay: Replay,
    serve_around: bool,
    /// Position behind the record that came last.
    next: Option<u64>,
    gaps: u64,
}

impl Fold {
    /// The state of the newest checkpoint that can be used, else of a broker at boot.
    pub(super) fn begin(
        driver: &mut Driver,
        options: &ShardOptions,
        voice: &mut Voice,
        index: File,
    ) -> Result<Fold, OpenFault> {
        let replay = Replay::begin(driver, &options.dir).map_err(|errno| {
            OpenFault::of(errno, format!("cannot write in {}: {errno}", options.dir.display()))
        })?;
        let fresh = |broker| Fold {
            broker,
            index,
            image: None,
            loaded: None,
            upto: 0,
            fault: None,
            replay,
            serve_around: options.log.serve_around,
            next: None,
            gaps: 0,
        };
        let (mut backing, mut faults) = (None, Vec::new());
        let mut arena = || {
            let (memory, of) = Memory::huge(options.index_memory_bytes);
            backing = Some(of);
            Arena::new(Box::new(memory), INDEX_ARENA_SOFT)
        };
        let from = (&options.broker, driver.file_len(index).unwrap_or(0));
        let found = checkpoint::load(driver, &options.dir, from, &mut arena, &mut |why| {
            faults.push(why.to_owned());
        });
        let fold = match found {
            Some(Loaded { log, broker, which, upto }) => {
                let loaded = Some((which, log.position));
                Fold { loaded, upto, image: Some(log), ..fresh(broker) }
            }
            None => fresh(Broker::new(options.broker.clone(), arena())),
        };
        for why in faults {
            let why = format_args!("{why}; more of the log is folded instead");
            voice.say("checkpoint-unusable", &why);
        }
        if let Some(backing) = backing.filter(|_| !options.quiet) {
            super::keep::tell_backing(voice, backing, options.index_memory_bytes);
        }
        Ok(fold)
    }

    /// Whether the log, which ends at `end`, holds all that the checkpoint speaks of. Queues would
    /// name records that are not there, and that others come to stand in place of.
    pub(super) fn reaches(&self, end: u64) -> Result<(), OpenFault> {
        if end >= self.upto {
            return Ok(());
        }
        Err(OpenFault::Damaged(format!(
            "the log ends at position {end}, but a checkpoint tells that it was durable up to {}: \
             its last blocks are lost. Restore them from a backup or from the other half; to \
             accept the loss, move checkpoint.0 and checkpoint.1 in the shard's directory away",
            self.upto
        )))
    }

    /// Folds one record; returns its store time.
    pub(super) fn take(&mut self, driver: &mut Driver, position: u64, bytes: &[u8]) -> i64 {
        if self.fault.is_some() {
            return 0;
        }
        let missed = match (self.next, self.loaded) {
            (Some(from), _) | (None, Some((_, from))) => position.saturating_sub(from),
            // Without what the log began with, the first whole snapshot says what is true.
            (None, None) => u64::from(position > 0),
        };
        if missed > 0 {
            self.broker.records_lost(missed);
        }
        self.next = Some(position + bytes.len() as u64);
        let watched = self.replay.before(driver, position, bytes).and_then(|turn| {
            if turn == Turn::PassOver {
                self.broker.records_lost(1);
                return Ok(0);
            }
            weir_io::failpoint::hit("fold-record");
            let stamp_ms = self.apply(driver, position, bytes);
            self.replay.after(driver, position, bytes.len()).map(|()| stamp_ms)
        });
        watched.unwrap_or_else(|errno| {
            let text = format!("cannot note how far the replay is: {errno}");
            self.fault.get_or_insert(OpenFault::of(errno, text));
            0
        })
    }

    fn apply(&mut self, driver: &mut Driver, position: u64, bytes: &[u8]) -> i64 {
        if Meta::is_meta(bytes) {
            match Meta::decode(bytes) {
                Ok(meta) => {
                    self.broker.apply_meta(position, &meta);
                }
                Err(error) => self.unusable(driver, position, bytes, &error.to_string()),
            }
            return 0;
        }
        loop {
            match self.broker.apply_message(position, bytes) {
                Ok(MessageApplied::Gap { .. }) => self.gaps += 1,
                Ok(_) => {}
                Err(ApplyError::IndexFull) => match self.spill(driver) {
                    Ok(()) => continue,
                    Err(errno) => {
                        let text = format!("cannot write the consume queue file: {errno}");
                        self.fault.get_or_insert(OpenFault::of(errno, text));
                    }
                },
                Err(error) => self.unusable(driver, position, bytes, &format!("{error:?}")),
            }
            return self.broker.newest_store_ms();
        }
    }

    /// A whole record that the rules cannot take.
    fn unusable(&mut self, driver: &mut Driver, position: u64, bytes: &[u8], why: &str) {
        if self.serve_around && self.replay.put_aside(driver, position, bytes).is_ok() {
            return self.broker.records_lost(1);
        }
        let text = format!(
            "the record at position {position} cannot be applied: {why}; restore the log from a \
             backup, or set the record aside with --set damagedLog=serve-around"
        );
        self.fault.get_or_insert(OpenFault::Damaged(text));
    }

    /// The log is open: settles what is in doubt and tells the operator what was found.
    /// A standby's log goes on by itself, and so does what it knows of missing records.
    pub(super) fn end(&mut self, driver: &mut Driver, log: &Log, voice: &mut Voice, standby: bool) {
        // A mark that stays only makes the next start more careful.
        let _ = self.replay.end(driver);
        let resumed = self.loaded.map_or(0, |(_, position)| position);
        let missed = log.watermarks().appended.saturating_sub(self.next.unwrap_or(resumed));
        if missed > 0 {
            self.broker.records_lost(missed);
        }
        let in_doubt = !standby && self.broker.settle_losses();
        self.tell(voice);
        self.replay.tell(voice);
        tell_damage(log, voice);
        if in_doubt {
            let why = format_args!(
                "no complete snapshot stands behind what is missing: topics, groups and offsets \
                 that were changed in it are as they were before; queue offsets go on above all \
                 that may have been given out"
            );
            voice.say("state-in-doubt", &why);
        }
    }

    /// Writes full chunks to the index file, so that the arena has room again.
    fn spill(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        let mut wrote = false;
        while let Some((chunk, bytes)) = self.broker.queues.dirty(u64::MAX) {
            let mut buf = Buf::new(INDEX_CHUNK);
            buf.copy_from_slice(bytes);
            driver.write_now(self.index, u64::from(chunk.slot) * INDEX_CHUNK as u64, &buf)?;
            self.broker.queues.written(chunk);
            wrote = true;
        }
        if wrote { Ok(()) } else { Err(Errno::NO_SPACE) }
    }

    fn tell(&self, voice: &mut Voice) {
        if self.gaps > 0 {
            let why = format_args!("{} gaps in queue offsets: older records are gone", self.gaps);
            voice.say("offset-gaps", &why);
        }
        if self.broker.guessed_topics() > 0 {
            let count = self.broker.guessed_topics();
            let why = format_args!("{count} topics had messages but no record of their creation");
            voice.say("topics-guessed", &why);
        }
    }
}

/// Says what is damaged and served around; at every start.
fn tell_damage(log: &Log, voice: &mut Voice) {
    let (count, lost) = log
        .holes()
        .fold((0u64, 0u64), |(count, lost), (_, hole)| (count + 1, lost + (hole.upto - hole.from)));
    if count > 0 {
        let why = format_args!(
            "{count} holes in the log, {lost} bytes of records are gone (damagedLog=serve-around)"
        );
        voice.say("damage-served-around", &why);
    }
    for (segment, hole) in log.holes() {
        let why = format_args!(
            "segment {segment}, offset {}: {} bytes without a good block, positions {} to {} are \
             gone",
            hole.offset, hole.bytes, hole.from, hole.upto
        );
        voice.say("log-hole", &why);
    }
    let damaged: Vec<String> = log.damaged_segments().map(|number| number.to_string()).collect();
    if !damaged.is_empty() {
        let why = format_args!(
            "{} damaged segments: {}; their files are kept when retention passes them",
            damaged.len(),
            damaged.join(", ")
        );
        voice.say("segments-damaged", &why);
    }
}
