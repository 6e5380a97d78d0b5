//! Every bound of the broker, in one file: no queue, buffer or loop may grow past one of these.
//!
//! Sizes are bytes, times milliseconds, unless the name says otherwise. Relations between bounds
//! are checked when this file is compiled.

/// Sector and page granularity of the log on disk.
pub const BLOCK_ALIGN: usize = 4096;
/// Bytes of a block header, before its records.
pub const BLOCK_HEADER: usize = 64;
/// A block holds at most this, unless one record alone is larger (then it holds just that one).
pub const BLOCK_MAX: usize = 256 * 1024;
/// Default staging area of a shard: the blocks not yet written, and the hot tail behind them.
pub const STAGING_DEFAULT: usize = 16 * 1024 * 1024;
/// Log writes in flight per shard.
pub const WRITES_IN_FLIGHT: usize = 4;
/// One log write covers at most this many bytes.
pub const WRITE_MAX: usize = 2 * 1024 * 1024;
/// Extents are written ahead of the log's tail by this much.
pub const PREPARED_AHEAD: u64 = 48 * 1024 * 1024;
/// One preparing write.
pub const PREPARE_STEP: usize = 1024 * 1024;
/// Holes of one log that are served around; with more the start is refused.
pub const LOG_HOLES_MAX: usize = 4096;
/// While a start folds the log, how far it is is noted every so many records.
pub const REPLAY_STEP_RECORDS: u32 = 1024;
/// Records of one shard that are set aside; with more a start is refused.
pub const SET_ASIDE_MAX: usize = 1024;

/// Largest frame RocketMQ's clients send (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_MAX: usize = 16 * 1024 * 1024;
/// Default of `maxMessageSize`.
pub const MESSAGE_BODY_DEFAULT: usize = 4 * 1024 * 1024;
/// A record is at most its body and this much (topic, properties, fixed fields).
pub const RECORD_OVERHEAD_MAX: usize = 64 * 1024;
/// No message record has fewer bytes: its fixed fields and a topic of one letter.
pub const MESSAGE_RECORD_MIN: u64 = 92;
/// Properties text of one message.
pub const PROPERTIES_MAX: usize = 32_767;
/// Topic name on creation.
pub const TOPIC_NAME_MAX: usize = 127;
/// Retry and dead-letter topic name.
pub const SYSTEM_TOPIC_NAME_MAX: usize = 255;
/// Consumer or producer group name.
pub const GROUP_NAME_MAX: usize = 120;
/// Client id in heartbeats.
pub const CLIENT_ID_MAX: usize = 255;

/// Name servers outside the process to register with (`namesrvAddr`).
pub const NAME_SERVERS_MAX: usize = 16;
/// Topics of one REGISTER_BROKER, as RocketMQ's own split registration.
pub const REGISTRATION_TOPICS: usize = 800;
/// How long the shards' answers are waited for before a registration, in all.
pub const REGISTRATION_ASK_MS: u64 = 2_000;
/// Changes of topics that come within this go out together.
pub const REGISTRATION_GATHER_MS: u64 = 20;
/// The longest pause between two looks at the shards' tables while they change.
pub const REGISTRATION_PAUSE_MS: u64 = 1_000;
/// Connecting to one address of a name server.
pub const REGISTRATION_CONNECT_MS: u64 = 3_000;
/// A name server's answer.
pub const REGISTRATION_ANSWER_MS: u64 = 6_000;
/// How often closed connections are looked for.
pub const REGISTRATION_LOOK_MS: u64 = 2_000;
/// First pause after a failed registration; doubled with each, up to the period.
pub const REGISTRATION_RETRY_MS: u64 = 1_000;
/// A name server that goes on failing is told of this often.
pub const REGISTRATION_SAY_MS: u64 = 600_000;
/// etcd endpoints, or Controllers, of one pair.
pub const ARBITERS_MAX: usize = 9;
/// How long the shards' answers are waited for before the arbiter goes on without.
pub const ARBITER_ASK_MS: u64 = 200;
/// Shards that said nothing for this long are taken for dead: their box gives its lease up.
pub const ARBITER_SILENT_MS: u64 = 60_000;
/// A shard that waits for its standby to be named outside is seen within this.
pub const ARBITER_WAIT_MS: u64 = 20;
/// A primary that was heard this recently is given time to take its lease again.
pub const ARBITER_HEARD_MS: u64 = 1_000;
/// An answer of etcd or a Controller; a larger one is not read.
pub const ARBITER_ANSWER_MAX: u64 = 64 * 1024;
/// Connecting to a Controller, and its answer.
pub const CONTROLLER_ANSWER_MS: u64 = 1_000;
/// Boxes that a Controller may know of one pair, dead ones included.
pub const CONTROLLER_NUMBERS_MAX: u64 = 64;
/// Stack of the thread that speaks with etcd or a Controller, which resolves names.
pub const ARBITER_STACK: usize = 512 * 1024;
/// An arbiter that goes on failing is told of this often.
pub const ARBITER_SAY_MS: u64 = 60_000;
/// Stack of a name server's thread, which resolves names.
pub const REGISTRATION_STACK: usize = 512 * 1024;
/// At the end of the process: how long unregistering may take.
pub const UNREGISTER_MS: u64 = 3_000;

