//! The interval log: what was measured in every interval with traffic, in HdrHistogram's own form.
//!
//! `latency/latency.hlog` in the data directory, V2 and deflated, one tagged line per stage and
//! shard; HdrHistogram's tools read it. A full file becomes `latency.1.hlog` and so on, the oldest
//! one goes. Never: a file that grows without end; an error that reaches a shard.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::base::limits::{LATENCY_LOG_BYTES, LATENCY_LOG_FILES};
use crate::measure::{STAGES, Stages};

/// The log on disk.
#[derive(Debug)]
pub(super) struct History {
    dir: PathBuf,
    file_bytes: u64,
}

impl History {
    /// A log in `dir`, which is made when the first line is written.
    pub(super) fn new(dir: PathBuf) -> History {
        History { dir, file_bytes: LATENCY_LOG_BYTES }
    }

    /// The header and lines of the interval of `span` that ended at `end`; empty without traffic.
    pub(super) fn text<'a>(
        &self,
        shards: impl Iterator<Item = (usize, &'a Stages)>,
        end: SystemTime,
        span: Duration,
    ) -> io::Result<Vec<u8>> {
        let began = end - span;
        let since = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut text = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut writer = IntervalLogWriterBuilder::new()
            .with_max_value_divisor(1_000_000.0)
            .begin_log_with(&mut text, &mut serializer)?;
        let mut lines = 0;
        for (shard, stages) in shards.filter(|(_, stages)| stages.has_traffic()) {
            for stage in STAGES.iter().filter(|stage| !stages.of(**stage).is_empty()) {
                let name = format!("shard-{shard}.{}", stage.name());
                writer
                    .write_histogram(stages.of(*stage), since, span, Tag::new(&name))
                    .map_err(|error| io::Error::other(format!("{error:?}")))?;
                lines += 1;
            }
        }
        Ok(if lines == 0 { Vec::new() } else { text })
    }

    /// Appends text that begins with the header; the header goes into an empty file only.
    pub(super) fn write(&self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.dir)?;
        let path = self.path(0);
        let size = std::fs::metadata(&path).map_or(0, |data| data.len());
        if size > 0 && size + text.len() as u64 > self.file_bytes {
            self.rotate()?;
        }
        let mut file = File::options().create(true).append(true).open(path)?;
        let fresh = file.metadata()?.len() == 0;
        let is_header = |line: &&[u8]| line.starts_with(b"#") || line.starts_with(b"\"");
        let header: usize = text
            .split_inclusive(|byte| *byte == b'\n')
            .take_while(is_header)
            .map(<[u8]>::len)
            .sum();
        let from = if fresh { 0 } else { header };
        io::Write::write_all(&mut file, text.get(from..).unwrap_or(&[]))
    }

    /// One line for the operator.
    pub(super) fn say(&self, id: &str, why: &io::Error) {
        eprintln!("{id} {}: {why}; it is tried again", self.path(0).display());
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (0..LATENCY_LOG_FILES - 1).rev() {
            match std::fs::rename(self.path(number), self.path(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        match number {
            0 => self.dir.join("latency.hlog"),
            number => self.dir.join(format!("latency.{number}.hlog")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Stage;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn stages(device_ns: u64) -> Stages {
        let mut stages = Stages::default();
        stages.record(Stage::Device, device_ns, 10);
        stages.record(Stage::Total, device_ns + 1_000, 10);
        stages
    }

    fn append(history: &History, sets: &[(usize, &Stages)], span: Duration) {
        let text = history.text(sets.iter().copied(), SystemTime::now(), span).unwrap();
        history.write(&text).unwrap();
    }

    fn read(path: &std::path::Path) -> Vec<(String, Duration, Histogram<u64>)> {
        let bytes = std::fs::read(path).unwrap();
        let mut deserializer = Deserializer::new();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            let LogEntry::Interval(line) = entry.unwrap() else { continue };
            let encoded = line.encoded_histogram();
            let tag = line.tag().unwrap().as_str().to_owned();
            let raw = base64_of(encoded);
            let histogram = deserializer.deserialize(&mut raw.as_slice()).unwrap();
            found.push((tag, line.duration(), histogram));
        }
        found
    }

    /// The standard alphabet with padding, as the log has it.
    fn base64_of(text: &str) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = Vec::new();
        let (mut bits, mut held) = (0_u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            let digit = DIGITS.iter().position(|digit| *digit == byte).unwrap() as u32;
            (bits, held) = (bits << 6 | digit, held + 6);
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        out
    }

    #[test]
    fn hdrhistogram_reads_back_what_was_written_and_quiet_intervals_are_not() {
        let dir = std::env::temp_dir().join(format!("weir-history-{}", std::process::id()));
        let history = History::new(dir.clone());
        let span = Duration::from_secs(10);
        let quiet = Stages::default();
        append(&history, &[(0, &quiet)], span);
        assert!(!dir.exists());
        for ns in [1_000_000, 5_000_000] {
            let set = stages(ns);
            append(&history, &[(0, &set), (1, &quiet)], span);
        }
        let found = read(&dir.join("latency.hlog"));
        let tags: Vec<&str> = found.iter().map(|(tag, ..)| tag.as_str()).collect();
        assert_eq!(tags, ["shard-0.device", "shard-0.total", "shard-0.device", "shard-0.total"]);
        assert!(found.iter().all(|(_, length, _)| *length == span));
        let device = &found[2].2;
        assert_eq!(device.len(), 10);
        assert!((device.mean() - 5_000_000.0).abs() < 50_000.0, "{}", device.mean());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn full_files_are_kept_aside_and_the_oldest_goes() {
        let dir = std::env::temp_dir().join(format!("weir-rotation-{}", std::process::id()));
        let history = History { dir: dir.clone(), file_bytes: 1000 };
        for _ in 0..200 {
            append(&history, &[(0, &stages(7_000_000))], Duration::from_secs(1));
        }
        let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), LATENCY_LOG_FILES as usize);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= 1000));
        assert!(!read(&dir.join("latency.7.hlog")).is_empty());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
