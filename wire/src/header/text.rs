//! Text of a header, as it stands in the frame.
//!
//! JSON writes `\u0001` for a property separator, so a header's text is often not the text it
//! means. It is kept as sent and decoded only where it is used, straight to where it is needed.
//!
//! Invariant: the raw bytes are UTF-8; every escape sequence in them is valid; each is longer
//! than the character it stands for, so that the two lengths differ exactly when there is one.

use std::borrow::Cow;
use std::fmt;

use super::escape;
use crate::swar;

/// Longest name that is decoded when somebody wrote it with escape sequences.
pub(crate) const NAME_MAX: usize = 64;

/// Borrowed text, which may hold escape sequences of JSON.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    /// Length of the text it means.
    plain_len: usize,
}

impl<'a> Text<'a> {
    /// No text.
    pub const EMPTY: Text<'static> = Text { raw: &[], plain_len: 0 };

    /// Text that is what it means.
    #[inline]
    pub const fn plain(text: &'a str) -> Text<'a> {
        Text { raw: text.as_bytes(), plain_len: text.len() }
    }

    /// As [`Text::plain`], for bytes known to be UTF-8 or bound for where nobody minds, such as
    /// the properties of a record that was stored by somebody else.
    #[inline]
    pub const fn plain_bytes(bytes: &'a [u8]) -> Text<'a> {
        Text { raw: bytes, plain_len: bytes.len() }
    }

    /// Inside of a JSON string whose escape sequences were checked and shrink it to `plain_len`.
    #[inline]
    pub(crate) const fn checked(raw: &'a [u8], plain_len: usize) -> Text<'a> {
        Text { raw, plain_len }
    }

    /// The bytes as sent.
    #[inline]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// True when escape sequences are inside.
    #[inline]
    pub const fn is_escaped(&self) -> bool {
        self.plain_len != self.raw.len()
    }

    /// True for no text.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The text, when no escape sequence is inside.
    #[inline]
    pub fn as_plain(&self) -> Option<&'a str> {
        if self.is_escaped() { None } else { std::str::from_utf8(self.raw).ok() }
    }

    /// The text's bytes, when no escape sequence is inside. Cheaper than [`Text::as_plain`].
    #[inline]
    pub const fn as_plain_bytes(&self) -> Option<&'a [u8]> {
        if self.is_escaped() { None } else { Some(self.raw) }
    }

    /// The text it means; borrowed when no escape sequence is inside.
    pub fn to_cow(&self) -> Cow<'a, str> {
        if !self.is_escaped() {
            return match std::str::from_utf8(self.raw) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(self.raw),
            };
        }
        let mut bytes = Vec::with_capacity(self.plain_len);
        self.write_unescaped(&mut bytes);
        match String::from_utf8(bytes) {
            Ok(text) => Cow::Owned(text),
            Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
        }
    }

    /// True when it means `other`.
    #[inline]
    pub fn eq_str(&self, other: &str) -> bool {
        if !self.is_escaped() {
            return self.raw == other.as_bytes();
        }
        let mut rest = other.as_bytes();
        let mut same = self.plain_len == rest.len();
        self.runs(|run| match rest.strip_prefix(run) {
            Some(after) if same => rest = after,
            _ => same = false,
        });
        same && rest.is_empty()
    }

    /// Length in bytes of the text it means; costs nothing.
    #[inline]
    pub const fn unescaped_len(&self) -> usize {
        self.plain_len
    }

    /// Appends the text it means.
    pub fn write_unescaped(&self, out: &mut Vec<u8>) {
        out.reserve(self.plain_len);
        self.runs(|run| match run {
            // One character is mostly all that stands for an escape sequence.
            [byte] => out.push(*byte),
            run => out.extend_from_slice(run),
        });
    }

    /// Writes the text it means to the front of `buf`, which must hold [`Text::unescaped_len`]
    /// bytes (a smaller one is a bug). Returns that length.
    #[inline]
    pub fn copy_unescaped(&self, buf: &mut [u8]) -> usize {
        assert!(buf.len() >= self.plain_len, "{} bytes for {}", buf.len(), self.plain_len);
        let mut at = 0;
        self.runs(|run| {
            if let Some(to) = buf.get_mut(at..at + run.len()) {
                to.copy_from_slice(run);
            }
            at += run.len();
        });
        debug_assert_eq!(at, self.plain_len);
        self.plain_len
    }

    /// The number it says, in decimal with an optional sign, as Java's `Long.parseLong` reads it.
    #[inline]
    pub fn parse_i64(&self) -> Option<i64> {
        if !self.is_escaped() {
            return number(self.raw);
        }
        let mut buf = [0; 24];
        let digits = buf.get_mut(..self.plain_len)?;
        self.copy_unescaped(digits);
        number(digits)
    }

    /// As [`Text::parse_i64`], within the range of an `int`.
    #[inline]
    pub fn parse_i32(&self) -> Option<i32> {
        i32::try_from(self.parse_i64()?).ok()
    }

    /// True for `true` in any case, as Java's `Boolean.parseBoolean`. Everything else is false,
    /// also the `1` that RocketMQ's C++ client sends for a batch.
    #[inline]
    pub fn parse_bool(&self) -> bool {
        if !self.is_escaped() {
            return self.raw.eq_ignore_ascii_case(b"true");
        }
        self.plain_len == 4 && self.to_cow().eq_ignore_ascii_case("true")
    }

    /// The bytes of a name. One with escape sequences is decoded into `buf`; `None` when it is too
    /// long for that, and so none of RocketMQ's.
    #[inline(always)]
    pub(crate) fn name<'b>(&self, buf: &'b mut [u8; NAME_MAX]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if !self.is_escaped() {
            return Some(self.raw);
        }
        let name = buf.get_mut(..self.plain_len)?;
        self.copy_unescaped(name);
        Some(name)
    }

    /// Calls `take` with the pieces of the text it means, in order.
    #[inline]
    fn runs(&self, mut take: impl FnMut(&[u8])) {
        if !self.is_escaped() {
            return take(self.raw);
        }
        let mut done = 0;
        while let Some(at) = swar::backslash(self.raw, done) {
            take(self.raw.get(done..at).unwrap_or(&[]));
            // Checked when the text was made; were it not, this ends without a panic.
            let Some((character, len)) = self.raw.get(at..).and_then(escape) else { break };
            if character.is_ascii() {
                take(&[character as u8]);
            } else {
                take(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            done = at + len;
        }
        take(self.raw.get(done..).unwrap_or(&[]));
    }
}

/// Reads a decimal number of at most 19 digits with an optional sign.
#[inline]
fn number(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        // Eighteen digits cannot overflow; more are rare and may.
        return std::str::from_utf8(bytes).ok()?.parse().ok();
    }
    let mut value = 0i64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

impl Default for Text<'_> {
    fn default() -> Self {
        Text::EMPTY
    }
}

