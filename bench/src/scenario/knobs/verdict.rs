//! When a difference is an effect: a rule that is stated, and no other.
//!
//! The two ranges must not touch and the medians must differ by 3 %. With five rounds, values that
//! differ by chance alone keep apart like that in one trial of 126; so one "effect" among thirty
//! knobs proves little, and a second run does. Nothing is decided on a single round.

use std::fmt;

use crate::spread::Spread;

/// Medians nearer than this are the same.
const DIFFERS: f64 = 0.03;

/// What the rounds of one knob say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    wanted: Spread,
    worse: Spread,
    ratio: Spread,
    effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    /// The wanted value is better.
    For,
    /// The worse value is better.
    Against,
    /// The rule is not met.
    None,
}

/// Judges pairs of (wanted, worse).
pub(super) fn verdict(pairs: &[(f64, f64)], more_is_better: bool) -> Verdict {
    let wanted = Spread::of(pairs.iter().map(|pair| pair.0).collect());
    let worse = Spread::of(pairs.iter().map(|pair| pair.1).collect());
    let ratio = Spread::of(pairs.iter().map(|pair| pair.0 / pair.1).collect());
    let apart = wanted.min > worse.max || worse.min > wanted.max;
    let differ = (wanted.median / worse.median - 1.0).abs() >= DIFFERS;
    let effect = match (wanted.count > 1 && apart && differ, wanted.median > worse.median) {
        (false, _) => Effect::None,
        (true, more) if more == more_is_better => Effect::For,
        (true, _) => Effect::Against,
    };
    Verdict { wanted, worse, ratio, effect }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.effect {
            Effect::For => "effect",
            Effect::Against => "effect, AGAINST the wanted value",
            Effect::None => "none seen",
        };
        let range = |s: &Spread| format!("{:.0} ({:.0} to {:.0})", s.median, s.min, s.max);
        let (wanted, worse) = (range(&self.wanted), range(&self.worse));
        write!(f, "{wanted} / {worse}, ratio {}: {word}", self.ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(pairs: &[(f64, f64)], more_is_better: bool) -> Effect {
        verdict(pairs, more_is_better).effect
    }

    #[test]
    fn an_effect_is_two_ranges_apart_whose_medians_differ_by_three_percent() {
        let apart = [(110.0, 100.0), (111.0, 102.0), (109.0, 99.0)];
        assert_eq!(word(&apart, true), Effect::For);
        assert_eq!(word(&apart, false), Effect::Against);
        let touching = [(110.0, 100.0), (111.0, 102.0), (101.0, 99.0)];
        assert_eq!(word(&touching, true), Effect::None);
        let near = [(102.0, 100.0), (102.5, 100.5), (102.0, 101.0)];
        assert_eq!(word(&near, true), Effect::None);
        assert_eq!(word(&[(2.0, 1.0)], true), Effect::None, "one round says nothing");
        assert_eq!(word(&[(f64::NAN, 1.0), (f64::NAN, 1.0)], true), Effect::None);
    }
}
