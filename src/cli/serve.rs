//! `weir serve`: reads the configuration and hands the process to the node.
//!
//! The ready line, signals and the end of the shards are the node's business.

use super::args::Serve;
use super::config;
use super::output::Output;
use crate::exit::Stop;

/// Runs until the node stops.
pub(super) fn run(args: &Serve, out: &mut Output) -> Result<(), Stop> {
    let loaded = config::read(args)?;
    for notice in loaded.notices() {
        out.notice(&notice);
    }
    crate::node::serve(loaded.config)
}