impl PartialEq for Text<'_> {
    /// Equal when they mean the same.
    fn eq(&self, other: &Text<'_>) -> bool {
        if self.plain_len != other.plain_len {
            return false;
        }
        match (self.is_escaped(), other.is_escaped()) {
            (false, false) => self.raw == other.raw,
            _ => self.to_cow() == other.to_cow(),
        }
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.eq_str(other)
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.eq_str(other)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_cow(), f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_cow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(raw: &str, means: &str) -> Text<'static> {
        Text::checked(raw.to_owned().leak().as_bytes(), means.len())
    }

    #[test]
    fn escaped_text_means_what_json_says() {
        let raw = "TAGS\\u0001Ta\\\"gA\\u0002\\u8ba2\\uD83D\\uDE00\\n";
        let means = "TAGS\u{1}Ta\"gA\u{2}订😀\n";
        let text = escaped(raw, means);
        assert!(text.is_escaped());
        assert_eq!(text.as_plain(), None);
        assert_eq!(text.to_cow(), means);
        assert_eq!(text.unescaped_len(), means.len());
        let mut buf = [9; 64];
        let len = text.copy_unescaped(&mut buf);
        assert_eq!(&buf[..len], means.as_bytes());
        assert_eq!(buf[len], 9, "nothing beyond the text is touched");
        assert!(text.eq_str(means));
        for end in means.char_indices().map(|(at, _)| at) {
            assert!(!text.eq_str(&means[..end]));
        }
        assert!(!text.eq_str(&means.replace('T', "X")));
        assert_eq!(text, Text::plain(means));
        assert_ne!(text, Text::plain(&means.replace('T', "X")));
    }

    #[test]
    fn plain_text_is_borrowed() {
        let text = Text::plain("TopicTest");
        assert_eq!(text.as_plain(), Some("TopicTest"));
        assert!(matches!(text.to_cow(), Cow::Borrowed("TopicTest")));
        assert!(text == "TopicTest" && text != *"topictest");
        assert_eq!(format!("{text:?} {text:>10}"), "\"TopicTest\"  TopicTest");
        assert!(Text::EMPTY.is_empty() && Text::default() == Text::EMPTY);
    }

    #[test]
    fn numbers_are_read_as_java_reads_them() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0004", Some(4)),
            ("1700000000000", Some(1_700_000_000_000)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("00000000000000000000001", Some(1)),
            ("", None),
            ("-", None),
            ("+", None),
            (" 1", None),
            ("1.0", None),
            ("1e3", None),
            ("0x10", None),
            ("true", None),
        ] {
            assert_eq!(Text::plain(text).parse_i64(), expect, "{text}");
        }
        assert_eq!(escaped("\\u00312", "12").parse_i64(), Some(12));
        let long = "\\u0031".repeat(30);
        assert_eq!(escaped(&long, &"1".repeat(30)).parse_i64(), None);
        assert_eq!(Text::plain("2147483647").parse_i32(), Some(i32::MAX));
        assert_eq!(Text::plain("2147483648").parse_i32(), None);
    }

    #[test]
    fn only_the_word_true_is_true() {
        for (text, expect) in
            [("true", true), ("TRUE", true), ("false", false), ("1", false), ("", false)]
        {
            assert_eq!(Text::plain(text).parse_bool(), expect, "{text}");
        }
        assert!(escaped("tru\\u0065", "true").parse_bool());
        assert!(!escaped("\\u0031", "1").parse_bool());
    }
}
