//! JSON as Fastjson writes it: what RocketMQ's bodies are made of.
//!
//! Written: no spaces, null members left out, and **keys of maps that are numbers or objects are
//! not quoted** (`{0:"a"}`, `{{"queueId":0}:1}`): stock clients read no other form. Read: that
//! and standard JSON. Nothing here is on the path of a message.

mod lenient;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::header::FieldError;
use crate::reply::escape;

/// Deepest nesting of a body that is read.
pub const BODY_DEPTH_MAX: usize = 64;
/// Longest body of a request about one client, topic or group. What it is read into can be many
/// times larger, so a frame's own limit does not do.
pub const BODY_MAX: usize = 1024 * 1024;

/// How keys that are numbers are written, and text that is not ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Fastjson's default: `{0:"…"}`, text as it is. Every body but the route for new clients.
    Fastjson,
    /// Standard JSON: `{"0":"…"}`, text that is not ASCII as `\uXXXX`.
    Standard,
}

/// Appends a string in quotes.
pub fn text(out: &mut Vec<u8>, dialect: Dialect, value: &str) {
    out.push(b'"');
    if dialect == Dialect::Fastjson || value.is_ascii() {
        escape(out, value.as_bytes());
    } else {
        for character in value.chars() {
            if character.is_ascii() {
                escape(out, &[character as u8]);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Appends a number.
pub fn int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a number with a fraction as Java prints it: always with a point; 0.0 for none.
pub fn float(out: &mut Vec<u8>, value: f64) {
    let value = if value.is_finite() { value } else { 0.0 };
    out.extend_from_slice(format!("{value:?}").as_bytes());
}

/// Appends items with commas between them, in brackets.
pub fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut item: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (at, value) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item(out, value);
    }
    out.push(b']');
}

/// An object under way in a body. Members stand in the order they are written.
#[derive(Debug)]
#[must_use = "close it"]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    dialect: Dialect,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Begins an object at the end of `out`.
    pub fn open(out: &'o mut Vec<u8>, dialect: Dialect) -> Object<'o> {
        out.push(b'{');
        Object { out, dialect, empty: true }
    }

    fn next(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    /// Begins a member; the caller appends its value to what this returns.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.next();
        text(self.out, self.dialect, key);
        self.out.push(b':');
        self.out
    }

    /// Begins a member whose key is a number, quoted only in standard JSON.
    pub fn int_key(&mut self, key: i64) -> &mut Vec<u8> {
        self.next();
        let quote: &[u8] = if self.dialect == Dialect::Standard { b"\"" } else { b"" };
        self.out.extend_from_slice(quote);
        int(self.out, key);
        self.out.extend_from_slice(quote);
        self.out.push(b':');
        self.out
    }

    /// Begins a member whose key is an object, which `key` appends.
    pub fn object_key(&mut self, key: impl FnOnce(&mut Vec<u8>)) -> &mut Vec<u8> {
        self.next();
        key(self.out);
        self.out.push(b':');
        self.out
    }

    /// Adds a member that is text.
    pub fn text(&mut self, key: &str, value: &str) {
        let dialect = self.dialect;
        text(self.key(key), dialect, value);
    }

    /// Adds a member that is a number.
    pub fn int(&mut self, key: &str, value: i64) {
        int(self.key(key), value);
    }

    /// Adds a member that is a number with a fraction.
    pub fn float(&mut self, key: &str, value: f64) {
        float(self.key(key), value);
    }

    /// Adds a member that is true or false.
    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Adds a member that is an object, which `members` fills.
    pub fn object(&mut self, key: &str, members: impl FnOnce(&mut Object<'_>)) {
        let dialect = self.dialect;
        let mut inner = Object::open(self.key(key), dialect);
        members(&mut inner);
        inner.close();
    }

    /// Ends the object.
    pub fn close(self) {
        self.out.push(b'}');
    }
}

/// Reads a body of at most [`BODY_MAX`] bytes; else as [`read_table`].
pub fn read<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, FieldError> {
    if body.len() > BODY_MAX {
        return Err(FieldError::too_long(what));
    }
    read_table(body, what)
}

/// Reads a body, standard JSON or Fastjson's, of any length: an answer, or a table that another
/// broker sends. As in Java, members that are null count as missing,
/// unknown ones are ignored, and numbers may stand in quotes (the C++ client's do). `what` names
/// the body in the error.
pub fn read_table<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, FieldError> {
    let wrong = FieldError::body(what);
    let standard = standard(body).ok_or(wrong)?;
    let value: Value = serde_json::from_slice(&standard).map_err(|_| wrong)?;
    T::deserialize(lenient::Lenient(value)).map_err(|_| wrong)
}

/// Appends `value` as standard JSON: for bodies without unquoted keys.
pub fn write<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Only a map with keys that are no text leads here, and no body of ours has one.
        debug_assert!(false, "a body that serializes");
        out.truncate(start);
    }
}

/// The body with every key quoted: borrowed when it is so already. `None` when it nests deeper
/// than [`BODY_DEPTH_MAX`] or ends too early.
pub fn standard(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut rewriter = Rewriter { body, at: 0, copied: 0, out: Vec::new(), open: Vec::new() };
    rewriter.run()?;
    if rewriter.out.is_empty() {
        return Some(Cow::Borrowed(body));
    }
    let rest = body.get(rewriter.copied..)?;
    rewriter.out.extend_from_slice(rest);
    Some(Cow::Owned(rewriter.out))
}

/// Walks through a body once and quotes the keys that are not.
struct Rewriter<'a> {
    body: &'a [u8],
    at: usize,
    /// Up to here `out` has the body; nothing while no key was changed.
    copied: usize,
    out: Vec<u8>,
    /// Opening brackets not closed yet.
    open: Vec<u8>,
}