/// Connections of one shard, when the limit on open files has room for them.
pub const CONNECTIONS_MAX: usize = 16 * 1024;
/// Descriptors of the process beside its shards': control, name servers, the other half.
pub const DESCRIPTORS_OF_PROCESS: u64 = 64;
/// Descriptors of a shard beside its connections: the ring's 1024 files, listeners, staging.
pub const DESCRIPTORS_OF_SHARD: u64 = 1024 + 32;
/// Below this many descriptors a shard the start is refused.
pub const DESCRIPTORS_OF_SHARD_MIN: u64 = 128;
/// Bytes one connection may have received and not yet handled (one frame, whatever its size).
pub const RECEIVE_ASSEMBLY_MAX: usize = FRAME_MAX + 4;
/// Bytes all connections of a shard together may hold for frames being assembled.
pub const RECEIVE_ASSEMBLY_TOTAL: usize = 64 * 1024 * 1024;
/// What must be missing of a frame before sized receives pay, and the first of them.
pub const RECEIVE_STEP_MIN: usize = 64 * 1024;
/// The largest sized receive: each is as large as what has arrived, so that memory follows the
/// bytes and not the claim.
pub const RECEIVE_STEP_MAX: usize = 1024 * 1024;
/// Reply bytes waiting on one connection before it is no longer read.
pub const SEND_BACKLOG_PAUSE: usize = 1024 * 1024;
/// Reply bytes waiting on one connection before it is closed as stuck.
pub const SEND_BACKLOG_CLOSE: usize = 24 * 1024 * 1024;
/// Memory behind the replies waiting on all connections of a shard (default; `memoryMax` decides):
/// beyond it pulls are answered SYSTEM_BUSY, beyond half of it those of connections with a backlog.
pub const SEND_BACKLOG_TOTAL: usize = 64 * 1024 * 1024;
/// Replies that wait for one watermark, per shard.
pub const PENDING_REPLIES_MAX: usize = 64 * 1024;
/// A send that finds no room holds its connection unread for at most this.
pub const SEND_HOLD_MS: u64 = 50;
/// Requests of a shard that wait for the disk.
pub const KEPT_MAX: usize = 4096;
/// Bytes of the frames of these requests.
pub const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// End of a segment that sends leave free while no next one can be made, so that offsets and
/// deletions are still recorded on a full disk; at most a quarter of the segment.
pub const LOG_RESERVE: u64 = 16 * 1024 * 1024;
/// Buffers are trimmed to what they were used for this often, nanoseconds.
pub const GIVE_BACK_EVERY_NS: u64 = 1_000_000_000;
/// Events between two looks below which a shard counts as idle.
pub const IDLE_EVENTS: usize = 500;
/// Idle connections are closed after this.
pub const IDLE_CLOSE_MS: u64 = 120_000;

/// Memory that input can force while it is read, beyond what follows from its length.
pub const FORCED_FIXED: usize = 256 * 1024;
/// Memory that one byte of input can force: a table entry or a text made from it. Measured over
/// fuzzed input (`cargo xtask fuzz`), with room to spare.
pub const FORCED_PER_BYTE: usize = 64;

/// Topics of one shard.
pub const TOPICS_MAX: usize = 64 * 1024;
/// Queues of one shard.
pub const QUEUES_MAX: usize = 512 * 1024;
/// Queues of one topic on one shard.
pub const TOPIC_QUEUES_MAX: u32 = 1024;
/// Consumer groups of one shard.
pub const GROUPS_MAX: usize = 64 * 1024;
/// Clients in one group.
pub const GROUP_MEMBERS_MAX: usize = 4096;
/// Subscriptions of one group.
pub const GROUP_SUBSCRIPTIONS_MAX: usize = 1024;
/// Stored offsets of one shard.
pub const OFFSETS_MAX: usize = 1024 * 1024;
/// Pull requests held for long polling, per shard.
pub const PARKED_PULLS_MAX: usize = 64 * 1024;
/// Longest hold of a pull.
pub const PARK_MAX_MS: u64 = 60_000;
/// Messages in one batch send.
pub const BATCH_MESSAGES_MAX: usize = 4096;
/// Messages in one pull reply.
pub const PULL_MESSAGES_MAX: usize = 160;
/// Bytes in one pull reply (RocketMQ's `maxTransferBytesOnMessageInMemory`), first message aside.
pub const PULL_BYTES_MAX: usize = 256 * 1024;
/// Bytes in one pull reply that had to come from disk.
pub const PULL_COLD_BYTES_MAX: usize = 64 * 1024;
/// Index entries one pull looks at before it answers "retry immediately".
pub const PULL_SCAN_MAX: usize = 1024;

