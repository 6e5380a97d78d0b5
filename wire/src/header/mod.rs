//! Headers: who asks for what, in JSON or in RocketMQ's binary form.
//!
//! Both forms give the same [`Header`], which borrows from the frame. Parsing never allocates.

mod binary;
mod escape;
mod ext;
mod json;
mod parsed;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use escape::escape;
pub use ext::{EXT_FIELDS_MAX, EXT_KEY_MAX, Ext, ExtIter, Fields};
pub use json::DEPTH_MAX;
pub use parsed::{FLAG_ONEWAY, FLAG_RESPONSE, FieldError, FieldProblem, Header, HeaderError};
pub(crate) use text::NAME_MAX;
pub use text::Text;