impl Rewriter<'_> {
    fn run(&mut self) -> Option<()> {
        while let Some(&byte) = self.body.get(self.at) {
            match byte {
                b'"' => self.at = string_end(self.body, self.at)?,
                b'{' | b'[' => {
                    if self.open.len() == BODY_DEPTH_MAX {
                        return None;
                    }
                    self.open.push(byte);
                    self.at += 1;
                    self.key()?;
                }
                b'}' | b']' => {
                    self.open.pop()?;
                    self.at += 1;
                }
                b',' => {
                    self.at += 1;
                    self.key()?;
                }
                _ => self.at += 1,
            }
        }
        self.open.is_empty().then_some(())
    }

    /// At a place where an object's key may be: quotes it unless it is.
    fn key(&mut self) -> Option<()> {
        if self.open.last() != Some(&b'{') {
            return Some(());
        }
        while self.body.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        let start = self.at;
        let end = match self.body.get(start)? {
            b'"' | b'}' | b',' => return Some(()),
            b'{' | b'[' => nested_end(self.body, start)?,
            _ => start + self.body.get(start..)?.iter().position(|byte| *byte == b':')?,
        };
        self.out.extend_from_slice(self.body.get(self.copied..start)?);
        self.out.push(b'"');
        escape(&mut self.out, self.body.get(start..end)?.trim_ascii_end());
        self.out.push(b'"');
        (self.at, self.copied) = (end, end);
        Some(())
    }
}

