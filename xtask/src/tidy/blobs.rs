//! Sizes: nothing large is kept in the repository.
//!
//! Captures and recordings are trimmed to what a test needs; downloads are fetched by their rig.

use super::{Breach, Tree};

const BYTES_MAX: u64 = 256 * 1024;

/// No file is larger than 256 KiB.
pub(super) fn sizes(tree: &Tree) -> Vec<Breach> {
    let large = tree.sizes.iter().filter(|(_, bytes)| *bytes > BYTES_MAX);
    large
        .map(|(path, bytes)| {
            let instead = format!("{bytes} bytes; keep it below {BYTES_MAX} or fetch it");
            Breach::new(path, 0, "size", instead)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn a_large_file_is_reported() {
        let text = "x".repeat(256 * 1024 + 1);
        assert_eq!(found(sizes, "docs/a.txt", &text), ["0: size"]);
        assert!(found(sizes, "docs/a.txt", &text[1..]).is_empty());
    }
}
