//! Tokens of the server's operations: the room in the top byte, the connection below.
//! The log's room is 1 (see `commitlog`), the shard's own file operations are 2, the pair's
//! connections and files are 7 (see `replica`); here are the rest.

use weir_io::Token;

use super::connection::ConnId;

/// Room of listeners; the low bits say which.
pub(super) const LISTEN: u8 = 3;
/// Room of repeating receives.
pub(super) const RECEIVE: u8 = 4;
/// Room of sized receives.
pub(super) const FILL: u8 = 5;
/// Room of sends.
pub(super) const SEND: u8 = 6;

/// The room of a token.
pub(super) fn room(token: Token) -> u8 {
    (token.0 >> 56) as u8
}

/// The connection of a token.
pub(super) fn connection(token: Token) -> ConnId {
    ConnId(token.0 & 0x00FF_FFFF_FFFF_FFFF)
}

/// Token of listener number `which`.
pub(super) fn listen(which: u64) -> Token {
    Token(u64::from(LISTEN) << 56 | which)
}

/// Token of a repeating receive.
pub(super) fn receive(id: ConnId) -> Token {
    Token(u64::from(RECEIVE) << 56 | id.0)
}

/// Token of a sized receive.
pub(super) fn fill(id: ConnId) -> Token {
    Token(u64::from(FILL) << 56 | id.0)
}

/// Token of a send.
pub(super) fn send(id: ConnId) -> Token {
    Token(u64::from(SEND) << 56 | id.0)
}
