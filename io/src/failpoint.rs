//! Named points of the code at which a crash test can end the process.
//!
//! `WEIR_FAILPOINT=name:n` makes the n-th pass through the point called `name` a `SIGKILL` of this
//! process: no destructor, no flush, as the machine would do it. Without the variable a point
//! costs one relaxed load. Never: a point that changes what the code computes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const UNREAD: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNREAD);
static ARMED: OnceLock<Armed> = OnceLock::new();

/// The point that is armed, and the passes that are left.
struct Armed {
    name: String,
    left: AtomicU64,
}

/// Passes the point called `name`.
#[inline]
pub fn hit(name: &'static str) {
    if STATE.load(Ordering::Relaxed) != OFF {
        pass(name);
    }
}

#[cold]
fn pass(name: &str) {
    if STATE.load(Ordering::Relaxed) == UNREAD {
        let armed = std::env::var("WEIR_FAILPOINT").ok().and_then(|text| parse(&text));
        let state = if armed.is_some() { ON } else { OFF };
        if let Some(armed) = armed {
            let _ = ARMED.set(armed);
        }
        STATE.store(state, Ordering::Relaxed);
    }
    if ARMED.get().is_some_and(|armed| armed.fires(name)) {
        crate::signal::kill_self();
    }
}

/// `name` or `name:n`; `None` when `n` is not a number from 1.
fn parse(text: &str) -> Option<Armed> {
    let (name, passes) = text.split_once(':').unwrap_or((text, "1"));
    let left = passes.parse().ok().filter(|left| *left > 0)?;
    Some(Armed { name: name.to_owned(), left: AtomicU64::new(left) })
}

impl Armed {
    fn fires(&self, name: &str) -> bool {
        self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_fires_at_the_pass_that_was_asked_for() {
        let armed = parse("segment-roll:3").unwrap();
        let fired: Vec<bool> = (0..5).map(|_| armed.fires("segment-roll")).collect();
        assert_eq!(fired, [false, false, true, false, false]);
        assert!(!parse("segment-roll").unwrap().fires("another"));
        assert!(parse("segment-roll").unwrap().fires("segment-roll"));
        assert!(parse("segment-roll:0").is_none() && parse("segment-roll:x").is_none());
    }
}
