//! All clients at once: so many connections begun together, and the time until half are open.
//!
//! They are begun on a ring, so that none waits for another's answer as it would with a thread
//! each. Half, and not all: who was dropped comes again after a second, and that second is the
//! finding. It sends nothing.

use std::io;
use std::net::SocketAddr;

use weir_io::{Event, Token};

/// Longest wait, nanoseconds.
const PATIENCE_NS: u64 = 20_000_000_000;

/// Opens `count` connections to `addr`; seconds until half of them were open. The error is that
/// they were refused or did not open in 20 s.
pub(super) fn half_open_s(addr: SocketAddr, count: u32) -> io::Result<f64> {
    let mut driver = crate::ring::driver()?;
    let began_ns = driver.now_ns();
    let until_ns = began_ns + PATIENCE_NS;
    (0..count).for_each(|n| driver.connect(addr, Token(u64::from(n))));
    let (mut open, mut refused, mut events) = (0, 0, Vec::new());
    while driver.now_ns() < until_ns {
        driver.wait(until_ns, &mut events).map_err(|error| io::Error::other(error.to_string()))?;
        for event in events.drain(..) {
            match event {
                Event::Connected { result: Ok(_), .. } => open += 1,
                Event::Connected { .. } => refused += 1,
                _ => {}
            }
        }
        if open >= count.div_ceil(2) {
            return Ok((driver.now_ns() - began_ns) as f64 / 1e9);
        }
        if refused > count / 2 {
            return Err(io::Error::other(format!("{refused} of {count} connections were refused")));
        }
    }
    Err(io::Error::other(format!("{open} of {count} connections were open after 20 s")))
}
