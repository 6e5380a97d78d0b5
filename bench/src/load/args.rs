//! The options of `weir-bench load`. They describe one run; the scenarios build them as command
//! lines, so that what they measure can be repeated by hand.
//!
//! Every value has a range here, and what cannot work together is refused by
//! [`LoadArgs::check`] before a connection is opened. Nothing is silently lowered.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::frame::Encoding;

/// Largest body: a frame of RocketMQ's has at most 16 MiB, with its header.
const BODY_MAX: u64 = 15 * 1024 * 1024;
/// Most bytes of requests that may be outstanding: they stand in this process's memory.
const OUTSTANDING_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Most messages per second that can be asked for: far above what one generator's core can do.
const RATE_MAX: u64 = 20_000_000;
/// Longest run: a day.
const SECONDS_MAX: f64 = 86_400.0;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Every connection sends.
    Send,
    /// Fill the tail of the queues first, then every connection pulls it over and over.
    Pull,
    /// Even connections send, odd ones follow the queues with long-polling pulls.
    Mixed,
    /// Every connection is one consumer of a group and pulls its share of the queues from the
    /// oldest message to the newest of now, one pull outstanding for each queue.
    Drain,
}

impl Mode {
    /// The name in options and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Send => "send",
            Mode::Pull => "pull",
            Mode::Mixed => "mixed",
            Mode::Drain => "drain",
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
    /// Topics; with more than one they are called TOPIC_0, TOPIC_1, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub topics: u32,
    /// What the connections do.
    #[arg(long, value_enum, default_value_t = Mode::Send)]
    pub mode: Mode,
    /// Consumer group of the pulls.
    #[arg(long, default_value = "weir_bench_consumer")]
    pub group: String,
    /// Connections, spread over the brokers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Requests outstanding on each connection (closed loop), or at most (open loop).
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub outstanding: u32,
    /// Body bytes of a message.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(..=BODY_MAX))]
    pub body: u64,
    /// Header encoding.
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub headers: Encoding,
    /// Send messages with WAIT=false: the broker answers before the device has them.
    #[arg(long)]
    pub no_wait: bool,
    /// Messages per second over all sending connections: open loop. Without it the loop is closed.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=RATE_MAX))]
    pub rate: Option<u64>,
    /// Open loop: the rate of a peak over the usual one.
    #[arg(long, default_value_t = 1.0, value_parser = factor)]
    pub peak: f64,
    /// Open loop: seconds from peak to peak.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub peak_every: f64,
    /// Open loop: seconds a peak lasts.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub peak_seconds: f64,
    /// Send exactly so many messages and stop when all are answered, however long it takes.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "rate")]
    pub count: Option<u64>,
    /// Drain mode: begin again at the oldest message when all is read, until --seconds are over.
    #[arg(long)]
    pub again: bool,
    /// Messages per pull.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: u32,
    /// Pull mode: bytes of bodies in the tail that is pulled, over all queues.
    #[arg(long, default_value_t = 4 * 1024 * 1024)]
    pub tail: u64,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 1.0, value_parser = seconds_or_none)]
    pub warmup: f64,
    /// Seconds measured; the most that --count and drain may take.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
    /// Connect again when the broker goes away; what was outstanding counts as lost.
    #[arg(long)]
    pub reconnect: bool,
    /// Milliseconds of one step of the time line.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub interval_ms: u64,
    /// Core to run on.
    #[arg(long)]
    pub core: Option<usize>,
    /// Write an HdrHistogram V2 log with one interval per step of the time line.
    #[arg(long)]
    pub hdr_log: Option<PathBuf>,
    /// Print only the JSON line.
    #[arg(long)]
    pub quiet: bool,
}

impl LoadArgs {
    /// Refuses what cannot work together.
    pub(crate) fn check(&self) -> io::Result<()> {
        let bytes = u64::from(self.connections) * u64::from(self.outstanding) * self.body;
        if self.mode == Mode::Send && bytes > OUTSTANDING_BYTES_MAX {
            return refuse(&format!(
                "{} connections x {} outstanding x {} bytes are {bytes} bytes in this process's \
                 memory, limit {OUTSTANDING_BYTES_MAX}; lower --outstanding or --connections",
                self.connections, self.outstanding, self.body
            ));
        }
        if self.mode == Mode::Mixed && self.connections < 2 {
            return refuse("mixed needs 2 connections or more, one to send and one to follow");
        }
        if matches!(self.mode, Mode::Pull | Mode::Drain) && self.rate.is_some() {
            return refuse("--rate is for sends; pull and drain go at full speed");
        }
        if self.peak > 1.0 && self.rate.is_none() {
            return refuse("--peak needs --rate");
        }
        if self.peak > 1.0 && self.peak_seconds >= self.peak_every {
            return refuse("--peak-seconds must be less than --peak-every");
        }
        if let Some(core) = self.core {
            check_core(core, "--core")?;
        }
        Ok(())
    }

    /// Body bytes as a size.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body as usize
    }
}

fn refuse(why: &str) -> io::Result<()> {
    Err(io::Error::other(why.to_owned()))
}

/// Refuses a core this process may not run on.
pub(crate) fn check_core(core: usize, option: &str) -> io::Result<()> {
    let allowed = weir_io::cpu::allowed();
    if allowed.contains(&core) {
        return Ok(());
    }
    Err(io::Error::other(format!("{option} {core}: this process may use the cores {allowed:?}")))
}

/// Seconds, more than none and at most a day.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let value = seconds_or_none(text)?;
    if value > 0.0 { Ok(value) } else { Err("must be more than 0".to_owned()) }
}

/// Seconds from 0 to a day.
pub(crate) fn seconds_or_none(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.0..=SECONDS_MAX).contains(&value) {
        return Ok(value);
    }
    Err(format!("{value} is outside of 0 to {SECONDS_MAX} seconds"))
}

/// A factor from 1 to 100.
fn factor(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1.0..=100.0).contains(&value) { Ok(value) } else { Err("not between 1 and 100".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parsed(more: &[&str]) -> Result<LoadArgs, String> {
        let words = ["load", "--broker", "127.0.0.1:1"].iter().chain(more);
        let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
        only.load.check().map_err(|error| error.to_string())?;
        Ok(only.load)
    }

    #[test]
    fn values_that_cannot_work_are_refused_with_the_limit() {
        for (words, said) in [
            (&["--rate", "0"][..], "1..="),
            (&["--rate", "99000000"], "1..="),
            (&["--seconds", "0"], "more than 0"),
            (&["--seconds", "1e9"], "86400"),
            (&["--body", "99000000"], "0..="),
            (&["--body", "5000000", "--outstanding", "4096"], "lower --outstanding"),
            (&["--mode", "mixed", "--connections", "1"], "2 connections"),
            (&["--mode", "drain", "--rate", "5"], "--rate is for sends"),
            (&["--peak", "3"], "--peak needs --rate"),
            (&["--rate", "9", "--peak", "3", "--peak-seconds", "60"], "less than"),
            (&["--core", "100000"], "may use the cores"),
        ] {
            let error = parsed(words).err().unwrap_or_default();
            assert!(error.contains(said), "{words:?}: {error:?}");
        }
        assert!(parsed(&["--rate", "1000", "--peak", "3"]).is_ok());
    }
}
