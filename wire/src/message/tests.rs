//! Records, batches and properties: the specification's vectors, round trips and rubbish.
//!
//! Every prefix of what is valid must be refused, and nothing may panic.

use super::properties::{find, pairs};
use super::*;

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
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

const VECTOR: &str = "0000006C DAA320A7 3610A686 00000003 00000000 0000000000000007 \
                      0000000000000400 00000000 0000018BCFE56800 0A000009 0000C350 \
                      0000018BCFE56805 0A000001 00002A9F 00000000 0000000000000000 00000005 \
                      68656C6C6F 02 5431 000A 54414753 01 54616741 02";

fn vector_fields() -> RecordFields<'static> {
    RecordFields {
        topic: "T1",
        queue_id: 3,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: "10.0.0.9:50000".parse().unwrap(),
        store_host: "10.0.0.1:10911".parse().unwrap(),
        store_timestamp: 1_700_000_000_005,
        queue_offset: 7,
        position: 1024,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"hello",
        properties: b"TAGS\x01TagA\x02",
        appended: [&[]; APPENDED_MAX],
    }
}

fn encode(fields: &RecordFields<'_>) -> Vec<u8> {
    let mut buf = vec![0xEE; fields.encoded_len().unwrap() + 3];
    let len = fields.encode_into(&mut buf);
    assert_eq!(buf[len..], [0xEE; 3], "nothing beyond the record is touched");
    buf.truncate(len);
    buf
}

#[test]
fn the_record_of_the_specification_is_written_and_read() {
    let bytes = encode(&vector_fields());
    assert_eq!(bytes, hex(VECTOR));
    let record = Record::parse(&bytes).unwrap();
    assert_eq!((record.len(), record.queue_id(), record.flag()), (108, 3, 0));
    assert_eq!((record.queue_offset(), record.position()), (7, 1024));
    assert_eq!(
        (record.born_timestamp(), record.store_timestamp()),
        (1_700_000_000_000, 1_700_000_000_005)
    );
    assert_eq!(record.born_host(), "10.0.0.9:50000".parse().unwrap());
    assert_eq!(record.store_host(), "10.0.0.1:10911".parse().unwrap());
    assert_eq!((record.topic(), record.body()), ("T1", &b"hello"[..]));
    assert_eq!(record.properties(), b"TAGS\x01TagA\x02");
    assert_eq!((record.body_crc(), record.body_is_intact()), (907_060_870, true));
    assert_eq!((record.sys_flag(), record.reconsume_times()), (0, 0));
    assert_eq!(record.prepared_transaction_offset(), 0);
}

#[test]
fn sums_are_those_of_the_specification() {
    assert_eq!(body_crc(b"Hello RocketMQ"), 1_774_740_973);
    assert_eq!(body_crc(b"hello"), 907_060_870);
    assert_eq!(body_crc(b""), 0);
}

#[test]
fn a_record_gets_its_place_when_it_has_one() {
    for born in ["10.0.0.9:50000", "[2001:db8::9]:50000"] {
        let fields = RecordFields { born_host: born.parse().unwrap(), ..vector_fields() };
        let mut bytes =
            encode(&RecordFields { queue_offset: 0, position: 0, store_timestamp: 0, ..fields });
        patch_queue_offset(&mut bytes, 7);
        patch_position(&mut bytes, 1024);
        patch_store_timestamp(&mut bytes, 1_700_000_000_005);
        assert_eq!(bytes, encode(&fields), "{born}");
    }
}

