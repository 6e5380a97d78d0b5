//! `cargo xtask fuzz`: bad input against the protocol crate and a whole simulated server.
//!
//! The fuzzer is LLVM's; the stable compiler can put its coverage counters in, so no other
//! toolchain is needed. It starts from the recorded frames of stock clients. A failure leaves its
//! input in a file and says how to run it again; the same seed makes the same choices, but how far
//! they get in a number of seconds depends on the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::toolbox;

/// What `cargo-fuzz` hands the compiler for coverage, without its sanitizers.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table \
                        -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions";
/// Orders before a stream: see the head of `fuzz/src/lib.rs`.
const ORDERS: usize = 8;
/// Recorded frames joined to one input.
const FRAMES: usize = 6;
/// Longest input, bytes.
const INPUT_MAX: u32 = 32 * 1024;

/// The options.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// How long, seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Seed of the run; without it one is made and said.
    #[arg(long)]
    seed: Option<u32>,
    /// Runs the input of a failure again, once.
    #[arg(long)]
    replay: Option<PathBuf>,
}

/// Builds, fuzzes, and says how many inputs there were.
pub fn run(arguments: &Arguments) -> Result<String, String> {
    let folder = toolbox::target().join("xtask/fuzz");
    let corpus = folder.join("corpus");
    std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
    let binary = build()?;
    if let Some(input) = &arguments.replay {
        toolbox::run(Command::new(&binary).arg(input))?;
        return Ok(format!("fuzz: {} passes", input.display()));
    }
    let seed = arguments.seed.unwrap_or_else(std::process::id).max(1);
    println!("fuzz: seed {seed}, {} s", arguments.seconds);
    let seeds = write_seeds(&corpus)?;
    let output = Command::new(&binary)
        .arg(&corpus)
        .arg(format!("-seed={seed}"))
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-max_len={INPUT_MAX}"))
        .arg(format!("-artifact_prefix={}/", folder.display()))
        .args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=4096", "-verbosity=1"])
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{}: {error}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "{text}\nfuzz: seed {seed} found a broken promise; the input is named above, \
             `cargo xtask fuzz --replay FILE` runs it again"
        ));
    }
    let inputs = stat(&text, "stat::number_of_executed_units:").unwrap_or(0);
    let found = stat(&text, "stat::new_units_added:").unwrap_or(0);
    if inputs == 0 {
        return Err(format!("{text}\nfuzz: no input was run"));
    }
    Ok(format!(
        "fuzz: {inputs} inputs from {seeds} recorded ones, {found} reached something new, seed \
         {seed}, no promise broken"
    ))
}

/// Builds the fuzzer with counters, apart from everything else: the flags are for all of it.
fn build() -> Result<PathBuf, String> {
    let host = host()?;
    let target = toolbox::target().join("xtask/fuzz/target");
    let mut cargo = toolbox::cargo();
    cargo.args(["build", "--release", "--package", "weir-fuzz", "--target", &host]);
    cargo.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &target);
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    toolbox::run(&mut cargo)?;
    Ok(target.join(host).join("release/weir-fuzz"))
}

/// The triple this machine compiles for. Naming it keeps the flags away from build scripts.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".into())
}

/// One input for every few frames that a stock client sent; says how many.
fn write_seeds(corpus: &Path) -> Result<usize, String> {
    let golden = toolbox::root().join("wire/tests/golden");
    let fail = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut count = 0;
    for entry in std::fs::read_dir(&golden).map_err(|error| fail(&golden, error))? {
        let path = entry.map_err(|error| fail(&golden, error))?.path();
        let text = std::fs::read_to_string(&path).map_err(|error| fail(&path, error))?;
        let frames: Vec<Vec<u8>> = text.lines().filter_map(sent).collect();
        for chunk in frames.chunks(FRAMES) {
            let mut input = vec![count as u8; ORDERS];
            input.extend(chunk.iter().flatten());
            let file = corpus.join(format!("seed-{count:04}"));
            std::fs::write(&file, input).map_err(|error| fail(&file, error))?;
            count += 1;
        }
    }
    Ok(count)
}

/// The bytes of a line that records a frame from a client.
fn sent(line: &str) -> Option<Vec<u8>> {
    let digits = line.strip_prefix("> ")?;
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn stat(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_of_clients_are_taken() {
        assert_eq!(sent("> 00ff10"), Some(vec![0, 255, 16]));
        assert_eq!((sent("< 00ff10"), sent("# a: b"), sent("> 0g")), (None, None, None));
    }

    #[test]
    fn a_figure_is_read_from_the_fuzzers_last_lines() {
        let text = "Done 12 runs\nstat::number_of_executed_units: 1234\n";
        assert_eq!(stat(text, "stat::number_of_executed_units:"), Some(1234));
        assert_eq!(stat(text, "stat::new_units_added:"), None);
    }
}
