//! `weir-bounds allocations`: calls of the allocator by a shard's thread while messages are
//! produced and pulled, socket to socket.
//!
//! A round sends a burst and pulls it back; rounds go on until so many messages have passed. The
//! warm-up is not counted: buffers and rings have found their sizes by then. What is left are
//! things that happen per segment or per second, never per message; the check says how many.

use clap::Args;
use serde::Serialize;
use weir_io::heap::{self, Counts};
use weir_wire::frame::Codec;

use crate::client::{Client, success};
use crate::rig::Rig;

/// Messages of a burst.
const BURST: u64 = 512;
/// Messages of a pull.
const BATCH: i64 = 32;
const TOPIC: &str = "bounds";
/// A message costs no call; checkpoints, segments and ticks take a few. More is a call per message.
const ALLOWED_PER_MESSAGE: f64 = 0.01;

/// The options.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Messages counted for each header encoding; a tenth more is sent before.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Body bytes.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Port of the shard; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Folder for the data, on a file system with direct writes.
    #[arg(long, default_value = ".")]
    folder: std::path::PathBuf,
    /// Print backtraces of so many counted allocations on stderr.
    #[arg(long, default_value_t = 0)]
    trace: u32,
    /// Print one in so many.
    #[arg(long, default_value_t = 1)]
    stride: u32,
    /// Acknowledge after the device (SYNC_FLUSH) instead of after staging.
    #[arg(long)]
    sync: bool,
}

/// The figures of one encoding.
#[derive(Serialize)]
struct Report {
    headers: &'static str,
    flush: &'static str,
    messages: u64,
    produce_calls: u64,
    pull_calls: u64,
    produce_bytes: u64,
    pull_bytes: u64,
    per_message: f64,
    live_bytes: usize,
    peak_bytes: usize,
}

/// Measures both encodings; an error when one is over what is allowed.
pub(crate) fn run(arguments: &Arguments) -> Result<String, String> {
    let mut lines = Vec::new();
    let mut worst = 0.0_f64;
    for (codec, name) in [(Codec::Json, "json"), (Codec::Binary, "binary")] {
        let rig = Rig::start(&arguments.folder, arguments.port, arguments.sync)?;
        let mut load = Load::new(&rig, codec, arguments)?;
        load.rounds(arguments.messages / 10)?;
        load.counted = [Default::default(); 2];
        let peak = heap::Peak::begin();
        rig.trace(arguments.trace, arguments.stride);
        let messages = load.rounds(arguments.messages)?;
        let [produce, pull] = load.counted;
        let per_message = (produce.0 + pull.0) as f64 / messages as f64;
        worst = worst.max(per_message);
        let report = Report {
            headers: name,
            flush: if arguments.sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" },
            messages,
            produce_calls: produce.0,
            pull_calls: pull.0,
            produce_bytes: produce.1,
            pull_bytes: pull.1,
            per_message,
            live_bytes: heap::live(),
            peak_bytes: peak.extra(),
        };
        lines.push(serde_json::to_string(&report).map_err(|error| error.to_string())?);
    }
    let text = lines.join("\n");
    if worst > ALLOWED_PER_MESSAGE {
        return Err(format!("{text}\n{worst} calls per message, allowed {ALLOWED_PER_MESSAGE}"));
    }
    Ok(text)
}

/// The client's side of a run.
struct Load<'a> {
    rig: &'a Rig,
    client: Client,
    body: Vec<u8>,
    sent: u64,
    pulled: i64,
    /// Calls and bytes while producing, and while pulling.
    counted: [(u64, u64); 2],
}

impl<'a> Load<'a> {
    fn new(rig: &'a Rig, codec: Codec, arguments: &Arguments) -> Result<Load<'a>, String> {
        let client = Client::connect(rig.addr, codec)?;
        let body = vec![b'w'; arguments.body];
        Ok(Load { rig, client, body, sent: 0, pulled: 0, counted: Default::default() })
    }

    /// Rounds until `messages` have passed; says how many did.
    fn rounds(&mut self, messages: u64) -> Result<u64, String> {
        let from = self.sent;
        let mut before = self.rig.counts();
        while self.sent - from < messages {
            self.produce()?;
            before = self.add(0, before);
            self.pull_back()?;
            before = self.add(1, before);
        }
        Ok(self.sent - from)
    }

    fn add(&mut self, which: usize, before: Counts) -> Counts {
        let now = self.rig.counts();
        let place = &mut self.counted[which];
        place.0 += now.calls - before.calls;
        place.1 += now.bytes - before.bytes;
        now
    }

    fn produce(&mut self) -> Result<(), String> {
        for _ in 0..BURST {
            self.client.send(TOPIC, self.sent, &self.body);
            self.sent += 1;
        }
        self.client.answers(BURST as usize, success)
    }

    fn pull_back(&mut self) -> Result<(), String> {
        let upto = i64::try_from(self.sent).unwrap_or(i64::MAX);
        while self.pulled < upto {
            let pulls = (upto - self.pulled + BATCH - 1) / BATCH;
            for pull in 0..pulls {
                self.client.pull(TOPIC, self.pulled + pull * BATCH, BATCH);
            }
            let mut furthest = self.pulled;
            self.client.answers(pulls as usize, |answer| {
                furthest = furthest.max(answer.next);
                success(answer)
            })?;
            self.pulled = furthest;
        }
        Ok(())
    }
}
