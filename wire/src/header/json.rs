//! The JSON header, read in one pass over its bytes.
//!
//! Lenient where RocketMQ's clients need it: any order of members, unknown ones, spaces and line
//! ends, custom fields that are numbers, booleans or null, control characters inside strings.
//! Strict where leniency would guess: half an escape, half a number, bytes after the object.
//! It never recurses without a bound and never decodes text.
//!
//! Functions take the place they read at and return the one behind it, instead of sharing a
//! cursor: places then stay in registers, which halves the work per header. What compact JSON
//! has none of, such as spaces, is left to functions of its own.

use super::ext::Span;
use super::parsed::Draft;
use super::{EXT_FIELDS_MAX, EXT_KEY_MAX, HeaderError, NAME_MAX, Text, escape};
use crate::codes::Language;
use crate::swar;

/// Deepest nesting of objects and arrays inside members that are skipped.
pub const DEPTH_MAX: usize = 16;

/// Reads `bytes` into `header`.
pub(super) fn parse(bytes: &[u8], header: &mut Draft<'_>) -> Result<(), HeaderError> {
    if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
        return Err(HeaderError::NotUtf8);
    }
    let mut at = take(bytes, 0, b'{')?;
    let end = skip_space(bytes, at);
    if bytes.get(end) == Some(&b'}') {
        at = end + 1;
    } else {
        at = members(bytes, header, at)?;
    }
    at = skip_space(bytes, at);
    if at == bytes.len() { Ok(()) } else { Err(syntax(bytes, at)) }
}

/// Reads the members from `at` on; returns the place behind the closing brace.
#[inline]
fn members(bytes: &[u8], header: &mut Draft<'_>, at: usize) -> Result<usize, HeaderError> {
    let (mut at, mut open) = (at, true);
    while open {
        let (name, value_at) = key(bytes, at)?;
        at = member(bytes, header, name, value_at)?;
        (at, open) = more(bytes, at, b'}')?;
    }
    Ok(at)
}

/// Reads the value at `at` of the member `key`; returns the place behind it.
#[inline]
fn member(
    bytes: &[u8],
    header: &mut Draft<'_>,
    key: Span,
    at: usize,
) -> Result<usize, HeaderError> {
    let mut buf = [0; NAME_MAX];
    let end;
    let mut bit = 0;
    match name(bytes, key, &mut buf) {
        b"code" => {
            bit = 1;
            (header.code, end) = int(bytes, at, "code")?;
        }
        b"opaque" => {
            bit = 2;
            (header.opaque, end) = int(bytes, at, "opaque")?;
            header.opaque_at = Some((at, end - at));
        }
        b"version" => {
            bit = 4;
            (header.version, end) = int(bytes, at, "version")?;
        }
        b"flag" => {
            bit = 8;
            (header.flag, end) = int(bytes, at, "flag")?;
        }
        b"extFields" => {
            bit = 16;
            end = ext_fields(bytes, header, at)?;
        }
        b"language" => {
            bit = 32;
            let value;
            (value, end) = any(bytes, at)?;
            if let Value::Text(span) = value {
                let name = std::str::from_utf8(name(bytes, span, &mut buf)).unwrap_or_default();
                header.language = Language::from_name(name);
            }
        }
        b"remark" => {
            let value;
            (value, end) = any(bytes, at)?;
            if let Value::Text(span) | Value::Bare(span) = value {
                header.remark = span;
            }
            header.odd = true;
        }
        _ => (_, end) = any(bytes, at)?,
    }
    // Of a member that comes twice the last one counts.
    header.odd |= header.members & bit != 0;
    header.members |= bit;
    Ok(end)
}

fn ext_fields(bytes: &[u8], header: &mut Draft<'_>, at: usize) -> Result<usize, HeaderError> {
    let mut at = skip_space(bytes, at);
    if bytes.get(at) == Some(&b'n') {
        return word(bytes, at, b"null");
    }
    at = take(bytes, at, b'{')?;
    let end = skip_space(bytes, at);
    if bytes.get(end) == Some(&b'}') {
        return Ok(end + 1);
    }
    let limit = HeaderError::Fields { limit: EXT_FIELDS_MAX };
    let mut nulls = 0;
    let mut open = true;
    while open {
        if let Some(name) = letter(bytes, at) {
            let value;
            (value, at) = string(bytes, at + 5)?;
            header.fields.push(name, value).ok_or(limit)?;
            (at, open) = more(bytes, at, b'}')?;
            continue;
        }
        let (name, value_at) = key(bytes, at)?;
        if name.len > EXT_KEY_MAX {
            return Err(limit);
        }
        if bytes.get(value_at) == Some(&b'"') {
            let value;
            (value, at) = string(bytes, value_at + 1)?;
            header.fields.push(name, value).ok_or(limit)?;
        } else {
            let value;
            (value, at) = any(bytes, value_at)?;
            match value {
                Value::Text(value) | Value::Bare(value) => {
                    header.fields.push(name, value).ok_or(limit)?;
                }
                // As in Java's map: null replaces what was there, and is then left out.
                Value::Null if nulls < EXT_FIELDS_MAX => {
                    nulls += 1;
                    header.fields.remove(bytes, name);
                }
                Value::Null => return Err(limit),
            }
        }
        (at, open) = more(bytes, at, b'}')?;
    }
    Ok(at)
}

