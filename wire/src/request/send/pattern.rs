//! A send's JSON header, read by what it shares with the one before it on the same way.
//!
//! A producer writes the same header for each message but for the topic, the queue, its clock, the
//! properties and the `opaque`. So a header that was read field by field is kept as the text around
//! those five holes, and the next one is compared with it piece by piece; only the holes are read.
//! What is in the properties is written out plain on the way, since the message is stored so.
//! Invariant: what is met reads as the reader of fields would have read it; what would not, or
//! might not, is not met, and read field by field. It never allocates.

use super::{LONG, SHORT, SendHeader, is_long};
use crate::header::{Ext, Header, Text};
use crate::swar;

/// Longest text around the holes that is kept; Java's has about 200 bytes.
const TEXT_MAX: usize = 512;
/// Longest header that is compared, so that the room for its properties stays small.
const HEADER_MAX: usize = 1 << 16;
/// Pieces of text: before, between and behind the holes.
const PIECES: usize = HOLES + 1;
const HOLES: usize = 5;
/// Sends that are not met until another one is learnt. A way on which no two are alike (Go's client
/// writes fields in any order) pays for one of so many.
const PAUSE: u32 = 16;

/// What differs from one send to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    Topic,
    QueueId,
    BornTimestamp,
    Properties,
    Opaque,
}

/// The holes that are custom fields, by the field's number in [`SHORT`] and [`LONG`].
const FIELDS: [(usize, Hole); HOLES - 1] =
    [(1, Hole::Topic), (4, Hole::QueueId), (6, Hole::BornTimestamp), (8, Hole::Properties)];

/// A text field that stays the same: in which piece, where there, and how long.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    piece: usize,
    at: usize,
    len: usize,
}

/// The header of the last send, with holes.
#[derive(Clone, Debug)]
pub struct SendPattern {
    /// The pieces, one behind the other.
    text: [u8; TEXT_MAX],
    /// Where each piece ends in `text`; all 0: nothing is known.
    ends: [usize; PIECES],
    /// Sends until one is learnt again.
    pause: u32,
    /// The holes in the order they come.
    holes: [Hole; HOLES],
    /// What the pieces say of the header, without custom fields.
    header: Header<'static>,
    /// What the pieces say of the send, without texts.
    send: SendHeader<'static>,
    /// Its producer group, default topic and broker name.
    parts: [Part; 3],
}

impl Default for SendPattern {
    fn default() -> SendPattern {
        SendPattern {
            text: [0; TEXT_MAX],
            ends: [0; PIECES],
            pause: 0,
            holes: [Hole::Topic; HOLES],
            header: Header::EMPTY,
            send: SendHeader::default(),
            parts: [Part::default(); 3],
        }
    }
}

