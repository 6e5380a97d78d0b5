//! One escape sequence of JSON text, read.
//!
//! The reader of headers and the reader of their text share it, so that what the first accepts
//! the second can decode. It never accepts half of a surrogate pair: such text has no UTF-8 form.

/// Reads the escape sequence at the front of `raw` (which starts with `\`): the character and
/// the bytes it took. `None` when it is no sequence of JSON.
#[inline]
pub(crate) fn escape(raw: &[u8]) -> Option<(char, usize)> {
    // Property separators are nearly all there is.
    if let Some([front @ .., digit @ b'0'..=b'9']) = raw.first_chunk::<6>()
        && front == b"\\u000"
    {
        return Some((char::from(digit - b'0'), 6));
    }
    other(raw)
}

fn other(raw: &[u8]) -> Option<(char, usize)> {
    let short = match raw.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(raw),
        _ => return None,
    };
    Some((short, 2))
}

fn unicode(raw: &[u8]) -> Option<(char, usize)> {
    let first = unit(raw.get(2..6)?)?;
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    if first >= 0xDC00 || raw.get(6..8)? != b"\\u" {
        return None;
    }
    let second = unit(raw.get(8..12)?)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Some((char::from_u32(code)?, 12))
}

fn unit(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_of_json_are_read() {
        for (raw, expect) in [
            (&b"\\n"[..], Some(('\n', 2))),
            (b"\\\"x", Some(('"', 2))),
            (b"\\/", Some(('/', 2))),
            (b"\\u0001", Some(('\u{1}', 6))),
            (b"\\u000a", Some(('\n', 6))),
            (b"\\u8Ba2", Some(('订', 6))),
            (b"\\uD83D\\uDE00", Some(('😀', 12))),
            (b"\\uD83D", None),
            (b"\\uD83Dxx", None),
            (b"\\uD83D\\u0041", None),
            (b"\\uDE00\\uD83D", None),
            (b"\\u00", None),
            (b"\\u00g1", None),
            (b"\\u+001", None),
            (b"\\x41", None),
            (b"\\", None),
        ] {
            assert_eq!(escape(raw), expect, "{}", String::from_utf8_lossy(raw));
        }
    }
}
