//! From texts to a checked [`Config`]: defaults, then the TOML file, then what `weir config set`
//! wrote, then `--set`; the last wins.
//!
//! It reports every fault it finds, not only the first, each with its place. It never opens the
//! file (the caller hands the text in) and never starts with a key it did not understand.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::explained::EXPLAINED;
use super::kind::Value;
use super::table::{Config, KNOBS, Knob, LIVE};

/// Where the values come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file: its path, for messages, and its text.
    pub file: Option<(String, String)>,
    /// What `weir config set` wrote: the path of that file and its text. Wins over the file.
    pub overrides: Option<(String, String)>,
    /// `key=value` texts of `--set`, in order. Win over both.
    pub sets: Vec<String>,
    /// `--data`: wins over `storePathRootDir`.
    pub data: Option<String>,
}

/// Where one value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// A line of the file.
    File {
        /// Path as the user wrote it.
        path: String,
        /// Line, counted from 1.
        line: usize,
    },
    /// A line of what `weir config set` wrote.
    Override {
        /// Path of that file.
        path: String,
        /// Line, counted from 1.
        line: usize,
    },
    /// The command line; the option as it was given.
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Override { path, line } => write!(f, "{path}:{line}, by weir config set"),
            Origin::CommandLine(option) => f.write_str(option),
        }
    }
}

/// A reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where it stands.
    pub at: Origin,
    /// What is wrong and what is allowed, in one line.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}

/// One knob as it was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The knob.
    pub key: &'static str,
    /// Its value as text.
    pub text: String,
    /// Who said so.
    pub from: Origin,
}

/// A configuration that may start.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The same as texts with their origins, in the order of the manual.
    pub settings: Vec<Setting>,
    /// Values that `weir config set` wrote and a `--set` of the command line hides.
    pub hidden: Vec<Setting>,
}

impl Loaded {
    /// One line for each knob that was set and cannot do what it is for, or that the command line
    /// hides.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let set: Vec<&Setting> =
            self.settings.iter().filter(|row| row.from != Origin::Default).collect();
        let mut lines = Vec::new();
        for (key, why) in self.config.doubts() {
            if let Some(row) = set.iter().find(|row| row.key == key) {
                lines.push(format!("{}: {key} = {}: {why}", row.from, row.text));
            }
        }
        lines.extend(self.hidden.iter().map(|row| {
            format!("{}: {} = {} is hidden by the command line", row.from, row.key, row.text)
        }));
        lines
    }

    /// Every key and its value as text, in the order of the manual.
    #[must_use]
    pub fn texts(&self) -> Vec<(&'static str, String)> {
        self.settings.iter().map(|row| (row.key, row.text.clone())).collect()
    }
}

/// Whether `weir config set` changes a key while the broker runs.
#[must_use]
pub fn is_live(key: &str) -> bool {
    LIVE.contains(&key)
}

/// Reads the sources. On refusal: every fault, file order first, then the command line's.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Refusal>> {
    let mut draft = Draft::defaults();
    if let Some((path, text)) = &sources.file {
        draft.read_file(path, text);
    }
    if let Some((path, text)) = &sources.overrides {
        draft.read_overrides(path, text);
    }
    for set in &sources.sets {
        draft.read_set(set);
    }
    if let Some(folder) = &sources.data {
        draft.put("storePathRootDir", folder, Origin::CommandLine("--data".into()));
    }
    draft.finish()
}

/// The defaults alone.
impl Default for Config {
    fn default() -> Config {
        let draft = Draft::defaults();
        assert!(draft.refusals.is_empty(), "a default is within its own range");
        Config::assemble(&draft.values)
    }
}

/// The key whose value is never shown.
const SECRET: &str = "haSecret";

struct Draft {
    values: Vec<Value>,
    settings: Vec<Setting>,
    hidden: Vec<Setting>,
    refusals: Vec<Refusal>,
}

impl Draft {
    fn defaults() -> Draft {
        let mut draft = Draft {
            values: Vec::new(),
            settings: Vec::new(),
            hidden: Vec::new(),
            refusals: Vec::new(),
        };
        for knob in KNOBS {
            draft.values.push(Value::Auto);
            draft.settings.push(Setting {
                key: knob.key,
                text: String::new(),
                from: Origin::Default,
            });
            draft.put(knob.key, knob.default, Origin::Default);
        }
        draft
    }

    fn refuse(&mut self, at: Origin, text: String) {
        self.refusals.push(Refusal { at, text });
    }

    fn read_file(&mut self, path: &str, text: &str) {
        let at = |offset: usize| Origin::File { path: path.to_owned(), line: line(text, offset) };
        self.read_toml(text, at, false);
    }

