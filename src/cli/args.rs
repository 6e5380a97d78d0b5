//! The words of the command line. The doc comments below are the help texts.
//!
//! Nothing is decided here: a field is what the user typed. `docs/cli.md` is generated from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// weir: a single-node edge message broker that speaks Apache RocketMQ's protocol.
#[derive(Debug, Parser)]
#[command(name = "weir", version, propagate_version = false)]
pub struct Weir {
    /// Print JSON, one value per line, on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the broker and its name server
    Serve(Serve),
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(Topic),
    /// Send messages: a text, a file, or each line of standard input
    Produce(Produce),
    /// Print messages
    Consume(Consume),
    /// Ask a running broker how it is; exit code 1 when a shard does not serve
    Status(Control),
    /// Make the standby of a pair the primary, when the primary is gone
    Promote(Promote),
    /// Hand the primary's role to its standby, without losing anything
    Switchover(Switchover),
    /// Is this box the primary? Exit code 0 when it is, for programs that follow the role
    Primary(Control),
    /// Show where time goes in a running broker, stage by stage
    Latency(Latency),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at what stands on disk, without the broker; nothing is changed
    #[command(subcommand)]
    Inspect(Inspect),
    /// List what only this half of a pair had when the other took over, or send it again
    Salvage(Salvage),
    /// Is this box ready, and what would weir do with it? Exit code 30 when it is not ready
    Doctor(Doctor),
    /// Check, print, apply and undo the operating-system settings that matter (docs/tuning.md)
    #[command(subcommand)]
    Tune(Tune),
}

/// `weir salvage`.
#[derive(Args, Debug)]
pub struct Salvage {
    /// Directory of the tail, such as weir-data/shard-0/lost+found/cut-at-81723-epoch-2
    pub dir: PathBuf,
    /// Send its messages to their topics, in order; what was sent before is not sent again
    #[arg(long)]
    pub send: bool,
    /// Send all to this broker; without it the name server says where a topic is
    #[arg(long, value_name = "HOST:PORT", requires = "send")]
    pub broker: Option<String>,
    /// What to do with a message that an interrupted run may have sent
    #[arg(long, requires = "send")]
    pub doubtful: Option<Doubtful>,
    /// Where to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// What to do with a message that may have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Doubtful {
    /// Send it: it may come twice
    Send,
    /// Do not: it may be missing
    Skip,
}

/// `weir doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Which box, for which broker.
    #[command(flatten)]
    pub look: TuneBox,
    /// Do not write to the device: nothing is said of its speed
    #[arg(long)]
    pub no_device: bool,
}

/// `weir tune …`.
#[derive(Debug, Subcommand)]
pub enum Tune {
    /// Print every setting: what it is, what is wanted, why; nothing is changed
    Check(TuneBox),
    /// Print a shell script that would make the changes, to review; nothing is changed
    Script(TuneChange),
    /// Make the changes (root only); the old values are kept for undo
    Apply(TuneChange),
    /// Put back what apply changed (root only)
    Undo(TuneUndo),
}

/// Which box, for which broker: as for `weir serve`.
#[derive(Args, Clone, Debug)]
pub struct TuneBox {
    /// The broker; the disk of its data directory is the one that is looked at.
    #[command(flatten)]
    pub broker: Configured,
    /// Folder that holds proc, sys, etc and var: the machine, or a copied tree
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// `weir tune script` and `weir tune apply`.
#[derive(Args, Debug)]
pub struct TuneChange {
    /// Which box, for which broker.
    #[command(flatten)]
    pub look: TuneBox,
    /// Reserve huge pages for the consume queues too; nobody else can use them then
    #[arg(long)]
    pub huge_pages: bool,
}

/// `weir tune undo`.
#[derive(Args, Debug)]
pub struct TuneUndo {
    /// As for apply
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// `weir inspect …`.
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// Every segment of every shard
    Log {
        /// Data directory
        #[arg(long, value_name = "DIR", default_value = "weir-data")]
        data: PathBuf,
    },
    /// Every block of a segment file
    Segment {
        /// Segment file, such as weir-data/shard-0/log/00000000000000000001.log
        file: PathBuf,
    },
    /// One block and its records
    Block {
        /// Segment file
        file: PathBuf,
        /// Offset of the block in the file
        #[arg(default_value_t = 4096)]
        offset: u64,
    },
    /// The header of a checkpoint file
    Checkpoint {
        /// Checkpoint file, such as weir-data/shard-0/checkpoint.0
        file: PathBuf,
    },
    /// The numbers that the bytes on disk depend on
    Constants,
}

/// Where the configuration of a broker comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct Configured {
    /// TOML file with configuration keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory [default: ./weir-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// One configuration key; wins over the file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// `weir serve`.
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    /// The broker.
    #[command(flatten)]
    pub broker: Configured,
    /// Once it serves, send a message to topic `hello` and print it as it comes back
    #[arg(long)]
    pub hello: bool,
}

/// `weir config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration and print every value with where it came from
    Check(Configured),
    /// Print what a running broker goes by: every key, or one
    Get(ConfigGet),
    /// Change a key of a running broker, and keep the change over restarts
    Set(ConfigSet),
    /// Take an earlier `set` back
    Unset(ConfigUnset),
}

