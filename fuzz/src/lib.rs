//! What is asked of weir under bad input, as functions a fuzzer or a test can call.
//!
//! An input is eight bytes of orders and a stream as a peer would send it. It goes through the
//! protocol crate alone and through a whole server on the simulated kernel. Asked: no panic; the
//! connection is closed or every answer is a frame with a code; the memory it could force is
//! bounded; the next connection is served. Never: an outcome that depends on more than the input.

mod bound;
mod frames;
mod mutate;
mod server;

pub use bound::{Excess, within};
pub use mutate::mutate;

/// Bytes of orders before the stream.
pub const ORDERS: usize = 8;

/// Feeds one input to everything; panics when a promise is broken.
pub fn feed(input: &[u8]) {
    let Some((orders, stream)) = input.split_at_checked(ORDERS) else { return };
    let orders = u64::from_le_bytes(orders.try_into().unwrap_or([0; ORDERS]));
    let read = bound::within(bound::reading(stream.len()), || frames::read(stream));
    assert!(read.is_ok(), "reading {} bytes: {read:?}", stream.len());
    server::serve(orders, stream);
}
