//! Poison records: one whose replay ends the process twice is set aside at the third start.
//!
//! While a start folds the log, a small file says how far it is: a step ahead at first, and after
//! one death record by record in the step where it happened. A death in the fold of the very
//! record that the file names, after an earlier death in the same step, is that record's doing: its
//! bytes are copied to `set-aside/POSITION.record` and the fold passes it over, now and at every
//! later start. Only deaths of the process are counted, so nothing is flushed here but the copy; a
//! mark of an earlier boot of the machine counts for nothing, for a power cut may bring back any.
//! Never: a copy removed by weir; a record passed over that no file in `set-aside` holds.
//!
//! ```text
//! replaying: 0 magic u32 "WRPL"  4 version u32  8 exact u64 (0, 1)  16 position u64
//!           24 boot u64  32 checksum u32 = crc32c(bytes 0..32)              little-endian
//! ```

use std::path::{Path, PathBuf};

use weir_io::{Driver, Errno, File, OpenMode};

use super::voice::Voice;
use crate::base::crc::crc32c;
use crate::base::limits::{REPLAY_STEP_RECORDS, SET_ASIDE_MAX};

/// "WRPL", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WRPL");
const VERSION: u32 = 2;
const MARK_BYTES: usize = 36;
/// The checksum stands behind all else.
const SUM: usize = MARK_BYTES - 4;
/// Ending of the copies.
const ENDING: &str = ".record";

/// How far a fold has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// The record at the position is being folded; else: everything below it was.
    exact: bool,
    position: u64,
}

impl Mark {
    fn encode(self, boot: u64) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&u64::from(self.exact).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        bytes[24..32].copy_from_slice(&boot.to_le_bytes());
        let sum = crc32c([&bytes[..SUM]]);
        bytes[SUM..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// A whole mark of this boot.
    fn decode(bytes: &[u8], boot: u64) -> Option<Mark> {
        let bytes: &[u8; MARK_BYTES] = bytes.get(..MARK_BYTES)?.try_into().ok()?;
        let known = bytes[..4] == MAGIC.to_le_bytes() && bytes[4..8] == VERSION.to_le_bytes();
        let whole = bytes[SUM..] == crc32c([&bytes[..SUM]]).to_le_bytes();
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        (known && whole && word(24) == boot)
            .then(|| Mark { exact: word(8) == 1, position: word(16) })
    }
}

/// What a fold is to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Apply it.
    Apply,
    /// Pass it over: it is set aside.
    PassOver,
}

/// The watch over one fold.
#[derive(Debug)]
pub(super) struct Replay {
    dir: PathBuf,
    file: File,
    /// The machine's present boot.
    boot: u64,
    /// What the start before left, if it died in its fold.
    before: Option<Mark>,
    /// Records until the next mark.
    until_mark: u32,
    /// Records of the step that a start died in which are still to come.
    careful: u32,
    /// Positions of the records that are set aside, ascending.
    set_aside: Vec<u64>,
}

fn mark_path(dir: &Path) -> PathBuf {
    dir.join("replaying")
}

fn aside_dir(dir: &Path) -> PathBuf {
    dir.join("set-aside")
}

impl Replay {
    /// Begins to watch the fold of the shard in `dir`.
    pub(super) fn begin(driver: &mut Driver, dir: &Path) -> Result<Replay, Errno> {
        driver.create_dir(&aside_dir(dir))?;
        let names = driver.list(&aside_dir(dir))?;
        let number = |name: &String| name.strip_suffix(ENDING).and_then(|n| n.parse().ok());
        let mut set_aside: Vec<u64> = names.iter().filter_map(number).collect();
        set_aside.sort_unstable();
        let mode = OpenMode { create: true, write: true, direct: false };
        let file = driver.open(&mark_path(dir), mode)?;
        let mut bytes = [0; MARK_BYTES];
        let got = driver.read_now(file, 0, &mut bytes)?;
        let boot = driver.boot();
        let before = Mark::decode(&bytes[..got], boot);
        let dir = dir.to_owned();
        Ok(Replay { dir, file, boot, before, until_mark: 0, careful: 0, set_aside })
    }

    /// Before a record is folded: what is to be done with it.
    pub(super) fn before(
        &mut self,
        driver: &mut Driver,
        position: u64,
        record: &[u8],
    ) -> Result<Turn, Errno> {
        if self.set_aside.binary_search(&position).is_ok() {
            return Ok(Turn::PassOver);
        }
        match self.before {
            Some(Mark { exact: true, position: poison }) if poison == position => {
                self.before = None;
                self.put_aside(driver, position, record)?;
                return Ok(Turn::PassOver);
            }
            // It is not in the log any more.
            Some(Mark { exact: true, position: poison }) if poison < position => self.before = None,
            Some(Mark { exact: false, position: from }) if from <= position => {
                self.before = None;
                self.careful = REPLAY_STEP_RECORDS;
            }
            _ => {}
        }
        if self.careful > 0 {
            self.write(driver, Mark { exact: true, position })?;
        } else if self.until_mark == 0 {
            self.write(driver, Mark { exact: false, position })?;
            self.until_mark = REPLAY_STEP_RECORDS;
        }
        self.until_mark = self.until_mark.saturating_sub(1);
        Ok(Turn::Apply)
    }

