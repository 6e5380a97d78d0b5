//! What `weir config set` changed: a small TOML text in the data directory, one key a line.
//!
//! It is read at every start, after the file and before `--set`. This file makes and reads the
//! text; who writes it to disk does so by rename. Never: a key that is not live.
//! Invariant: sorted by key, each key once.

use std::collections::BTreeMap;

use super::load::{Loaded, Origin, Refusal, Sources, is_live, load};

/// Name of the file in the data directory.
const FILE: &str = "overrides.toml";
const HEAD: &str = "# Written by `weir config set`; `weir config unset KEY` takes a line back.\n";

/// The changes, over the sources of the start.
#[derive(Clone, Debug)]
pub struct Overrides {
    sources: Sources,
    path: String,
    values: BTreeMap<&'static str, String>,
}

impl Overrides {
    /// Name of their file in the data directory.
    pub const FILE: &'static str = FILE;

    /// Those in force at a start from `sources`, which gave `loaded`; they are kept at `path`.
    #[must_use]
    pub fn new(sources: Sources, loaded: &Loaded, path: String) -> Overrides {
        let rows = loaded.settings.iter().chain(&loaded.hidden);
        let values = rows
            .filter(|row| matches!(row.from, Origin::Override { .. }))
            .map(|row| (row.key, row.text.clone()))
            .collect();
        Overrides { sources, path, values }
    }

    /// The same with `key` set to `value`, or with its line taken back (`None`), and what a start
    /// with that would load. Every fault is told in the words of a start.
    pub fn with(
        &self,
        key: &str,
        value: Option<&str>,
    ) -> Result<(Overrides, Loaded), Vec<Refusal>> {
        let at = || Origin::CommandLine(format!("config set {key}"));
        let refuse = |text: String| Err(vec![Refusal { at: at(), text }]);
        let mut next = self.clone();
        match super::load::known(key) {
            Err(text) => return refuse(text),
            Ok(key) if !is_live(key) => {
                return refuse(format!(
                    "{key} is read at start only: set it in the file or with --set, and restart"
                ));
            }
            Ok(key) => match value {
                Some(value) => drop(next.values.insert(key, value.trim().to_owned())),
                None => drop(next.values.remove(key)),
            },
        }
        let sources =
            Sources { overrides: Some((self.path.clone(), next.text())), ..self.sources.clone() };
        let loaded = load(&sources)?;
        Ok((next, loaded))
    }

    /// Whether the command line hides a key's line here.
    #[must_use]
    pub fn hidden(&self, key: &str) -> bool {
        let named = |set: &String| set.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        self.sources.sets.iter().any(named)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (key, value) in &self.values {
            let value = toml::Value::String(value.clone());
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }
}
