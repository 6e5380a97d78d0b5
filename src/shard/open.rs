//! Opening a shard: the newest checkpoint, the log after it, and one fold over both.
//!
//! The log is what is true. A checkpoint that is missing, torn or of another build only means that
//! more of the log is folded. A start writes its own record and waits until that is durable: from
//! then on blocks of earlier starts can never be taken for newer ones.
//! Never: a start on a log that another process still writes; damage passed over in silence.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use weir_io::{Driver, Errno, File, OpenMode};

use super::checkpoint::{self, Checkpoints};
use super::cold::Cold;
use super::fold::Fold;
use super::follow::Folded;
use super::index::IndexWriter;
use super::keep::Keeper;
use super::pending::Pending;
use super::shard::Shard;
use super::tuning::Tuning;
use super::voice::Voice;
use crate::base::limits::FOLD_STEP;
use crate::broker::{BrokerOptions, Meta};
use crate::commitlog::{
    Copied, Gap, Log, LogError, LogOptions, Mend, Recovered, cut, is_quarantined,
};
use crate::measure::Meter;
use crate::replica::{Pair, ReplicaOptions, Role};

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
    /// Planned for the directories of the queues, bytes. More is told, not refused: what retention
    /// keeps must stay readable.
    pub planned_directories: usize,
    /// What may change while it runs.
    pub tuning: Tuning,
    /// Its part in a pair, if it is one of two.
    pub replica: Option<ReplicaOptions>,
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
    /// The disk has no room for what a start writes.
    Full(String),
    /// Something else failed.
    Failed(String),
}

impl OpenFault {
    /// A start that an error of the system ended, as `text` says.
    pub(super) fn of(errno: Errno, text: String) -> OpenFault {
        match errno {
            Errno::NO_SPACE => OpenFault::Full(text),
            _ => OpenFault::Failed(text),
        }
    }
}

impl std::fmt::Display for OpenFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (OpenFault::Damaged(text)
        | OpenFault::InUse(text)
        | OpenFault::Foreign(text)
        | OpenFault::Full(text)
        | OpenFault::Failed(text)) = self;
        f.write_str(text)
    }
}

impl From<LogError> for OpenFault {
    fn from(error: LogError) -> OpenFault {
        let text = error.to_string();
        match error {
            LogError::Damage(..) | LogError::Missing(..) | LogError::Hole(..) => {
                OpenFault::Damaged(text)
            }
            LogError::InUse(_) => OpenFault::InUse(text),
            LogError::Foreign(..) => OpenFault::Foreign(text),
            LogError::Io(.., errno) => OpenFault::of(errno, text),
        }
    }
}

impl Shard {
    /// Opens the shard in `options.dir`, or makes it. The text says what recovery found.
    pub fn open(driver: &mut Driver, options: ShardOptions) -> Result<(Shard, String), OpenFault> {
        Shard::open_watched(driver, options, &mut |_| {})
    }