#[test]
fn records_of_every_shape_read_back_as_written() {
    let mut random = XorShift(11);
    let v4 = "10.1.2.3:4".parse().unwrap();
    let v6 = "[2001:db8::1]:65535".parse().unwrap();
    for _ in 0..2_000 {
        let most = if random.below(4) == 0 { 255 } else { 20 };
        let topic = "t".repeat(1 + random.below(most) as usize);
        let body: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
        let value: String = (0..random.below(40))
            .map(|_| ['x', '"', '订', '\u{1}'][random.below(4) as usize])
            .collect();
        let plain = if value.is_empty() { String::new() } else { format!("KEYS\u{1}{value}") };
        let more = b"UNIQ_KEY\x01ABC\x02";
        let appended: [&[u8]; 3] =
            if random.below(2) == 0 { [&[]; 3] } else { [&[], more, b"A\x01b\x02"] };
        let fields = RecordFields {
            topic: &topic,
            queue_id: random.next() as i32,
            flag: random.next() as i32,
            sys_flag: random.next() as i32,
            born_host: if random.below(2) == 0 { v4 } else { v6 },
            store_host: if random.below(2) == 0 { v4 } else { v6 },
            reconsume_times: random.next() as i32,
            prepared_transaction_offset: random.next() as i64,
            body: &body,
            properties: plain.as_bytes(),
            appended,
            ..vector_fields()
        };
        let bytes = encode(&fields);
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.bytes(), bytes);
        assert_eq!((record.topic(), record.body()), (topic.as_str(), &body[..]));
        assert_eq!((record.queue_id(), record.flag()), (fields.queue_id, fields.flag));
        assert_eq!(
            (record.born_host(), record.store_host()),
            (fields.born_host, fields.store_host)
        );
        assert_eq!(record.reconsume_times(), fields.reconsume_times);
        assert_eq!(record.prepared_transaction_offset(), fields.prepared_transaction_offset);
        assert_eq!(record.store_timestamp(), fields.store_timestamp);
        let mut expect = plain.clone().into_bytes();
        if !expect.is_empty() && !appended[1].is_empty() {
            expect.push(2);
        }
        expect.extend(appended.concat());
        assert_eq!(record.properties(), expect);
        if !appended[1].is_empty() {
            assert_eq!(find(record.properties(), "UNIQ_KEY"), Some(&b"ABC"[..]));
        }
        for len in 0..bytes.len() {
            assert!(Record::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
        let mut changed = bytes.clone();
        let at = random.below(changed.len() as u64) as usize;
        changed[at] = random.next() as u8;
        if let Ok(record) = Record::parse(&changed) {
            let _ = (record.topic(), record.body(), record.properties(), record.born_host());
        }
    }
}

#[test]
fn a_separator_is_added_only_where_one_is_missing() {
    let cases = [
        ("A\u{1}b\u{2}", "A\u{1}b\u{2}X\u{1}y\u{2}"),
        ("A\u{1}b", "A\u{1}b\u{2}X\u{1}y\u{2}"),
        ("", "X\u{1}y\u{2}"),
        // A value that ends with a backslash and the letters of a separator.
        ("A\u{1}b\\u0002", "A\u{1}b\\u0002\u{2}X\u{1}y\u{2}"),
        ("A\u{1}b\\\u{2}", "A\u{1}b\\\u{2}X\u{1}y\u{2}"),
    ];
    for (sent, expect) in cases {
        let properties = sent.as_bytes();
        let appended: [&[u8]; 3] = [&[], b"X\x01y\x02", &[]];
        let bytes = encode(&RecordFields { properties, appended, ..vector_fields() });
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(record.properties(), expect.as_bytes(), "{sent:?}");
        let alone = encode(&RecordFields { properties, ..vector_fields() });
        assert_eq!(Record::parse(&alone).unwrap().properties(), properties);
    }
}

#[test]
fn what_makes_no_record_is_said() {
    let long = "x".repeat(PROPERTIES_MAX + 1);
    let topic = "t".repeat(TOPIC_MAX + 1);
    let base = vector_fields();
    for (fields, expect) in [
        (RecordFields { topic: "", ..base }, "a topic of 0 bytes; it has 1 to 255"),
        (RecordFields { topic: &topic, ..base }, "a topic of 256 bytes; it has 1 to 255"),
        (
            RecordFields { properties: long.as_bytes(), ..base },
            "properties of 32768 bytes are over the limit of 32767",
        ),
    ] {
        assert_eq!(fields.encoded_len().unwrap_err().to_string(), expect);
    }
    let just = RecordFields { properties: &long.as_bytes()[1..], ..base };
    assert_eq!(Record::parse(&encode(&just)).unwrap().properties().len(), PROPERTIES_MAX);
}

#[test]
fn what_is_wrong_with_a_record_is_said() {
    let good = hex(VECTOR);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        Record::parse(&bad).unwrap_err().to_string()
    };
    assert_eq!(with(4, &hex("CBD43194")), "0xCBD43194 is no message's magic");
    assert_eq!(with(0, &[0, 0, 0, 90]), "a record size of 90 is below the least, 91");
    assert_eq!(with(0, &[0xFF; 4]), "a record size of -1 is below the least, 91");
    assert_eq!(with(0, &[0, 0, 0, 109]), "the record has 109 bytes, only 108 are here");
    assert_eq!(with(0, &[0, 0, 0, 107]), "the fields have 108 bytes, the record says 107");
    assert_eq!(with(84, &[0xFF; 4]), "the length of the body reaches beyond the record");
    assert_eq!(with(84, &[0, 0, 0, 20]), "the length of the topic reaches beyond the record");
    assert_eq!(with(93, &[0xFF]), "the length of the properties reaches beyond the record");
    assert_eq!(with(96, &[0xFF; 2]), "the length of the properties reaches beyond the record");
    assert_eq!(with(39, &[0x10]), "the length of the body reaches beyond the record");
    assert!(Record::parse(&[]).is_err());
}

