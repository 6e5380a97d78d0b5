//! The header's custom fields (`extFields`), as places in the frame.
//!
//! They are kept inline, because a list on the heap would cost more than reading the header, and
//! as offsets, so that an empty table is all zeros. It never copies a field.

use super::{NAME_MAX, Text};

/// Most custom fields of a header. RocketMQ's largest request has below 30.
pub const EXT_FIELDS_MAX: usize = 64;
/// Longest name of a custom field in bytes, as the binary form's 16-bit length allows.
pub const EXT_KEY_MAX: usize = i16::MAX as usize;

/// Where text stands in the header, and how long what it means is.
///
/// Whole words, because half ones are loaded back in pairs, which stalls right after a store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) plain_len: usize,
}

/// A field's key and value, as [`Span`]s that fit: a header's length has 24 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key_at: u32,
    key_len: u16,
    key_plain_len: u16,
    value_at: u32,
    value_len: u32,
    value_plain_len: u32,
}

/// The custom fields of a header, in the order sent.
#[derive(Clone, Debug)]
pub struct Ext<'a> {
    base: &'a [u8],
    len: usize,
    entries: [Entry; EXT_FIELDS_MAX],
}

/// Iterator over an [`Ext`].
#[derive(Clone, Debug)]
pub struct ExtIter<'e, 'a> {
    ext: &'e Ext<'a>,
    next: usize,
}

impl<'a> Ext<'a> {
    /// No fields, of a header whose bytes are `base`.
    #[inline]
    pub(super) fn new(base: &'a [u8]) -> Ext<'a> {
        Ext { base, len: 0, entries: [Entry::default(); EXT_FIELDS_MAX] }
    }

    /// Adds a field; `None` when there are [`EXT_FIELDS_MAX`] or the key is too long.
    #[inline]
    pub(super) fn push(&mut self, key: Span, value: Span) -> Option<()> {
        let entry = Entry {
            key_at: key.at as u32,
            key_len: u16::try_from(key.len).ok()?,
            key_plain_len: key.plain_len as u16,
            value_at: value.at as u32,
            value_len: value.len as u32,
            value_plain_len: value.plain_len as u32,
        };
        *self.entries.get_mut(self.len)? = entry;
        self.len += 1;
        Some(())
    }

    /// Removes the fields of this name.
    #[cold]
    pub(super) fn remove(&mut self, key: Span) {
        let name = self.text(key);
        let mut kept = 0;
        for at in 0..self.len {
            let keep = self.pair(at).is_some_and(|(key, _)| key != name);
            if keep && let Some(entry) = self.entries.get(at).copied() {
                if let Some(slot) = self.entries.get_mut(kept) {
                    *slot = entry;
                }
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// The field `name`. When it was sent twice the last one counts, as in Java's map.
    pub fn get(&self, name: &str) -> Option<Text<'a>> {
        (0..self.len)
            .rev()
            .filter_map(|at| self.pair(at))
            .find_map(|(key, value)| key.eq_str(name).then_some(value))
    }

    /// How many fields there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All fields as sent, repeated ones included; the last of a name counts.
    #[inline]
    pub fn iter(&self) -> ExtIter<'_, 'a> {
        ExtIter { ext: self, next: 0 }
    }

    /// Calls `take` with each field's plain name and its value, in the order sent, so that a
    /// request is read in one pass. A name with escape sequences is decoded; one that is longer
    /// than any of RocketMQ's then is left out.
    #[inline]
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8], Text<'a>)) {
        for (key, value) in self.iter() {
            if let Some(name) = key.name(&mut [0; NAME_MAX]) {
                take(name, value);
            }
        }
    }

    #[inline]
    fn pair(&self, at: usize) -> Option<(Text<'a>, Text<'a>)> {
        let entry = self.entries.get(at)?;
        let key = Span {
            at: entry.key_at as usize,
            len: usize::from(entry.key_len),
            plain_len: usize::from(entry.key_plain_len),
        };
        let value = Span {
            at: entry.value_at as usize,
            len: entry.value_len as usize,
            plain_len: entry.value_plain_len as usize,
        };
        Some((self.text(key), self.text(value)))
    }

    /// The text at a place of the header.
    #[inline]
    pub(super) fn text(&self, span: Span) -> Text<'a> {
        match self.base.get(span.at..span.at + span.len) {
            Some(raw) => Text::checked(raw, span.plain_len),
            None => Text::EMPTY,
        }
    }
}

impl<'a> Iterator for ExtIter<'_, 'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Text<'a>, Text<'a>)> {
        if self.next >= self.ext.len {
            return None;
        }
        self.next += 1;
        self.ext.pair(self.next - 1)
    }
}

impl<'e, 'a> IntoIterator for &'e Ext<'a> {
    type Item = (Text<'a>, Text<'a>);
    type IntoIter = ExtIter<'e, 'a>;

    fn into_iter(self) -> ExtIter<'e, 'a> {
        self.iter()
    }
}
