//! The ground both towers stand on: limits, ids, fixed-seed maps, the checksum, pieces of bytes. It
//! knows nothing of either.

pub mod crc;
pub mod limits;
pub mod map;
pub mod piece;
