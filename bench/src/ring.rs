//! How this tool opens its ring: one place, the same for generator, ceiling and engine.
//!
//! The sizes are those of weir's own server, so that a comparison does not measure the size of a
//! receive buffer. It decides nothing else.

use std::io;

use weir_io::{Driver, Uring, UringOptions};

/// A ring for the calling thread.
pub(crate) fn driver() -> io::Result<Driver> {
    let uring =
        Uring::new(UringOptions::default()).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Driver::Uring(Box::new(uring)))
}
