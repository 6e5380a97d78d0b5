//! What commands find, and where: the schema of a result, facts of the machine, counts of the
//! device.
//!
//! Nothing here measures anything; scenarios fill it and the page is drawn from it.

mod disk;
mod facts;
mod schema;

pub(crate) use disk::{DeviceUse, Disk, DiskCounts};
pub(crate) use facts::Machine;
pub(crate) use schema::{Curve, Findings, Point, Ratio, SCHEMA, Target, TimeLine};
