//! The place of a report: taken before the first measurement, filled at the end.
//!
//! Both files are written under a name of their own and renamed when they are whole, so a report
//! is never half there; a session that fails leaves none. Their room is taken at the start, so
//! that a disk that is full is found then.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use super::html;
use super::number::rounded;
use crate::findings::Findings;

/// Room taken for each file: more than any report so far needed.
const ROOM: usize = 3 * 1024 * 1024;

/// Two files that are being written.
#[derive(Debug)]
pub(crate) struct Place {
    json: Half,
    html: Half,
}

#[derive(Debug)]
struct Half {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    done: bool,
}

impl Place {
    /// Takes the place for `name.json` and `name.html` in `dir`.
    pub(crate) fn take(dir: &Path, name: &str) -> io::Result<Self> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(fine) {
            return Err(io::Error::other(format!(
                "--name {name:?}: only letters, digits, - _ and . can be in a report's name"
            )));
        }
        Ok(Self { json: Half::take(dir, name, "json")?, html: Half::take(dir, name, "html")? })
    }

    /// Writes both files; gives what to tell.
    pub(crate) fn fill(&mut self, findings: &[Findings]) -> io::Result<String> {
        let mut value = serde_json::to_value(findings)?;
        shorten(&mut value);
        self.json.fill(&serde_json::to_vec(&value)?)?;
        self.html.fill(html::page(findings)?.as_bytes())?;
        Ok(format!("report: {} and {}", self.json.path.display(), self.html.path.display()))
    }
}

impl Half {
    fn take(dir: &Path, name: &str, ending: &str) -> io::Result<Self> {
        let path = dir.join(format!("{name}.{ending}"));
        let partial = dir.join(format!(".{name}.{ending}.partial"));
        let cannot = |error: io::Error| {
            io::Error::other(format!(
                "the report cannot be written to {}: {error}; give another --out",
                path.display()
            ))
        };
        let file = File::create(&partial).map_err(cannot)?;
        let mut half = Self { path: path.clone(), partial, file, done: false };
        half.file.write_all(&vec![b' '; ROOM]).map_err(cannot)?;
        half.file.sync_data().map_err(cannot)?;
        Ok(half)
    }

    fn fill(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(text)?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_data()?;
        fs::rename(&self.partial, &self.path)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = fs::remove_file(&self.partial)
        {
            eprintln!("cannot remove {}: {error}", self.partial.display());
        }
    }
}

/// Floats with the digits they are good for.
fn shorten(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(list) => list.iter_mut().for_each(shorten),
        serde_json::Value::Object(members) => members.values_mut().for_each(shorten),
        serde_json::Value::Number(number) if number.is_f64() => {
            // Quantiles near 1 differ in later digits.
            let keep = number.as_f64().is_some_and(|number| (0.9..1.0).contains(&number));
            if let Some(number) = number.as_f64().filter(|_| !keep) {
                *value = rounded(number).into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_not_filled_leaves_nothing() {
        let dir = std::env::temp_dir().join(format!("weir-bench-place-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        drop(Place::take(&dir, "a").unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        Place::take(&dir, "a").unwrap().fill(&[]).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a.json")).unwrap(), "[]");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_that_names_it() {
        for (dir, name) in [("/proc", "a"), ("/no/such/place", "a"), (".", "../a"), (".", "")] {
            let error = Place::take(Path::new(dir), name).unwrap_err().to_string();
            assert!(error.contains("--out") || error.contains("--name"), "{error}");
        }
    }
}