    /// After a record of `len` bytes was folded.
    pub(super) fn after(
        &mut self,
        driver: &mut Driver,
        position: u64,
        len: usize,
    ) -> Result<(), Errno> {
        if self.careful == 0 {
            return Ok(());
        }
        self.careful -= 1;
        self.until_mark = REPLAY_STEP_RECORDS;
        self.write(driver, Mark { exact: false, position: position + len as u64 })
    }

    /// Copies a record that cannot be folded; it is passed over from now on.
    pub(super) fn put_aside(
        &mut self,
        driver: &mut Driver,
        position: u64,
        record: &[u8],
    ) -> Result<(), Errno> {
        if self.set_aside.len() >= SET_ASIDE_MAX {
            return Err(Errno::NO_SPACE);
        }
        let path = aside_dir(&self.dir).join(format!("{position:020}{ENDING}"));
        let mode = OpenMode { create: true, write: true, direct: false };
        let copy = driver.open(&path, mode)?;
        let kept = driver.write_now(copy, 0, record).and_then(|()| driver.sync_now(copy));
        driver.close_file(copy);
        kept?;
        driver.sync_dir(&aside_dir(&self.dir))?;
        driver.sync_dir(&self.dir)?;
        let at = self.set_aside.partition_point(|other| *other < position);
        self.set_aside.insert(at, position);
        Ok(())
    }

    /// The fold is done: nothing is to be remembered of it.
    pub(super) fn end(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        driver.close_file(self.file);
        driver.remove(&mark_path(&self.dir))
    }

    /// Says what is set aside.
    pub(super) fn tell(&self, voice: &mut Voice) {
        let count = self.set_aside.len();
        for position in &self.set_aside {
            let path = aside_dir(&self.dir).join(format!("{position:020}{ENDING}"));
            let why = format_args!(
                "the record at position {position} is not served, because its replay failed \
                 ({count} such records); its bytes are in {}",
                path.display()
            );
            voice.say("record-set-aside", &why);
        }
    }

    fn write(&self, driver: &mut Driver, mark: Mark) -> Result<(), Errno> {
        driver.write_now(self.file, 0, &mark.encode(self.boot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_io::sim::{World, WorldOptions};

    const DIR: &str = "/data/shard-0";

    /// Folds records 0, 10, 20, … until one kills, as a process would: no end is reached.
    fn fold(world: &World, records: u64, kills: Option<u64>) -> Vec<u64> {
        let mut driver = world.driver();
        let mut replay = Replay::begin(&mut driver, Path::new(DIR)).unwrap();
        let mut applied = Vec::new();
        for position in (0..records).map(|n| n * 10) {
            let turn = replay.before(&mut driver, position, &[7; 10]).unwrap();
            if turn == Turn::PassOver {
                continue;
            }
            if kills == Some(position) {
                return applied;
            }
            applied.push(position);
            replay.after(&mut driver, position, 10).unwrap();
        }
        replay.end(&mut driver).unwrap();
        applied
    }

    fn world() -> World {
        let world = World::new(WorldOptions::default());
        world.make_dir(Path::new(DIR)).unwrap();
        world
    }

    #[test]
    fn a_record_that_kills_twice_is_set_aside_at_the_third_start_and_for_ever() {
        for poison in [0, 10, 5_000, 10_230, 10_240, 25_000] {
            let world = world();
            let before = fold(&world, 3000, Some(poison));
            assert_eq!(before.len() as u64 * 10, poison);
            assert_eq!(fold(&world, 3000, Some(poison)), before, "the second start dies too");
            for start in 3..6 {
                let applied = fold(&world, 3000, Some(poison));
                assert_eq!(applied.len(), 2999, "poison {poison}, start {start}");
                assert!(!applied.contains(&poison));
            }
            let path = aside_dir(Path::new(DIR)).join(format!("{poison:020}.record"));
            assert_eq!(world.peek(&path, 0, 10).unwrap(), [7; 10]);
        }
    }

    #[test]
    fn power_cuts_set_nothing_aside_wherever_they_fall() {
        let world = world();
        for _ in 0..6 {
            assert_eq!(fold(&world, 30, Some(290)).len(), 29);
            world.power_cut();
        }
    }

    #[test]
    fn deaths_at_different_places_and_deaths_outside_of_a_record_set_nothing_aside() {
        let world = world();
        for death in [25_000, 5_000, 29_000, 100, 14_000] {
            assert_eq!(fold(&world, 3000, Some(death)).len() as u64 * 10, death);
        }
        for _ in 0..4 {
            // Folded to the end, and dead before anybody said so.
            let mut driver = world.driver();
            let mut replay = Replay::begin(&mut driver, Path::new(DIR)).unwrap();
            for position in (0..20).map(|n| n * 10) {
                let turn = replay.before(&mut driver, position, &[7; 10]).unwrap();
                assert_eq!(turn, Turn::Apply);
                replay.after(&mut driver, position, 10).unwrap();
            }
        }
        assert_eq!(fold(&world, 3000, None).len(), 3000);
    }

    #[test]
    fn a_torn_mark_is_no_mark() {
        let mark = Mark { exact: true, position: 77 };
        let mut bytes = mark.encode(5);
        assert_eq!(Mark::decode(&bytes, 5), Some(mark));
        assert_eq!(Mark::decode(&bytes, 6), None, "another boot");
        bytes[17] ^= 1;
        assert_eq!(Mark::decode(&bytes, 5), None);
        assert_eq!(Mark::decode(&bytes[..20], 5), None);
    }
}
