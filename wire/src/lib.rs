//! RocketMQ's remoting protocol: bytes to meaning and back.
//!
//! Everything here borrows from the frame it reads and writes into buffers it is handed. It never
//! does io, never reads a clock and never allocates on the send, pull and reply paths.
//!
//! A frame ([`frame`]) holds a header ([`header`]) and a body. The header's code ([`codes`]) says
//! which request it is, and [`request`] has one file for each. Answers, and the requests we send
//! ourselves, are written by [`reply`]. [`message`] is the record that is stored and delivered.

#![forbid(unsafe_code)]

pub mod codes;
pub mod fastjson;
pub mod frame;
pub mod header;
pub mod message;
pub mod reply;
pub mod request;
mod swar;

/// The codes under the name that reads best in a path: `code::request::PULL_MESSAGE`.
pub use codes as code;
