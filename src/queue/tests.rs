//! The queues against a model that keeps everything: append, evict, reload, trim, search, restore.
//! The arena is tiny, so that every path of a chunk's life is taken many times.

use std::collections::BTreeMap;

use super::arena::{CellState, SURE_ENTRIES};
use super::*;
use crate::base::limits::{INDEX_CHUNK, INDEX_CHUNK_ENTRIES};
use crate::base::piece::{Piece, Rest};

const PER_CHUNK: u64 = INDEX_CHUNK_ENTRIES as u64;
/// `image::OPEN`.
const OPEN_FLAG: u8 = 1;

fn arena(frames: usize, soft_frames: usize) -> Arena {
    Arena::new(Box::new(vec![0u8; frames * INDEX_CHUNK]), soft_frames * INDEX_CHUNK)
}

fn entry(position: u64) -> Entry {
    Entry { position, store_ms: position as i64 / 100, tags: position as i64 % 3, size: 10 }
}

/// SplitMix64: a fixed stream for each seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

/// The index file, with a durable copy as of the last checkpoint.
#[derive(Default, Clone)]
struct Disk(BTreeMap<u32, Vec<u8>>);

impl Disk {
    /// Writes what is dirty, up to `max` chunks.
    fn write(&mut self, queues: &mut Queues, durable: u64, max: usize) -> usize {
        for written in 0..max {
            let Some((chunk, bytes)) = queues.dirty(durable) else { return written };
            self.0.insert(chunk.slot, bytes.to_vec());
            queues.written(chunk);
        }
        max
    }

    fn load(&mut self, queues: &mut Queues, chunk: ChunkRef) {
        let bytes = self.0[&queues.cold_slot(chunk)].clone();
        for _ in 0..32 {
            match queues.loaded(chunk, &bytes) {
                Err(LoadFault::Full) => self.write(queues, u64::MAX, 4),
                done => return done.unwrap(),
            };
        }
        panic!("writing makes room");
    }
}

fn read(queues: &mut Queues, disk: &mut Disk, id: QueueId, offset: u64) -> Option<Entry> {
    for _ in 0..3 {
        match queues.entry(id, offset) {
            Lookup::Found(entry) => return Some(entry),
            Lookup::Gone { .. } => return None,
            Lookup::Cold(chunk) => disk.load(queues, chunk),
            Lookup::Damaged => panic!("nothing is damaged here"),
        }
    }
    panic!("a loaded chunk is there")
}

