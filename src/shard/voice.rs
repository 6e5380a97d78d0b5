//! What a shard says to the operator: one line per fact, to stderr, where journald reads it.
//!
//! A line begins with a stable event id that alerts can match. A flood of one id is folded: after
//! a burst one line a second goes out, with the number of those held back; when the flood ends,
//! what was held back is said too. A quiet voice prints nothing and remembers the last line of each
//! id, for a simulated operator. Never: a secret, a payload, or a line per message.

use crate::base::map::Map;

/// Lines of one id in a row before they are held back.
const BURST: u32 = 10;
/// The burst is renewed after this; in a flood one line goes out each time.
const RENEW_NS: u64 = 1_000_000_000;

/// The voice of one shard.
#[derive(Debug)]
pub struct Voice {
    prefix: String,
    quiet: bool,
    now_ns: u64,
    ids: Map<&'static str, Said>,
    /// Of a quiet voice: the last line of each id.
    lasts: Map<&'static str, String>,
}

/// Lines of one id.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// When the running second began.
    since_ns: u64,
    /// Lines that may still go out in it.
    left: u32,
    /// Lines held back and not told of yet.
    held: u32,
}

impl Voice {
    /// A voice whose lines name `prefix` (the broker's name). `quiet`: it prints none of them.
    pub fn new(prefix: String, quiet: bool) -> Voice {
        Voice { prefix, quiet, now_ns: 0, ids: Map::default(), lasts: Map::default() }
    }

    /// The last line of an id that a quiet voice would have said.
    pub fn last(&self, id: &str) -> Option<&str> {
        self.lasts.get(id).map(String::as_str)
    }

    /// Sets the time that rate limits go by.
    pub fn at(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Says one line with the stable event id `id`, or holds it back.
    pub fn say(&mut self, id: &'static str, text: &std::fmt::Arguments<'_>) {
        if self.quiet {
            self.lasts.insert(id, text.to_string());
        }
        match self.admit(id) {
            Some(0) => self.print(id, text),
            Some(held) => {
                self.print(id, &format_args!("{text} ({held} such lines were held back)"));
            }
            None => {}
        }
    }

    /// Tells of lines that were held back and have had no successor since.
    pub(super) fn settle(&mut self) {
        let late = |said: &Said| said.held > 0 && self.now_ns - said.since_ns > 2 * RENEW_NS;
        let Some(id) = self.ids.iter().find(|(_, said)| late(said)).map(|(id, _)| *id) else {
            return;
        };
        if let Some(said) = self.ids.get_mut(id) {
            let held = std::mem::take(&mut said.held);
            self.print(id, &format_args!("{held} more such lines were held back"));
        }
    }

    /// Whether a line may go out, and how many were held back before it.
    fn admit(&mut self, id: &'static str) -> Option<u32> {
        let now_ns = self.now_ns;
        let said = self.ids.entry(id).or_insert(Said { since_ns: now_ns, left: BURST, held: 0 });
        if now_ns.saturating_sub(said.since_ns) > RENEW_NS {
            said.left = if said.held > 0 { 1 } else { BURST };
            said.since_ns = now_ns;
        }
        if said.left == 0 {
            said.held += 1;
            return None;
        }
        said.left -= 1;
        Some(std::mem::take(&mut said.held))
    }

    fn print(&self, id: &str, text: &std::fmt::Arguments<'_>) {
        if !self.quiet {
            eprintln!("{id} {}: {text}", self.prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_id_becomes_one_line_a_second_with_the_count_and_others_still_speak() {
        let mut voice = Voice::new("box-0".into(), true);
        let mut lines = Vec::new();
        for ms in 0..5_000_u64 {
            voice.at(ms * 1_000_000);
            lines.extend(voice.admit("connection-closed").map(|held| (ms, held)));
        }
        assert_eq!(lines.len(), 10 + 4, "{lines:?}");
        let told: u32 = lines.iter().map(|(_, held)| held).sum();
        assert_eq!(u64::from(told) + lines.len() as u64 + u64::from(held(&voice)), 5_000);
        assert_eq!(voice.admit("disk-space"), Some(0));
        voice.at(8_000_000_000);
        voice.settle();
        assert_eq!(held(&voice), 0);
        assert_eq!(voice.admit("connection-closed"), Some(0));
    }

    fn held(voice: &Voice) -> u32 {
        voice.ids["connection-closed"].held
    }
}
