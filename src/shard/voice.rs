//! What a shard says to the operator: one line per fact, to stderr, where journald reads it.
//!
//! A line begins with a stable event id that alerts can match. Lines of the same id are limited
//! to a few a second; what was held back is counted in the next one.
//! Never: a secret, a payload, or a line per message.

use crate::base::map::Map;

/// Lines of one id in a row before they are held back.
const BURST: u32 = 10;
/// The burst is renewed after this.
const RENEW_NS: u64 = 1_000_000_000;

/// The voice of one shard.
#[derive(Debug)]
pub struct Voice {
    prefix: String,
    quiet: bool,
    now_ns: u64,
    held: Map<&'static str, (u64, u32, u32)>,
}

impl Voice {
    /// A voice whose lines name `prefix` (the broker's name). `quiet`: it only counts.
    pub fn new(prefix: String, quiet: bool) -> Voice {
        Voice { prefix, quiet, now_ns: 0, held: Map::default() }
    }

    /// Sets the time that rate limits go by.
    pub fn at(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Says one line with the stable event id `id`.
    pub fn say(&mut self, id: &'static str, text: &std::fmt::Arguments<'_>) {
        let (since, said, held) = self.held.entry(id).or_insert((self.now_ns, 0, 0));
        if self.now_ns.saturating_sub(*since) > RENEW_NS {
            (*since, *said) = (self.now_ns, 0);
        }
        if *said >= BURST {
            *held += 1;
            return;
        }
        *said += 1;
        let before = std::mem::take(held);
        if self.quiet {
            return;
        }
        if before > 0 {
            eprintln!("{id} {}: {text} ({before} such lines were held back)", self.prefix);
        } else {
            eprintln!("{id} {}: {text}", self.prefix);
        }
    }
}