#[derive(Default, Clone)]
struct Model {
    min: u64,
    max: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Model {
    fn trim(&mut self, position: u64) {
        self.entries.retain(|_, entry| entry.position >= position);
        let first = self.entries.keys().next().copied();
        self.min = self.min.max(first.unwrap_or(self.max));
    }

    fn search(&self, ms: i64, boundary: Boundary) -> u64 {
        let found = match boundary {
            Boundary::Lower => self.entries.iter().find(|(_, entry)| entry.store_ms >= ms),
            Boundary::Upper => self.entries.iter().rfind(|(_, entry)| entry.store_ms <= ms),
        };
        let none = if boundary == Boundary::Lower { self.max } else { self.min };
        found.map_or(none, |(offset, _)| *offset)
    }
}

/// The image of every queue, in pieces of a few chunks each.
fn image_of(queues: &mut Queues) -> Vec<Vec<u8>> {
    queues.image_begins();
    let ids: Vec<QueueId> = (0..queues.queues.len() as u32).map(QueueId).collect();
    let mut pieces = Vec::new();
    for id in ids.into_iter().filter(|id| queues.is_live(*id)) {
        let (identity, mut cursor) = queues.image_of(id);
        pieces.push(identity.to_le_bytes().to_vec());
        loop {
            let mut room = [0; 3 * INDEX_CHUNK];
            let mut piece = Piece::new(&mut room);
            let done = queues.put_image(&mut cursor, &mut piece);
            let len = piece.len();
            pieces.push(room[..len].to_vec());
            if done {
                break;
            }
        }
    }
    pieces
}

/// The queues of an image whose index file has `limit` slots, numbered anew from 0 on.
fn restored(
    pieces: &[Vec<u8>],
    limit: u32,
    arena: Arena,
    trimmed: u64,
) -> Result<Queues, RestoreFault> {
    let (mut queues, mut slots) = (Queues::new(arena), TakenSlots::of_file(limit));
    let mut half = None;
    for piece in pieces {
        let mut rest = Rest::new(piece);
        let Some(reading) = &mut half else {
            half = queues.restore_queue(rest.word().unwrap()).ok();
            continue;
        };
        let mut done = false;
        while !rest.is_empty() {
            done = queues.restore_piece(reading, &mut rest, &mut slots)?.is_some();
        }
        if done {
            half = None;
        }
    }
    queues.restored(&slots, trimmed);
    Ok(queues)
}

/// An image, what was trimmed, and the model and log position it was taken at.
type Saved = (Vec<Vec<u8>>, u64, BTreeMap<QueueId, (u64, Model)>, u64);

struct World {
    random: Random,
    queues: Queues,
    disk: Disk,
    models: BTreeMap<QueueId, (u64, Model)>,
    saved: Option<Saved>,
    position: u64,
    trimmed: u64,
    lives: u64,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            random: Random(seed),
            queues: Queues::new(arena(24, 6)),
            disk: Disk::default(),
            models: BTreeMap::new(),
            saved: None,
            position: 0,
            trimmed: 0,
            lives: 0,
        }
    }

    fn pick(&mut self) -> Option<QueueId> {
        let at = self.random.below(self.models.len().max(1) as u64) as usize;
        self.models.keys().nth(at).copied()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=2 if self.models.len() < 8 => {
                self.lives += 1;
                let id = self.queues.create(self.lives).unwrap();
                let fresh = (self.lives, Model::default());
                assert!(self.models.insert(id, fresh).is_none(), "a handle has one owner");
            }
            3 => {
                if let Some(id) = self.pick() {
                    self.queues.remove(id);
                    self.models.remove(&id);
                }
            }
            4..=40 => self.append(),
            41..=55 => {
                let count = self.random.below(4) as usize;
                let durable = self.position - self.random.below(self.position.min(500) + 1);
                self.disk.write(&mut self.queues, durable, count);
            }
            56..=60 => self.trim(),
            61..=62 => self.jump(),
            63..=65 => self.checkpoint(),
            66 => self.crash(),
            67..=80 => self.search(),
            _ => self.lookup(),
        }
    }

    fn append(&mut self) {
        let Some(id) = self.pick() else { return };
        for _ in 0..=self.random.below(90) {
            let fits = self.queues.has_room(id, 1);
            let new = entry(self.position);
            match self.queues.append(id, new) {
                Ok(offset) => {
                    let (_, model) = self.models.get_mut(&id).unwrap();
                    assert_eq!(offset, model.max);
                    model.entries.insert(offset, new);
                    model.max += 1;
                    self.position += 10 + self.random.below(50);
                }
                Err(IndexFull { .. }) => {
                    assert!(!fits, "room was promised");
                    self.disk.write(&mut self.queues, u64::MAX, 4);
                }
            }
        }
    }

    fn trim(&mut self) {
        self.trimmed += self.random.below(self.position - self.trimmed + 1) / 3;
        let mut cursor = 0;
        while !self.queues.trim(self.trimmed, &mut cursor, 3) {}
        for id in self.models.keys() {
            while let Err(chunk) = self.queues.exact_min(*id) {
                self.disk.load(&mut self.queues, chunk);
            }
        }
        self.models.values_mut().for_each(|(_, model)| model.trim(self.trimmed));
    }

    fn jump(&mut self) {
        let Some(id) = self.pick() else { return };
        let (_, model) = self.models.get_mut(&id).unwrap();
        model.max += self.random.below(20);
        self.queues.raise_max(id, model.max);
        if model.entries.is_empty() {
            model.min = model.max;
        }
    }

    fn checkpoint(&mut self) {
        let image = image_of(&mut self.queues);
        self.saved = Some((image, self.trimmed, self.models.clone(), self.position));
        // Slots change between image and durability; those the image names must keep their bytes.
        let count = self.random.below(6) as usize;
        self.disk.write(&mut self.queues, u64::MAX, count);
        self.queues.checkpointed();
    }

    fn crash(&mut self) {
        let Some((image, trimmed, models, position)) = self.saved.clone() else { return };
        self.queues = restored(&image, u32::MAX, arena(24, 6), trimmed).unwrap();
        // Handles are given anew, in their order.
        self.models = (0u32..).map(QueueId).zip(models.into_values()).collect();
        self.position = position.max(self.trimmed);
        self.trimmed = trimmed;
        // What is saved goes by the old handles.
        self.saved = None;
    }

    fn search(&mut self) {
        let Some(id) = self.pick() else { return };
        let ms = self.random.below(self.position / 100 + 20) as i64 - 10;
        let upper = self.random.below(2) == 0;
        let boundary = if upper { Boundary::Upper } else { Boundary::Lower };
        let found = loop {
            match self.queues.search_by_time(id, ms, boundary) {
                Step::Ready(offset) => break offset,
                Step::Need(chunk) => self.disk.load(&mut self.queues, chunk),
                Step::Damaged => panic!("nothing is damaged here"),
            }
        };
        let (_, model) = &self.models[&id];
        let expected = model.search(ms, boundary);
        let in_hole = !model.entries.contains_key(&found) && found < model.max;
        assert!(found == expected || in_hole, "{boundary:?} {ms}: {found}, not {expected}");
    }

    fn lookup(&mut self) {
        let Some(id) = self.pick() else { return };
        let (_, model) = self.models[&id].clone();
        assert_eq!(self.queues.bounds(id), Bounds { min: model.min, max: model.max });
        for _ in 0..4 {
            let around = model.min.saturating_sub(3) + self.random.below(model.max - model.min + 6);
            let found = read(&mut self.queues, &mut self.disk, id, around);
            assert_eq!(found, model.entries.get(&around).copied(), "offset {around}");
        }
        let watermark = self.position - self.random.below(self.position.min(3000) + 1);
        let visible = self.queues.visible_max(id, watermark);
        let mut durable = model.entries.iter().filter(|(_, entry)| entry.end() <= watermark);
        assert!(
            durable.next_back().is_none_or(|(offset, _)| *offset < visible),
            "all of it is seen"
        );
    }
}