/// A member's value.
enum Value {
    /// The inside of a string.
    Text(Span),
    /// A number, a boolean, an object or an array, as written.
    Bare(Span),
    Null,
}

#[cold]
fn syntax(bytes: &[u8], at: usize) -> HeaderError {
    if at < bytes.len() { HeaderError::Syntax { at } } else { HeaderError::Cut }
}

#[inline]
fn skip_space(bytes: &[u8], at: usize) -> usize {
    let mut at = at;
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Takes `byte`, before which spaces may stand.
#[inline(always)]
fn take(bytes: &[u8], at: usize, byte: u8) -> Result<usize, HeaderError> {
    if bytes.get(at) == Some(&byte) { Ok(at + 1) } else { take_after_space(bytes, at, byte) }
}

#[inline(never)]
fn take_after_space(bytes: &[u8], at: usize, byte: u8) -> Result<usize, HeaderError> {
    let at = skip_space(bytes, at);
    if bytes.get(at) == Some(&byte) { Ok(at + 1) } else { Err(syntax(bytes, at)) }
}

/// After a member or an item: whether a comma says that more follow, or `end` that none do.
#[inline(always)]
fn more(bytes: &[u8], at: usize, end: u8) -> Result<(usize, bool), HeaderError> {
    match bytes.get(at) {
        Some(b',') => Ok((at + 1, true)),
        Some(byte) if *byte == end => Ok((at + 1, false)),
        _ => more_after_space(bytes, at, end),
    }
}

#[inline(never)]
fn more_after_space(bytes: &[u8], at: usize, end: u8) -> Result<(usize, bool), HeaderError> {
    let at = skip_space(bytes, at);
    match bytes.get(at) {
        Some(b',') => Ok((at + 1, true)),
        Some(byte) if *byte == end => Ok((at + 1, false)),
        _ => Err(syntax(bytes, at)),
    }
}

/// The place of a one-letter name that a string follows, as in `"a":"`: most of a send's fields.
#[inline(always)]
fn letter(bytes: &[u8], at: usize) -> Option<Span> {
    const AROUND: u64 = u64::from_le_bytes([0xFF, 0, 0xFF, 0xFF, 0xFF, 0, 0, 0]);
    const QUOTES: u64 = u64::from_le_bytes([b'"', 0, b'"', b':', b'"', 0, 0, 0]);
    let chunk = bytes.get(at..)?.first_chunk::<8>()?;
    let plain = chunk[1] != b'"' && chunk[1] != b'\\';
    let found = u64::from_le_bytes(*chunk) & AROUND == QUOTES && plain;
    found.then_some(Span { at: at + 1, len: 1, plain_len: 1 })
}

/// A member's name; returns the place behind the colon.
#[inline(always)]
fn key(bytes: &[u8], at: usize) -> Result<(Span, usize), HeaderError> {
    let at = take(bytes, at, b'"')?;
    let (key, at) = string(bytes, at)?;
    Ok((key, take(bytes, at, b':')?))
}

/// The inside of a string, from behind its opening quote; returns the place behind the closing
/// one.
#[inline(always)]
fn string(bytes: &[u8], start: usize) -> Result<(Span, usize), HeaderError> {
    let end = swar::quote_or_backslash(bytes, start).ok_or(HeaderError::Cut)?;
    if bytes.get(end) == Some(&b'"') {
        let len = end - start;
        return Ok((Span { at: start, len, plain_len: len }, end + 1));
    }
    let (end, plain_len) = escaped(bytes, start, end)?;
    Ok((Span { at: start, len: end - start, plain_len }, end + 1))
}

/// Follows a string whose first escape sequence is at `at`; returns the place of its closing
/// quote and the length of what it means.
#[inline(never)]
fn escaped(bytes: &[u8], start: usize, at: usize) -> Result<(usize, usize), HeaderError> {
    let mut at = at;
    let mut saved = 0;
    while bytes.get(at) != Some(&b'"') {
        let rest = bytes.get(at..).unwrap_or(&[]);
        let (character, len) = escape(rest).ok_or(HeaderError::Escape { at })?;
        saved += len - character.len_utf8();
        at = swar::quote_or_backslash(bytes, at + len).ok_or(HeaderError::Cut)?;
    }
    Ok((at, at - start - saved))
}

#[inline(always)]
fn slice(bytes: &[u8], span: Span) -> &[u8] {
    bytes.get(span.at..span.at + span.len).unwrap_or(&[])
}

/// What a name means; `buf` is for one that somebody wrote with escape sequences. Longer ones
/// are none of ours.
#[inline(always)]
fn name<'b>(bytes: &'b [u8], span: Span, buf: &'b mut [u8; NAME_MAX]) -> &'b [u8] {
    Text::checked(slice(bytes, span), span.plain_len).name(buf).unwrap_or(&[])
}

/// An `int`; returns the place behind it.
#[inline]
fn int(bytes: &[u8], at: usize, member: &'static str) -> Result<(i32, usize), HeaderError> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let mut end = first;
    let mut value = 0i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        end += 1;
    }
    let digits = end - first;
    let zero_first = bytes.get(first) == Some(&b'0') && digits > 1;
    let ended = matches!(bytes.get(end), Some(b',' | b'}'));
    if !ended || zero_first || digits == 0 || digits > 10 {
        return odd_int(bytes, at, member);
    }
    let value = if negative { -value } else { value };
    let value = i32::try_from(value).map_err(|_| HeaderError::Number { member })?;
    Ok((value, end))
}