    /// As [`Shard::open`]; `folded` is told now and then how many bytes of the log were read.
    pub fn open_watched(
        driver: &mut Driver,
        options: ShardOptions,
        folded: &mut dyn FnMut(u64),
    ) -> Result<(Shard, String), OpenFault> {
        let began_ns = driver.now_ns();
        let mut voice = Voice::new(options.broker.broker_name.clone(), options.quiet);
        let dir = options.dir.clone();
        driver
            .create_dir(&dir)
            .map_err(|e| OpenFault::of(e, format!("cannot create {}: {e}", dir.display())))?;
        let mut pair = open_pair(driver, &options)?;
        let paired = pair.is_some();
        let standby = pair.as_ref().is_some_and(|pair| pair.role() == Role::Standby);
        let index = open_index(driver, &options)?;
        let mut fold = Fold::begin(driver, &options, &mut voice, index)?;
        let image = fold.image.take();
        let mut steps = Steps::default();
        let (folded, done) = (RefCell::new(folded), Cell::new(0));
        let mut sink = |driver: &mut Driver, at: u64, bytes: &[u8]| {
            done.set(steps.pass(at, *folded.borrow_mut()));
            fold.take(driver, at, bytes)
        };
        let mut healer = Healer { pair: pair.as_deref_mut(), why: None, dir: dir.clone() };
        let mut mend = |driver: &mut Driver, log_id: u64, gap: &Gap| {
            let tell = &mut *folded.borrow_mut();
            healer.copy(driver, log_id, gap, &mut || tell(done.get()))
        };
        let mend: Option<Mend<'_>> = if paired { Some(&mut mend) } else { None };
        let opened = Log::open_mending(driver, options.log.clone(), image, &mut sink, mend);
        let (mut log, report) = opened.map_err(|error| healer.told(error))?;
        if let Some(fault) = fold.fault {
            return Err(fault);
        }
        fold.reaches(log.watermarks().appended)?;
        fold.end(driver, &log, &mut voice, standby);
        tell_quarantined(driver, &options, &mut voice);
        tell_headers(&report, &mut voice);
        if let Some(pair) = &mut pair {
            pair.was_healed(&report.healed);
            pair.begin(driver, &mut log).map_err(|errno| cannot(&options, errno))?;
        }
        let (broker, loaded) = (fold.broker, fold.loaded);
        let text = describe(&report, &log, driver.now_ns().saturating_sub(began_ns));
        let mut shard = Shard {
            broker,
            voice,
            meter: Meter::new(driver.now_ns(), driver.wall_ms()),
            folded: Folded::new(log.watermarks().appended),
            pair,
            log,
            index,
            index_writer: IndexWriter::new(
                index_path(&options),
                index,
                driver.file_len(index).unwrap_or(0),
            ),
            pending: Pending::new(),
            cold: Cold::default(),
            ahead: Vec::new(),
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
        if !standby {
            shard.begin_generation(driver)?;
        }
        Ok((shard, text))
    }

    /// Writes the record of this start and waits until it is durable.
    fn begin_generation(&mut self, driver: &mut Driver) -> Result<(), OpenFault> {
        self.begin_turn(driver.now_ns(), driver.wall_ms());
        let opened = Meta::Opened { generation: self.log.generation(), wall_ms: self.wall_ms };
        self.write(driver, &opened)
            .map_err(|reject| OpenFault::Failed(reject.remark.into_owned()))?;
        self.begin_snapshot();
        self.settle(driver).map_err(|errno| cannot(&self.options, errno))
    }
}

/// Heals what the start of the log meets, from the other half.
struct Healer<'a> {
    pair: Option<&'a mut Pair>,
    /// Why the last damage could not be healed.
    why: Option<String>,
    /// The shard's directory.
    dir: PathBuf,
}

impl Healer<'_> {
    fn copy(
        &mut self,
        driver: &mut Driver,
        log_id: u64,
        gap: &Gap,
        waiting: &mut dyn FnMut(),
    ) -> Result<Copied, String> {
        let Some(pair) = &mut self.pair else { return Err("there is no other half".into()) };
        let copy = pair.fetch_now(driver, log_id, gap, waiting);
        self.why = copy.as_ref().err().cloned();
        copy
    }

    /// The reason why the log is not opened, with why it was not healed, and how all of it is had
    /// from the other half.
    fn told(self, error: LogError) -> OpenFault {
        let text = match OpenFault::from(error) {
            OpenFault::Damaged(text) => text,
            other => return other,
        };
        let why = self.why.map(|why| format!(". It could not be healed: {why}"));
        let role = self.pair.map(|pair| pair.role());
        let rebuild = role.map_or_else(String::new, |role| rebuild(role, &self.dir));
        OpenFault::Damaged(format!("{text}{}{rebuild}", why.unwrap_or_default()))
    }
}

