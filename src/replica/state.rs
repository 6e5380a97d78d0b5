//! What a node must remember of its pair over a crash: its identity and role, the epoch list, what
//! it promised alone and what it was promised.
//!
//! One small file of two slots that take turns, each with a number and a checksum: the newest good
//! one is the state. It is written and flushed at once, before what it allows happens; such moments
//! are rare. The reply floor beside it, which changes every second, has a file of its own and is
//! written in the air; without it readers only wait for the standby.
//! Never: an epoch used, a lone acknowledgement, a cut begun, before it stands here.
//!
//! ```text
//! slot (4096), little-endian:
//!  0 magic u32 "WPAI"  4 version u16  6 role u16 (0 as configured, 1 primary, 2 standby; plus 256:
//!                                        the pledge counts with a witness only)
//!  8 number u64       16 node u64    24 alone since position u64 (MAX: it is not)
//! 32 alone epoch u64  40 pledged epoch u64 (0: not)  48 pledge boot u64
//! 56 cut u64 (MAX: none)              64 peer node u64
//! 72 peer address: length u16, text of at most 62 bytes
//! 136 epoch list      last 4 bytes: crc32c of all before
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use weir_io::{Buf, Driver, Errno, File, OpenMode};

use super::epoch::Epochs;
use super::frame::word;
use super::options::Role;
use crate::base::crc::crc32c;

/// "WPAI", little-endian.
const MAGIC: u32 = u32::from_le_bytes(*b"WPAI");
const VERSION: u16 = 1;
/// In the word of the role: see [`State::witnessed`].
const WITNESSED: u16 = 256;
/// Bytes of a slot.
const SLOT: usize = 4096;
const PEER: usize = 72;
const EPOCHS: usize = 136;
const SUM: usize = SLOT - 4;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    number: u64,
    /// Identity of the node, drawn once.
    pub node: u64,
    /// What a promotion or switchover made it; `None`: what the configuration says.
    pub role: Option<Role>,
    /// Its epochs.
    pub epochs: Epochs,
    /// The primary acknowledges alone since this position, in this epoch.
    pub alone: Option<(u64, u64)>,
    /// The primary of this epoch promised to acknowledge nothing without this node; said in the
    /// life of the machine that the second number names.
    pub pledge: Option<(u64, u64)>,
    /// The pledge counts only while a majority outside names this node as in step.
    pub witnessed: bool,
    /// The log is to be cut here before it is opened.
    pub cut: Option<u64>,
    /// Node and replication address of the peer last spoken with.
    pub peer: Option<(u64, SocketAddr)>,
}

