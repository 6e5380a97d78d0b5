//! The JSON header, read in one pass over its bytes.
//!
//! Lenient where RocketMQ's clients need it: any order of members, unknown ones, spaces and line
//! ends, custom fields that are numbers, booleans or null, control characters inside strings.
//! Strict where leniency would guess: half an escape, half a number, bytes after the object.
//! It never recurses without a bound and never decodes text.

use super::ext::Span;
use super::{EXT_FIELDS_MAX, EXT_KEY_MAX, Header, HeaderError, escape};
use crate::codes::Language;
use crate::swar;

/// Deepest nesting of objects and arrays inside members that are skipped.
pub const DEPTH_MAX: usize = 16;

/// Longest name of a member or a language that is decoded.
const NAME_MAX: usize = 32;

/// Reads `bytes` into `header`.
pub(super) fn parse<'a>(bytes: &'a [u8], header: &mut Header<'a>) -> Result<(), HeaderError> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(HeaderError::NotUtf8);
    }
    let mut cursor = Cursor { bytes, at: 0 };
    cursor.take(b'{')?;
    if !cursor.taken(b'}') {
        loop {
            let key = cursor.key()?;
            member(&mut cursor, header, key)?;
            if !cursor.more(b'}')? {
                break;
            }
        }
    }
    cursor.skip_space();
    if cursor.at == bytes.len() { Ok(()) } else { Err(cursor.syntax()) }
}

#[inline]
fn member<'a>(
    cursor: &mut Cursor<'a>,
    header: &mut Header<'a>,
    key: Span,
) -> Result<(), HeaderError> {
    let mut buf = [0; NAME_MAX];
    match cursor.name(key, &mut buf) {
        b"code" => header.code = cursor.int("code")?,
        b"opaque" => header.opaque = cursor.int("opaque")?,
        b"version" => header.version = cursor.int("version")?,
        b"flag" => header.flag = cursor.int("flag")?,
        b"extFields" => ext_fields(cursor, header)?,
        b"language" => {
            if let Value::Text(name) = cursor.value()? {
                let name = std::str::from_utf8(cursor.name(name, &mut buf)).unwrap_or_default();
                header.language = Language::from_name(name);
            }
        }
        b"remark" => {
            if let Value::Text(span) | Value::Bare(span) = cursor.value()? {
                header.remark = header.ext.text(span);
            }
        }
        _ => {
            cursor.value()?;
        }
    }
    Ok(())
}

fn ext_fields<'a>(cursor: &mut Cursor<'a>, header: &mut Header<'a>) -> Result<(), HeaderError> {
    if cursor.next_is(b'n') {
        return cursor.value().map(|_| ());
    }
    cursor.take(b'{')?;
    if cursor.taken(b'}') {
        return Ok(());
    }
    loop {
        let key = cursor.key()?;
        if key.len as usize > EXT_KEY_MAX {
            return Err(HeaderError::Fields { limit: EXT_FIELDS_MAX });
        }
        match cursor.value()? {
            Value::Text(value) | Value::Bare(value) => {
                let limit = HeaderError::Fields { limit: EXT_FIELDS_MAX };
                header.ext.push(key, value).ok_or(limit)?;
            }
            // As in Java's map: null replaces what was there, and is then left out.
            Value::Null => header.ext.remove(key),
        }
        if !cursor.more(b'}')? {
            return Ok(());
        }
    }
}

/// A member's value.
enum Value {
    /// The inside of a string.
    Text(Span),
    /// A number, a boolean, an object or an array, as written.
    Bare(Span),
    Null,
}