/// An `int` with spaces around it or in quotes; null counts as 0, as it does for Java's `int`.
#[inline(never)]
fn odd_int(bytes: &[u8], at: usize, member: &'static str) -> Result<(i32, usize), HeaderError> {
    let (value, end) = any(bytes, at)?;
    let span = match value {
        Value::Text(span) | Value::Bare(span) => span,
        Value::Null => return Ok((0, end)),
    };
    let text = Text::checked(slice(bytes, span), span.plain_len);
    Ok((text.parse_i32().ok_or(HeaderError::Number { member })?, end))
}

/// Any value; returns the place behind it.
#[inline(never)]
fn any(bytes: &[u8], at: usize) -> Result<(Value, usize), HeaderError> {
    let start = skip_space(bytes, at);
    let end = match bytes.get(start) {
        Some(b'"') => {
            let (span, end) = string(bytes, start + 1)?;
            return Ok((Value::Text(span), end));
        }
        Some(b'n') => return Ok((Value::Null, word(bytes, start, b"null")?)),
        Some(b'{' | b'[') => nested(bytes, start)?,
        _ => scalar(bytes, start)?,
    };
    let len = end - start;
    Ok((Value::Bare(Span { at: start, len, plain_len: len }), end))
}

/// Skips a number, a boolean or null.
fn scalar(bytes: &[u8], at: usize) -> Result<usize, HeaderError> {
    match bytes.get(at) {
        Some(b't') => word(bytes, at, b"true"),
        Some(b'f') => word(bytes, at, b"false"),
        Some(b'n') => word(bytes, at, b"null"),
        _ => number(bytes, at),
    }
}

fn word(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, HeaderError> {
    let rest = bytes.get(at..).unwrap_or(&[]);
    if rest.starts_with(word) {
        return Ok(at + word.len());
    }
    let same = rest.iter().zip(word).take_while(|(a, b)| a == b).count();
    Err(syntax(bytes, at + same))
}

fn number(bytes: &[u8], at: usize) -> Result<usize, HeaderError> {
    let mut at = at + usize::from(bytes.get(at) == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(signed))?;
    }
    Ok(at)
}

fn digits(bytes: &[u8], at: usize) -> Result<usize, HeaderError> {
    let rest = bytes.get(at..).unwrap_or(&[]);
    match rest.iter().take_while(|byte| byte.is_ascii_digit()).count() {
        0 => Err(syntax(bytes, at)),
        count => Ok(at + count),
    }
}

/// Skips an object or an array without recursion: `objects` holds one bit for each level, the
/// innermost lowest, which is set for an object.
fn nested(bytes: &[u8], at: usize) -> Result<usize, HeaderError> {
    let mut at = at;
    let mut depth = 0usize;
    let mut objects = 0u32;
    loop {
        // A value is next.
        at = skip_space(bytes, at);
        match bytes.get(at) {
            Some(byte @ (b'{' | b'[')) => {
                if depth == DEPTH_MAX {
                    return Err(HeaderError::Depth { limit: DEPTH_MAX });
                }
                let object = *byte == b'{';
                let after = skip_space(bytes, at + 1);
                if bytes.get(after) == Some(&(if object { b'}' } else { b']' })) {
                    at = after + 1;
                } else {
                    depth += 1;
                    objects = objects << 1 | u32::from(object);
                    at = if object { key(bytes, after)?.1 } else { after };
                    continue;
                }
            }
            Some(b'"') => (_, at) = string(bytes, at + 1)?,
            _ => at = scalar(bytes, at)?,
        }
        // A value has ended: so do the levels that end with it.
        loop {
            if depth == 0 {
                return Ok(at);
            }
            let object = objects & 1 == 1;
            let open;
            (at, open) = more(bytes, at, if object { b'}' } else { b']' })?;
            if open {
                at = if object { key(bytes, at)?.1 } else { at };
                break;
            }
            depth -= 1;
            objects >>= 1;
        }
    }
}
