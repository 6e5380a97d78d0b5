//! VIEW_MESSAGE_BY_ID (33): one message by its place in the log.
//!
//! Clients take the place from an offset message id. The answer's body is the record; without one
//! the answer is SYSTEM_ERROR.

use super::request_header;
use crate::header::Text;

request_header! {
    /// The fields of a view.
    ViewHeader {
        /// Place in the log (`physicalOffset`).
        offset: i64 = b"offset",
        /// Topic (5.x).
        topic: Option<Text<'a>> = b"topic",
    }
}
