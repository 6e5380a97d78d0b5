//! Headers against the specification's vectors and against another JSON reader.
//!
//! Random headers come from a seeded generator, so a failure repeats. Nothing may panic, whatever
//! the bytes.

use serde_json::{Map, Value, json};

use super::*;
use crate::codes::{Language, request};
use crate::frame::{Codec, Frame};
use crate::reply::Request;

fn json_header(text: &str) -> Result<Header<'_>, HeaderError> {
    Header::parse(Codec::Json, text.as_bytes(), Box::leak(Box::default()))
}

/// Seeded, so that a failure repeats.
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn text(&mut self, most: u64) -> String {
        let len = self.below(most);
        (0..len).map(|_| self.character()).collect()
    }

    fn character(&mut self) -> char {
        match self.below(12) {
            0 => '\u{1}',
            1 => '\u{2}',
            2 => '"',
            3 => '\\',
            4 => char::from_u32(self.below(32) as u32).unwrap(),
            5 => char::from_u32(0x4E00 + self.below(0x1000) as u32).unwrap(),
            6 => char::from_u32(0x1_F600 + self.below(64) as u32).unwrap(),
            _ => char::from(b'a' + self.below(26) as u8),
        }
    }

    /// Some whitespace, or none.
    fn space(&mut self) -> &'static str {
        ["", "", "", "", " ", "\n", "\t ", "\r\n"][self.below(8) as usize]
    }

    /// A string of JSON that means `text`, with more escapes than needed.
    fn quoted(&mut self, text: &str) -> String {
        let mut out = String::from('"');
        for c in text.chars() {
            let plain = c != '"' && c != '\\' && c >= ' ';
            match self.below(3) {
                0 | 1 if plain => out.push(c),
                _ if c == '\n' => out.push_str("\\n"),
                _ if c == '/' => out.push_str("\\/"),
                _ if c == '"' || c == '\\' => out.extend(['\\', c]),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        out.push('"');
        out
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.next() as i64),
            3 => json!(self.text(5)),
            4 => json!(self.below(1000) as f64 / 8.0),
            5 => (0..self.below(3)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let count = self.below(3);
                Value::Object((0..count).map(|_| (self.text(4), self.value(depth - 1))).collect())
            }
        }
    }

    fn print(&mut self, value: &Value) -> String {
        match value {
            Value::String(text) => self.quoted(text),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.print(item)).collect();
                format!("[{}{}]", self.space(), items.join(self.space_comma()))
            }
            Value::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| {
                        let (a, b, c) = (self.space(), self.space(), self.space());
                        format!("{a}{}{b}:{c}{}", self.quoted(key), self.print(value))
                    })
                    .collect();
                format!("{{{}{}}}", members.join(self.space_comma()), self.space())
            }
            other => other.to_string(),
        }
    }

    fn space_comma(&mut self) -> &'static str {
        [",", ",", " , ", ",\n"][self.below(4) as usize]
    }

    fn header(&mut self) -> Value {
        let mut members = Map::new();
        for name in ["code", "opaque", "version", "flag"] {
            if self.below(8) > 0 {
                members.insert(name.into(), json!(self.next() as i32));
            }
        }
        if self.below(4) > 0 {
            let languages = ["JAVA", "CPP", "GO", "RUST", "COBOL"];
            members.insert("language".into(), json!(languages[self.below(5) as usize]));
        }
        if self.below(3) > 0 {
            members.insert("remark".into(), json!(self.text(20)));
        }
        let mut ext = Map::new();
        for _ in 0..self.below(20) {
            let value = if self.below(4) > 0 { json!(self.text(40)) } else { self.value(0) };
            ext.insert(self.text(10), value);
        }
        if self.below(8) > 0 {
            members.insert("extFields".into(), Value::Object(ext));
        }
        for _ in 0..self.below(3) {
            members.insert(format!("x{}", self.text(6)), self.value(4));
        }
        Value::Object(members)
    }
}

/// What RocketMQ makes of a custom field's value.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[test]
fn generated_headers_read_as_another_reader_reads_them() {
    let mut random = XorShift(0x9E37_79B9_7F4A_7C15);
    for round in 0..3_000 {
        let value = random.header();
        let text = random.print(&value);
        let other: Value = serde_json::from_str(&text).unwrap();
        let header = json_header(&text).unwrap_or_else(|e| panic!("{round}: {e}: {text}"));
        let int = |name: &str| other[name].as_i64().unwrap_or(0) as i32;
        assert_eq!(header.code, int("code"), "{text}");
        assert_eq!(header.opaque, int("opaque"), "{text}");
        assert_eq!(header.version, int("version"), "{text}");
        assert_eq!(header.flag, int("flag"), "{text}");
        let language = other["language"].as_str().unwrap_or_default();
        assert_eq!(header.language, Language::from_name(language));
        assert_eq!(header.remark.to_cow(), other["remark"].as_str().unwrap_or_default());
        let empty = Map::new();
        let ext = other["extFields"].as_object().unwrap_or(&empty);
        let expect: Vec<_> =
            ext.iter().filter_map(|(key, value)| Some((key.clone(), as_text(value)?))).collect();
        let mut found: Vec<_> =
            header.ext.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        found.sort();
        assert_eq!(found, expect, "{text}");
        for (key, value) in &expect {
            let text = header.ext.get(key).unwrap();
            assert!(text.eq_str(value) && text.unescaped_len() == value.len(), "{key}");
        }
        let prefix = random.below(text.len() as u64) as usize;
        let cut = Header::parse(Codec::Json, &text.as_bytes()[..prefix], Box::leak(Box::default()));
        assert!(cut.is_err(), "a header cut at {prefix} must not read: {text}");
    }
}

