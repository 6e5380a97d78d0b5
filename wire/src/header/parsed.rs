//! A header as read, whatever form it came in, and what can be wrong with one.
//!
//! It borrows from the frame, and the room for its fields from its reader; it outlives neither. A
//! header that does not parse closes the connection in RocketMQ; a field of it that does not is
//! answered with SYSTEM_ERROR.

use std::fmt;

use super::ext::Span;
use super::{Ext, Fields, Text, binary, json};
use crate::codes::Language;
use crate::frame::{Codec, HEADER_MAX};

/// Bit of `flag`: this is an answer.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag`: nobody waits for an answer, and none may be sent.
pub const FLAG_ONEWAY: i32 = 2;

/// One header, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Request code, or response code of an answer.
    pub code: i32,
    /// What the sender is written in; [`Language::Other`] for a name we do not know.
    pub language: Language,
    /// Version number of the sender.
    pub version: i32,
    /// Ties an answer to its request; any value, also negative.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`], [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people; empty when there is none.
    pub remark: Text<'a>,
    /// Custom fields.
    pub ext: Ext<'a>,
    /// Where `opaque` stands and how long it is, in a JSON header that has no `remark` and no other
    /// member of ours twice.
    pub(crate) opaque_at: Option<(usize, usize)>,
}

/// A header being read.
pub(super) struct Draft<'a> {
    pub(super) code: i32,
    pub(super) language: Language,
    pub(super) version: i32,
    pub(super) opaque: i32,
    pub(super) flag: i32,
    pub(super) remark: Span,
    /// Members that were read, one bit each.
    pub(super) members: u8,
    /// It has a `remark`, or a member twice.
    pub(super) odd: bool,
    /// Where `opaque` stands and how long it is.
    pub(super) opaque_at: Option<(usize, usize)>,
    pub(super) fields: &'a mut Fields,
}