#[test]
fn any_run_of_operations_agrees_with_a_model_that_keeps_everything() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..3000 {
            world.step();
            assert!(world.queues.used_bytes() <= 24 * INDEX_CHUNK);
        }
        world.queues.arena.invariants();
        for queue in world.queues.queues.iter().filter(|queue| queue.live) {
            let tail = queue.chunks.back().and_then(|tail| tail.cell);
            let open = tail.filter(|cell| world.queues.arena.state(*cell) == CellState::Open);
            assert_eq!(queue.open.map(|tail| tail.cell), open);
            assert!(queue.chunks.iter().all(|chunk| queue.chunk_of(chunk.first_offset).is_some()));
        }
        assert!(world.position > 10_000, "the run did something");
    }
}

#[test]
fn memory_that_was_never_needed_is_never_touched() {
    let mut queues = Queues::new(arena(16, 4));
    let id = queues.create(1).unwrap();
    let mut disk = Disk::default();
    for position in 0..PER_CHUNK * 12 {
        queues.append(id, entry(position * 10)).unwrap();
        disk.write(&mut queues, u64::MAX, 1);
    }
    assert_eq!(queues.used_bytes(), 4 * INDEX_CHUNK, "written chunks leave at the soft mark");
    assert_eq!(disk.0.len(), 12);
}

#[test]
fn a_full_arena_of_unwritten_chunks_refuses_and_recovers_when_they_are_written() {
    let mut queues = Queues::new(arena(4, 2));
    let id = queues.create(1).unwrap();
    let mut position = 0;
    let full = loop {
        let fits = queues.has_room(id, 1);
        match queues.append(id, entry(position * 10)) {
            Ok(offset) => assert_eq!(offset, position),
            Err(full) => break (full, fits),
        }
        position += 1;
    };
    assert_eq!(full, (IndexFull { limit_bytes: 4 * INDEX_CHUNK }, false));
    assert!(position >= 4 * SURE_ENTRIES as u64 && !queues.has_room(id, 1), "{position}");
    let mut disk = Disk::default();
    disk.write(&mut queues, u64::MAX, 1);
    assert!(queues.has_room(id, 1));
    assert_eq!(queues.append(id, entry(1 << 20)), Ok(position));
    disk.write(&mut queues, u64::MAX, 64);
    assert!(queues.has_room(id, SURE_ENTRIES as u32));
    for offset in 0..position {
        assert_eq!(read(&mut queues, &mut disk, id, offset), Some(entry(offset * 10)));
    }
}

