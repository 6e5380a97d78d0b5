//! The epoch list: which primary wrote which part of the log.
//!
//! Every primary's life has a number, the epoch, durable before its first write; the list says at
//! which position each began, and on which node. Its upper half is the term, raised by a promotion;
//! its lower half counts the starts of one primary, so that no number of restarts outranks a
//! promotion. Two logs of one history agree up to where their lists part, and that place is found
//! from the lists alone.
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
    /// The node whose life it was.
    pub node: u64,
}

/// The term of an epoch: how many promotions led to it.
pub fn term(epoch: u64) -> u64 {
    epoch >> 32
}

/// The epoch after `epoch`: of a start of the same primary, or of a promotion.
pub(super) fn after(epoch: u64, promoted: bool) -> u64 {
    if promoted || term(epoch) == 0 { (term(epoch) + 1) << 32 } else { epoch + 1 }
}

/// Bytes of an entry in a frame or file.
const ENTRY: usize = 32;

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

    /// Begins an epoch greater than all here; later starts are forgotten, for what they spoke of
    /// is not in this log. The oldest entry goes when there are too many.
    pub fn begin(&mut self, new: Entry) {
        assert!(self.0.is_empty() || new.epoch > self.current(), "epochs rise");
        self.0.retain(|entry| entry.start <= new.start);
        if self.0.len() >= HA_EPOCHS_MAX {
            self.0.remove(0);
        }
        self.0.push(new);
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
            let there = peer.0.iter().position(|other| {
                (other.epoch, other.start, other.node) == (entry.epoch, entry.start, entry.node)
            })?;
            Some(self.end_of(at, end).min(peer.end_of(there, peer_end)))
        })
        .next()
    }

    fn end_of(&self, at: usize, end: u64) -> u64 {
        self.0.get(at + 1).map_or(end, |next| next.start.min(end))
    }

    /// Appends the list to `out`: count u16, then epoch, start, flags and node, u64 each.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u16).to_le_bytes());
        for entry in &self.0 {
            out.extend_from_slice(&entry.epoch.to_le_bytes());
            out.extend_from_slice(&entry.start.to_le_bytes());
            out.extend_from_slice(&u64::from(entry.promoted).to_le_bytes());
            out.extend_from_slice(&entry.node.to_le_bytes());
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
            let entry = Entry {
                epoch: word(at)?,
                start: word(at + 8)?,
                promoted: word(at + 16)? != 0,
                node: word(at + 24)?,
            };
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
        for (epoch, start) in entries {
            list.begin(Entry { epoch: *epoch, start: *start, promoted: false, node: 1 });
        }
        list
    }

    fn promoted(epoch: u64, start: u64) -> Entry {
        Entry { epoch, start, promoted: true, node: 1 }
    }

    #[test]
    fn no_number_of_restarts_outranks_a_promotion() {
        let mut epoch = after(0, false);
        let promoted = after(epoch, true);
        for _ in 0..1000 {
            epoch = after(epoch, false);
        }
        assert!(promoted > epoch && (term(epoch), term(promoted)) == (1, 2));
    }

    #[test]
    fn epochs_of_two_nodes_are_not_the_same_though_number_and_start_are() {
        let (mut one, mut two) = (list(&[(1, 0)]), list(&[(1, 0)]));
        one.begin(Entry { epoch: 2, start: 50, promoted: false, node: 7 });
        two.begin(Entry { epoch: 2, start: 50, promoted: false, node: 8 });
        assert_eq!(one.common(90, &two, 80), Some(50));
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
        epochs.begin(promoted(4, 600));
        assert_eq!(epochs, {
            let mut wanted = list(&[(1, 0), (2, 500)]);
            wanted.begin(promoted(4, 600));
            wanted
        });
        for epoch in 5..500 {
            epochs.begin(promoted(epoch, epoch * 1000));
        }
        assert_eq!((epochs.entries().len(), epochs.current()), (HA_EPOCHS_MAX, 499));
        let mut bytes = Vec::new();
        epochs.put(&mut bytes);
        assert_eq!(Epochs::get(&bytes), Some((epochs, bytes.len())));
        bytes[2] = 0xFF;
        assert_eq!(Epochs::get(&bytes), None, "epochs that fall are no list");
    }
}
