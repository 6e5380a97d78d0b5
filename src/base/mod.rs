//! The ground both towers stand on: limits, ids, fixed-seed maps. It knows nothing of either.

pub mod limits;
pub mod map;