#[test]
fn a_changed_byte_never_panics_and_reads_as_the_other_reader_says() {
    let mut random = XorShift(42);
    for _ in 0..3_000 {
        let value = random.header();
        let mut bytes = random.print(&value).into_bytes();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] = random.next() as u8;
        let ours = Header::parse(Codec::Json, &bytes, Box::leak(Box::default()));
        let other = serde_json::from_slice::<Value>(&bytes);
        // We take control characters in strings, as Fastjson does; and ints only where it does.
        let control = bytes.iter().any(|byte| *byte < b' ');
        match (ours, other) {
            (Err(error), Ok(_)) => {
                assert!(matches!(error, HeaderError::Number { .. } | HeaderError::Syntax { .. }));
            }
            (Ok(_), Err(error)) if !control => {
                // Numbers too large for a float are the only other thing it refuses.
                let text = error.to_string();
                assert!(text.contains("number out of range"), "{text}: {}", bytes.escape_ascii());
            }
            _ => {}
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = XorShift(7);
    let alphabet = b"{}[]\":,\\u0123456789ntf eE+-.\x01\x80\xff";
    for _ in 0..20_000 {
        let len = random.below(64) as usize;
        let pick = |r: &mut XorShift| alphabet[r.below(alphabet.len() as u64) as usize];
        let bytes: Vec<u8> = (0..len).map(|_| pick(&mut random)).collect();
        let _ = Header::parse(Codec::Json, &bytes, Box::leak(Box::default()));
        let bytes: Vec<u8> = (0..len).map(|_| random.below(9) as u8).collect();
        let _ = Header::parse(Codec::Binary, &bytes, Box::leak(Box::default()));
    }
}

#[test]
fn quirks_of_stock_clients_are_read() {
    // ali-ons: numbers and booleans without quotes; the C++ client: a line end, an empty remark.
    let text = "{\"code\":310,\"extFields\":{\"d\":4,\"g\":1700000000000,\"k\":false,\"x\":null,\
                \"j\":\"\",\"e\":-1},\"remark\":\"\",\"language\":\"CPP\",\"flag\":2,\
                \"opaque\":-5,\"more\":{\"a\":[1,{\"b\":\"}\\\"\"}],\"c\":{}}}\n";
    let header = json_header(text).unwrap();
    assert_eq!((header.code, header.opaque, header.flag), (310, -5, 2));
    assert!(header.is_oneway() && !header.is_response());
    assert_eq!(header.language, Language::Cpp);
    assert!(header.remark.is_empty());
    assert_eq!(header.required_i32("d"), Ok(4));
    assert_eq!(header.required_i64("g"), Ok(1_700_000_000_000));
    assert_eq!(header.optional_i32("e"), Ok(Some(-1)));
    assert!(!header.flag_or("k", true) && header.flag_or("none", true));
    assert!(header.ext.get("x").is_none());
    assert_eq!(header.ext.get("j").map(|text| text.is_empty()), Some(true));
    assert_eq!(header.ext.len(), 5);
}

#[test]
fn missing_and_null_members_have_javas_defaults() {
    let header = json_header(r#"{"code":null,"extFields":null,"remark":null,"language":null}"#);
    let header = header.unwrap();
    assert_eq!((header.code, header.version, header.language), (0, 0, Language::Other));
    assert!(header.remark.is_empty() && header.ext.is_empty());
    assert!(json_header("{}").is_ok() && json_header(" { } ").is_ok());
    assert_eq!(json_header(r#"{"code":"105"}"#).unwrap().code, 105);
}

#[test]
fn of_a_field_sent_twice_the_last_counts() {
    let header = json_header(r#"{"extFields":{"a":"1","\u0061":"2","b":"3","b":null}}"#).unwrap();
    assert_eq!(header.required_i32("a"), Ok(2));
    assert!(header.ext.get("b").is_none());
    let mut last = None;
    header.ext.each(|key, text| {
        assert_eq!(key, b"a");
        last = text.parse_i32();
    });
    assert_eq!(last, Some(2));
}

#[test]
fn what_is_wrong_with_a_header_is_said() {
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(17), "]".repeat(17));
    let many: Vec<_> = (0..65).map(|at| format!("\"k{at}\":1")).collect();
    let many = format!("{{\"extFields\":{{{}}}}}", many.join(","));
    for (text, expect) in [
        ("", "the header ends too early"),
        ("{\"code\":1", "the header ends too early"),
        ("{\"code", "the header ends too early"),
        ("[]", "the header is not JSON at byte 0"),
        ("{\"code\":1,}", "the header is not JSON at byte 10"),
        ("{\"code\":1}x", "the header is not JSON at byte 10"),
        ("{\"code\":01}", "the header is not JSON at byte 9"),
        ("{\"a\":\"\\x\"}", "the header has no escape sequence of JSON at byte 6"),
        ("{\"a\":\"\\uD800\"}", "the header has no escape sequence of JSON at byte 6"),
        ("{\"code\":1.5}", "the header's code is not an int"),
        ("{\"flag\":true}", "the header's flag is not an int"),
        ("{\"opaque\":2147483648}", "the header's opaque is not an int"),
        (&deep, "the header nests deeper than the limit of 16"),
        (&many, "the header has more custom fields than the limit of 64"),
        (&many.replace(":1", ":null"), "the header has more custom fields than the limit of 64"),
    ] {
        assert_eq!(json_header(text).unwrap_err().to_string(), expect, "{text}");
    }
    let error =
        Header::parse(Codec::Json, b"{\"a\":\"\xff\"}", Box::leak(Box::default())).unwrap_err();
    assert_eq!(error.to_string(), "the header is not UTF-8");
    assert!(json_header(&deep.replacen('[', "", 1).replacen(']', "", 1)).is_ok());
}

#[test]
fn missing_fields_are_named_as_rocketmq_names_them() {
    let header = json_header(r#"{"extFields":{"queueId":"one","topic":"T"}}"#).unwrap();
    let missing = header.required("consumerGroup").unwrap_err();
    assert_eq!(missing.to_string(), "the custom field <consumerGroup> is null");
    let number = header.required_i32("queueId").unwrap_err();
    assert_eq!(number.to_string(), "the custom field <queueId> is not a number");
    assert_eq!(header.optional_i64("queueId"), Err(number));
    assert_eq!(header.optional("none"), Text::EMPTY);
    assert_eq!(FieldError::body("TopicConfig").to_string(), "the body is not a TopicConfig");
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[test]
fn the_binary_frame_of_the_specification_is_read() {
    let bytes = hex("00000025 01000021 0069 00 01DF 00000001 00000000 00000000 0000000C \
                     0005 746F706963 00000001 54");
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!((frame.codec, frame.body.len()), (Codec::Binary, 0));
    let header = Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
    assert_eq!(header.code, request::GET_ROUTEINFO_BY_TOPIC);
    assert_eq!((header.language, header.version, header.opaque), (Language::Java, 479, 1));
    assert!(header.remark.is_empty() && !header.is_response());
    assert_eq!(header.required("topic").unwrap(), "T");
    for len in 0..frame.header.len() {
        assert!(
            Header::parse(frame.codec, &frame.header[..len], Box::leak(Box::default())).is_err(),
            "cut at {len}"
        );
    }
}

#[test]
fn binary_headers_read_back_as_written() {
    let mut random = XorShift(3);
    for _ in 0..2_000 {
        let code = random.next() as i16;
        let opaque = random.next() as i32;
        let remark = random.text(30);
        let fields: Vec<_> = (0..random.below(20))
            .map(|at| (format!("{at}{}", random.text(5)), format!("v{}", random.text(30))))
            .collect();
        let mut out = Vec::new();
        let mut request = Request::new(&mut out, Codec::Binary, code.into(), opaque, true);
        for (key, value) in &fields {
            request = request.ext_str(key, value);
        }
        request.remark(&remark).finish_with(b"body");
        let frame = Frame::parse(&out).unwrap();
        assert_eq!((frame.codec, frame.body), (Codec::Binary, &b"body"[..]));
        let header = Header::parse(frame.codec, frame.header, Box::leak(Box::default())).unwrap();
        assert_eq!((header.code, header.opaque), (code.into(), opaque));
        assert!(header.is_oneway());
        assert_eq!(header.remark.to_cow(), remark);
        let found: Vec<_> =
            header.ext.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(found, fields);
        for len in 0..frame.header.len() {
            assert!(
                Header::parse(frame.codec, &frame.header[..len], Box::leak(Box::default()))
                    .is_err(),
                "cut at {len}"
            );
        }
        let mut changed = frame.header.to_vec();
        let at = random.below(changed.len() as u64) as usize;
        changed[at] = random.next() as u8;
        let _ = Header::parse(Codec::Binary, &changed, Box::leak(Box::default()));
    }
}

#[test]
fn empty_binary_text_counts_as_absent() {
    let bytes = hex("0069 00 01DF 00000001 00000000 00000000 0000000B 0005 746F706963 00000000");
    let header = Header::parse(Codec::Binary, &bytes, Box::leak(Box::default())).unwrap();
    assert!(header.ext.is_empty());
    let mut wrong = bytes.clone();
    wrong[17 + 3] = 0x0C;
    let error = Header::parse(Codec::Binary, &wrong, Box::leak(Box::default())).unwrap_err();
    assert_eq!(error.to_string(), "a length of 12 in the header does not fit the 11 bytes left");
    wrong[13] = 0xFF;
    assert!(matches!(
        Header::parse(Codec::Binary, &wrong, Box::leak(Box::default())),
        Err(HeaderError::Length { .. })
    ));
}
