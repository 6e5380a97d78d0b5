//! Mutations that know what a frame is; the others are libFuzzer's own.
//!
//! Bytes changed blindly mostly break a length and end at the first check. So most changes are
//! followed by putting the lengths right again, and some are changes of lengths alone. Never: a
//! change that depends on anything but the input and the seed.

use weir::base::limits::FRAME_MAX;
use weir_io::sim::Random;
use weir_wire::frame::{Split, split};

use crate::ORDERS;

/// Words of the protocol, where a random byte would never find them.
const WORDS: &[&[u8]] = &[
    b"\"extFields\":{",
    b"\"opaque\":",
    b"\"code\":310",
    b"\"code\":11",
    b"\"flag\":2",
    b"null",
    b"\\u0001",
    b"\\uD800",
    b"-9223372036854775808",
    b"2147483648",
    b"4294967295",
    b"1e308",
    b"TBW102",
    b"UNIQ_KEY",
    b"consumerGroup",
    b"queueOffset",
    b"[[[[[[[[[[[[[[[[",
    b"{\"a\":{",
    b"maxMsgNums",
    b"2147483647",
    b"batch",
    b"\xFF\xFF\xFF\xFF",
    b"\x7F\xFF\xFF\xFF",
    b"\x00\x00",
];

/// Changes `input[..size]` in place and gives its new size, at most `max`; `None` when this seed
/// is for the fuzzer's own mutation.
pub fn mutate(input: &mut [u8], size: usize, max: usize, seed: u32) -> Option<usize> {
    let mut random = Random::new(u64::from(seed), "mutate");
    if random.size(0..3) == 0 || size < ORDERS + 8 || size > input.len() {
        return None;
    }
    let mut bytes = input[..size].to_vec();
    let frames = frames(&bytes);
    let (from, upto) = *frames.get(random.size(0..frames.len().max(1)))?;
    match random.size(0..7) {
        0 => change(&mut bytes[from + 8..upto], &mut random),
        1 => put_word(&mut bytes, from + 8, upto, &mut random),
        2 => drop(bytes.drain(from..upto)),
        3 => {
            let again = bytes[from..upto].to_vec();
            for _ in 0..1 + random.size(0..16) {
                bytes.splice(upto..upto, again.iter().copied());
            }
        }
        4 => claim(&mut bytes[from..upto], &mut random),
        5 => bytes.truncate(from + 8 + random.size(0..upto - from - 7)),
        _ => bytes[..ORDERS].copy_from_slice(&random.next_u64().to_le_bytes()),
    }
    let size = bytes.len().min(max).min(input.len());
    input[..size].copy_from_slice(&bytes[..size]);
    Some(size)
}

/// Where each whole frame of at least a header's words begins and ends.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut at = ORDERS;
    let mut found = Vec::new();
    while let Split::Whole(len) = split(&bytes[at..], FRAME_MAX) {
        if len > 8 {
            found.push((at, at + len));
        }
        at += len;
    }
    found
}

/// A few bytes of a frame's inside.
fn change(inside: &mut [u8], random: &mut Random) {
    for _ in 0..1 + random.size(0..4) {
        let at = random.size(0..inside.len());
        inside[at] = random.next_u64() as u8;
    }
}

/// A word of the protocol in place of some bytes, and the lengths put right.
fn put_word(bytes: &mut Vec<u8>, from: usize, upto: usize, random: &mut Random) {
    let word = WORDS[random.size(0..WORDS.len())];
    let at = from + random.size(0..upto - from);
    let gone = random.size(0..(upto - at).min(word.len()) + 1);
    bytes.splice(at..at + gone, word.iter().copied());
    let frame = &mut bytes[from - 8..];
    let grown = |old: u32| (old + word.len() as u32).saturating_sub(gone as u32);
    let word_at =
        |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let (len, header) = (grown(word_at(0)), word_at(4));
    let header_len = header & 0xFF_FFFF;
    let in_header = at - from < header_len as usize;
    let header_len = if in_header { grown(header_len) } else { header_len };
    frame[0..4].copy_from_slice(&len.to_be_bytes());
    frame[4..8].copy_from_slice(&(header & 0xFF00_0000 | header_len & 0xFF_FFFF).to_be_bytes());
}

/// Lengths that lie.
fn claim(frame: &mut [u8], random: &mut Random) {
    let at = 4 * random.size(0..2);
    let lie: u32 = match random.size(0..5) {
        0 => FRAME_MAX as u32,
        1 => FRAME_MAX as u32 - 4,
        2 => frame.len() as u32 + random.size(0..9) as u32,
        3 => u32::MAX >> random.size(0..32),
        _ => random.size(0..frame.len()) as u32,
    };
    let lie = if at == 4 { lie & 0xFF_FFFF | u32::from(frame[4]) << 24 } else { lie };
    frame[at..at + 4].copy_from_slice(&lie.to_be_bytes());
}
