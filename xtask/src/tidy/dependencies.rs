//! Dependencies: every crate that comes from outside has a reason in `docs/dependencies.md`.
//!
//! A row without a crate is a breach too: the page is true in both directions.

use std::collections::BTreeMap;

use super::{Breach, Tree};

const PAGE: &str = "docs/dependencies.md";

/// Every outside dependency has a row, and every row a dependency.
pub(super) fn rows(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut named: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for source in tree.sources.iter().filter(|source| source.path.ends_with("Cargo.toml")) {
        match source.text.parse::<toml::Table>() {
            Ok(table) => outside(&table, &mut |name| {
                let line = source.lines().find(|(_, line)| line.starts_with(name));
                let at = (source.path.clone(), line.map_or(1, |(at, _)| at));
                named.entry(name.to_owned()).or_insert(at);
            }),
            Err(error) => found.push(Breach::new(&source.path, 1, "manifest", error.to_string())),
        }
    }
    let page = tree.find(PAGE);
    let reasons: Vec<(String, usize)> = page.map_or_else(Vec::new, |page| {
        page.lines().filter_map(|(at, line)| Some((first_cell(line)?, at))).collect()
    });
    for (name, (path, line)) in &named {
        if !reasons.iter().any(|(row, _)| row == name) {
            let instead =
                format!("give `{name}` a row in {PAGE}: what it does and why not our own");
            found.push(Breach::new(path, *line, "dependency", instead));
        }
    }
    for (name, line) in reasons.iter().filter(|(name, _)| !named.contains_key(name)) {
        let instead = format!("nothing depends on `{name}` any more; remove the row");
        found.push(Breach::new(PAGE, *line, "dependency", instead));
    }
    found
}

/// Calls `seen` for each dependency of a manifest that is not a path of this workspace.
fn outside(table: &toml::Table, seen: &mut impl FnMut(&str)) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if matches!(key.as_str(), "dependencies" | "dev-dependencies" | "build-dependencies") {
            for (name, how) in inner {
                let ours = how.get("path").is_some() || name.starts_with("weir");
                if !ours {
                    seen(name);
                }
            }
        } else {
            // `workspace`, `target` and what stands below them.
            outside(inner, seen);
        }
    }
}

/// The crate in the first cell of a table row, when it is in backticks.
fn first_cell(line: &str) -> Option<String> {
    let cell = line.strip_prefix('|')?.split('|').next()?.trim();
    let name = cell.strip_prefix('`')?.strip_suffix('`')?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::sample::tree;
    use super::*;

    fn breaches(manifest: &str, page: &str) -> Vec<String> {
        let tree = tree(&[("a/Cargo.toml", manifest), (PAGE, page)]);
        rows(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_without_a_reason_is_reported() {
        for manifest in [
            "[dependencies]\nserde = \"1\"\n",
            "[dev-dependencies]\nserde.workspace = true\n",
            "[workspace.dependencies]\nserde = { version = \"1\" }\n",
            "[target.'cfg(unix)'.dependencies]\nserde = \"1\"\n",
        ] {
            let found = breaches(manifest, "");
            assert!(found.len() == 1 && found[0].starts_with("a/Cargo.toml:"), "{found:?}");
        }
        assert!(breaches("[dependencies]\nserde = \"1\"\n", "| `serde` | why |\n").is_empty());
        assert!(breaches("[dependencies]\nweir-io.workspace = true\n", "").is_empty());
    }

    #[test]
    fn a_reason_without_a_dependency_is_reported() {
        let found = breaches("", "| crate | why |\n|---|---|\n| `gone` | was good |\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("docs/dependencies.md:3: dependency"), "{found:?}");
    }
}