impl SendPattern {
    /// Reads the header `bytes` if it is as the last one learnt but for its holes. The properties
    /// are written plain to the front of `plain`, which is made as long as that needs; they have
    /// `properties.unescaped_len()` bytes. The header that is given has no custom fields.
    #[inline]
    pub fn meet<'a>(
        &self,
        bytes: &'a [u8],
        plain: &mut Vec<u8>,
    ) -> Option<(Header<'a>, SendHeader<'a>)> {
        let (mut header, mut send) = (self.header, self.send);
        let mut starts = [0; PIECES];
        let mut at = self.skip(0, bytes, 0)?;
        for (i, hole) in self.holes.iter().enumerate() {
            match hole {
                Hole::Topic => (send.topic, at) = plain_text(bytes, at)?,
                Hole::QueueId => (send.queue_id, at) = number(bytes, at)?,
                Hole::BornTimestamp => (send.born_timestamp, at) = number(bytes, at)?,
                Hole::Properties => (send.properties, at) = properties(bytes, at, plain)?,
                Hole::Opaque => (header.opaque, at) = number(bytes, at)?,
            }
            starts[i + 1] = at;
            at = self.skip(i + 1, bytes, at)?;
        }
        if at != bytes.len() {
            return None;
        }
        let text = |part: Part| {
            let from = starts[part.piece] + part.at;
            Text::plain_bytes(bytes.get(from..from + part.len).unwrap_or(&[]))
        };
        let [group, default_topic, broker_name] = self.parts;
        send.producer_group = text(group);
        send.default_topic = text(default_topic);
        send.broker_name = text(broker_name);
        Some((header, send))
    }

    /// The place behind piece `piece`, when it stands at `at`.
    #[inline]
    fn skip(&self, piece: usize, bytes: &[u8], at: usize) -> Option<usize> {
        let from = if piece == 0 { 0 } else { self.ends[piece - 1] };
        let text = self.text.get(from..self.ends[piece])?;
        (!text.is_empty() && bytes.get(at..)?.starts_with(text)).then_some(at + text.len())
    }

    /// Keeps a header that was not met, and was read as `header` and `send`, if the next one can
    /// be compared with it. `plain` is room, as for [`SendPattern::meet`].
    pub fn learn(&mut self, header: &Header<'_>, send: &SendHeader<'_>, plain: &mut Vec<u8>) {
        if self.pause > 0 {
            self.pause -= 1;
        } else if self.try_learn(header, send).is_none() || !self.reads(header, send, plain) {
            *self = SendPattern { pause: PAUSE, ..SendPattern::default() };
        } else {
            self.pause = PAUSE;
        }
    }

    fn try_learn(&mut self, header: &Header<'_>, send: &SendHeader<'_>) -> Option<()> {
        let bytes = header.ext.header_bytes();
        let names = if is_long(header.code) { &LONG } else { &SHORT };
        let mut holes = [(0, 0, Hole::Opaque); HOLES];
        holes[HOLES - 1] = header.opaque_at.map(|(at, len)| (at, len, Hole::Opaque))?;
        for (place, (field, hole)) in holes.iter_mut().zip(FIELDS) {
            let (at, value) = header.ext.only(names[field])?;
            *place = (at, value.raw().len(), hole);
        }
        holes.sort_unstable_by_key(|(at, ..)| *at);
        let (mut from, mut filled) = (0, 0);
        let mut starts = [0; PIECES];
        for (piece, start) in starts.iter_mut().enumerate() {
            let (upto, len) = holes.get(piece).map_or((bytes.len(), 0), |(at, len, _)| (*at, *len));
            let text = bytes.get(from..upto)?;
            self.text.get_mut(filled..filled + text.len())?.copy_from_slice(text);
            filled += text.len();
            (*start, self.ends[piece]) = (from, filled);
            from = upto + len;
        }
        self.holes = holes.map(|(.., hole)| hole);
        let part = |field: usize| -> Option<Part> {
            let Some((at, value)) = header.ext.only(names[field]) else {
                // A text that is not there is empty; one that is there twice is nothing for here.
                return header.ext.get(names[field]).is_none().then(Part::default);
            };
            let piece = starts.iter().rposition(|start| *start <= at)?;
            let len = value.as_plain_bytes()?.len();
            Some(Part { piece, at: at - starts[piece], len })
        };
        self.parts = [part(0)?, part(2)?, part(13)?];
        self.header = Header { ext: Ext::EMPTY, remark: Text::EMPTY, opaque_at: None, ..*header };
        self.send = SendHeader {
            producer_group: Text::EMPTY,
            topic: Text::EMPTY,
            default_topic: Text::EMPTY,
            properties: Text::EMPTY,
            broker_name: Text::EMPTY,
            ..*send
        };
        Some(())
    }

    /// Whether the header it was learnt from reads the same by comparing.
    fn reads(&self, header: &Header<'_>, send: &SendHeader<'_>, plain: &mut Vec<u8>) -> bool {
        let Some((as_header, as_send)) = self.meet(header.ext.header_bytes(), plain) else {
            return false;
        };
        let written = plain.get(..as_send.properties.unescaped_len()).unwrap_or(&[]);
        let properties = send.properties.to_cow();
        as_header.opaque == header.opaque && as_send == *send && written == properties.as_bytes()
    }
}

/// A text without escape sequences, up to the quote that ends it.
#[inline]
fn plain_text(bytes: &[u8], at: usize) -> Option<(Text<'_>, usize)> {
    let end = swar::quote_or_backslash(bytes, at)?;
    let text = bytes.get(at..end).filter(|text| text.is_ascii())?;
    (bytes.get(end) == Some(&b'"')).then_some((Text::plain_bytes(text), end))
}