#[test]
fn a_body_of_records_is_split_up_to_the_first_that_is_wrong() {
    let one = hex(VECTOR);
    let mut body = one.repeat(3);
    let offsets: Vec<_> =
        Records::new(&body).map(|record| record.unwrap().queue_offset()).collect();
    assert_eq!(offsets, [7, 7, 7]);
    assert_eq!(Records::new(&[]).count(), 0);
    body.truncate(body.len() - 1);
    let found: Vec<_> = Records::new(&body).map(|record| record.is_ok()).collect();
    assert_eq!(found, [true, true, false]);
}

#[test]
fn random_bytes_are_no_records_and_no_batch_and_never_panic() {
    let mut random = XorShift(5);
    let good = hex(VECTOR);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = good.iter().copied().take(random.below(109) as usize).collect();
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
        }
        let _ = Records::new(&bytes).count();
        let _ = BatchEntries::new(&bytes).count();
        let small: Vec<u8> = (0..random.below(60)).map(|_| random.below(30) as u8).collect();
        let _ = BatchEntries::new(&small).count();
        let _ = pairs(&small).count();
        let _ = crate::header::Text::checked(&bytes, 3).to_cow();
    }
}

#[test]
fn a_batch_is_split_into_its_messages() {
    let entries = [
        BatchEntry { flag: 1, body: b"one", properties: b"KEYS\x011\x02" },
        BatchEntry { flag: -1, body: b"", properties: b"" },
        BatchEntry { flag: 3, body: &[0; 300], properties: b"TAGS\x01a\x02" },
    ];
    let mut body = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut body));
    let read: Result<Vec<_>, _> = BatchEntries::new(&body).collect();
    assert_eq!(read.unwrap(), entries);
    assert_eq!(BatchEntries::new(&[]).count(), 0);
    for len in 1..body.len() {
        let whole = [32, 54].contains(&len);
        assert_eq!(BatchEntries::new(&body[..len]).all(|entry| entry.is_ok()), whole, "{len}");
    }
    let mut wrong = body.clone();
    wrong[32 + 19] = 1;
    let error = BatchEntries::new(&wrong).find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), "the batch entry at byte 32 has a wrong body length");
    assert_eq!(BatchEntries::new(&wrong).count(), 2, "it ends after the first error");
    let mut wrong = body;
    wrong[24] = 9;
    let error = BatchEntries::new(&wrong).find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), "the batch entry at byte 0 has a wrong properties length");
}

/// RocketMQ's parser, written the slow way.
fn reference(text: &str) -> Vec<(String, String)> {
    let items = text.split('\u{2}').filter(|item| item.chars().count() >= 3);
    let pairs = items.filter_map(|item| item.split_once('\u{1}'));
    pairs
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn properties_are_read_as_rocketmq_reads_them() {
    let mut random = XorShift(17);
    let alphabet =
        ['\u{1}', '\u{1}', '\u{2}', '\u{2}', 'a', 'b', 'T', '\\', '"', '订', '😀', '\0', '\n'];
    for round in 0..20_000 {
        let len = random.below(24);
        let text: String = (0..len).map(|_| alphabet[random.below(13) as usize]).collect();
        let expect = reference(&text);
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = pairs(text.as_bytes()).map(|(name, value)| (said(name), said(value)));
        assert_eq!(found.collect::<Vec<_>>(), expect, "{round} {text:?}");
        let found = find(text.as_bytes(), "a").map(said);
        assert_eq!(found, expect.iter().rev().find(|(key, _)| key == "a").map(|(_, v)| v.clone()));
    }
}
