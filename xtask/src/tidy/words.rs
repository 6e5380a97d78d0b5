//! Words that must not appear: keywords out of place, left-overs, paths of somebody's machine.
//!
//! Keywords are found in the token stream, so a comment may speak of them. The list is short:
//! each word here has cost somebody a night.

use super::{Breach, Source, Tree};

/// Rooms that own all they touch: no sharing between threads, no threads.
const SINGLE_THREADED: &[&str] =
    &["base", "broker", "commitlog", "naming", "queue", "replica", "shard"];

/// Where other people's runtimes are measured: `async` is their language.
const FOREIGN_RUNTIMES: &str = "bench/src/runtimes/";

/// `unsafe` and `libc` only in `io/`; `async` in the control room and where foreign
/// runtimes are measured; no sharing and no threads below `server`.
pub(super) fn keywords(tree: &Tree) -> Vec<Breach> {
    let mut found = Vec::new();
    for (source, rust) in tree.rust() {
        let io = source.path.starts_with("io/");
        let alone = SINGLE_THREADED.iter().any(|room| source.room() == Some(*room))
            || source.path.starts_with("wire/src/");
        for word in &rust.words {
            let instead = match word.text.as_str() {
                "unsafe" if !io => ("unsafe", "wrap the operation in `io/`, the one unsafe room"),
                "libc" if !io => ("libc", "ask `io/` for the call; no syscalls elsewhere"),
                "async" | "await"
                    if source.room() != Some("control")
                        && !source.path.starts_with(FOREIGN_RUNTIMES) =>
                {
                    ("async", "submit and handle the event (decision 0002)")
                }
                "Arc" | "Mutex" | "RwLock" | "Condvar" | "thread_local"
                    if alone && !source.is_test() && !rust.in_test(word.line) =>
                {
                    ("sharing", "a shard owns its state; send a letter by mailbox")
                }
                "thread"
                    if alone
                        && word.next == "::"
                        && !source.is_test()
                        && !rust.in_test(word.line) =>
                {
                    ("sharing", "a shard is one thread; let `node` start threads")
                }
                _ => continue,
            };
            found.push(Breach::new(&source.path, word.line, instead.0, instead.1));
        }
    }
    found
}

/// No note to oneself and no ticket number is left in the tree.
pub(super) fn left_overs(tree: &Tree) -> Vec<Breach> {
    const NOTES: &[&str] =
        &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| written_here(source)) {
        for (at, line) in source.lines() {
            if NOTES.iter().any(|note| words_of(line).any(|word| word == *note)) {
                let instead = "do it, or write it down as an issue and describe what is";
                found.push(Breach::new(&source.path, at, "left-over", instead));
            }
            if names_an_issue(line) {
                let instead = "say the reason itself, not the number of a ticket";
                found.push(Breach::new(&source.path, at, "issue-number", instead));
            }
        }
    }
    found
}

/// No path of the machine somebody happens to work on.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Breach> {
    const PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| written_here(source)) {
        for (at, line) in source.lines() {
            if PATHS.iter().any(|path| starts_a_path(line, path)) {
                let instead = "say it relative to the repository or to an option";
                found.push(Breach::new(&source.path, at, "machine-path", instead));
            }
        }
    }
    found
}

/// Lock files and captures are made by programs.
fn written_here(source: &Source) -> bool {
    let made = [".lock", "go.sum", "package-lock.json", ".snap", ".hex", ".bin"];
    !made.iter().any(|end| source.path.ends_with(end))
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

fn names_an_issue(line: &str) -> bool {
    let mut before = "";
    for word in line.split_whitespace() {
        let digits = word.trim_start_matches('#').trim_end_matches(|c: char| !c.is_ascii_digit());
        let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let named = matches!(before.to_lowercase().as_str(), "issue" | "ticket");
        if number && (named || word.starts_with('#')) {
            return true;
        }
        before = word;
    }
    false
}

fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::found;
    use super::*;

    #[test]
    fn a_keyword_out_of_place_is_reported() {
        for (path, text, rule) in [
            ("src/queue/a.rs", "fn f() { unsafe { g() } }", "1: unsafe"),
            ("wire/src/a.rs", "unsafe fn f() {}", "1: unsafe"),
            ("bench/src/a.rs", "use libc::c_int;", "1: libc"),
            ("io/src/a.rs", "async fn f() {}", "1: async"),
            ("bench/src/a.rs", "async fn f() {}", "1: async"),
            ("src/server/a.rs", "fn f() { g().await; }", "1: async"),
            ("src/commitlog/a.rs", "use std::sync::Arc;", "1: sharing"),
            ("src/broker/a.rs", "struct A(std::sync::Mutex<u8>);", "1: sharing"),
            ("src/naming/a.rs", "fn f() { std::thread::spawn(g); }", "1: sharing"),
        ] {
            assert_eq!(found(keywords, path, text), [rule], "{path} {text}");
        }
    }

    #[test]
    fn the_same_keywords_in_their_place_pass() {
        for (path, text) in [
            ("io/src/a.rs", "fn f() { unsafe { libc::getpid() } }"),
            ("src/control/a.rs", "async fn f() { g().await }"),
            ("bench/src/runtimes/a.rs", "async fn f() { g().await }"),
            ("src/node.rs", "use std::sync::Arc; fn f() { std::thread::spawn(g); }"),
            ("src/queue/a.rs", "// unsafe, async, Arc\nfn f(thread: u8) {}"),
            ("src/queue/a.rs", "#[cfg(test)]\nmod tests { fn f() { std::thread::spawn(g); } }"),
        ] {
            assert!(found(keywords, path, text).is_empty(), "{path} {text}");
        }
    }

    #[test]
    fn a_left_over_is_reported() {
        let note = format!("fn f() {{}} // {}: later\n", concat!("TO", "DO"));
        assert_eq!(found(left_overs, "src/a.rs", &note), ["1: left-over"]);
        for number in [concat!("see iss", "ue 12\n"), concat!("// as in ", "#", "4711\n")] {
            assert_eq!(found(left_overs, "docs/a.md", number), ["1: issue-number"], "{number}");
        }
        let fine = "SCHEDULE_TOPIC_XXXX\n# 1. Title\n#[derive(A)]\nissue at hand\n";
        assert!(found(left_overs, "docs/a.md", fine).is_empty());
    }

    #[test]
    fn a_machine_path_is_reported() {
        let path = concat!("in /ro", "ot/weir\n");
        assert_eq!(found(machine_paths, "docs/a.md", path), ["1: machine-path"]);
        let fine = concat!("net", "/wo", "rk/\nhttps://example.org/ho", "me.html\n");
        assert!(found(machine_paths, "docs/a.md", fine).is_empty());
    }
}
