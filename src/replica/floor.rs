//! How far the standby held the log, noted about once a second for the primary's next start.
//!
//! With `standbyLost = refuse` readers see only what the standby holds; after a start nothing is
//! known of it until it has come, and this note says what was surely there. It is written in the
//! air and in two places by turns; when both are torn, readers wait for the standby.
//! Never: a position that the standby did not hold.

use std::path::Path;

use weir_io::{Buf, Driver, Errno, File, OpenMode, Source};

use super::frame::word;
use super::link::{KIND_FLOOR, token};
use crate::base::crc::crc32c;
use crate::base::limits::{BLOCK_ALIGN, HA_FLOOR_MS};

const MAGIC: u64 = u64::from_le_bytes(*b"WFLOOR01");

/// The note and its file.
#[derive(Debug)]
pub(super) struct Floor {
    file: File,
    page: Option<Buf>,
    /// Where the next note goes.
    turn: u64,
    noted: u64,
    due_ns: u64,
}

impl Floor {
    /// Opens the note in `dir`; gives the position that it tells of, 0 without one.
    pub(super) fn open(driver: &mut Driver, dir: &Path) -> Result<(Floor, u64), Errno> {
        let mode = OpenMode { create: true, write: true, direct: true };
        let file = driver.open(&dir.join("pair.floor"), mode)?;
        let mut pages = Buf::new(2 * BLOCK_ALIGN);
        let got = driver.read_now(file, 0, &mut pages)?;
        let found = pages[..got].chunks_exact(BLOCK_ALIGN).filter_map(|page| {
            let sum = u64::from(crc32c([&page[..16]]));
            let whole = word(page, 0)? == MAGIC && word(page, 16)? == sum;
            whole.then(|| word(page, 8))?
        });
        let noted = found.max().unwrap_or(0);
        let page = Some(Buf::new(BLOCK_ALIGN));
        Ok((Floor { file, page, turn: 0, noted, due_ns: 0 }, noted))
    }

    /// Notes that the standby holds everything below `position`, when it is time to.
    pub(super) fn note(&mut self, driver: &mut Driver, position: u64) {
        let now_ns = driver.now_ns();
        if position <= self.noted || now_ns < self.due_ns {
            return;
        }
        let Some(mut page) = self.page.take() else { return };
        page[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        page[8..16].copy_from_slice(&position.to_le_bytes());
        let sum = u64::from(crc32c([&page[..16]]));
        page[16..24].copy_from_slice(&sum.to_le_bytes());
        let offset = self.turn * BLOCK_ALIGN as u64;
        driver.write(self.file, offset, Source::Buf(page), true, token(KIND_FLOOR, 0));
        self.turn = 1 - self.turn;
        self.noted = position;
        self.due_ns = now_ns + HA_FLOOR_MS * 1_000_000;
    }

    /// The note landed, or not: the next one says more anyway.
    pub(super) fn landed(&mut self, buf: Option<Buf>) {
        self.page = Some(buf.unwrap_or_else(|| Buf::new(BLOCK_ALIGN)));
    }
}