/// `weir config get`.
#[derive(Args, Debug)]
pub struct ConfigGet {
    /// Key; all without it
    pub key: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub control: Control,
}

/// `weir config set`.
#[derive(Args, Debug)]
pub struct ConfigSet {
    /// Key, one of those that config.md marks "while it runs"
    pub key: String,
    /// Value, as after --set
    pub value: String,
    /// Where to ask.
    #[command(flatten)]
    pub control: Control,
}

/// `weir config unset`.
#[derive(Args, Debug)]
pub struct ConfigUnset {
    /// Key
    pub key: String,
    /// Where to ask.
    #[command(flatten)]
    pub control: Control,
}

/// Where the name server is, and how long to wait for an answer.
#[derive(Args, Clone, Debug)]
pub struct Remote {
    /// Name servers, several separated by ';'
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9876")]
    pub namesrv: String,
    /// Longest wait for one answer
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub timeout_ms: u64,
}

/// Where a running broker's control port is, and how long to wait for an answer.
#[derive(Args, Clone, Debug)]
pub struct Control {
    /// Control port of the broker (controlListenPort)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10900")]
    pub control: String,
    /// Longest wait for one answer
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub timeout_ms: u64,
}

/// `weir promote`.
#[derive(Args, Debug)]
pub struct Promote {
    /// Go on although something that was acknowledged may be missing; the refusal without it
    /// says how much
    #[arg(long)]
    pub accept_loss: bool,
    /// Only this shard; may be repeated [default: every standby of this box]
    #[arg(long = "shard", value_name = "N")]
    pub shards: Vec<u16>,
    /// Where to ask.
    #[command(flatten)]
    pub control: Control,
}

/// `weir switchover`.
#[derive(Args, Debug)]
pub struct Switchover {
    /// Only this shard; may be repeated [default: every primary of this box]
    #[arg(long = "shard", value_name = "N")]
    pub shards: Vec<u16>,
    /// Where to ask.
    #[command(flatten)]
    pub control: Control,
}

/// `weir latency`.
#[derive(Args, Debug)]
pub struct Latency {
    /// Print again every two seconds until interrupted
    #[arg(long)]
    pub follow: bool,
    /// Everything since the broker's start instead of its last ten seconds
    #[arg(long)]
    pub since_start: bool,
    /// Where to ask.
    #[command(flatten)]
    pub control: Control,
}

/// `weir topic …`.
#[derive(Debug, Subcommand)]
pub enum Topic {
    /// Create a topic, or change it if it exists
    Create(TopicCreate),
    /// List topics
    List(TopicList),
    /// Show a topic's queues: where they are and what they hold
    Describe(TopicName),
    /// Delete a topic and the queues it had
    Delete(TopicName),
}

/// `weir topic create`.
#[derive(Args, Debug)]
pub struct TopicCreate {
    /// Name
    pub name: String,
    /// Queues on each broker, as mqadmin counts them (every shard is a broker)
    #[arg(long, default_value_t = 8)]
    pub queues: u32,
    /// 6: read and write, 4: read only, 2: write only
    #[arg(long, default_value_t = 6)]
    pub permission: u32,
    /// Topic attribute such as flush.disk.type=SYNC_FLUSH; may be repeated
    #[arg(long = "attribute", value_name = "KEY=VALUE")]
    pub attributes: Vec<String>,
    /// Where to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// `weir topic list`.
#[derive(Args, Debug)]
pub struct TopicList {
    /// Show system topics too
    #[arg(long)]
    pub all: bool,
    /// Where to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// `weir topic describe` and `weir topic delete`.
#[derive(Args, Debug)]
pub struct TopicName {
    /// Name
    pub name: String,
    /// Where to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// `weir produce`.
#[derive(Args, Debug)]
pub struct Produce {
    /// Topic; created on the fly when the broker allows it
    pub topic: String,
    /// The message's text; without it and --file each line of standard input is a message
    #[arg(long, conflicts_with = "file")]
    pub body: Option<String>,
    /// A file whose bytes are the message
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// Send the message this many times (not with standard input)
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Only to this broker of those that have the topic, such as edge-0
    #[arg(long, value_name = "NAME")]
    pub broker: Option<String>,
    /// Tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Keys, separated by blanks
    #[arg(long)]
    pub keys: Option<String>,
    /// User property; may be repeated
    #[arg(long = "property", value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
    /// Where to ask.
    #[command(flatten)]
    pub remote: Remote,
}

/// `weir consume`.
#[derive(Args, Debug)]
pub struct Consume {
    /// Topic
    pub topic: String,
    /// Continue where this group stands, and move it on; without it nothing is moved
    #[arg(long)]
    pub group: Option<String>,
    /// Where to begin when no group says: first, last, or milliseconds since 1970
    #[arg(long, default_value = "first")]
    pub from: String,
    /// Stop after this many messages
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,
    /// Wait for new messages at the end instead of stopping
    #[arg(long)]
    pub follow: bool,
    /// Tags: * or A || B
    #[arg(long, default_value = "*")]
    pub tags: String,
    /// Where to ask.
    #[command(flatten)]
    pub remote: Remote,
}