/// A place in the header. Positions fit `u32`: a header's length has 24 bits, and longer input
/// cannot be a frame's.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[cold]
    fn syntax(&self) -> HeaderError {
        if self.at < self.bytes.len() {
            HeaderError::Syntax { at: self.at }
        } else {
            HeaderError::Cut
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips spaces and takes `byte`.
    #[inline]
    fn take(&mut self, byte: u8) -> Result<(), HeaderError> {
        if self.taken(byte) { Ok(()) } else { Err(self.syntax()) }
    }

    /// Skips spaces; takes `byte` if it is next.
    #[inline]
    fn taken(&mut self, byte: u8) -> bool {
        let next = self.next_is(byte);
        self.at += usize::from(next);
        next
    }

    #[inline]
    fn next_is(&mut self, byte: u8) -> bool {
        if self.peek() == Some(byte) {
            return true;
        }
        self.skip_space();
        self.peek() == Some(byte)
    }

    /// After a member: true when a comma says that more follow, false at `end`.
    #[inline]
    fn more(&mut self, end: u8) -> Result<bool, HeaderError> {
        if self.taken(b',') {
            return Ok(true);
        }
        self.take(end)?;
        Ok(false)
    }

    /// A member's name and the colon.
    #[inline]
    fn key(&mut self) -> Result<Span, HeaderError> {
        self.take(b'"')?;
        let key = self.string()?;
        self.take(b':')?;
        Ok(key)
    }

    #[inline]
    fn slice(&self, span: Span) -> &'a [u8] {
        let at = span.at as usize;
        self.bytes.get(at..at + span.len as usize).unwrap_or(&[])
    }

    /// What a name means; `buf` is for one that somebody wrote with escape sequences. Longer
    /// ones are none of ours.
    #[inline]
    fn name<'b>(&self, span: Span, buf: &'b mut [u8; NAME_MAX]) -> &'b [u8]
    where
        'a: 'b,
    {
        if span.len == span.plain_len {
            return self.slice(span);
        }
        let text = super::Text::checked(self.slice(span), span.plain_len as usize);
        match buf.get_mut(..text.unescaped_len()) {
            Some(name) => {
                text.copy_unescaped(name);
                name
            }
            None => &[],
        }
    }

    /// The inside of a string whose opening quote was taken; takes the closing one.
    #[inline]
    fn string(&mut self) -> Result<Span, HeaderError> {
        let start = self.at;
        let mut at = start;
        let mut saved = 0;
        loop {
            at = swar::quote_or_backslash(self.bytes, at).ok_or(HeaderError::Cut)?;
            if self.bytes.get(at) == Some(&b'"') {
                break;
            }
            let rest = self.bytes.get(at..).unwrap_or(&[]);
            let (character, len) = escape(rest).ok_or(HeaderError::Escape { at })?;
            saved += len - character.len_utf8();
            at += len;
        }
        self.at = at + 1;
        let len = at - start;
        Ok(Span { at: start as u32, len: len as u32, plain_len: (len - saved) as u32 })
    }

    /// Any value.
    #[inline]
    fn value(&mut self) -> Result<Value, HeaderError> {
        if self.taken(b'"') {
            return self.string().map(Value::Text);
        }
        let start = self.at;
        match self.peek() {
            Some(b'n') => {
                self.word(b"null")?;
                return Ok(Value::Null);
            }
            Some(b'{' | b'[') => self.nested()?,
            _ => self.scalar()?,
        }
        let len = (self.at - start) as u32;
        Ok(Value::Bare(Span { at: start as u32, len, plain_len: len }))
    }

    /// A number or a boolean.
    fn scalar(&mut self) -> Result<(), HeaderError> {
        match self.peek() {
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), HeaderError> {
        for &byte in word {
            if self.peek() != Some(byte) {
                return Err(self.syntax());
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), HeaderError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), HeaderError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax()) } else { Ok(()) }
    }

    /// An `int`, also one in quotes; null counts as 0, as it does for Java's `int`.
    #[inline]
    fn int(&mut self, member: &'static str) -> Result<i32, HeaderError> {
        let span = match self.value()? {
            Value::Text(span) | Value::Bare(span) => span,
            Value::Null => return Ok(0),
        };
        let text = super::Text::checked(self.slice(span), span.plain_len as usize);
        text.parse_i32().ok_or(HeaderError::Number { member })
    }

    /// Skips an object or an array without recursion: `open` holds one bit for each level.
    fn nested(&mut self) -> Result<(), HeaderError> {
        let mut depth = 0usize;
        let mut objects = 0u32;
        loop {
            // A value is next.
            let object = self.next_is(b'{');
            if object || self.next_is(b'[') {
                if depth == DEPTH_MAX {
                    return Err(HeaderError::Depth { limit: DEPTH_MAX });
                }
                self.at += 1;
                depth += 1;
                objects = objects << 1 | u32::from(object);
                if !self.taken(if object { b'}' } else { b']' }) {
                    if object {
                        self.key()?;
                    }
                    continue;
                }
                depth -= 1;
                objects >>= 1;
            } else if self.taken(b'"') {
                self.string()?;
            } else if self.next_is(b'n') {
                self.word(b"null")?;
            } else {
                self.scalar()?;
            }
            // A value has ended: so do the levels that end with it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let object = objects & 1 == 1;
                if self.more(if object { b'}' } else { b']' })? {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }
}
