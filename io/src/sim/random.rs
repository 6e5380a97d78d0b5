//! Random streams of a simulated world: xoshiro256**, seeded by splitmix64.
//!
//! Each concern (schedule, disk, network) draws from its own stream, so that a change in what one
//! of them asks for does not reshuffle the others. Never a source of secrets, never shared
//! between worlds; same seed, same numbers, on every machine.

use std::ops::Range;

/// One stream.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

/// One step of splitmix64: a good 64-bit mix of a counter, used for seeding and for hashing.
pub(crate) fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

impl Random {
    /// The stream called `concern` of a world's `seed`.
    pub fn new(seed: u64, concern: &str) -> Random {
        let mut word = concern.bytes().fold(seed, |sum, byte| mix(sum ^ u64::from(byte)));
        let mut state = [0; 4];
        for lane in &mut state {
            word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
            *lane = mix(word);
        }
        Random { state }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `range`, which must not be empty. The bias of the modulo is far below what a
    /// test could see.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "an empty range has no member");
        range.start + self.next_u64() % (range.end - range.start)
    }

    /// A length or index in `range`, as [`Random::range`].
    pub fn size(&mut self, range: Range<usize>) -> usize {
        self.range(range.start as u64..range.end as u64) as usize
    }

    /// True in `ppm` of a million cases.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.range(0..1_000_000) < u64::from(ppm)
    }

    /// True in half of the cases.
    pub fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }

    /// A number that is mostly near the start of `range` and now and then anywhere in it: first
    /// its magnitude is drawn, then the number.
    pub fn skewed(&mut self, range: Range<u64>) -> u64 {
        let width = range.end - range.start;
        let bits = 64 - width.leading_zeros();
        let magnitude = self.range(1..u64::from(bits) + 1);
        let top = width.min(1u64.checked_shl(magnitude as u32).unwrap_or(u64::MAX));
        range.start + self.range(0..top.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_concern_give_the_same_numbers_and_others_do_not() {
        let take = |seed, concern| {
            let mut random = Random::new(seed, concern);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(take(7, "disk"), take(7, "disk"));
        assert_ne!(take(7, "disk"), take(7, "net"));
        assert_ne!(take(7, "disk"), take(8, "disk"));
    }

    #[test]
    fn ranges_are_kept_and_both_ends_are_reached() {
        let mut random = Random::new(1, "range");
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[random.size(0..5)] += 1;
            assert!((10..1_000_000).contains(&random.skewed(10..1_000_000)));
            assert_eq!(random.skewed(3..4), 3);
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
        assert!(!random.chance(0) && random.chance(1_000_000));
    }
}
