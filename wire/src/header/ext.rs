//! The header's custom fields (`extFields`), as places in the frame.
//!
//! A reader of headers keeps one [`Fields`] and lends it to each header in turn: making room for
//! the most there can be would cost more than reading what there is. It never copies a field.

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

/// Room for the custom fields of a header: made once, lent to one header after the other.
#[derive(Clone, Debug)]
pub struct Fields {
    len: usize,
    entries: [Entry; EXT_FIELDS_MAX],
}

impl Default for Fields {
    fn default() -> Fields {
        let entries = [Entry::default(); EXT_FIELDS_MAX];
        Fields { len: 0, entries }
    }
}

impl Fields {
    /// Forgets the fields of the header before.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
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

    /// Removes the fields of this name from those of the header `base`.
    #[cold]
    pub(super) fn remove(&mut self, base: &[u8], key: Span) {
        let name = key.text(base);
        let mut kept = 0;
        for at in 0..self.len {
            if let Some(entry) = self.entries.get(at).copied()
                && entry.pair(base).0 != name
            {
                if let Some(slot) = self.entries.get_mut(kept) {
                    *slot = entry;
                }
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// The fields, of the header whose bytes are `base`.
    #[inline]
    pub(super) fn of<'a>(&'a self, base: &'a [u8]) -> Ext<'a> {
        Ext { base, entries: self.entries.get(..self.len).unwrap_or(&[]) }
    }
}

impl Span {
    /// The text at this place of the header `base`.
    #[inline]
    pub(super) fn text(self, base: &[u8]) -> Text<'_> {
        match base.get(self.at..self.at + self.len) {
            Some(raw) => Text::checked(raw, self.plain_len),
            None => Text::EMPTY,
        }
    }
}

impl Entry {
    #[inline]
    fn pair(self, base: &[u8]) -> (Text<'_>, Text<'_>) {
        let key = Span {
            at: self.key_at as usize,
            len: usize::from(self.key_len),
            plain_len: usize::from(self.key_plain_len),
        };
        let value = Span {
            at: self.value_at as usize,
            len: self.value_len as usize,
            plain_len: self.value_plain_len as usize,
        };
        (key.text(base), value.text(base))
    }
}

/// The custom fields of a header, in the order sent.
#[derive(Clone, Copy, Debug)]
pub struct Ext<'a> {
    base: &'a [u8],
    entries: &'a [Entry],
}

/// Iterator over an [`Ext`].
#[derive(Clone, Debug)]
pub struct ExtIter<'a> {
    base: &'a [u8],
    entries: std::slice::Iter<'a, Entry>,
}

impl<'a> Ext<'a> {
    /// No fields, of no header.
    pub(crate) const EMPTY: Ext<'static> = Ext { base: &[], entries: &[] };

    /// The header the fields are of.
    pub(crate) fn header_bytes(&self) -> &'a [u8] {
        self.base
    }

    /// The field `name` and where its value begins in the header, when it was sent just once.
    pub(crate) fn only(&self, name: &str) -> Option<(usize, Text<'a>)> {
        let mut named = self.entries.iter().filter(|entry| entry.pair(self.base).0.eq_str(name));
        let entry = *named.next()?;
        named.next().is_none().then(|| (entry.value_at as usize, entry.pair(self.base).1))
    }

    /// The field `name`. When it was sent twice the last one counts, as in Java's map.
    pub fn get(&self, name: &str) -> Option<Text<'a>> {
        let mut pairs = self.entries.iter().rev().map(|entry| entry.pair(self.base));
        pairs.find_map(|(key, value)| key.eq_str(name).then_some(value))
    }

    /// How many fields there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All fields as sent, repeated ones included; the last of a name counts.
    #[inline]
    pub fn iter(&self) -> ExtIter<'a> {
        ExtIter { base: self.base, entries: self.entries.iter() }
    }

    /// Calls `take` with each field's plain name and its value, in the order sent, so that a
    /// request is read in one pass. A name with escape sequences is decoded; one that is longer
    /// than any of RocketMQ's then is left out.
    #[inline]
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8], Text<'a>)) {
        for (key, value) in self.iter() {
            match key.as_plain_bytes() {
                Some(name) => take(name, value),
                None => {
                    if let Some(name) = key.name(&mut [0; NAME_MAX]) {
                        take(name, value);
                    }
                }
            }
        }
    }
}

impl<'a> Iterator for ExtIter<'a> {
    type Item = (Text<'a>, Text<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Text<'a>, Text<'a>)> {
        self.entries.next().map(|entry| entry.pair(self.base))
    }
}

impl<'a> IntoIterator for &Ext<'a> {
    type Item = (Text<'a>, Text<'a>);
    type IntoIter = ExtIter<'a>;

    fn into_iter(self) -> ExtIter<'a> {
        self.iter()
    }
}
