//! The rules of the house, as part of `cargo test`: tidy finds nothing, and the generated pages
//! are what the code says.
//!
//! `cargo xtask docs` runs the second test with `WEIR_WRITE_DOCS` set: then it writes the pages.

use std::path::Path;

#[test]
fn no_rule_of_the_house_is_broken() {
    let breaches = xtask::tidy::check(&xtask::toolbox::root()).expect("a readable tree");
    let lines: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n{} breaches", lines.join("\n"), lines.len());
}

#[test]
fn the_generated_pages_say_what_the_code_says() {
    let pages = [
        ("docs/config.md", weir::config::reference()),
        ("docs/cli.md", weir::cli::manual()),
        ("docs/tuning.md", weir::cli::tuning_page()),
    ];
    for (path, text) in pages {
        let path: &Path = &xtask::toolbox::root().join(path);
        if std::env::var_os(xtask::docs::WRITE).is_some() {
            std::fs::write(path, &text).expect("a writable page");
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == text, "{} is stale; run `cargo xtask docs`", path.display());
    }
}
