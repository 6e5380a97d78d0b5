//! Which frame of a turn is timed: one, so that the clock is read per turn and not per message.
//!
//! The place of the frame moves through the turn, so that neither the first one (cold caches) nor
//! the last is always the one. A sample stays in force until the next one is taken.

/// Times one frame of each turn.
#[derive(Debug, Default)]
pub struct Sample {
    turn: u32,
    seen: u32,
    pick: u32,
    began_ns: u64,
    appending_ns: u64,
    /// Nanoseconds of the last sampled parsing.
    pub parse_ns: u32,
    /// Nanoseconds of the last sampled append.
    pub append_ns: u32,
}

impl Sample {
    /// A new turn begins.
    pub fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        self.pick = 1 + self.turn.wrapping_mul(7) % self.seen.max(1);
        self.seen = 0;
        self.began_ns = 0;
    }

    /// A frame is about to be handled; `true`: tell [`Sample::frame_begins`] the time.
    #[inline]
    pub fn wants_frame(&mut self) -> bool {
        self.seen += 1;
        self.began_ns = 0;
        self.seen == self.pick
    }

    /// The picked frame begins.
    pub fn frame_begins(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
    }

    /// Whether the frame being handled is the picked one: then tell the time of both ends.
    #[inline]
    #[must_use]
    pub fn is_timing(&self) -> bool {
        self.began_ns != 0
    }

    /// The picked frame is a send, read this far.
    pub fn append_begins(&mut self, now_ns: u64) {
        self.appending_ns = now_ns;
    }

    /// The picked send stands in the log.
    pub fn appended(&mut self, now_ns: u64) {
        let span = |from: u64, upto: u64| upto.saturating_sub(from).min(u64::from(u32::MAX)) as u32;
        self.parse_ns = span(self.began_ns, self.appending_ns);
        self.append_ns = span(self.appending_ns, now_ns);
        self.began_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_of_a_turn_is_timed_and_its_place_moves() {
        let mut sample = Sample::default();
        let mut places = Vec::new();
        for _ in 0..20 {
            sample.begin_turn();
            let picked: Vec<u32> = (0..10).filter(|_| sample.wants_frame()).collect();
            assert_eq!(picked.len(), 1);
            places.extend(picked);
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 3, "{places:?}");
        sample.begin_turn();
        while !sample.wants_frame() {}
        sample.frame_begins(100);
        assert!(sample.is_timing());
        sample.append_begins(150);
        sample.appended(450);
        assert_eq!((sample.parse_ns, sample.append_ns), (50, 300));
        assert!(!sample.is_timing());
    }
}
