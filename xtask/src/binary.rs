//! `cargo xtask binary`: the release binary has one driver, and no simulator.
//!
//! The simulated kernel is behind a feature that only test builds ask for, and cargo unifies
//! features over whatever is built together. So the binary itself is looked at: the paths of its
//! line tables and symbols must not name the simulator.

use crate::toolbox;

/// Builds the release binary and looks for the simulator in it. Says its size.
pub fn check() -> Result<String, String> {
    let path = toolbox::release()?;
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !contains(&bytes, b"io/src/uring/") {
        return Err(
            "binary: no trace of io/src/uring in it; it was built without line tables, so \
                    the absence of the simulator cannot be seen"
                .into(),
        );
    }
    if let Some(trace) = simulator(&bytes) {
        return Err(format!(
            "binary: the simulator is in it (`{trace}`); build it with `cargo build --release`"
        ));
    }
    Ok(format!("binary: {} bytes, no simulator in it", bytes.len()))
}

fn simulator(bytes: &[u8]) -> Option<&'static str> {
    ["io/src/sim/", "7weir_io3sim"].into_iter().find(|trace| contains(bytes, trace.as_bytes()))
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_of_the_simulator_is_found() {
        assert_eq!(simulator(b"..io/src/sim/disk.rs.."), Some("io/src/sim/"));
        assert_eq!(simulator(b"_ZN7weir_io3sim5world"), Some("7weir_io3sim"));
        assert_eq!(simulator(b"io/src/uring/ring.rs"), None);
    }
}