#[test]
fn a_tail_takes_no_more_memory_than_twice_what_is_in_it() {
    let mut queues = Queues::new(arena(64, 64));
    let ids: Vec<QueueId> = (0..160).map(|life| queues.create(life).unwrap()).collect();
    let mut used = Vec::new();
    for round in 0..20u64 {
        for (at, id) in ids.iter().enumerate() {
            queues.append(*id, entry((round * 160 + at as u64) * 10)).unwrap();
        }
        used.push(queues.used_bytes() / INDEX_CHUNK);
        queues.arena.invariants();
    }
    assert_eq!((used[0], used[6], used[7], used[14], used[15]), (10, 10, 20, 20, 40));
    for (at, id) in ids.iter().enumerate() {
        for round in 0..20 {
            let expected = Lookup::Found(entry((round * 160 + at as u64) * 10));
            assert_eq!(queues.entry(*id, round), expected);
        }
    }
}

#[test]
fn more_queues_than_frames_work_because_idle_tails_are_closed_early() {
    let mut queues = Queues::new(arena(16, 4));
    let mut disk = Disk::default();
    let ids: Vec<QueueId> = (0..50).map(|life| queues.create(life).unwrap()).collect();
    for round in 0..3u64 {
        for (at, id) in ids.iter().enumerate() {
            queues.append(*id, entry((round * 50 + at as u64) * 10)).unwrap();
            disk.write(&mut queues, u64::MAX, 2);
        }
    }
    for (at, id) in ids.iter().enumerate() {
        for round in 0..3 {
            let expected = entry((round * 50 + at as u64) * 10);
            assert_eq!(read(&mut queues, &mut disk, *id, round), Some(expected));
        }
    }
}

#[test]
fn busy_queues_keep_whole_chunks_while_idle_ones_and_a_slow_flush_fill_the_arena() {
    let mut queues = Queues::new(arena(256, 64));
    let mut disk = Disk::default();
    let ids: Vec<_> = (0..250).map(|n| queues.create(n).unwrap()).collect();
    let mut position = 0;
    let mut put = |queues: &mut Queues, id| {
        queues.append(id, entry(position)).map(|_| position += 10).map(|()| position)
    };
    for id in &ids {
        while put(&mut queues, *id).is_err() {
            disk.write(&mut queues, u64::MAX, 8);
        }
    }
    // Four of them go on; what they append is durable only after a while, all at once.
    let (mut durable, mut taken, mut refused) = (u64::MAX, 0u64, 0);
    for round in 0..50_000usize {
        match put(&mut queues, ids[round % 4]) {
            Ok(end) => {
                taken += 1;
                durable = if round % 4096 == 0 { end } else { durable.min(end - 10) };
            }
            Err(IndexFull { .. }) => refused += 1,
        }
        if round % 16 == 0 {
            disk.write(&mut queues, durable, 8);
        }
        queues.arena.invariants();
    }
    assert_eq!(refused, 0, "{taken} taken");
    let chunks: usize = ids[..4].iter().map(|id| queues.queue(*id).chunks.len()).sum();
    assert!(chunks as u64 <= taken / PER_CHUNK * 11 / 10 + 8, "{chunks} chunks for {taken}");
}

#[test]
fn a_chunk_is_written_only_when_all_its_records_are_durable() {
    let mut queues = Queues::new(arena(4, 4));
    let id = queues.create(1).unwrap();
    for position in 0..PER_CHUNK {
        queues.append(id, entry(position * 10)).unwrap();
    }
    assert!(queues.dirty(PER_CHUNK * 10 - 1).is_none());
    let (chunk, bytes) = queues.dirty(PER_CHUNK * 10).unwrap();
    assert_eq!((chunk.first_offset, chunk.slot, bytes.len()), (0, 0, INDEX_CHUNK));
    assert!(queues.dirty(u64::MAX).is_none(), "it is on its way once");
    queues.not_written(chunk);
    assert!(queues.dirty(u64::MAX).is_some(), "a failed write is tried again");
}