    /// What `weir config set` wrote: as the file, for keys that may change while it runs.
    fn read_overrides(&mut self, path: &str, text: &str) {
        let at =
            |offset: usize| Origin::Override { path: path.to_owned(), line: line(text, offset) };
        self.read_toml(text, at, true);
    }

    fn read_toml(&mut self, text: &str, at: impl Fn(usize) -> Origin, live: bool) {
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start);
                self.refuse(at(offset), format!("not TOML: {}", error.message()));
                return;
            }
        };
        let mut rows: Vec<(&str, &Spanned<DeValue<'_>>, usize)> = table
            .get_ref()
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), value, key.span().start))
            .collect();
        rows.sort_by_key(|(_, _, offset)| *offset);
        for (key, value, offset) in rows {
            match toml_text(value.get_ref()) {
                Some(_) if live && !is_live(key) => self.refuse(
                    at(offset),
                    format!("`{key}` cannot be changed by weir config set; remove the line"),
                ),
                Some(value) => self.put(key, &value, at(offset)),
                None => self.refuse(
                    at(offset),
                    format!("`{key}` is a table; keys stand at the top, without [sections]"),
                ),
            }
        }
    }

    fn read_set(&mut self, set: &str) {
        let hidden = set.split_once('=').is_some_and(|(key, _)| key.trim() == SECRET);
        let shown = if hidden { "haSecret=(hidden)" } else { set };
        let at = Origin::CommandLine(format!("--set {shown}"));
        match set.split_once('=') {
            Some((key, value)) => self.put(key.trim(), value, at),
            None => self.refuse(at, "expected key=value".into()),
        }
    }

    fn put(&mut self, key: &str, text: &str, at: Origin) {
        let text = text.trim();
        let shown = if key == SECRET && !text.is_empty() { "(hidden)" } else { text };
        let Some(row) = KNOBS.iter().position(|knob| knob.key == key) else {
            self.unknown(key, text, at);
            return;
        };
        let knob = &KNOBS[row];
        let value = match text {
            "auto" if knob.auto.is_some() => Some(Value::Auto),
            _ => knob.kind.read(text),
        };
        match value {
            Some(value) => {
                let before = &self.settings[row];
                let by_line = matches!(at, Origin::CommandLine(_));
                if by_line && matches!(before.from, Origin::Override { .. }) {
                    self.hidden.push(before.clone());
                }
                self.values[row] = value;
                self.settings[row] = Setting { key: knob.key, text: shown.to_owned(), from: at };
            }
            None => {
                let or_auto = if knob.auto.is_some() { ", or auto" } else { "" };
                let allowed = knob.kind.allowed();
                self.refuse(at, format!("{key} = `{shown}` is not allowed: {allowed}{or_auto}"));
            }
        }
    }

    fn unknown(&mut self, key: &str, text: &str, at: Origin) {
        let same = EXPLAINED.iter().find(|row| row.key == key).and_then(|row| row.same);
        match known(key) {
            Err(why) if same != Some(text) => self.refuse(at, why),
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Loaded, Vec<Refusal>> {
        let config = Config::assemble(&self.values);
        if self.refusals.is_empty() {
            for (key, why) in config.contradictions() {
                let setting = self.settings.iter().find(|setting| setting.key == key);
                let at = setting.map_or(Origin::Default, |setting| setting.from.clone());
                self.refuse(at, format!("{key}: {why}"));
            }
        }
        if self.refusals.is_empty() {
            Ok(Loaded { config, settings: self.settings, hidden: self.hidden })
        } else {
            Err(self.refusals)
        }
    }
}

/// The knob called `key`, or why there is none.
pub(super) fn known(key: &str) -> Result<&'static str, String> {
    if let Some(knob) = KNOBS.iter().find(|knob| knob.key == key) {
        return Ok(knob.key);
    }
    if let Some(row) = EXPLAINED.iter().find(|row| row.key == key) {
        return Err(format!("{key}: {}; remove the key", row.instead));
    }
    let nearest = nearest(key).map_or("", |knob| knob.key);
    Err(format!("unknown key `{key}`; the nearest is `{nearest}`"))
}

/// The knob whose name is nearest to `key`, case aside.
fn nearest(key: &str) -> Option<&'static Knob> {
    let key = key.to_lowercase();
    let distance = |knob: &&Knob| strsim::damerau_levenshtein(&key, &knob.key.to_lowercase());
    KNOBS.iter().min_by_key(distance)
}

/// A scalar, or an array of scalars joined by `;`, as the text `--set` would have. `None`: a table.
fn toml_text(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| toml_text(item.get_ref())).collect();
            items?.join(";")
        }
        DeValue::Table(_) => return None,
    })
}

/// Line of a byte offset, counted from 1.
fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
