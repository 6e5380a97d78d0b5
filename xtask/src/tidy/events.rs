//! Event ids: every line that a shard can say has a row in `docs/operations.md`, and every row a
//! line.
//!
//! Operators match alerts on these ids, so none appears or goes in silence.

use std::collections::BTreeMap;

use super::{Breach, Tree};

const PAGE: &str = "docs/operations.md";

/// Ids in the sources and on the page are the same.
pub(super) fn rows(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut said: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for (source, rust) in tree.rust() {
        if !source.path.starts_with("src/") || source.is_test() {
            continue;
        }
        for (at, id) in ids(&source.text) {
            if !rust.in_test(at) {
                said.entry(id).or_insert_with(|| (source.path.clone(), at));
            }
        }
    }
    let Some(page) = tree.find(PAGE) else { return found };
    let rows: BTreeMap<String, usize> = page
        .lines()
        .filter_map(|(at, line)| Some((line.strip_prefix("| `")?.split_once('`')?.0.into(), at)))
        .collect();
    for (id, (path, line)) in said.iter().filter(|(id, _)| !rows.contains_key(*id)) {
        found.push(Breach::new(path, *line, "event", format!("give `{id}` a row in {PAGE}")));
    }
    for (id, line) in rows.iter().filter(|(id, _)| !said.contains_key(*id)) {
        let instead = format!("nothing says `{id}` any more; remove the row");
        found.push(Breach::new(PAGE, *line, "event", instead));
    }
    found
}

/// The first argument of every `.say(`, when it is a literal, with its line.
fn ids(text: &str) -> Vec<(usize, String)> {
    let calls = text.match_indices(".say(");
    calls
        .filter_map(|(at, call)| {
            let rest = text[at + call.len()..].trim_start().strip_prefix('"')?;
            let line = text[..at].matches('\n').count() + 1;
            Some((line, rest.split_once('"')?.0.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::tree;
    use super::*;

    #[test]
    fn an_id_without_a_row_and_a_row_without_an_id_are_reported() {
        let code =
            "fn f() {\n    v.say(\n        \"disk-gone\", &why);\n    v.say(\"ok\", &x);\n}\n";
        let page = "# Lines\n\n| `ok` | fine |\n| `old` | gone |\n";
        let tree = tree(&[("src/shard/a.rs", code), (PAGE, page)]);
        let words: Vec<String> = rows(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "src/shard/a.rs:2: event: give `disk-gone` a row in docs/operations.md",
                "docs/operations.md:4: event: nothing says `old` any more; remove the row",
            ]
        );
    }
}