#[test]
fn only_what_a_watermark_has_passed_is_visible() {
    let mut queues = Queues::new(arena(8, 8));
    let id = queues.create(1).unwrap();
    for position in 0..PER_CHUNK * 3 {
        queues.append(id, entry(position * 10)).unwrap();
    }
    for (watermark, visible) in [
        (0, 0),
        (9, 0),
        (10, 1),
        (PER_CHUNK * 10 - 1, PER_CHUNK - 1),
        (PER_CHUNK * 10, PER_CHUNK),
        (PER_CHUNK * 10 + 9, PER_CHUNK),
        (PER_CHUNK * 30, PER_CHUNK * 3),
        (u64::MAX, PER_CHUNK * 3),
    ] {
        assert_eq!(queues.visible_max(id, watermark), visible, "{watermark}");
    }
}

#[test]
fn bytes_that_are_not_the_chunk_asked_for_are_found_and_named() {
    let mut queues = Queues::new(arena(3, 1));
    let ids = [queues.create(1).unwrap(), queues.create(2).unwrap()];
    let mut disk = Disk::default();
    for position in 0..PER_CHUNK * 4 {
        queues.append(ids[(position / PER_CHUNK % 2) as usize], entry(position * 10)).unwrap();
        disk.write(&mut queues, u64::MAX, 1);
    }
    let Lookup::Cold(chunk) = queues.entry(ids[0], 0) else { panic!("it was evicted") };
    let good = disk.0[&chunk.slot].clone();
    let damage = |bad: &[u8]| Err(LoadFault::Damage(entry_damage(bad, &good)));
    let mut flipped = good.clone();
    flipped[100] ^= 1;
    let other = disk.0[&(chunk.slot + 1)].clone();
    for bad in [&good[..4095], &vec![0; 4096], &flipped, &other] {
        assert_eq!(queues.loaded(chunk, bad), damage(bad));
    }
    queues.quarantine(chunk);
    assert_eq!(queues.entry(ids[0], 0), Lookup::Damaged, "never as if it had not been");
    assert_eq!(queues.loaded(chunk, &good), Ok(()));
    assert_eq!(queues.entry(ids[0], 0), Lookup::Found(entry(0)), "good bytes heal it");
}

fn entry_damage(bad: &[u8], good: &[u8]) -> ChunkDamage {
    match bad.len() {
        4096 if bad[0] == 0 => ChunkDamage::NoHeader,
        4096 if bad[..32] == good[..32] => ChunkDamage::Checksum,
        4096 => ChunkDamage::Misplaced,
        short => ChunkDamage::Short(short),
    }
}

#[test]
fn a_slot_the_last_checkpoint_names_is_not_written_before_the_next() {
    let mut queues = Queues::new(arena(8, 8));
    let id = queues.create(1).unwrap();
    let mut disk = Disk::default();
    for position in 0..PER_CHUNK {
        queues.append(id, entry(position * 10)).unwrap();
    }
    disk.write(&mut queues, u64::MAX, 1);
    queues.image_begins();
    queues.checkpointed();
    queues.remove(id);
    let next = queues.create(2).unwrap();
    for position in 0..PER_CHUNK {
        queues.append(next, entry((1 << 20) + position * 10)).unwrap();
    }
    assert_eq!(queues.dirty(u64::MAX).map(|(chunk, _)| chunk.slot), Some(1));
    queues.image_begins();
    queues.checkpointed();
    for position in 0..PER_CHUNK {
        queues.append(next, entry((2 << 20) + position * 10)).unwrap();
    }
    assert_eq!(queues.dirty(u64::MAX).map(|(chunk, _)| chunk.slot), Some(0), "now it is free");
}

#[test]
fn a_chunk_let_go_while_it_is_written_keeps_memory_and_slot_until_the_write_lands() {
    let mut queues = Queues::new(arena(2, 2));
    let id = queues.create(1).unwrap();
    for position in 0..PER_CHUNK {
        queues.append(id, entry(position * 10)).unwrap();
    }
    let (chunk, _) = queues.dirty(u64::MAX).unwrap();
    queues.remove(id);
    assert_eq!(queues.used_bytes(), INDEX_CHUNK);
    queues.written(chunk);
    assert_eq!(queues.used_bytes(), 0);
    queues.written(chunk);
}

