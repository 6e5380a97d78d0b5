//! The options of `weir-bench compare`. They describe the whole comparison; what one run of the
//! generator is told follows from them in `rounds`.

use std::path::PathBuf;

use clap::Args;

use crate::frame::Encoding;

/// The comparison.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// The weir binary.
    #[arg(long, default_value = "target/release/weir")]
    pub weir: PathBuf,
    /// More configuration for weir, key=value; may be repeated.
    #[arg(long = "weir-set", value_name = "KEY=VALUE")]
    pub weir_sets: Vec<String>,
    /// Class path of Java RocketMQ's broker (5.4.0); without it Java is left out.
    #[arg(long)]
    pub java_classpath: Option<String>,
    /// Directory on the disk to measure; what is made in it is removed.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Rounds; figures are medians over them.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds measured in each run.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds of load before measuring, in each run.
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Seconds of load on each server before the first round: first use of its files, caches.
    #[arg(long, default_value_t = 3.0)]
    pub prime: f64,
    /// The same for Java, whose compiler needs longer.
    #[arg(long, default_value_t = 30.0)]
    pub java_prime: f64,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    pub connections: u16,
    /// Outstanding sends per connection.
    #[arg(long, default_value_t = 256)]
    pub outstanding: u32,
    /// Outstanding pulls per connection.
    #[arg(long, default_value_t = 8)]
    pub pulls: u32,
    /// Body bytes.
    #[arg(long, default_value_t = 1024)]
    pub body: usize,
    /// Header encoding.
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub headers: Encoding,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core of the generator.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// First of the ports used (a range of 200).
    #[arg(long, default_value_t = 21_000)]
    pub port_base: u16,
    /// Leave the pull runs out.
    #[arg(long)]
    pub no_pull: bool,
}
