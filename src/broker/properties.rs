//! The properties of a message being sent: what it asks for, and what of it is stored.
//!
//! One pass over them, in place, finds both. Nearly always the text is stored as it is, with
//! the broker's own pairs behind it. A text that holds pairs the broker sets itself (a message
//! that was received and is sent again) is written anew without them first.

use weir_wire::message::properties::{pairs, put};

/// What properties say, as far as the broker cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// TAGS.
    pub(super) tags: Option<&'a [u8]>,
    /// UNIQ_KEY.
    pub(super) uniq_key: Option<&'a [u8]>,
    /// DELAY.
    pub(super) delay: Option<&'a [u8]>,
    /// The name of the timer property that is set.
    pub(super) timer: Option<&'a [u8]>,
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

/// Looks at properties. `strip_delay`: DELAY is not stored (dead letters).
pub(super) fn ask(properties: &[u8], strip_delay: bool) -> Asked<'_> {
    let mut asked = Asked::default();
    for (name, value) in pairs(properties) {
        match name {
            b"TAGS" => asked.tags = Some(value),
            b"UNIQ_KEY" => asked.uniq_key = Some(value),
            b"WAIT" => asked.no_wait = !value.eq_ignore_ascii_case(b"true"),
            b"WEIR_FLUSH" => asked.flush = value == b"sync" || value == b"SYNC",
            b"TRAN_MSG" => asked.transaction = value.eq_ignore_ascii_case(b"true"),
            b"INNER_NUM" | b"INNER_BASE" => asked.inner_batch = true,
            b"__SHARDINGKEY" => asked.ordered = true,
            b"DELAY" => {
                asked.delay = Some(value);
                asked.rewrite |= strip_delay;
            }
            b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" | b"TIMER_DEL_UNIQKEY" => {
                asked.timer = Some(name);
            }
            b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => asked.rewrite = true,
            _ => {}
        }
    }
    asked
}

/// Appends the properties that are stored, in their order.
pub(super) fn rewrite(properties: &[u8], strip_delay: bool, out: &mut Vec<u8>) {
    for (name, value) in pairs(properties) {
        let stripped = match name {
            b"MSG_REGION" | b"TRACE_ON" | b"CLUSTER" | b"POP_CK" => true,
            b"DELAY" => strip_delay,
            _ => false,
        };
        if !stripped {
            put(out, name, value);
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
            assert_eq!(ask(text.as_bytes(), false).rewrite, stored.is_some(), "{text:?}");
            let mut out = Vec::new();
            rewrite(text.as_bytes(), false, &mut out);
            assert!(stored.is_none_or(|stored| stored.as_bytes() == out), "{text:?}");
        }
        let delay = b"DELAY\x013\x02";
        assert!(ask(delay, true).rewrite && !ask(delay, false).rewrite);
    }

    #[test]
    fn properties_are_read_as_rocketmq_reads_them() {
        let text = "TAGS\x01a\x02TAGS\x01b\x02WAIT\x01false\x02UNIQ_KEY\x01\x02DELAY\x013";
        let asked = ask(text.as_bytes(), false);
        assert_eq!(asked.tags, Some(&b"b"[..]), "the last one counts");
        assert_eq!(asked.uniq_key, None, "an empty value is none");
        assert_eq!(asked.delay, Some(&b"3"[..]), "the last pair needs no end");
        assert!(asked.no_wait && !asked.flush && !asked.transaction);
        assert_eq!(ask(b"XTAGS\x01a\x02", false).tags, None);
        let timed = ask(b"TIMER_DELAY_MS\x015\x02", false);
        assert_eq!(timed.timer, Some(&b"TIMER_DELAY_MS"[..]));
    }
}