/// Where the string that opens at `at` ends, behind its closing quote.
fn string_end(body: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at = crate::swar::quote_or_backslash(body, at)?;
        if body.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where the object or array that opens at `at` ends, behind its closing bracket.
fn nested_end(body: &[u8], at: usize) -> Option<usize> {
    let (mut at, mut depth) = (at, 0usize);
    loop {
        match body.get(at)? {
            b'"' => {
                at = string_end(body, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_without_spaces_and_with_bare_keys() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out, Dialect::Fastjson);
        object.text("a\"", "é\n");
        object.int("n", -1);
        object.float("f", 0.0);
        object.bool("b", true);
        object.int_key(0).extend_from_slice(b"1");
        object.object_key(|out| out.extend_from_slice(b"{\"queueId\":0}")).push(b'2');
        object.object("o", |inner| inner.int("x", 1));
        list(object.key("l"), [1, 2], int);
        object.close();
        let expect =
            r#"{"a\"":"é\n","n":-1,"f":0.0,"b":true,0:1,{"queueId":0}:2,"o":{"x":1},"l":[1,2]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn the_standard_dialect_quotes_numbers_and_escapes_what_is_not_ascii() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out, Dialect::Standard);
        text(object.int_key(7), Dialect::Standard, "é😀");
        object.close();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"7":"\u00E9\uD83D\uDE00"}"#);
    }

    #[test]
    fn numbers_with_a_fraction_look_like_javas() {
        for (value, expect) in [(0.0, "0.0"), (1.5, "1.5"), (f64::NAN, "0.0"), (20.0, "20.0")] {
            let mut out = Vec::new();
            float(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn bare_keys_are_quoted_and_all_else_is_left_alone() {
        for (body, expect) in [
            (r#"{0:"a:1",-1:{2:[{3:4}]}}"#, r#"{"0":"a:1","-1":{"2":[{"3":4}]}}"#),
            (r#"{{"q":"}\"","n":[1]}:5,"x":6}"#, r#"{"{\"q\":\"}\\\"\",\"n\":[1]}":5,"x":6}"#),
            (r#"{ "a" : 1 , 7 :[1,2]}"#, r#"{ "a" : 1 , "7":[1,2]}"#),
            ("{}", "{}"),
            ("[1,2]", "[1,2]"),
        ] {
            let read = standard(body.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&read), expect, "{body}");
            assert!(serde_json::from_slice::<Value>(&read).is_ok(), "{body}");
        }
        assert!(matches!(standard(b"{\"a\":{\"0\":1}}"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn bodies_that_end_early_or_nest_too_deep_are_refused() {
        let deep = "[".repeat(BODY_DEPTH_MAX + 1);
        for body in ["{", "{0", "{{", "{{\"a", "\"a\\", "}", deep.as_str()] {
            assert_eq!(standard(body.as_bytes()), None, "{body}");
        }
        let whole = br#"{{"a":1}:[{"b":"c\\"}],2:3}"#;
        for end in 0..whole.len() {
            assert!(read::<Value>(&whole[..end], "body").is_err(), "{end}");
        }
    }

    #[test]
    fn members_are_read_as_java_reads_them() {
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        struct Body {
            number: i64,
            small: i32,
            yes: bool,
            text: String,
            list: Vec<i32>,
            map: std::collections::BTreeMap<i64, String>,
            maybe: Option<i32>,
        }
        let full = Body {
            number: -7,
            small: 3,
            yes: true,
            text: "12".into(),
            list: vec![1, 2],
            map: [(5, "x".into())].into(),
            maybe: Some(4),
        };
        for body in [
            r#"{"number":-7,"small":3,"yes":true,"text":"12","list":[1,2],
                "map":{5:"x"},"maybe":4}"#,
            r#"{"number":"-7","small":"3","yes":"true","text":12,"list":["1",null,2],
                "map":{"5":"x","6":null},"maybe":"4","more":{"a":[]}}"#,
        ] {
            assert_eq!(read::<Body>(body.as_bytes(), "body"), Ok(full.clone()), "{body}");
        }
        let nulls = r#"{"number":null,"yes":null,"text":null,"list":null,"map":null,"maybe":null}"#;
        assert_eq!(read::<Body>(nulls.as_bytes(), "body"), Ok(Body::default()));
        for body in [r#"{"number":"x"}"#, r#"{"small":3000000000}"#, r#"{"list":{}}"#, "[]", "1"] {
            let error = read::<Body>(body.as_bytes(), "body").unwrap_err();
            assert_eq!(error.to_string(), "the body is not a body", "{body}");
        }
        let long = format!("{{}}{}", " ".repeat(BODY_MAX));
        let error = read::<Body>(long.as_bytes(), "body").unwrap_err();
        assert_eq!(error.to_string(), "the body, a body, is over the limit of 1048576 bytes");
        assert_eq!(read_table::<Body>(long.as_bytes(), "body"), Ok(Body::default()));
    }
}