/// Bytes of one consume queue entry.
pub const INDEX_ENTRY: usize = 32;
/// Bytes of one consume queue chunk, on disk and in the arena.
pub const INDEX_CHUNK: usize = 4096;
/// Entries of one chunk: the first slot holds the chunk's own header.
pub const INDEX_CHUNK_ENTRIES: usize = INDEX_CHUNK / INDEX_ENTRY - 1;
/// Bytes a queue's tail begins with; it doubles until it is a whole chunk.
pub const INDEX_CELL_MIN: usize = 256;
/// Default arena of a shard; more is never used.
pub const INDEX_ARENA_DEFAULT: usize = 64 * 1024 * 1024;
/// Above this much of the arena, written chunks are evicted to stay below it.
pub const INDEX_ARENA_SOFT: usize = 24 * 1024 * 1024;

/// Smallest arena of a shard.
pub const INDEX_ARENA_MIN: usize = 4 * 1024 * 1024;

/// Default of `memoryMax`, for each shard.
pub const MEMORY_PER_SHARD_DEFAULT: usize = 256 * 1024 * 1024;
/// Memory of the process outside its shards: the program's pages, stacks, the control thread, and
/// what the allocator keeps for later.
pub const PROCESS_MEMORY: usize = 20 * 1024 * 1024;
/// Memory of a shard that does not depend on the plan: the ring's tables, waiting replies, buffers
/// of index writes and of extents written ahead.
pub const SHARD_MEMORY: usize = 8 * 1024 * 1024;
/// Headers of sends that a shard keeps to compare the next ones with, about a KiB each.
pub const SEND_PATTERNS: usize = 16;
/// Receive buffers of a shard's ring: 64 of 64 KiB.
pub const RECEIVE_POOL_BYTES: usize = 4 * 1024 * 1024;
/// Memory of cold windows of the log: those kept, those being read, and what waits for the next.
/// A single larger window is read alone.
pub const WINDOW_BYTES_MAX: usize = 8 * 1024 * 1024;
/// As much of it may be read ahead and not come to yet; the rest is for windows that one reader
/// has passed and the next one has not.
pub const WINDOW_BYTES_AHEAD: usize = WINDOW_BYTES_MAX / 2;
/// Least memory for topics, groups and offsets.
pub const STATE_MEMORY_MIN: usize = 4 * 1024 * 1024;
/// Least memory for the directories of the consume queues.
pub const DIRECTORY_MEMORY_MIN: usize = 2 * 1024 * 1024;
/// Bytes of a directory for one chunk of a queue.
pub const DIRECTORY_ENTRY: usize = 40;
/// Chunks that are not full, which many queues have, that the directories are planned for.
pub const DIRECTORY_TAILS: usize = 128 * 1024;
/// Bytes of a record that the directories are planned for; smaller ones need more of them.
pub const DIRECTORY_RECORD: usize = 1024;
/// A checkpoint is written in slices of at most this, through one buffer.
pub const CHECKPOINT_SLICE: usize = 256 * 1024;
/// Memory for a checkpoint that is being written: a slice and records on their way into it.
pub const CHECKPOINT_MEMORY: usize = 1024 * 1024;
/// Bytes of a checkpoint's map of the log, as values and as they are written, for each stretch of
/// the log that has a mark (`segment::MARK_EVERY`).
pub const CHECKPOINT_MAP_ENTRY: usize = 2 * 16;
/// See [`CHECKPOINT_MAP_ENTRY`].
pub const CHECKPOINT_MAP_STRETCH: usize = 128 * 1024;
/// Histograms of a shard: the set it records, the one on its way, sums and the last intervals.
pub const HISTOGRAM_MEMORY: usize = 7 * 512 * 1024;

/// Consumer offsets reach the log after this at most.
pub const OFFSET_COALESCE_MS: u64 = 200;
/// Members of a group are forgotten after this without a heartbeat.
pub const MEMBER_EXPIRY_MS: u64 = 120_000;
/// A registered broker is forgotten after this without registration.
pub const BROKER_EXPIRY_MS: u64 = 120_000;
/// Scan period of both expiries.
pub const EXPIRY_SCAN_MS: u64 = 10_000;

