//! Pages: one title, links that lead somewhere, lines that fit a screen.
//!
//! Only links inside the repository are followed; the network is never asked. Tables and code
//! fences may be wide.

use super::{Breach, Source, Tree};

const COLUMNS_MAX: usize = 130;

/// Every Markdown page of the repository.
pub(super) fn pages(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for page in tree.sources.iter().filter(|source| source.path.ends_with(".md")) {
        let mut titles = 0;
        for (at, line) in prose(page) {
            titles += usize::from(line.starts_with("# "));
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !line.trim_start().starts_with('|') {
                let instead = format!("{columns} columns; break it at {COLUMNS_MAX}");
                found.push(Breach::new(&page.path, at, "page-width", instead));
            }
            for target in targets(line) {
                if let Some(instead) = broken(tree, page, target) {
                    found.push(Breach::new(&page.path, at, "link", instead));
                }
            }
        }
        if titles != 1 {
            let instead = format!("{titles} titles; a page has one `# ` line");
            found.push(Breach::new(&page.path, 1, "page-title", instead));
        }
    }
    found
}

/// Lines outside code fences.
fn prose(page: &Source) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    page.lines().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of inline links; code spans are no links.
fn targets(line: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for part in line.split('`').step_by(2) {
        let mut rest = part;
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            if let Some(end) = rest.find(')') {
                out.push(&rest[..end]);
            }
        }
    }
    out
}

fn broken(tree: &Tree, page: &Source, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let there = if path.is_empty() { page.path.clone() } else { resolve(&page.path, path) };
    let inside = tree.sizes.iter().any(|(known, _)| {
        *known == there || known.strip_prefix(&there).is_some_and(|rest| rest.starts_with('/'))
    });
    if !inside {
        return Some(format!("`{target}` leads nowhere; there is no {there}"));
    }
    let heading = |source: &Source| prose(source).any(|(_, line)| slug(line) == anchor);
    let missing = !anchor.is_empty() && !tree.find(&there).is_some_and(heading);
    missing.then(|| format!("`{target}`: {there} has no such heading"))
}

fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// A heading's anchor, as the usual renderers make it; empty for other lines.
fn slug(line: &str) -> String {
    if !line.starts_with('#') {
        return String::new();
    }
    let text = line.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{found, tree};
    use super::*;

    #[test]
    fn a_wide_line_and_a_second_title_are_reported() {
        let wide = format!("# A\n{}\n", "x".repeat(131));
        assert_eq!(found(pages, "docs/a.md", &wide), ["2: page-width"]);
        assert_eq!(found(pages, "docs/a.md", "# A\n# B\n"), ["1: page-title"]);
        let fine = format!("# A\n| {} |\n```\n# {}\n```\n", "x".repeat(140), "y".repeat(140));
        assert!(found(pages, "docs/a.md", &fine).is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_reported() {
        let text = "# A\n[b](b.md) [c](../src/) [d](#two-words) `[e](e.md)`\n## Two words\n";
        let pair = [("docs/a.md", text), ("src/lib.rs", "")];
        let words: Vec<String> = pages(&tree(&pair)).iter().map(ToString::to_string).collect();
        assert_eq!(words, ["docs/a.md:2: link: `b.md` leads nowhere; there is no docs/b.md"]);
        let anchor = [("docs/a.md", "# A\n[b](b.md#gone)\n"), ("docs/b.md", "# B\n")];
        assert_eq!(pages(&tree(&anchor)).len(), 1);
    }
}