#[test]
fn an_image_that_contradicts_itself_is_refused() {
    let mut queues = Queues::new(arena(8, 8));
    let id = queues.create(1).unwrap();
    for position in 0..PER_CHUNK + 5 {
        queues.append(id, entry(position * 10)).unwrap();
    }
    Disk::default().write(&mut queues, u64::MAX, 1);
    let good = image_of(&mut queues);
    assert!(restored(&good, 1, arena(8, 8), 0).is_ok());
    assert_eq!(restored(&good, 1, arena(0, 1), 0).err(), Some(RestoreFault::ArenaTooSmall));
    // Two chunks (31 bytes, the second with five entries) and the end of the queue.
    let end = 31 + 31 + 5 * 32;
    assert_eq!((good.len(), good[1].len()), (2, end + 41));
    let spoils: [(&str, usize, u8); 9] = [
        ("a slot beyond the file", 25, 7),
        ("more entries than a chunk has", 31 + 29, 200),
        ("no entries", 29, 0),
        ("an open chunk in the index file", 30, OPEN_FLAG),
        ("a second chunk that begins within the first", 31 + 1, 3),
        ("a first entry that stands elsewhere", 31 + 31, 1),
        ("a maximum below the last entry", end + 1 + 8, 1),
        ("a minimum above the maximum", end + 1 + 4, 1),
        ("an unknown piece", end, 9),
    ];
    for (what, at, byte) in spoils {
        let mut bad = good.clone();
        bad[1][at] = byte;
        let refused = restored(&bad, 1, arena(8, 8), 0);
        assert!(matches!(refused, Err(RestoreFault::Inconsistent(_))), "{what}");
    }
    for len in 1..good[1].len() {
        let mut short = good.clone();
        short[1].truncate(len);
        let read = restored(&short, 1, arena(8, 8), 0);
        assert!(read.is_err() || len == 31 || len == end, "cut after {len}");
    }
    let twice = [good.clone(), good].concat();
    assert!(matches!(restored(&twice, 1, arena(8, 8), 0), Err(RestoreFault::Inconsistent(_))));
}

#[test]
fn an_image_taken_while_messages_come_shows_each_queue_at_some_moment_of_it() {
    let mut queues = Queues::new(arena(64, 64));
    let id = queues.create(1).unwrap();
    let mut disk = Disk::default();
    for position in 0..PER_CHUNK * 5 + 9 {
        queues.append(id, entry(position * 10)).unwrap();
    }
    queues.image_begins();
    let (identity, mut cursor) = queues.image_of(id);
    let mut pieces = vec![identity.to_le_bytes().to_vec()];
    let mut moved = 0;
    loop {
        let mut room = [0; 3 * INDEX_CHUNK];
        let mut piece = Piece::new(&mut room);
        let done = queues.put_image(&mut cursor, &mut piece);
        let len = piece.len();
        pieces.push(room[..len].to_vec());
        if done {
            break;
        }
        // Between two pieces chunks are written, trimmed and begun.
        disk.write(&mut queues, u64::MAX, 1);
        moved += 1;
        assert!(queues.trim(moved * 600, &mut 0, 9));
        for _ in 0..40 {
            let position = queues.last_end(id);
            queues.append(id, entry(position)).unwrap();
        }
    }
    assert!(moved > 1, "it took several pieces");
    let Bounds { min, max } = queues.bounds(id);
    let mut again = restored(&pieces, u32::MAX, arena(64, 64), queues.trimmed_to()).unwrap();
    assert_eq!(again.bounds(id), Bounds { min, max });
    for offset in min..max {
        let found = read(&mut again, &mut disk, id, offset);
        assert_eq!(found, read(&mut queues, &mut disk, id, offset), "offset {offset}");
    }
    let gone = queues.image_of(id).1;
    queues.remove(id);
    let (mut cursor, mut room) = (gone, [0; 3 * INDEX_CHUNK]);
    let mut piece = Piece::new(&mut room);
    assert!(queues.put_image(&mut cursor, &mut piece) && piece.len() == 1, "it says so");
}
