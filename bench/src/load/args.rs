//! The options of `weir-bench load`. They describe one run; `compare` builds them for its rounds
//! as command lines, so that what it measures can be repeated by hand.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::frame::Encoding;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Every connection sends.
    Send,
    /// Fill the tail of the queues first, then every connection pulls it over and over.
    Pull,
    /// Even connections send, odd ones follow the queues with long-polling pulls.
    Mixed,
}

impl Mode {
    /// The name in options and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Send => "send",
            Mode::Pull => "pull",
            Mode::Mixed => "mixed",
        }
    }
}

/// One run.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// Name server to ask for the route, host:port.
    #[arg(long, required_unless_present = "broker", conflicts_with = "broker")]
    pub namesrv: Option<String>,
    /// Broker to use without a name server, host:port.
    #[arg(long)]
    pub broker: Option<String>,
    /// Topic; it is created with --queues queues on each broker.
    #[arg(long, default_value = "weir_bench")]
    pub topic: String,
    /// Queues of the topic per broker.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub queues: u32,
    /// What the connections do.
    #[arg(long, value_enum, default_value_t = Mode::Send)]
    pub mode: Mode,
    /// Connections, spread over the brokers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// Requests outstanding on each connection (closed loop), or at most (open loop).
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub outstanding: u32,
    /// Body bytes of a message.
    #[arg(long, default_value_t = 1024)]
    pub body: usize,
    /// Header encoding.
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub headers: Encoding,
    /// Messages per second over all connections: open loop. Without it the loop is closed.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Messages per pull.
    #[arg(long, default_value_t = 32)]
    pub batch: u32,
    /// Pull mode: bytes of bodies in the tail that is pulled, over all queues.
    #[arg(long, default_value_t = 4 * 1024 * 1024)]
    pub tail: u64,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Seconds measured.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Core to run on.
    #[arg(long)]
    pub core: Option<usize>,
    /// Write an HdrHistogram V2 log with one interval per second.
    #[arg(long)]
    pub hdr_log: Option<PathBuf>,
    /// Print only the JSON line.
    #[arg(long)]
    pub quiet: bool,
}
