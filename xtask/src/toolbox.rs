//! What the commands of the toolbox share: running programs and knowing where things are.
//!
//! Output of the programs goes straight to the terminal. A program that fails is an error with
//! its whole command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The repository: the folder above this crate.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs this, or the one in the path.
#[must_use]
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Where cargo puts what it builds.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a program to its end; anything but success is an error.
pub fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Sends a signal, by its name without SIG, to a program that was started here.
pub fn signal(child: &Child, name: &str) {
    // One that is gone needs none.
    let _ = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
}

/// Ends a broker as a service manager would, so that it takes its staging memory along; by force
/// when it does not end within ten seconds.
pub fn end(child: &mut Child) {
    // A frozen one hears nothing else.
    signal(child, "CONT");
    signal(child, "TERM");
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // It may have ended between the two calls.
    let _ = child.kill();
    let _ = child.wait();
}

/// Feeds a producer the lines `name-0`, `name-1`, … until it takes no more; gives those it took.
pub fn feed(mut input: ChildStdin, name: String) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let lines = (0..u64::MAX).map(|n| format!("{name}-{n}"));
        lines.take_while(|line| writeln!(input, "{line}").is_ok()).collect()
    })
}

/// Builds the release binary of the broker, alone, so that no other member's features reach it,
/// and gives its path.
pub fn release() -> Result<PathBuf, String> {
    run(cargo().args(["build", "--release", "--package", "weir", "--bin", "weir"]))?;
    Ok(target().join("release/weir"))
}

/// The broker that a rig runs: the built one it was given, or the release binary, built now.
pub fn broker(given: Option<&Path>) -> Result<PathBuf, String> {
    let Some(path) = given else { return release() };
    path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))
}
