//! Opening a shard: the newest checkpoint, the log after it, and one fold over both.
//!
//! The log is what is true. A checkpoint that is missing, torn or of another build only means that
//! more of the log is folded. A start writes its own record and waits until that is durable: from
//! then on blocks of earlier starts can never be taken for newer ones.
//! Never: a start on a log that another process still writes; damage passed over in silence.

use std::path::PathBuf;

use weir_io::{Buf, Driver, Errno, File, Memory, OpenMode};

use super::checkpoint::{self, Checkpoint, Checkpoints};
use super::cold::Cold;
use super::index::IndexWriter;
use super::keep::Keeper;
use super::pending::Pending;
use super::shard::Shard;
use super::tuning::Tuning;
use super::voice::Voice;
use crate::base::limits::{INDEX_ARENA_SOFT, INDEX_CHUNK};
use crate::broker::{ApplyError, Broker, BrokerOptions, MessageApplied, Meta};
use crate::commitlog::{Log, LogError, LogImage, LogOptions, Recovered};
use crate::measure::Meter;
use crate::queue::Arena;

/// How a shard is opened.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Directory of the shard.
    pub dir: PathBuf,
    /// The log.
    pub log: LogOptions,
    /// The rules.
    pub broker: BrokerOptions,
    /// Arena of the consume queues, bytes.
    pub index_memory_bytes: usize,
    /// What may change while it runs.
    pub tuning: Tuning,
    /// Says nothing (simulation).
    pub quiet: bool,
}

/// Why a shard cannot be opened; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenFault {
    /// The log is damaged.
    Damaged(String),
    /// Another process has the files.
    InUse(String),
    /// The directory is of another shard or shard count.
    Foreign(String),
    /// Something else failed.
    Failed(String),
}

impl std::fmt::Display for OpenFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (OpenFault::Damaged(text)
        | OpenFault::InUse(text)
        | OpenFault::Foreign(text)
        | OpenFault::Failed(text)) = self;
        f.write_str(text)
    }
}

impl From<LogError> for OpenFault {
    fn from(error: LogError) -> OpenFault {
        let text = error.to_string();
        match error {
            LogError::Damage(..) | LogError::Missing(..) => OpenFault::Damaged(text),
            LogError::InUse(_) => OpenFault::InUse(text),
            LogError::Foreign(..) => OpenFault::Foreign(text),
            LogError::Io(..) => OpenFault::Failed(text),
        }
    }
}

impl Shard {
    /// Opens the shard in `options.dir`, or makes it. The text says what recovery found.
    pub fn open(driver: &mut Driver, options: ShardOptions) -> Result<(Shard, String), OpenFault> {
        let began_ns = driver.now_ns();
        let mut voice = Voice::new(options.broker.broker_name.clone(), options.quiet);
        let dir = options.dir.clone();
        driver
            .create_dir(&dir)
            .map_err(|e| OpenFault::Failed(format!("cannot create {}: {e}", dir.display())))?;
        let index = open_index(driver, &options)?;
        let mut fold = Fold::begin(driver, &options, &mut voice, index);
        let image = fold.image.take();
        let (log, report) =
            Log::open(driver, options.log.clone(), image, &mut |driver, at, bytes| {
                fold.take(driver, at, bytes)
            })?;
        if let Some(fault) = fold.fault {
            return Err(fault);
        }
        fold.tell(&mut voice);
        let (broker, loaded) = (fold.broker, fold.loaded);
        let text = describe(&report, &log, driver.now_ns() - began_ns);
        let mut shard = Shard {
            broker,
            voice,
            meter: Meter::new(driver.now_ns(), driver.wall_ms()),
            log,
            index,
            index_writer: IndexWriter::new(index, driver.file_len(index).unwrap_or(0)),
            pending: Pending::new(),
            cold: Cold::default(),
            checkpoints: Checkpoints::new(dir, loaded),
            keeper: Keeper::new(driver.now_ns()),
            scratch: Vec::new(),
            now_ns: driver.now_ns(),
            stamp_ms: 0,
            wall_ms: 0,
            full: (0, 0),
            fence_said: false,
            options,
        };
        shard.begin_generation(driver)?;
        Ok((shard, text))
    }

    /// Writes the record of this start and waits until it is durable.
    fn begin_generation(&mut self, driver: &mut Driver) -> Result<(), OpenFault> {
        self.begin_turn(driver.now_ns(), driver.wall_ms());
        let opened = Meta::Opened { generation: self.log.generation(), wall_ms: self.wall_ms };
        self.write(driver, &opened)
            .map_err(|reject| OpenFault::Failed(reject.remark.into_owned()))?;
        self.begin_snapshot();
        self.settle(driver).map_err(|errno| {
            OpenFault::Failed(format!("cannot write {}: {errno}", self.options.dir.display()))
        })
    }
}

