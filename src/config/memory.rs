//! `memoryMax`: one number from which every arena, pool and total of the process is sized.
//!
//! What must be there comes first (the program, each shard's staging area and receive buffers);
//! the rest is divided by fixed shares. A knob that sizes one part by itself is kept, and the
//! others share what is left. It asks the host nothing: a limit of the process's group is an
//! argument. Never: a plan whose parts are more than the whole.

use super::table::Config;
use crate::base::limits::{
    BLOCK_MAX, CHECKPOINT_MAP_ENTRY, CHECKPOINT_MAP_STRETCH, CHECKPOINT_MEMORY, DIRECTORY_ENTRY,
    DIRECTORY_MEMORY_MIN, DIRECTORY_RECORD, DIRECTORY_TAILS, HISTOGRAM_MEMORY, INDEX_ARENA_DEFAULT,
    INDEX_ARENA_MIN, INDEX_CHUNK_ENTRIES, MEMORY_PER_SHARD_DEFAULT, PROCESS_MEMORY, PULL_BYTES_MAX,
    RECEIVE_POOL_BYTES, SEND_BACKLOG_PAUSE, SHARD_MEMORY, STATE_MEMORY_MIN, WINDOW_BYTES_MAX,
};

const MIB: u64 = 1024 * 1024;

/// How much each part may hold, bytes. Parts of one shard are for each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Everything: the knob, its default, or what the group's limit leaves of it.
    pub max: u64,
    /// Shards it is for.
    pub shards: u16,
    /// The program itself, its threads and their stacks, and what the allocator keeps.
    pub process: u64,
    /// Staging area.
    pub staging: u64,
    /// Receive buffers of the ring.
    pub receive: u64,
    /// Windows of the log read from disk.
    pub windows: u64,
    /// The ring's tables, waiting replies, buffers of index writes.
    pub fixed: u64,
    /// Arena of the consume queues.
    pub index: u64,
    /// Frames being assembled.
    pub assembly: u64,
    /// Replies that wait for their readers.
    pub replies: u64,
    /// Histograms of the stages.
    pub histograms: u64,
    /// Topics, groups and offsets.
    pub state: u64,
    /// Directories of the consume queues: what `retentionSize` can fill, when it is set.
    pub directories: u64,
    /// A checkpoint while it is written: a slice of it, and the map of the log.
    pub checkpoint: u64,
}

impl MemoryPlan {
    /// The parts with their names, in the order of the table: name, bytes, whether per shard.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, u64, bool); 12] {
        [
            ("process", self.process, false),
            ("staging", self.staging, true),
            ("receive buffers", self.receive, true),
            ("log windows", self.windows, true),
            ("fixed", self.fixed, true),
            ("consume queues", self.index, true),
            ("frames being assembled", self.assembly, true),
            ("waiting replies", self.replies, true),
            ("histograms", self.histograms, true),
            ("state", self.state, true),
            ("queue directories", self.directories, true),
            ("checkpoint", self.checkpoint, true),
        ]
    }

    /// Sum of the parts, bytes; never above `max`.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let part = |(_, bytes, each): (&str, u64, bool)| {
            if each { bytes * u64::from(self.shards) } else { bytes }
        };
        self.rows().into_iter().map(part).sum()
    }

    /// The table as one line: what is held by what, MiB.
    #[must_use]
    pub fn line(&self) -> String {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB as f64);
        let part = |(name, bytes, each): (&str, u64, bool)| {
            format!("{name} {}{}", mib(bytes), if each { " a shard" } else { "" })
        };
        let parts: Vec<String> = self.rows().into_iter().map(part).collect();
        format!(
            "memoryMax {} MiB for {} shard(s), in MiB: {}",
            mib(self.max),
            self.shards,
            parts.join(", ")
        )
    }
}

