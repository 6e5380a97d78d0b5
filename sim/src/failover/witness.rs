//! What clients were told, and whether it may ever be missing.
//!
//! Every success is kept with the position it was given for: a message, or an offset whose record
//! both halves were known to hold. Memory that a power cut takes is no promise of the pair's: what
//! both boxes had in memory only, and both lost, is excused; nothing else is. Invariant: a position
//! was acknowledged for one message only. Never: an excuse for what a device had.

use std::collections::BTreeMap;

use crate::oracle::Broken;

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A message.
    Message {
        /// Its number.
        id: i32,
        /// Its queue.
        queue: i32,
        /// Its offset there.
        offset: u64,
    },
    /// The group stands at an offset of a queue.
    Offset {
        /// The queue.
        queue: i32,
        /// The offset.
        value: i64,
    },
}

/// A promise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// What was promised.
    pub what: What,
    /// Position after its record.
    pub end: u64,
    /// The box that gave it.
    pub by: usize,
    /// Boxes whose device was promised to have it.
    pub on_device: [bool; 2],
    /// The other box has no part in it.
    alone: bool,
    /// Boxes that lost their memory since.
    shaken: [bool; 2],
}

impl Kept {
    /// A promise given now. `alone`: the other box has no part in it.
    pub(super) fn new(what: What, end: u64, by: usize, on_device: [bool; 2], alone: bool) -> Kept {
        Kept { what, end, by, on_device, alone, shaken: [false; 2] }
    }

    fn is_excused(&self) -> bool {
        self.shaken[self.by] && (self.alone || self.shaken[1 - self.by])
    }
}

/// All promises.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// Messages, by position.
    messages: BTreeMap<u64, Kept>,
    offsets: Vec<Kept>,
    /// What the group was given: number of the message, by queue and offset.
    given: BTreeMap<(i32, u64), i32>,
    /// While the boxes were one pair, each one's device was seen to have everything below.
    safe: [u64; 2],
}

impl Witness {
    /// A promise that is given although box `who`, which held it, has lost its memory since.
    pub(super) fn was_shaken(&self, mut kept: Kept, who: usize) -> Kept {
        kept.shaken[who] = kept.end > self.safe[who] && !kept.on_device[who];
        kept
    }

    /// A message was acknowledged at `position`.
    pub(super) fn acknowledged(&mut self, position: u64, kept: Kept) -> Result<(), Broken> {
        match self.messages.get(&position) {
            Some(other) if !other.is_excused() && other.what != kept.what => {
                Err(format!("position {position} was acknowledged twice: {other:?} and {kept:?}"))
            }
            _ => {
                self.messages.insert(position, kept);
                Ok(())
            }
        }
    }

    /// An offset of the group is kept by all that it was promised by.
    pub(super) fn committed(&mut self, kept: Kept) {
        self.offsets.push(kept);
    }

    /// The boxes are one pair, and the device of `who` has everything below `durable`.
    pub(super) fn safe_at(&mut self, who: usize, durable: u64) {
        self.safe[who] = durable;
    }

    /// The log of `who` was opened and ends at `end`: what it lost was its own alone, or not.
    pub(super) fn opened_at(&mut self, who: usize, end: u64) {
        self.safe[who] = self.safe[who].min(end);
        let gone = |kept: &Kept| kept.alone && kept.is_excused() && kept.end > end;
        self.messages.retain(|_, kept| kept.by != who || !gone(kept));
        self.offsets.retain(|kept| kept.by != who || !gone(kept));
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.messages.values_mut().chain(self.offsets.iter_mut())
    }

    /// Box `who` lost what only its memory had.
    pub(super) fn lost_memory(&mut self, who: usize) {
        let safe = self.safe;
        // What both lost stays lost.
        for kept in self.all().filter(|kept| !kept.is_excused()) {
            for (shaken, safe) in kept.shaken.iter_mut().zip(safe) {
                // It was sent there again since.
                *shaken &= kept.end > safe;
            }
            kept.shaken[who] |= kept.end > safe[who] && !kept.on_device[who];
        }
    }

