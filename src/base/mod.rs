//! The ground both towers stand on: limits, ids, fixed-seed maps, the checksum. It knows nothing of either.

pub mod crc;
pub mod limits;
pub mod map;
