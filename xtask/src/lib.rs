//! weir's toolbox, in the language of the house: what a shell script would otherwise do.
//!
//! It never depends on the broker it checks, so that it still runs when the broker does not
//! build. The binary is `cargo xtask`; the library is here so that `cargo test` can run tidy.

#![forbid(unsafe_code)]

pub mod address;
pub mod arbitration;
pub mod binary;
pub mod broker;
pub mod docs;
pub mod failover;
pub mod fill;
pub mod fuzz;
pub mod heal;
pub mod hugepages;
pub mod interop;
mod mutual;
mod rebuild;
pub mod service;
mod shown;
pub mod small_disk;
pub mod tidy;
pub mod toolbox;
pub mod tune;
