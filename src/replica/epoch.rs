//! The epoch list: which primary wrote which part of the log.
//!
//! Every primary's life has a number, the epoch, durable before its first write; the list says at
//! which position each began. Two logs of one history agree up to where their lists part, and that
//! place is found from the lists alone.
//! Invariant: epochs rise, starts never fall. Never: a list longer than its bound.

use crate::base::limits::HA_EPOCHS_MAX;

/// Where an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number; 0 is what was written before the log had a pair.
    pub epoch: u64,
    /// Logical position of its first record.
    pub start: u64,
    /// It began by a promotion; else by a start of the same primary.
    pub promoted: bool,
}

/// Bytes of an entry in a frame or file.
const ENTRY: usize = 24;

/// The epochs of one log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs(Vec<Entry>);

impl Epochs {
    /// The newest epoch; 0 for an empty list.
    pub fn current(&self) -> u64 {
        self.0.last().map_or(0, |entry| entry.epoch)
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Begins epoch `epoch`, greater than all here, at `start`; later starts are forgotten, for
    /// what they spoke of is not in this log. The oldest entry goes when there are too many.
    pub fn begin(&mut self, epoch: u64, start: u64, promoted: bool) {
        assert!(self.0.is_empty() || epoch > self.current(), "epochs rise");
        self.0.retain(|entry| entry.start <= start);
        if self.0.len() >= HA_EPOCHS_MAX {
            self.0.remove(0);
        }
        self.0.push(Entry { epoch, start, promoted });
    }

    /// Forgets epochs that began behind `position`: the log was cut there.
    pub fn cut(&mut self, position: u64) {
        self.0.retain(|entry| entry.start <= position);
    }

    /// Position up to which a log with this list that ends at `end` and one with `peer` that ends
    /// at `peer_end` hold the same records. `None`: the lists have no epoch in common.
    pub fn common(&self, end: u64, peer: &Epochs, peer_end: u64) -> Option<u64> {
        let own = self.0.iter().enumerate().rev();
        own.filter_map(|(at, entry)| {
            let there = peer
                .0
                .iter()
                .position(|other| other.epoch == entry.epoch && other.start == entry.start)?;
            Some(self.end_of(at, end).min(peer.end_of(there, peer_end)))
        })
        .next()
    }

    /// The first epoch behind `position` that begins in this list.
    pub fn after(&self, position: u64) -> Option<Entry> {
        self.0.iter().find(|entry| entry.start >= position).copied()
    }

    fn end_of(&self, at: usize, end: u64) -> u64 {
        self.0.get(at + 1).map_or(end, |next| next.start.min(end))
    }

    /// Appends the list to `out`: count u16, then epoch, start and flags, u64 each.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u16).to_le_bytes());
        for entry in &self.0 {
            out.extend_from_slice(&entry.epoch.to_le_bytes());
            out.extend_from_slice(&entry.start.to_le_bytes());
            out.extend_from_slice(&u64::from(entry.promoted).to_le_bytes());
        }
    }

    /// Reads a list from the front of `bytes`, and how many bytes it took. `None`: not one.
    pub(crate) fn get(bytes: &[u8]) -> Option<(Epochs, usize)> {
        let count = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
        let end = 2 + count * ENTRY;
        let body = bytes.get(2..end).filter(|_| count <= HA_EPOCHS_MAX)?;
        let word = |at: usize| super::frame::word(body, at);
        let mut list = Epochs::default();
        for at in (0..body.len()).step_by(ENTRY) {
            let entry =
                Entry { epoch: word(at)?, start: word(at + 8)?, promoted: word(at + 16)? != 0 };
            let rises = list
                .0
                .last()
                .is_none_or(|last| last.epoch < entry.epoch && last.start <= entry.start);
            if !rises {
                return None;
            }
            list.0.push(entry);
        }
        Some((list, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u64, u64)]) -> Epochs {
        let mut list = Epochs::default();
        entries.iter().for_each(|(epoch, start)| list.begin(*epoch, *start, false));
        list
    }

    #[test]
    fn two_logs_agree_up_to_where_their_epochs_part() {
        let primary = list(&[(1, 0), (2, 1100)]);
        for (standby, end, common) in [
            (list(&[(1, 0)]), 900, Some(900)),
            (list(&[(1, 0)]), 1100, Some(1100)),
            // The old primary wrote on when the other was promoted at 1100.
            (list(&[(1, 0)]), 1200, Some(1100)),
            (list(&[(1, 0), (2, 1100)]), 1500, Some(1500)),
            (list(&[(1, 0), (2, 1100)]), 2500, Some(2000)),
            (list(&[(1, 0), (2, 1050)]), 1500, Some(1050)),
            (list(&[(3, 7)]), 1500, None),
            (Epochs::default(), 0, None),
        ] {
            assert_eq!(primary.common(2000, &standby, end), common, "{standby:?} {end}");
            assert_eq!(standby.common(end, &primary, 2000), common, "{standby:?} {end}");
        }
    }

    #[test]
    fn a_new_epoch_forgets_those_that_began_behind_its_start_and_the_list_stays_bounded() {
        let mut epochs = list(&[(1, 0), (2, 500), (3, 900)]);
        epochs.begin(4, 600, true);
        assert_eq!(epochs, {
            let mut wanted = list(&[(1, 0), (2, 500)]);
            wanted.begin(4, 600, true);
            wanted
        });
        for epoch in 5..500 {
            epochs.begin(epoch, epoch * 1000, false);
        }
        assert_eq!((epochs.entries().len(), epochs.current()), (HA_EPOCHS_MAX, 499));
        let mut bytes = Vec::new();
        epochs.put(&mut bytes);
        assert_eq!(Epochs::get(&bytes), Some((epochs, bytes.len())));
        bytes[2] = 0xFF;
        assert_eq!(Epochs::get(&bytes), None, "epochs that fall are no list");
    }
}