impl State {
    fn encode(&self) -> Buf {
        let mut page = Buf::new(SLOT);
        let role = match self.role {
            None => 0u16,
            Some(Role::Primary) => 1,
            Some(Role::Standby) => 2,
        };
        page[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        page[4..6].copy_from_slice(&VERSION.to_le_bytes());
        let witnessed = if self.witnessed { WITNESSED } else { 0 };
        page[6..8].copy_from_slice(&(role | witnessed).to_le_bytes());
        let (alone, alone_epoch) = self.alone.unwrap_or((u64::MAX, 0));
        let (pledge, boot) = self.pledge.unwrap_or((0, 0));
        let peer = self.peer.map_or(0, |(node, _)| node);
        let cut = self.cut.unwrap_or(u64::MAX);
        let words = [self.number, self.node, alone, alone_epoch, pledge, boot, cut, peer];
        for (at, value) in (8..).step_by(8).zip(words) {
            page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let text = self.peer.map_or(String::new(), |(_, addr)| addr.to_string());
        page[PEER..PEER + 2].copy_from_slice(&(text.len() as u16).to_le_bytes());
        page[PEER + 2..PEER + 2 + text.len()].copy_from_slice(text.as_bytes());
        let mut epochs = Vec::new();
        self.epochs.put(&mut epochs);
        page[EPOCHS..EPOCHS + epochs.len()].copy_from_slice(&epochs);
        let sum = crc32c([&page[..SUM]]);
        page[SUM..].copy_from_slice(&sum.to_le_bytes());
        page
    }

    fn decode(page: &[u8]) -> Option<State> {
        let page = page.get(..SLOT)?;
        let whole = page[SUM..] == crc32c([&page[..SUM]]).to_le_bytes();
        if !whole || page[0..4] != MAGIC.to_le_bytes() || page[4..6] != VERSION.to_le_bytes() {
            return None;
        }
        let flags = u16::from_le_bytes([page[6], page[7]]);
        let role = match flags & !WITNESSED {
            1 => Some(Role::Primary),
            2 => Some(Role::Standby),
            _ => None,
        };
        let len = usize::from(u16::from_le_bytes([page[PEER], page[PEER + 1]]));
        let text = page.get(PEER + 2..PEER + 2 + len)?;
        let addr: Option<SocketAddr> = std::str::from_utf8(text).ok()?.parse().ok();
        let some = |value: u64, none: u64| (value != none).then_some(value);
        let peer = word(page, 64)?;
        Some(State {
            number: word(page, 8)?,
            node: word(page, 16)?,
            role,
            epochs: Epochs::get(&page[EPOCHS..SUM])?.0,
            alone: some(word(page, 24)?, u64::MAX).zip(word(page, 32)),
            pledge: some(word(page, 40)?, 0).zip(word(page, 48)),
            witnessed: flags & WITNESSED != 0,
            cut: some(word(page, 56)?, u64::MAX),
            peer: addr.map(|addr| (peer, addr)),
        })
    }

    /// The state in the bytes of a file, if one of its slots is good.
    pub fn of_file(bytes: &[u8]) -> Option<State> {
        let slots = bytes.chunks_exact(SLOT).take(2).filter_map(State::decode);
        slots.max_by_key(|state| state.number)
    }
}

/// Path of the state in a shard's directory.
pub fn state_path(dir: &Path) -> PathBuf {
    dir.join("pair")
}

/// The state and its file.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    dir: PathBuf,
    /// What is in force; durable after [`StateFile::save`].
    pub(crate) state: State,
}

impl StateFile {
    /// Opens the state in `dir`, or begins one for a node called `node`.
    pub(crate) fn open(driver: &mut Driver, dir: &Path, node: u64) -> Result<StateFile, Errno> {
        let mode = OpenMode { create: true, write: true, direct: true };
        let file = driver.open(&state_path(dir), mode)?;
        let mut page = Buf::new(2 * SLOT);
        let got = driver.read_now(file, 0, &mut page)?;
        let found = State::of_file(&page[..got]);
        let fresh = State { node, ..State::default() };
        let new = found.is_none();
        let mut own = StateFile { file, dir: dir.to_owned(), state: found.unwrap_or(fresh) };
        if new {
            own.save(driver)?;
            driver.sync_dir(&own.dir)?;
        }
        Ok(own)
    }

    /// Makes the state durable before it returns. After an error the next attempt goes to the same
    /// slot: the other one is the last that is surely good.
    pub(crate) fn save(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        self.state.number += 1;
        let page = self.state.encode();
        let saved = driver
            .write_now(self.file, self.state.number % 2 * SLOT as u64, &page)
            .and_then(|()| driver.sync_now(self.file));
        if saved.is_err() {
            self.state.number -= 1;
        }
        saved
    }

    /// Closes the file.
    pub(crate) fn close(&self, driver: &mut Driver) {
        driver.close_file(self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch::Entry;
    use super::*;
    use weir_io::sim::{World, WorldOptions};

    fn sample() -> State {
        let mut epochs = Epochs::default();
        for (epoch, start) in [(1, 0), (2, 4096)] {
            epochs.begin(Entry { epoch, start, promoted: true, node: 5 });
        }
        State {
            number: 0,
            node: 0xABCD,
            role: Some(Role::Primary),
            epochs,
            alone: Some((77, 2)),
            pledge: Some((2, 5)),
            witnessed: true,
            cut: Some(12),
            peer: Some((9, "[fe80::1]:10912".parse().unwrap())),
        }
    }

    #[test]
    fn what_was_saved_is_there_after_a_power_cut_and_a_torn_slot_leaves_the_one_before() {
        let world = World::new(WorldOptions::default());
        let dir = Path::new("/data/shard-0");
        world.make_dir(dir).unwrap();
        let mut driver = world.driver();
        let mut file = StateFile::open(&mut driver, dir, 7).unwrap();
        assert_eq!(file.state.node, 7);
        file.state = State { number: file.state.number, ..sample() };
        file.save(&mut driver).unwrap();
        file.state.alone = None;
        file.save(&mut driver).unwrap();
        drop(driver);
        world.power_cut();
        let mut driver = world.driver();
        let found = StateFile::open(&mut driver, dir, 8).unwrap().state;
        assert_eq!(found, State { number: 3, alone: None, ..sample() });
        world.flip(&state_path(dir), SLOT as u64 + 9, 1).unwrap();
        let found = StateFile::open(&mut driver, dir, 8).unwrap().state;
        assert_eq!(found, State { number: 2, ..sample() });
    }
}