/// What makes a damaged half anew from the other one, in commands.
fn rebuild(role: Role, dir: &Path) -> String {
    let away = format!("mv {0} {0}.damaged", dir.display());
    match role {
        Role::Standby => format!(
            ". To rebuild it from its primary: {away}, and start this box as it is configured, \
             with role=standby (or this shard in standbyShards)"
        ),
        Role::Primary => format!(
            ". To rebuild it from the other half: weir promote there, then {away} here, and start \
             this box with role=standby (or this shard in standbyShards) and primary=HOST:PORT of \
             the other one"
        ),
    }
}

fn cannot(options: &ShardOptions, errno: Errno) -> OpenFault {
    OpenFault::of(errno, format!("cannot write {}: {errno}", options.dir.display()))
}

/// What is remembered of the pair; a role that was changed is in force from here on.
fn open_pair(driver: &mut Driver, options: &ShardOptions) -> Result<Option<Box<Pair>>, OpenFault> {
    let Some(replica) = &options.replica else { return Ok(None) };
    let mut pair = Pair::open(driver, &options.dir, replica.clone())
        .map_err(|errno| cannot(options, errno))?;
    if let Some((position, saved)) = pair.cut(&options.dir) {
        let done = cut(driver, &options.log, position, &saved)?;
        checkpoint::forget_beyond(driver, &options.dir, done.end)
            .map_err(|errno| cannot(options, errno))?;
        let text = format!(
            "{} bytes of records that the other half never had left the log, which ends at {} now; \
             they are kept in {} (weir inspect segment shows them)",
            done.bytes,
            done.end,
            saved.display()
        );
        pair.was_cut(driver, done.end, text).map_err(|errno| cannot(options, errno))?;
    }
    Ok(Some(Box::new(pair)))
}

/// Tells of the fold in steps of [`FOLD_STEP`].
#[derive(Debug, Default)]
struct Steps {
    first: Option<u64>,
    next: u64,
}

impl Steps {
    /// The record at `position` is folded. Gives the bytes read so far.
    fn pass(&mut self, position: u64, tell: &mut dyn FnMut(u64)) -> u64 {
        let first = *self.first.get_or_insert(position);
        let done = position.saturating_sub(first);
        if done >= self.next {
            self.next = done + FOLD_STEP;
            tell(done);
        }
        done
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
    let healed = match report.healed.len() {
        0 => String::new(),
        count => format!(", {count} damaged places healed from the other half"),
    };
    let staging = if log.survives_kill() {
        ""
    } else {
        ", staging memory dies with the process: ASYNC_FLUSH acknowledges at write completion"
    };
    let [took, reading, settling] =
        [took_ns, report.read_ns, report.settle_ns].map(|ns| ns / 1_000_000);
    format!(
        "{start}{resumed}{replayed}{torn}{healed}{staging}, {took} ms ({reading} reading, \
         {settling} making durable)"
    )
}

/// Says which segments have a new header page.
fn tell_headers(report: &Recovered, voice: &mut Voice) {
    for number in &report.headers {
        let text = format_args!(
            "segment {number}: its header page was damaged, and is written anew from what its \
             blocks say"
        );
        voice.say("log-healed", &text);
    }
}

/// Says which files of damaged segments are kept although the log has forgotten them.
fn tell_quarantined(driver: &mut Driver, options: &ShardOptions, voice: &mut Voice) {
    let names = driver.list(&options.log.dir).unwrap_or_default();
    let kept: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| is_quarantined(name)).collect();
    if !kept.is_empty() {
        let why = format_args!(
            "{} files of damaged segments are kept in {}: {}; remove them by hand when nothing is \
             to be had from them",
            kept.len(),
            options.log.dir.display(),
            kept.join(", ")
        );
        voice.say("segments-quarantined", &why);
    }
}

fn index_path(options: &ShardOptions) -> PathBuf {
    options.dir.join("consumequeue")
}

fn open_index(driver: &mut Driver, options: &ShardOptions) -> Result<File, OpenFault> {
    let path = index_path(options);
    let mode = OpenMode { create: true, write: true, direct: true };
    driver
        .open(&path, mode)
        .map_err(|e| OpenFault::of(e, format!("cannot open {}: {e}", path.display())))
}
