//! Options every scenario has: where servers run, for how long, and where the report goes.
//!
//! `--quick` and `--full` choose lengths, `--seconds` and `--rounds` override them. Whatever
//! cannot work is refused before a server is started.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::frame::Encoding;
use crate::load::{check_core, seconds, seconds_or_none};

/// Ports a bed may use, from `--port-base` on.
pub(crate) const PORTS: u16 = 400;

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct BedArgs {
    /// The weir binary; without it, the one beside this program, else target/release/weir.
    #[arg(long)]
    pub weir: Option<PathBuf>,
    /// More configuration for weir, key=value; may be repeated.
    #[arg(long = "weir-set", value_name = "KEY=VALUE")]
    pub weir_sets: Vec<String>,
    /// Directory on the disk to measure; what is made in it is removed.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Directory for the report: NAME.json and NAME.html.
    #[arg(long, default_value = ".")]
    pub out: PathBuf,
    /// Name of the report's files; without it, the scenario's.
    #[arg(long)]
    pub name: Option<String>,
    /// Short runs: to see that it works.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Long runs: for figures that are kept.
    #[arg(long)]
    pub full: bool,
    /// Seconds measured in each run, over what --quick and --full say.
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Seconds of load before measuring, in each run.
    #[arg(long, value_parser = seconds_or_none)]
    pub warmup: Option<f64>,
    /// Rounds; ratios are formed within a round and are medians over all.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Header encoding.
    #[arg(long, value_enum, default_value_t = Encoding::Json)]
    pub headers: Encoding,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core of the generator.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// First of the ports used (a range of 400).
    #[arg(long, default_value_t = 21_000,
          value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    pub port_base: u16,
}

/// Lengths of runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// Seconds measured.
    pub seconds: f64,
    /// Seconds before.
    pub warmup: f64,
    /// Rounds.
    pub rounds: u32,
}

impl BedArgs {
    /// Refuses what cannot work: cores, ports, the binary, a directory in memory. Makes paths
    /// absolute, since servers may run elsewhere.
    pub(crate) fn checked(&self) -> io::Result<Self> {
        check_core(self.server_core, "--server-core")?;
        check_core(self.load_core, "--load-core")?;
        if u32::from(self.port_base) + u32::from(PORTS) > u32::from(u16::MAX) {
            let max = u16::MAX - PORTS;
            return Err(io::Error::other(format!(
                "--port-base {} leaves no room for {PORTS} ports, limit {max}",
                self.port_base
            )));
        }
        let dir = absolute(&self.dir, "--dir")?;
        if crate::findings::Machine::of(&dir)?.file_system == "tmpfs" {
            return Err(io::Error::other(format!(
                "--dir {} is in memory (tmpfs); give a directory on a disk",
                self.dir.display()
            )));
        }
        let out = absolute(&self.out, "--out")?;
        Ok(Self { weir: Some(self.find_weir()?), dir, out, ..self.clone() })
    }

    fn find_weir(&self) -> io::Result<PathBuf> {
        if let Some(path) = &self.weir {
            return absolute(path, "--weir");
        }
        let beside = std::env::current_exe()?.with_file_name("weir");
        let places = [beside, PathBuf::from("target/release/weir")];
        let found = places.iter().find(|path| path.exists());
        let found = found.ok_or_else(|| {
            io::Error::other("no weir binary here: cargo build --release, or give --weir")
        })?;
        found.canonicalize()
    }

    /// The lengths, from those of `--quick`, of neither, and of `--full`.
    pub(crate) fn lengths(&self, quick: Lengths, usual: Lengths, full: Lengths) -> Lengths {
        let chosen = match (self.quick, self.full) {
            (true, _) => quick,
            (_, true) => full,
            _ => usual,
        };
        Lengths {
            seconds: self.seconds.unwrap_or(chosen.seconds),
            warmup: self.warmup.unwrap_or(chosen.warmup),
            rounds: self.rounds.unwrap_or(chosen.rounds),
        }
    }
}

fn absolute(path: &Path, option: &str) -> io::Result<PathBuf> {
    path.canonicalize()
        .map_err(|error| io::Error::other(format!("{option} {}: {error}", path.display())))
}