    /// Box `who` lost its disk.
    pub(super) fn lost_disk(&mut self, who: usize) {
        self.safe[who] = 0;
        self.lost_memory(who);
        self.all().for_each(|kept| kept.on_device[who] = false);
    }

    /// What stands at or behind `position` went, as was said before; gives how far it reached.
    pub(super) fn given_up(&mut self, position: u64) -> u64 {
        let reached = self.all().map(|kept| kept.end).max().unwrap_or(0);
        self.messages.retain(|_, kept| kept.end <= position);
        self.offsets.retain(|kept| kept.end <= position);
        self.given.clear();
        reached.saturating_sub(position)
    }

    /// The group was given a message that stands at `position`: nothing may take that back.
    pub(super) fn was_given(&mut self, position: u64, kept: Kept) -> Result<(), Broken> {
        let What::Message { id, queue, offset } = kept.what else { return Ok(()) };
        let known = self.messages.entry(position).or_insert(kept);
        if known.what != kept.what {
            if !known.is_excused() {
                return Err(format!("at {position} stood {known:?}, and now {kept:?}"));
            }
            *known = kept;
        }
        match self.given.insert((queue, offset), id) {
            Some(before) if before != id && !self.is_excused(before) => {
                let of =
                    |kept: &&Kept| matches!(kept.what, What::Message { id, .. } if id == before);
                let kept = self.messages.values().find(of);
                Err(format!("queue {queue} gave {before} at {offset} ({kept:?}), and now {id}"))
            }
            _ => Ok(()),
        }
    }

    fn is_excused(&self, id: i32) -> bool {
        let of = |kept: &&Kept| matches!(kept.what, What::Message { id: own, .. } if own == id);
        // One that is not known any more was given up.
        self.messages.values().find(of).is_none_or(Kept::is_excused)
    }

    /// The group's offsets on a box that begins to serve, or at the end.
    pub(super) fn look_at_offsets(
        &self,
        stands: impl Fn(i32) -> Option<i64>,
    ) -> Result<(), Broken> {
        for kept in self.offsets.iter().filter(|kept| !kept.is_excused()) {
            let What::Offset { queue, value } = kept.what else { continue };
            let now = stands(queue);
            if now.is_none_or(|now| now < value) {
                return Err(format!("the group stood at {value} in queue {queue}, now {now:?}"));
            }
        }
        Ok(())
    }

    /// Compares with what a log holds: number, queue and offset of the message at a position.
    pub(super) fn look_at_log(
        &self,
        found: &BTreeMap<u64, (i32, i32, u64)>,
    ) -> Result<u64, Broken> {
        let mut excused = 0;
        for (position, kept) in &self.messages {
            let What::Message { id, queue, offset } = kept.what else { continue };
            if found.get(position) == Some(&(id, queue, offset)) {
                continue;
            }
            if !kept.is_excused() {
                let there = found.get(position);
                let by = kept.by;
                return Err(format!(
                    "lost: {kept:?} at {position}, which box {by} acknowledged; there is {there:?}"
                ));
            }
            excused += 1;
        }
        Ok(excused)
    }

    /// Whether everything that the group was given is still where it was.
    pub(super) fn look_at_given(
        &self,
        found: &BTreeMap<u64, (i32, i32, u64)>,
    ) -> Result<(), Broken> {
        let places: BTreeMap<(i32, u64), i32> =
            found.values().map(|(id, queue, offset)| ((*queue, *offset), *id)).collect();
        for (place, id) in &self.given {
            if places.get(place) != Some(id) && !self.is_excused(*id) {
                return Err(format!("message {id} was given at {place:?} and is gone"));
            }
        }
        Ok(())
    }

    /// Messages acknowledged and not given up.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }
}