impl Config {
    /// Divides the memory there is over `shards` shards. `group_limit` is what the process's
    /// group (cgroup) may use, bytes. The error names the least that would do, and why.
    pub fn memory_plan(&self, shards: u16, group_limit: Option<u64>) -> Result<MemoryPlan, String> {
        let each = u64::from(shards.max(1));
        let asked = self.memory_max_bytes.unwrap_or(MEMORY_PER_SHARD_DEFAULT as u64 * each);
        // The kernel's own memory for sockets and the ring counts in the group too.
        let allowed = group_limit.map_or(u64::MAX, |limit| limit - limit / 8);
        let max = asked.min(allowed);
        let least = self.least(shards);
        let needed = least.sum();
        if needed > max {
            return Err(self.too_small(max, asked, &least));
        }
        let spare = (max - needed) / each;
        let share = |percent: u64| spare * percent / 100;
        let index = match self.consume_queue_memory_bytes {
            Some(_) => least.index,
            None => (least.index + share(25)).min(INDEX_ARENA_DEFAULT as u64) / 4096 * 4096,
        };
        let filled = self.directories_of(shards).unwrap_or(u64::MAX);
        let directories = (least.directories + share(20)).min(filled.max(least.directories));
        let plan = MemoryPlan {
            max,
            index,
            directories,
            checkpoint: least.checkpoint + share(4).min(self.map_of(shards)),
            assembly: least.assembly + share(20),
            replies: least.replies + share(25),
            state: least.state + share(6),
            ..least
        };
        assert!(plan.sum() <= max, "a plan of {} bytes for {max}", plan.sum());
        Ok(plan)
    }

    /// The plan with every part at its least.
    fn least(&self, shards: u16) -> MemoryPlan {
        let frame = self.largest_record() + BLOCK_MAX as u64;
        MemoryPlan {
            max: 0,
            shards: shards.max(1),
            process: PROCESS_MEMORY as u64,
            staging: self.staging_size(),
            receive: RECEIVE_POOL_BYTES as u64,
            windows: WINDOW_BYTES_MAX as u64,
            fixed: SHARD_MEMORY as u64,
            index: self.consume_queue_memory_bytes.unwrap_or(INDEX_ARENA_MIN as u64),
            // Two of the largest, since half of it is for small ones.
            assembly: 2 * frame,
            replies: 2 * (self.largest_record() + (SEND_BACKLOG_PAUSE + PULL_BYTES_MAX) as u64),
            histograms: HISTOGRAM_MEMORY as u64,
            state: STATE_MEMORY_MIN as u64,
            directories: DIRECTORY_MEMORY_MIN as u64,
            checkpoint: CHECKPOINT_MEMORY as u64,
        }
    }

    /// Bytes of one shard's directories when `retentionSize` is full of records of 1 KiB in many
    /// queues; `None`: the disk is its only limit.
    fn directories_of(&self, shards: u16) -> Option<u64> {
        let chunk = (INDEX_CHUNK_ENTRIES * DIRECTORY_RECORD) as u64;
        let chunks = self.retention_per_shard(shards)? / chunk + DIRECTORY_TAILS as u64;
        Some(chunks * DIRECTORY_ENTRY as u64)
    }

    /// Bytes of one shard's map of the log in a checkpoint, when `retentionSize` is full.
    fn map_of(&self, shards: u16) -> u64 {
        let kept = self.retention_per_shard(shards).unwrap_or(u64::MAX);
        kept / CHECKPOINT_MAP_STRETCH as u64 * CHECKPOINT_MAP_ENTRY as u64
    }