fn describe(report: &Recovered, log: &Log, took_ns: u64) -> String {
    let start = if report.created {
        "a new log".to_owned()
    } else {
        format!("{} records folded, log ends at {}", report.records, report.end)
    };
    let resumed = if report.resumed { ", from a checkpoint" } else { "" };
    let replayed = match report.replayed_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} bytes written back from staging memory"),
    };
    let torn = match report.torn_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} bytes of unfinished blocks cut"),
    };
    let staging = if log.survives_kill() {
        ""
    } else {
        ", staging memory dies with the process: ASYNC_FLUSH acknowledges at write completion"
    };
    format!("{start}{resumed}{replayed}{torn}{staging}, {} ms", took_ns / 1_000_000)
}

fn open_index(driver: &mut Driver, options: &ShardOptions) -> Result<File, OpenFault> {
    let path = options.dir.join("consumequeue");
    let mode = OpenMode { create: true, write: true, direct: true };
    driver
        .open(&path, mode)
        .map_err(|e| OpenFault::Failed(format!("cannot open {}: {e}", path.display())))
}

/// The fold over checkpoint and log.
struct Fold {
    broker: Broker,
    index: File,
    image: Option<LogImage>,
    /// File and position of the checkpoint that was used.
    loaded: Option<(u8, u64)>,
    gaps: u64,
    fault: Option<OpenFault>,
}

impl Fold {
    fn begin(driver: &mut Driver, options: &ShardOptions, voice: &mut Voice, index: File) -> Fold {
        let (memory, backing) = Memory::huge(options.index_memory_bytes);
        if !options.quiet {
            super::keep::tell_backing(voice, backing, options.index_memory_bytes);
        }
        let arena = Arena::new(Box::new(memory), INDEX_ARENA_SOFT);
        let found = checkpoint::load(driver, &options.dir);
        let Some((Checkpoint { log, broker: image }, which)) = found else {
            return Fold::fresh(Broker::new(options.broker.clone(), arena), index);
        };
        match Broker::restore(options.broker.clone(), &image, arena) {
            Ok(broker) => Fold {
                loaded: Some((which, log.position)),
                image: Some(log),
                ..Fold::fresh(broker, index)
            },
            Err(fault) => {
                let why = format_args!("{fault:?}; the whole log is folded instead");
                voice.say("checkpoint-unusable", &why);
                let (memory, _) = Memory::huge(options.index_memory_bytes);
                let arena = Arena::new(Box::new(memory), INDEX_ARENA_SOFT);
                Fold::fresh(Broker::new(options.broker.clone(), arena), index)
            }
        }
    }

    fn fresh(broker: Broker, index: File) -> Fold {
        Fold { broker, index, image: None, loaded: None, gaps: 0, fault: None }
    }

    /// Folds one record; returns its store time.
    fn take(&mut self, driver: &mut Driver, position: u64, bytes: &[u8]) -> i64 {
        if self.fault.is_some() {
            return 0;
        }
        if Meta::is_meta(bytes) {
            match Meta::decode(bytes) {
                Ok(meta) => {
                    self.broker.apply_meta(position, &meta);
                }
                Err(error) => self.fail(position, &error.to_string()),
            }
            return 0;
        }
        loop {
            match self.broker.apply_message(position, bytes) {
                Ok(MessageApplied::Gap { .. }) => self.gaps += 1,
                Ok(_) => {}
                Err(ApplyError::IndexFull) => {
                    if let Err(errno) = self.spill(driver) {
                        self.fail(position, &format!("the consume queue file: {errno}"));
                    } else {
                        continue;
                    }
                }
                Err(error) => self.fail(position, &format!("{error:?}")),
            }
            return self.broker.newest_store_ms();
        }
    }

    fn fail(&mut self, position: u64, why: &str) {
        let text = format!("the record at position {position} cannot be applied: {why}");
        self.fault.get_or_insert(OpenFault::Damaged(text));
    }

    /// Writes full chunks to the index file, so that the arena has room again.
    fn spill(&mut self, driver: &mut Driver) -> Result<(), Errno> {
        let mut wrote = false;
        while let Some((chunk, bytes)) = self.broker.queues.dirty(u64::MAX) {
            let mut buf = Buf::new(INDEX_CHUNK);
            buf.copy_from_slice(bytes);
            driver.write_now(self.index, u64::from(chunk.slot) * INDEX_CHUNK as u64, &buf)?;
            self.broker.queues.written(chunk);
            wrote = true;
        }
        if wrote { Ok(()) } else { Err(Errno::NO_SPACE) }
    }

    fn tell(&self, voice: &mut Voice) {
        if self.gaps > 0 {
            let why = format_args!("{} gaps in queue offsets: older records are gone", self.gaps);
            voice.say("offset-gaps", &why);
        }
        if self.broker.guessed_topics() > 0 {
            let count = self.broker.guessed_topics();
            let why = format_args!("{count} topics had messages but no record of their creation");
            voice.say("topics-guessed", &why);
        }
    }
}
