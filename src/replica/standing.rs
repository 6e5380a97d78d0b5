//! Whether acknowledgements wait for the standby: in step, away, or alone.
//!
//! A small machine of its own, so that its rules can be read in one place. It is asked once a turn
//! and says what changed; whoever asks makes durable what must be before the change takes effect.
//! Never: alone before that is durable; in step before the standby holds all that was acknowledged.

/// How a primary stands with its standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Acknowledgements do not wait (`ASYNC_MASTER`).
    Async,
    /// No standby holds everything, since then (nanoseconds). It is in step again when it holds
    /// all below the goal.
    Away {
        /// When it was lost.
        since_ns: u64,
        /// What it must hold.
        goal: u64,
    },
    /// Nothing is acknowledged that the standby does not hold.
    InStep,
    /// Acknowledged without a standby, by the operator's choice (`standbyLost = degrade`).
    Alone,
}

/// What is known of the standby now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// It is connected, holds all that was there when it came, and is not too far behind.
    pub near: bool,
    /// It holds everything below.
    pub replicated: u64,
    /// End of the log here.
    pub appended: u64,
    /// Now, nanoseconds.
    pub now_ns: u64,
}

/// The rules that were configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// `standbyLost = refuse`.
    pub refuse: bool,
    /// How long a standby is waited for before the primary goes on alone, nanoseconds.
    pub patience_ns: u64,
}

impl Standing {
    /// The standing after a look. The caller compares it with what it was.
    pub(super) fn next(self, rules: Rules, seen: Seen) -> Standing {
        let away = Standing::Away { since_ns: seen.now_ns, goal: seen.appended };
        match self {
            Standing::Async => Standing::Async,
            Standing::InStep if seen.near => Standing::InStep,
            Standing::InStep => away,
            Standing::Away { goal, .. } if seen.near && seen.replicated >= goal => Standing::InStep,
            Standing::Away { since_ns, goal } => {
                let late = seen.now_ns.saturating_sub(since_ns) >= rules.patience_ns;
                if late && !rules.refuse {
                    Standing::Alone
                } else {
                    Standing::Away { since_ns, goal }
                }
            }
            // From here on nothing more is acknowledged alone, so what was has an end.
            Standing::Alone if seen.near => away,
            Standing::Alone => Standing::Alone,
        }
    }

    /// The word for it in status, metrics and lines.
    pub fn word(self) -> &'static str {
        match self {
            Standing::Async => "async",
            Standing::Away { .. } => "standby away",
            Standing::InStep => "in sync",
            Standing::Alone => "alone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEGRADE: Rules = Rules { refuse: false, patience_ns: 100 };
    const REFUSE: Rules = Rules { refuse: true, ..DEGRADE };

    fn seen(near: bool, replicated: u64, now_ns: u64) -> Seen {
        Seen { near, replicated, appended: 50, now_ns }
    }

    #[test]
    fn with_refuse_a_lost_standby_is_waited_for_however_long_it_takes() {
        let mut standing = Standing::InStep.next(REFUSE, seen(false, 40, 10));
        assert_eq!(standing, Standing::Away { since_ns: 10, goal: 50 });
        standing = standing.next(REFUSE, seen(false, 40, 1_000_000));
        assert_eq!(standing, Standing::Away { since_ns: 10, goal: 50 });
        standing = standing.next(REFUSE, seen(true, 49, 1_000_001));
        assert_ne!(standing, Standing::InStep, "one byte is missing");
        assert_eq!(standing.next(REFUSE, seen(true, 50, 1_000_002)), Standing::InStep);
    }

    #[test]
    fn with_degrade_it_goes_alone_after_the_patience_and_comes_back_over_a_new_goal() {
        let away = Standing::InStep.next(DEGRADE, seen(false, 40, 10));
        assert_eq!(away.next(DEGRADE, seen(false, 40, 109)), away);
        let alone = away.next(DEGRADE, seen(false, 40, 110));
        assert_eq!(alone, Standing::Alone);
        let back = alone.next(DEGRADE, Seen { appended: 90, ..seen(true, 60, 200) });
        assert_eq!(back, Standing::Away { since_ns: 200, goal: 90 });
        assert_eq!(back.next(DEGRADE, seen(true, 89, 201)), back);
        assert_eq!(back.next(DEGRADE, seen(true, 90, 202)), Standing::InStep);
    }
}