/// Payload of a frame of the replication stream: a block of the largest record.
pub const HA_FRAME_MAX: usize = FRAME_MAX + RECORD_OVERHEAD_MAX + BLOCK_HEADER;
/// Payload of a frame of it that is no block.
pub const HA_CONTROL_MAX: usize = 8 * 1024;
/// Bytes received on the replication stream and not taken before it is no longer read.
pub const HA_INBOX_PAUSE: usize = 2 * 1024 * 1024;
/// Bytes gathered for one send of the replication stream, but for the block that passes it.
pub const HA_OUTBOX_MAX: usize = 512 * 1024;
/// Records sent to a standby and not yet acknowledged, bytes.
pub const HA_WINDOW_BYTES: u64 = 8 * 1024 * 1024;
/// Peers that have not proved who they are.
pub const HA_STRANGERS_MAX: usize = 4;
/// A peer must have proved who it is this soon.
pub const HA_HANDSHAKE_MS: u64 = 5_000;
/// Both sides of the replication stream say something at least this often.
pub const HA_BEAT_MS: u64 = 250;
/// A primary at its start waits this long for the other half to say whether it took over.
pub const HA_ASK_MS: u64 = 5_000;
/// A standby tries its primary again after this.
pub const HA_RETRY_MS: u64 = 300;
/// Epochs a log remembers.
pub const HA_EPOCHS_MAX: usize = 96;
/// Stretches of the log whose age is remembered, to tell a standby's lag in time.
pub const HA_AGES_MAX: usize = 256;
/// How far the standby holds the log is noted this often, for the primary's next start.
pub const HA_FLOOR_MS: u64 = 1_000;

/// Damaged bytes of the log that are healed from the other half in one piece.
pub const HEAL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Damaged places of one log that wait to be healed; more are found again by the next read.
pub const HEAL_PLACES_MAX: usize = 256;
/// A damaged place that could not be healed is tried again after this.
pub const HEAL_RETRY_MS: u64 = 10_000;
/// Sealed segments are read over no oftener than this.
pub const SCRUB_EVERY_MS: u64 = 24 * 3_600_000;
/// A peer that came for blocks and asks for nothing is sent away after this.
pub const HEAL_IDLE_MS: u64 = 30_000;

/// Connections of the control plane; more wait in the kernel's backlog.
pub const CONTROL_CONNECTIONS_MAX: usize = 32;
/// A connection of the control plane is closed after this, answered or not.
pub const CONTROL_CONNECTION_MS: u64 = 10_000;
/// How long the control plane waits for a shard's answer.
pub const CONTROL_ASK_MS: u64 = 1_000;
/// Questions of the control plane that one shard may not have answered yet.
pub const CONTROL_QUESTIONS_MAX: usize = 16;
/// With more topics or groups than this, metrics by topic and group are left out.
pub const METRIC_NAMES_MAX: usize = 4096;
/// Metrics by topic, and by group and topic, of one shard: this many each.
pub const METRIC_SERIES_MAX: usize = 512;
/// The interval log of latencies: bytes of one file, and files kept.
pub const LATENCY_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// See [`LATENCY_LOG_BYTES`].
pub const LATENCY_LOG_FILES: u32 = 8;
/// Length of an interval in the interval log and in `weir latency`.
pub const LATENCY_INTERVAL_MS: u64 = 10_000;
/// The start tells how far it is each time it has folded this much of the log, bytes.
pub const FOLD_STEP: u64 = 16 * 1024 * 1024;

const _: () = {
    assert!(BLOCK_MAX.is_multiple_of(BLOCK_ALIGN));
    assert!(BLOCK_HEADER < BLOCK_ALIGN);
    assert!(STAGING_DEFAULT >= 2 * (MESSAGE_BODY_DEFAULT + RECORD_OVERHEAD_MAX));
    assert!(INDEX_CHUNK.is_multiple_of(BLOCK_ALIGN));
    assert!(INDEX_ARENA_SOFT <= INDEX_ARENA_DEFAULT);
    assert!(SEND_BACKLOG_PAUSE < SEND_BACKLOG_CLOSE);
    assert!(FRAME_MAX < SEND_BACKLOG_CLOSE);
    assert!(RECEIVE_ASSEMBLY_MAX <= RECEIVE_ASSEMBLY_TOTAL);
    assert!(2 + HA_EPOCHS_MAX * 32 <= 4096 - 4 - 136);
};
