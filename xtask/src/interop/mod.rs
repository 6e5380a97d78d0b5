//! `cargo xtask interop`: stock Java, Go, Node and Python clients against a freshly built weir.
//!
//! Installs what the clients need (and fails when it cannot), runs every feature of the table in
//! `interop/README.md`, kills the broker under load, and compares the cells with the page. It
//! writes nothing into the repository but what is ignored there, and ends only its own processes.

mod broker;
mod client;
mod install;
mod kill;
mod load;
mod process;
mod registered_pair;
mod registration;
mod remarks;
mod report;
mod scratch;
mod session;
mod table;

pub(crate) use install::name_server as name_server_jars;
pub(crate) use load::{Load, here};
pub use registration::{RegistrationArguments, registration};
pub use remarks::{RemarksArguments, remarks};
pub use report::{Arguments, run};
