//! `cargo xtask docs`: writes the generated pages.
//!
//! The texts live in the broker (`config::reference`, `cli::manual`, `cli::tuning_page`); the test
//! that compares them with the pages writes them instead when it is told to. So the comparison and
//! the writing can never differ.

use crate::toolbox;

/// Says to the test `tidy` that it shall write the pages instead of comparing them.
pub const WRITE: &str = "WEIR_WRITE_DOCS";

/// Writes `docs/config.md`, `docs/cli.md` and `docs/tuning.md`.
pub fn write() -> Result<String, String> {
    let mut command = toolbox::cargo();
    command.args(["test", "--quiet", "--test", "tidy", "the_generated_pages"]).env(WRITE, "1");
    toolbox::run(&mut command)?;
    Ok("docs: docs/config.md, docs/cli.md and docs/tuning.md are written".into())
}
