//! The binary: hands the command line to the library and ends with its exit code.
//!
//! The allocator is chosen here and nowhere else. Nothing is decided here.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weir::cli::main()
}
