//! The shell script of `weir tune script`: what apply would write, for a person to review.
//!
//! Plain POSIX shell, one line a file, each with its reason and the value it replaces; the way back
//! stands at its end. It never hides a command that is the operator's to decide: those are
//! comments.

use std::fmt::Write;

use super::judge::{Reading, State};
use super::tree::Tree;

const HEAD: &str = "\
#!/bin/sh
# Made by `weir tune script`. Review it, then run it as root. `weir tune apply` does the same and
# keeps the old values for `weir tune undo`; after this script the way back is at its end.
set -u
put() { printf '%s\\n' \"$1\" > \"$2\" || echo \"refused: $2\" >&2; }
";

/// The whole script.
pub(super) fn script(tree: &Tree, readings: &[Reading<'_>], huge_pages: bool) -> String {
    let mut out = String::from(HEAD);
    let mut back = String::new();
    let mut told = "";
    for reading in readings {
        let asked = reading.state == State::Asked && huge_pages;
        if reading.state == State::Differs || asked {
            if told != reading.knob.name {
                let _ = write!(out, "\n# {}: {}\n", reading.knob.name, reading.knob.why);
            }
            told = &reading.knob.name;
            let path = quoted(&tree.at(&reading.path).display().to_string());
            let _ = writeln!(out, "put {} {path}  # was {}", quoted(&reading.write), reading.now);
            way_back(tree, reading, &mut back);
        } else if let Some(mend) = reading.mend.as_ref().filter(|_| told != reading.knob.name) {
            told = &reading.knob.name;
            let (name, now, want) = (told, &reading.now, &reading.want);
            let _ = write!(out, "\n# {name} is {now}, want {want}; by hand: {mend}\n");
        }
    }
    if back.is_empty() {
        out.push_str("\n# There is nothing to change.\n");
    } else {
        let _ = write!(out, "\n# The way back:\n{back}");
    }
    out
}

fn way_back(tree: &Tree, reading: &Reading<'_>, back: &mut String) {
    let (path, value) = match &reading.knob.undo_by {
        Some(other) if reading.now == "0" => (other, tree.text(other)),
        _ => (&reading.path, reading.now.clone()),
    };
    let path = quoted(&tree.at(path).display().to_string());
    let _ = writeln!(back, "# put {} {path}", quoted(&value));
}

/// A word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
