//! The properties text of a message being sent: what it asks for, and what of it is stored.
//!
//! One pass over the text, in place, finds both. Nearly always the text is stored as it is, with
//! the broker's own pairs behind it. A text that holds pairs the broker sets itself (a message
//! that was received and is sent again) is written anew without them first.

use weir_wire::header::Text;
use weir_wire::message::properties::{name, pairs, put};

/// What a properties text says, as far as the broker cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// TAGS.
    pub(super) tags: Option<Text<'a>>,
    /// UNIQ_KEY.
    pub(super) uniq_key: Option<Text<'a>>,
    /// DELAY.
    pub(super) delay: Option<Text<'a>>,
    /// The name of the timer property that is set.
    pub(super) timer: Option<Text<'a>>,
    /// WAIT is not `true`.
    pub(super) no_wait: bool,
    /// WEIR_FLUSH is `sync`.
    pub(super) flush: bool,
    /// TRAN_MSG is `true`.
    pub(super) transaction: bool,
    /// __SHARDINGKEY is set.
    pub(super) ordered: bool,
    /// INNER_NUM or INNER_BASE is set.
    pub(super) inner_batch: bool,
    /// The text holds a pair that is not stored.
    pub(super) rewrite: bool,
}

/// Looks at a properties text. `strip_delay`: DELAY is not stored (dead letters).
pub(super) fn ask(text: Text<'_>, strip_delay: bool) -> Asked<'_> {
    let mut asked = Asked::default();
    for (key, value) in pairs(text) {
        match key.as_plain_bytes().unwrap_or_default() {
            b"TAGS" => asked.tags = Some(value),
            b"UNIQ_KEY" => asked.uniq_key = Some(value),
            b"WAIT" => asked.no_wait = !value.parse_bool(),
            b"WEIR_FLUSH" => asked.flush = value.eq_str("sync") || value.eq_str("SYNC"),
            b"TRAN_MSG" => asked.transaction = value.parse_bool(),
            b"INNER_NUM" | b"INNER_BASE" => asked.inner_batch = true,
            b"__SHARDINGKEY" => asked.ordered = true,
            b"DELAY" => {
                asked.delay = Some(value);
                asked.rewrite |= strip_delay;
            }
            b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" | b"TIMER_DEL_UNIQKEY" => {
                asked.timer = Some(key);
            }
            b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => asked.rewrite = true,
            _ => {}
        }
    }
    asked
}

/// Appends the pairs of a text that are stored, in their order.
pub(super) fn rewrite(text: Text<'_>, strip_delay: bool, out: &mut Vec<u8>) {
    for (key, value) in pairs(text) {
        let stripped = [name::MSG_REGION, name::TRACE_ON, name::CLUSTER, name::POP_CK];
        let delay = strip_delay && key.eq_str(name::DELAY);
        if !delay && !stripped.iter().any(|name| key.eq_str(name)) {
            put(out, &key.to_cow(), value.to_cow().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_rewritten_only_when_it_holds_what_the_broker_sets() {
        for (text, stored) in [
            ("", None),
            ("A\x01b\x02", None),
            ("A\x01b", None),
            ("CLUSTERS\x01b", None),
            ("POP_CK\x01x\x02A\x01b\x02MSG_REGION\x01r", Some("A\x01b\x02")),
            ("A\x01b\x01c\x02CLUSTER\x01c\x02E\x01f\x02", Some("A\x01b\x01c\x02E\x01f\x02")),
            ("TRACE_ON\x01false\x02DELAY\x013\x02", Some("DELAY\x013\x02")),
        ] {
            assert_eq!(ask(Text::plain(text), false).rewrite, stored.is_some(), "{text:?}");
            let mut out = Vec::new();
            rewrite(Text::plain(text), false, &mut out);
            assert!(stored.is_none_or(|stored| stored.as_bytes() == out), "{text:?}");
        }
        let delay = Text::plain("DELAY\x013\x02");
        assert!(ask(delay, true).rewrite && !ask(delay, false).rewrite);
    }

    #[test]
    fn properties_are_read_as_rocketmq_reads_them() {
        let text = "TAGS\x01a\x02TAGS\x01b\x02WAIT\x01false\x02UNIQ_KEY\x01\x02DELAY\x013";
        let asked = ask(Text::plain(text), false);
        assert_eq!(asked.tags, Some(Text::plain("b")), "the last one counts");
        assert_eq!(asked.uniq_key, None, "an empty value is none");
        assert_eq!(asked.delay, Some(Text::plain("3")), "the last pair needs no end");
        assert!(asked.no_wait && !asked.flush && !asked.transaction);
        assert_eq!(ask(Text::plain("XTAGS\x01a\x02"), false).tags, None);
        let timed = ask(Text::plain("TIMER_DELAY_MS\x015\x02"), false);
        assert_eq!(timed.timer, Some(Text::plain("TIMER_DELAY_MS")));
    }
}
