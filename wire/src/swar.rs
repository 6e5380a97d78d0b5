//! Eight bytes at a time: finding a byte in short text without a function call per string.
//!
//! Header strings are mostly shorter than 16 bytes, where setting up a vector search costs more
//! than it saves. It never reads beyond the slice: the last bytes are looked at one by one.

use crate::header::escape;

/// Bytes looked at in one step.
pub(crate) const WORD: usize = 8;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks bytes of `word` that equal `byte`; exact up to and including the first one.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let zeroed = word ^ (ONES * u64::from(byte));
    zeroed.wrapping_sub(ONES) & !zeroed & HIGHS
}

/// Marks bytes of `word` below `limit` (1..=128); exact up to and including the first one.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGHS
}

/// The first position at or after `at` that `marks` (eight bytes) or `is` (one byte) names.
#[inline]
fn find(
    bytes: &[u8],
    at: usize,
    marks: impl Fn(u64) -> u64,
    is: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let marked = marks(u64::from_le_bytes(*chunk));
        if marked != 0 {
            return Some(bytes.len() - rest.len() + (marked.trailing_zeros() / 8) as usize);
        }
        rest = tail;
    }
    let last = rest.iter().position(|&byte| is(byte))?;
    Some(bytes.len() - rest.len() + last)
}

/// Position of the next `"` or `\` at or after `at`.
#[inline]
pub(crate) fn quote_or_backslash(bytes: &[u8], at: usize) -> Option<usize> {
    find(
        bytes,
        at,
        |word| equal(word, b'"') | equal(word, b'\\'),
        |byte| byte == b'"' || byte == b'\\',
    )
}

/// Reads the inside of a JSON string from `at` to the quote that ends it, and writes what it means
/// to the front of `out`, a word at a time: up to [`WORD`] bytes behind it are written over too.
/// Gives the place of the quote and the length of what it means.
///
/// `None` for what is better read otherwise, or wrong: no quote with a word behind its start, a bad
/// escape sequence, bytes that are not UTF-8, no room.
#[inline]
pub(crate) fn unescape(bytes: &[u8], at: usize, out: &mut [u8]) -> Option<(usize, usize)> {
    let (start, mut at, mut to, mut seen) = (at, at, 0, 0);
    loop {
        let chunk = bytes.get(at..)?.first_chunk::<WORD>()?;
        out.get_mut(to..to + WORD)?.copy_from_slice(chunk);
        let word = u64::from_le_bytes(*chunk);
        let marks = equal(word, b'"') | equal(word, b'\\');
        let run = if marks == 0 { WORD } else { marks.trailing_zeros() as usize / 8 };
        seen |= if run == WORD { word } else { word & ((1 << (8 * run)) - 1) };
        (at, to) = (at + run, to + run);
        if marks == 0 {
            continue;
        }
        if bytes.get(at) == Some(&b'"') {
            break;
        }
        let (character, len) = escape(bytes.get(at..)?)?;
        to += character.encode_utf8(out.get_mut(to..to + 4)?).len();
        at += len;
    }
    let valid = seen & HIGHS == 0 || std::str::from_utf8(bytes.get(start..at)?).is_ok();
    valid.then_some((at, to))
}

/// Position of the next `\` at or after `at`.
#[inline]
pub(crate) fn backslash(bytes: &[u8], at: usize) -> Option<usize> {
    find(bytes, at, |word| equal(word, b'\\'), |byte| byte == b'\\')
}

/// Position of the next 0x01 or 0x02 at or after `at`.
#[inline]
pub(crate) fn separator(bytes: &[u8], at: usize) -> Option<usize> {
    find(bytes, at, |word| equal(word, 1) | equal(word, 2), |byte| byte == 1 || byte == 2)
}

/// Position of the next 0x02 at or after `at`.
#[inline]
pub(crate) fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    find(bytes, at, |word| equal(word, 2), |byte| byte == 2)
}

/// Position of the next byte at or after `at` that JSON text must escape: a control character,
/// `"` or `\`.
#[inline]
pub(crate) fn must_escape(bytes: &[u8], at: usize) -> Option<usize> {
    find(
        bytes,
        at,
        |word| equal(word, b'"') | equal(word, b'\\') | below(word, 0x20),
        |byte| byte == b'"' || byte == b'\\' || byte < 0x20,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_found_exactly_when_it_should_be() {
        for byte in 0..=255u8 {
            for len in 0..20 {
                for place in 0..len {
                    // 0x80 and 0xFF around it: the bit tricks must not mistake them.
                    for filler in [b'a', 0x80, 0xFF, 0x7F] {
                        let mut bytes = vec![filler; len];
                        bytes[place] = byte;
                        let quote = byte == b'"' || byte == b'\\';
                        let expect = |yes: bool| yes.then_some(place);
                        assert_eq!(quote_or_backslash(&bytes, 0), expect(quote), "{byte}");
                        let separates = byte == 1 || byte == 2;
                        assert_eq!(separator(&bytes, 0), expect(separates), "{byte}");
                        assert_eq!(value_end(&bytes, 0), expect(byte == 2), "{byte}");
                        let escape = quote || byte < 0x20;
                        assert_eq!(backslash(&bytes, 0), expect(byte == b'\\'), "{byte}");
                        assert_eq!(must_escape(&bytes, 0), expect(escape), "{byte}");
                        assert_eq!(must_escape(&bytes, place + 1), None);
                    }
                }
            }
        }
        assert_eq!(must_escape(b"abc", 99), None);
    }
}