/// Digits without a sign or a zero in front, as many as cannot overflow.
#[inline]
fn number<N: TryFrom<i64>>(bytes: &[u8], at: usize) -> Option<(N, usize)> {
    let mut end = at;
    let mut value = 0i64;
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        end += 1;
    }
    let digits = end - at;
    let value = N::try_from(value).ok()?;
    let zero_first = digits > 1 && bytes.get(at) == Some(&b'0');
    ((1..=18).contains(&digits) && !zero_first).then_some((value, end))
}

/// Properties as sent, up to the quote that ends them; what they mean is written to `plain`.
#[inline]
fn properties<'a>(bytes: &'a [u8], at: usize, plain: &mut Vec<u8>) -> Option<(Text<'a>, usize)> {
    if bytes.len() > HEADER_MAX {
        return None;
    }
    let room = bytes.len() + swar::WORD;
    if plain.len() < room {
        plain.resize(room, 0);
    }
    let (end, len) = swar::unescape(bytes, at, plain)?;
    Some((Text::checked(bytes.get(at..end)?, len), end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Codec;
    use crate::header::Fields;

    struct XorShift(u64);

    impl XorShift {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % limit as u64) as usize
        }

        fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
            // Mostly the first one: that is what is learnt and met.
            let at = self.below(texts.len()) * usize::from(self.below(6) == 0);
            texts[at]
        }
    }

    const JAVA: &str = concat!(
        r#"{"code":310,"extFields":{"a":"group","b":"TOPIC","c":"TBW102","d":"4","e":"QUEUE","#,
        r#""f":"0","g":"BORN","h":"0","i":"PROPERTIES","j":"0","k":"false","m":"false","#,
        r#""n":"b-0"},"flag":0,"language":"JAVA","opaque":OPAQUE,"#,
        r#""serializeTypeCurrentRPC":"JSON","version":493}"#
    );
    const LONG_NAMES: &str = concat!(
        r#"{"opaque":OPAQUE,"code":10,"extFields":{"properties":"PROPERTIES","queueId":"QUEUE","#,
        r#""bornTimestamp":"BORN","topic":"TOPIC","producerGroup":"g","defaultTopic":"d","#,
        r#""defaultTopicQueueNums":"8","sysFlag":"1","flag":"7"},"flag":2,"language":"GO"}"#
    );
    const LEAST: &str = concat!(
        r#"{"code":310,"extFields":{"a":"group","b":"TOPIC","c":"T","d":"4","e":"QUEUE","f":"0","#,
        r#""g":"BORN","h":"0","i":"PROPERTIES"},"opaque":OPAQUE}"#
    );
    /// What is changed in [`LEAST`] to make headers that are rarely or never to be met; the first
    /// makes one that is.
    const ODD: [(&str, &str); 10] = [
        (r#""e":"QUEUE""#, r#""e":QUEUE"#),
        (r#""e":"QUEUE""#, r#""e":"QUEUE","e":"5""#),
        (r#""group""#, r#""gr\u0041""#),
        (r#""opaque""#, r#""opaque":1,"opaque""#),
        ("OPAQUE", r#"OPAQUE,"remark":"r""#),
        (r#","i":"PROPERTIES""#, ""),
        (r#""a":"group","#, ""),
        (r#""PROPERTIES""#, r#""PROPERTIES","i":null"#),
        (r#""b":"#, r#""\u0062":"#),
        ("310", "11"),
    ];
    const SHAPES: usize = 3 + ODD.len();

    fn shape(number: usize) -> String {
        match number {
            0 => JAVA.to_owned(),
            1 => LONG_NAMES.to_owned(),
            2 => LEAST.to_owned(),
            odd => LEAST.replace(ODD[odd - 3].0, ODD[odd - 3].1),
        }
    }

    fn text(random: &mut XorShift, shape: &str) -> String {
        let topics = ["TopicTest", "t", "%RETRY%g", "T\\u0041", "t\u{e9}", ""];
        let queues = ["3", "0", "12", "-1", "007", "+1", "x", "4294967296"];
        let born = ["1700000000000", "0", "", "999999999999999999", "1e3"];
        let properties = [
            "KEYS\\u0001k\\u0002UNIQ_KEY\\u0001AC11000100010B8D\\u0002TAGS\\u0001TagA\\u0002",
            "TAGS\\u0001\u{8ba2}\\u8ba2\\uD83D\\uDE00\\n\\\"\\u0002",
            "",
            "TAGS\u{1}a\u{2}",
            "TAGS\\u00012\\x",
            "TAGS\\uD83D",
        ];
        let opaques = ["4711", "0", "2147483647", "2147483648", "-1", "07", "\"8\"", " 9"];
        shape
            .replace("TOPIC", random.pick(&topics))
            .replace("QUEUE", random.pick(&queues))
            .replace("BORN", random.pick(&born))
            .replace("PROPERTIES", random.pick(&properties))
            .replace("OPAQUE", random.pick(&opaques))
    }

    fn read<'a>(bytes: &'a [u8], room: &'a mut Fields) -> Option<(Header<'a>, SendHeader<'a>)> {
        let header = Header::parse(Codec::Json, bytes, room).ok()?;
        let send = SendHeader::parse(&header).ok()?;
        Some((header, send))
    }

    fn same(bytes: &[u8], met: (Header<'_>, SendHeader<'_>), plain: &[u8]) {
        let shown = bytes.escape_ascii();
        let mut room = Fields::default();
        let read = read(bytes, &mut room);
        let Some((header, send)) = read else { panic!("it reads only by comparing: {shown}") };
        assert_eq!(met.1, send, "{shown}");
        let properties = &plain[..met.1.properties.unescaped_len()];
        assert_eq!(properties, send.properties.to_cow().as_bytes(), "{shown}");
        let of = |h: &Header<'_>| (h.code, h.language, h.version, h.opaque, h.flag);
        assert_eq!(of(&met.0), of(&header), "{shown}");
        assert!(header.remark.is_empty() && met.0.remark.is_empty() && met.0.ext.is_empty());
    }

    #[test]
    fn a_send_that_is_as_the_last_one_reads_as_if_it_were_the_first() {
        let mut random = XorShift(11);
        let (mut pattern, mut plain) = (SendPattern::default(), Vec::new());
        let mut met = [0; SHAPES];
        let mut number = 0;
        for _ in 0..60_000 {
            if random.below(64) == 0 {
                number = random.below(SHAPES);
            }
            let mut bytes = text(&mut random, &shape(number)).into_bytes();
            match random.below(8) {
                0 => bytes.truncate(random.below(bytes.len())),
                1 => {
                    let at = random.below(bytes.len());
                    bytes[at] = random.below(256) as u8;
                }
                _ => {}
            }
            if let Some(found) = pattern.meet(&bytes, &mut plain) {
                same(&bytes, found, &plain);
                met[number] += 1;
            }
            let mut room = Fields::default();
            if let Some((header, send)) = read(&bytes, &mut room) {
                pattern.learn(&header, &send, &mut plain);
            }
        }
        assert!(met[..4].iter().all(|count| *count > 500), "hardly any is met: {met:?}");
        assert!(met[4..9].iter().all(|count| *count == 0), "met what is odd: {met:?}");
    }

    #[test]
    fn all_that_differs_from_message_to_message_may_change_its_length() {
        let first = JAVA.replace("TOPIC", "t").replace("QUEUE", "9").replace("BORN", "1");
        let first = first.replace("PROPERTIES", "").replace("OPAQUE", "9");
        let mut pattern = SendPattern::default();
        let mut room = Fields::default();
        let (header, send) = read(first.as_bytes(), &mut room).expect("a send");
        pattern.learn(&header, &send, &mut Vec::new());
        let next = JAVA.replace("TOPIC", "another").replace("QUEUE", "10").replace("BORN", "1234");
        let next = next.replace("PROPERTIES", "KEYS\\u0001k\\u0002").replace("OPAQUE", "10");
        let mut plain = Vec::new();
        let met = pattern.meet(next.as_bytes(), &mut plain).expect("the same but for its holes");
        same(next.as_bytes(), met, &plain);
        assert_eq!((met.1.queue_id, met.0.opaque, met.1.born_timestamp), (10, 10, 1234));
        assert!(met.1.topic == "another" && met.1.producer_group == "group");
        assert!(met.1.broker_name == "b-0" && plain.starts_with(b"KEYS\x01k\x02"));
        let other = next.replace("\"c\":\"TBW102\"", "\"c\":\"TBW103\"");
        assert_eq!(pattern.meet(other.as_bytes(), &mut plain).map(|_| ()), None);
    }
}
