//! `weir serve`: reads the configuration and hands the process to the node.
//!
//! The ready line, signals and the end of the shards are the node's business.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use weir_io::service;

use super::args::Serve;
use super::output::Output;
use super::{config, hello};
use crate::exit::{self, Stop};

/// A start that fails within this time ends only after as much again, when it is a service.
const PAUSE: Duration = Duration::from_secs(2);

/// The codes after which the unit starts it again, and nothing was waited for.
const AGAIN: [u8; 4] = [exit::DATA_UNUSABLE, exit::DISK_FULL, exit::DISK_FAILED, exit::CALL];

/// Runs until the node stops.
pub(super) fn run(args: &Serve, out: &mut Output) -> Result<(), Stop> {
    let read = config::read(&args.broker);
    let (loaded, sources) = read.inspect_err(|stop| service::status(&stop.line))?;
    for notice in loaded.notices() {
        out.notice(&notice);
    }
    if args.hello {
        let port = loaded.config.namesrv_listen_port;
        let host = match loaded.config.bind {
            bind if bind.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            bind => bind,
        };
        hello::start(SocketAddr::new(host, port).to_string(), out.is_json());
    }
    let began = Instant::now();
    let ended = crate::node::serve(loaded, sources);
    if let Err(stop) = &ended {
        service::status(&stop.line);
        // The unit starts a crashed broker again at once. What the machine lacks is not there the
        // next moment, and lines and starts without end would only hide it.
        let again = AGAIN.contains(&stop.exit_code);
        if again && service::is_managed() && began.elapsed() < PAUSE {
            std::thread::sleep(PAUSE);
        }
    }
    ended
}