    fn too_small(&self, max: u64, asked: u64, least: &MemoryPlan) -> String {
        let mib = |bytes: u64| bytes.div_ceil(MIB);
        let from = match asked > max {
            true => format!("the group's memory limit leaves {} MiB", mib(max)),
            false => format!("{} MiB is too little", max / MIB),
        };
        let parts: Vec<String> = least
            .rows()
            .into_iter()
            .map(|(name, bytes, _)| format!("{name} {}", mib(bytes)))
            .collect();
        format!(
            "{from}; {} shard(s) need at least {} MiB ({}, in MiB): raise it, or lower shards, \
             maxMessageSize ({} bytes now), stagingSize or consumeQueueMemory",
            least.shards,
            mib(least.sum()),
            parts.join(", "),
            self.max_message_size_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(config: &Config, shards: u16, limit: Option<u64>) -> Result<MemoryPlan, String> {
        config.memory_plan(shards, limit)
    }

    fn with_max(mib: u64) -> Config {
        Config { memory_max_bytes: Some(mib * MIB), ..Config::default() }
    }

    #[test]
    fn the_parts_are_never_more_than_the_whole_and_grow_with_it() {
        let mut before = None;
        for mib in [114, 128, 192, 256, 1024, 16 * 1024] {
            let plan = plan(&with_max(mib), 1, None).unwrap();
            assert!(plan.sum() <= mib * MIB, "{plan:?}");
            if let Some(MemoryPlan { replies, assembly, index, .. }) = before {
                assert!(plan.replies > replies && plan.assembly > assembly && plan.index >= index);
            }
            before = Some(plan);
        }
    }

    #[test]
    fn too_little_is_refused_with_the_least_that_would_do() {
        let refused = plan(&with_max(32), 1, None).unwrap_err();
        let least: u64 = refused
            .split("at least ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|number| number.parse().ok())
            .unwrap();
        assert!(plan(&with_max(least), 1, None).is_ok(), "{refused}");
        assert!(plan(&with_max(least - 1), 1, None).is_err(), "{refused}");
        assert!(refused.contains("maxMessageSize"), "{refused}");
    }

    #[test]
    fn a_limit_of_the_group_lowers_it_and_says_so_when_too_low() {
        let free = plan(&with_max(1024), 1, None).unwrap();
        let tight = plan(&with_max(1024), 1, Some(256 * MIB)).unwrap();
        assert_eq!((free.max, tight.max), (1024 * MIB, 224 * MIB));
        let refused = plan(&with_max(1024), 1, Some(64 * MIB)).unwrap_err();
        assert!(refused.contains("the group's memory limit leaves 56 MiB"), "{refused}");
    }

    #[test]
    fn a_part_with_a_knob_of_its_own_keeps_it_and_the_others_share_the_rest() {
        let own = Config {
            consume_queue_memory_bytes: Some(16 * MIB),
            staging_size_bytes: Some(32 * MIB),
            ..with_max(512)
        };
        let plan = plan(&own, 2, None).unwrap();
        assert_eq!((plan.index, plan.staging), (16 * MIB, 32 * MIB));
        assert!(plan.sum() <= 512 * MIB);
    }

    #[test]
    fn directories_have_what_the_retention_can_fill_and_a_checkpoint_little_of_it() {
        let kept = |gib: u64| {
            let own = Config { retention_size_bytes: gib << 30, ..with_max(2048) };
            plan(&own, 1, None).unwrap()
        };
        // 100 GiB of 1 KiB are 105 million messages, 825,000 chunks.
        let hundred = kept(100);
        let chunks = (100 << 30) / (127 * 1024) + DIRECTORY_TAILS as u64;
        assert_eq!(hundred.directories, chunks * 40);
        assert!(hundred.checkpoint < hundred.directories, "{hundred:?}");
        assert!(kept(1).directories >= DIRECTORY_MEMORY_MIN as u64, "never less than the least");
        let unbounded = kept(0);
        assert!(unbounded.directories > hundred.directories, "a share, when the disk is the limit");
        let names: Vec<&str> = hundred.rows().iter().map(|row| row.0).collect();
        for name in ["histograms", "queue directories", "checkpoint", "state"] {
            assert!(names.contains(&name) && hundred.line().contains(name), "{name}");
        }
    }

    #[test]
    fn smaller_messages_need_less() {
        let small = Config { max_message_size_bytes: 64 * 1024, ..with_max(80) };
        assert!(plan(&small, 1, None).is_ok(), "{:?}", plan(&small, 1, None));
        assert!(plan(&with_max(80), 1, None).is_err());
    }
}