impl<'a> Header<'a> {
    /// A header that says nothing.
    pub(crate) const EMPTY: Header<'static> = Header {
        code: 0,
        language: Language::Other,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: Text::EMPTY,
        ext: Ext::EMPTY,
        opaque_at: None,
    };

    /// Reads a frame's header, of at most [`HEADER_MAX`] bytes. `fields` is room for its custom
    /// fields; what it held before is forgotten.
    #[inline]
    pub fn parse(
        codec: Codec,
        bytes: &'a [u8],
        fields: &'a mut Fields,
    ) -> Result<Header<'a>, HeaderError> {
        if bytes.len() > HEADER_MAX {
            return Err(HeaderError::Length { bytes: i32::MAX, limit: HEADER_MAX });
        }
        fields.clear();
        let mut draft = Draft {
            code: 0,
            language: Language::Other,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: Span::default(),
            members: 0,
            odd: false,
            opaque_at: None,
            fields,
        };
        match codec {
            Codec::Json => json::parse(bytes, &mut draft)?,
            Codec::Binary => binary::parse(bytes, &mut draft)?,
        }
        let Draft { code, language, version, opaque, flag, remark, fields, .. } = draft;
        let opaque_at = draft.opaque_at.filter(|_| !draft.odd);
        let (remark, ext) = (remark.text(bytes), fields.of(bytes));
        Ok(Header { code, language, version, opaque, flag, remark, ext, opaque_at })
    }

    /// True for an answer.
    #[inline]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// True for a request that must not be answered, not even with an error.
    #[inline]
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// The custom field `name`, or the error RocketMQ answers when it is missing.
    pub fn required(&self, name: &'static str) -> Result<Text<'a>, FieldError> {
        self.ext.get(name).ok_or(FieldError::missing(name))
    }

    /// As [`Header::required`], for an `int`.
    pub fn required_i32(&self, name: &'static str) -> Result<i32, FieldError> {
        self.required(name)?.parse_i32().ok_or(FieldError::not_a_number(name))
    }

    /// As [`Header::required`], for a `long`.
    pub fn required_i64(&self, name: &'static str) -> Result<i64, FieldError> {
        self.required(name)?.parse_i64().ok_or(FieldError::not_a_number(name))
    }

    /// The custom field `name`; empty when it is missing.
    pub fn optional(&self, name: &str) -> Text<'a> {
        self.ext.get(name).unwrap_or_default()
    }

    /// The `int` field `name`, if it was sent.
    pub fn optional_i32(&self, name: &'static str) -> Result<Option<i32>, FieldError> {
        let Some(text) = self.ext.get(name) else { return Ok(None) };
        text.parse_i32().map(Some).ok_or(FieldError::not_a_number(name))
    }

    /// The `long` field `name`, if it was sent.
    pub fn optional_i64(&self, name: &'static str) -> Result<Option<i64>, FieldError> {
        let Some(text) = self.ext.get(name) else { return Ok(None) };
        text.parse_i64().map(Some).ok_or(FieldError::not_a_number(name))
    }

    /// The boolean field `name`; `default` when it is missing.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        self.ext.get(name).map_or(default, |text| text.parse_bool())
    }
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Some of it is not UTF-8.
    NotUtf8,
    /// It ends too early.
    Cut,
    /// A character that JSON does not allow there.
    Syntax {
        /// Byte offset in the header.
        at: usize,
    },
    /// An escape sequence that JSON does not know, or half of a surrogate pair.
    Escape {
        /// Byte offset in the header.
        at: usize,
    },
    /// Objects within objects beyond the limit.
    Depth {
        /// Deepest nesting allowed.
        limit: usize,
    },
    /// More custom fields than the limit, or the name of one is too long.
    Fields {
        /// Most fields allowed.
        limit: usize,
    },
    /// A member that should be an `int` is not.
    Number {
        /// The member.
        member: &'static str,
    },
    /// A length in a binary header is negative or beyond its end.
    Length {
        /// Length as sent.
        bytes: i32,
        /// Most it could be there.
        limit: usize,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            HeaderError::NotUtf8 => write!(f, "the header is not UTF-8"),
            HeaderError::Cut => write!(f, "the header ends too early"),
            HeaderError::Syntax { at } => write!(f, "the header is not JSON at byte {at}"),
            HeaderError::Escape { at } => {
                write!(f, "the header has no escape sequence of JSON at byte {at}")
            }
            HeaderError::Depth { limit } => {
                write!(f, "the header nests deeper than the limit of {limit}")
            }
            HeaderError::Fields { limit } => {
                write!(f, "the header has more custom fields than the limit of {limit}")
            }
            HeaderError::Number { member } => write!(f, "the header's {member} is not an int"),
            HeaderError::Length { bytes, limit } => {
                write!(f, "a length of {bytes} in the header does not fit the {limit} bytes left")
            }
        }
    }
}

impl std::error::Error for HeaderError {}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldProblem {
    /// It is mandatory and was not sent.
    Missing,
    /// It is not a number, or one beyond its type.
    NotANumber,
    /// The body is not the JSON it should be.
    Body,
    /// The body is longer than [`crate::fastjson::BODY_MAX`].
    TooLong,
}

/// A request whose fields cannot be used. RocketMQ answers SYSTEM_ERROR with this text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name on the wire; for a body, what the body is.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

impl FieldError {
    /// A mandatory field that is not there.
    pub const fn missing(field: &'static str) -> FieldError {
        FieldError { field, problem: FieldProblem::Missing }
    }

    /// A number that is none.
    pub const fn not_a_number(field: &'static str) -> FieldError {
        FieldError { field, problem: FieldProblem::NotANumber }
    }

    /// A body that does not read as `body`.
    pub const fn body(body: &'static str) -> FieldError {
        FieldError { field: body, problem: FieldProblem::Body }
    }

    /// A body that is too long for `body`.
    pub const fn too_long(body: &'static str) -> FieldError {
        FieldError { field: body, problem: FieldProblem::TooLong }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match self.problem {
            FieldProblem::Missing => write!(f, "the custom field <{field}> is null"),
            FieldProblem::NotANumber => write!(f, "the custom field <{field}> is not a number"),
            FieldProblem::Body => write!(f, "the body is not a {field}"),
            FieldProblem::TooLong => {
                let limit = crate::fastjson::BODY_MAX;
                write!(f, "the body, a {field}, is over the limit of {limit} bytes")
            }
        }
    }
}

impl std::error::Error for FieldError {}
