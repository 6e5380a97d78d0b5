//! The end of a JSON header, known from the one before.
//!
//! What a client writes after the custom fields is the same in each of its headers but for the
//! `opaque`: five members that took as long to read as the thirteen fields before them. A header
//! that ends as the last one did is read by comparing.
//! Invariant: it gives what reading member by member would give. So only endings are learnt, and
//! met, whose members the part before them does not have.

use super::ext::Span;
use super::parsed::Draft;
use crate::codes::Language;

/// Longest ending that is learnt, in bytes, `opaque` left out; Java's has 85.
const ENDING_MAX: usize = 128;

/// Members of a header, one bit each.
pub(super) mod member {
    pub(in super::super) const CODE: u8 = 1;
    pub(in super::super) const FIELDS: u8 = 2;
    pub(in super::super) const OPAQUE: u8 = 4;
    pub(in super::super) const FLAG: u8 = 8;
    pub(in super::super) const LANGUAGE: u8 = 16;
    pub(in super::super) const VERSION: u8 = 32;
    /// What no ending may have: a `remark`, or a member that came twice.
    pub(in super::super) const ODD: u8 = 64;
}

/// The members a header may have before its ending.
const HEAD: u8 = member::CODE | member::FIELDS;
/// The members an ending may have.
const TAIL: u8 = member::OPAQUE | member::FLAG | member::LANGUAGE | member::VERSION;

/// An ending, from behind the custom fields to the last byte.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    bytes: [u8; ENDING_MAX],
    /// Bytes before the digits of `opaque`; 0: none is known.
    front: usize,
    /// Bytes in all.
    len: usize,
    flag: i32,
    language: Language,
    version: i32,
}

impl Default for Ending {
    fn default() -> Ending {
        let language = Language::Other;
        Ending { bytes: [0; ENDING_MAX], front: 0, len: 0, flag: 0, language, version: 0 }
    }
}

impl Ending {
    /// Remembers the end of the header `bytes`, which was read into `header`: its custom fields
    /// end at `from`, where it had the members `head`.
    pub(super) fn learn(bytes: &[u8], header: &mut Draft<'_>, from: usize, head: u8) {
        let Span { at, len, .. } = header.opaque_span;
        let tail = header.members & !head;
        let usable = head & !HEAD == 0 && tail & !TAIL == 0;
        if !usable || tail & member::OPAQUE == 0 || at < from {
            return;
        }
        let (front, back) = (bytes.get(from..at), bytes.get(at + len..));
        let (Some(front), Some(back)) = (front, back) else { return };
        let ending = &mut header.fields.ending;
        let total = front.len() + back.len();
        let Some((to_front, rest)) = ending.bytes.split_at_mut_checked(front.len()) else { return };
        let Some(to_back) = rest.get_mut(..back.len()) else { return };
        to_front.copy_from_slice(front);
        to_back.copy_from_slice(back);
        (ending.front, ending.len) = (front.len(), total);
        (ending.flag, ending.language) = (header.flag, header.language);
        ending.version = header.version;
    }

    /// Whether the header ends behind its custom fields, at `from`, as the last one did; its
    /// members are then set.
    #[inline]
    pub(super) fn meets(bytes: &[u8], header: &mut Draft<'_>, from: usize) -> bool {
        let ending = &header.fields.ending;
        if ending.front == 0 || header.members & !HEAD != 0 {
            return false;
        }
        let known = ending.bytes.get(..ending.len).unwrap_or(&[]);
        let Some((front, back)) = known.split_at_checked(ending.front) else { return false };
        let rest = bytes.get(from..).unwrap_or(&[]);
        let digits = rest.strip_prefix(front).and_then(|rest| rest.strip_suffix(back));
        let Some(opaque) = digits.and_then(plain_int) else { return false };
        header.opaque = opaque;
        (header.flag, header.language) = (ending.flag, ending.language);
        header.version = ending.version;
        true
    }
}

/// Digits without a sign, spaces or a zero in front, as all clients write an `opaque`; anything
/// else is left to the reader of members.
#[inline]
fn plain_int(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits.len() > 10 || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    let mut value = 0i64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    i32::try_from(value).ok()
}
