//! The report: one JSON file and one HTML page that needs nothing beside itself.
//!
//! Ratios with their spread come first, pictures next, absolute numbers last. The page is made
//! from findings alone, so one can be made again from JSON files, and several joined.

mod html;
mod number;
mod picture;
mod place;
mod report;
mod spectrum;

pub(crate) use place::Place;
pub(crate) use report::{ReportArgs, report, summary};
