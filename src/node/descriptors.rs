//! The limit on open files (`LimitNOFILE=`, `ulimit -n`), divided before anything is opened.
//!
//! Each connection takes one descriptor, and so does each file of the log. Files come first: a log
//! that cannot open its next segment stops, a connection that is refused is asked again. So the
//! bound on connections follows the limit, and a limit that leaves next to nothing ends the start.

use crate::base::limits::{
    CONNECTIONS_MAX, DESCRIPTORS_OF_PROCESS, DESCRIPTORS_OF_SHARD, DESCRIPTORS_OF_SHARD_MIN,
};
use crate::exit::{self, Stop};

/// What the limit leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Open files of this process, at most.
    pub(super) limit: u64,
    /// Connections of one shard, at most.
    pub(super) connections: usize,
}

impl Descriptors {
    /// Divides `limit` over `shards`. Of what a shard gets, at least half is for connections. The
    /// error is that it gets too little to serve with, and how to raise it.
    pub(super) fn divide(limit: u64, shards: u16) -> Result<Descriptors, Stop> {
        let each = limit.saturating_sub(DESCRIPTORS_OF_PROCESS) / u64::from(shards.max(1));
        if each < DESCRIPTORS_OF_SHARD_MIN {
            let least =
                DESCRIPTORS_OF_PROCESS + DESCRIPTORS_OF_SHARD_MIN * u64::from(shards.max(1));
            let line = format!(
                "the limit on open files is {limit}; {shards} shard(s) need at least {least}, and \
                 one more for each connection: raise it (LimitNOFILE=1048576 in the unit file, \
                 ulimit -Hn 1048576 in a shell)"
            );
            return Err(Stop::new(exit::CONFIG, line));
        }
        let left = each - DESCRIPTORS_OF_SHARD.min(each / 2);
        let connections = usize::try_from(left).unwrap_or(usize::MAX).min(CONNECTIONS_MAX);
        Ok(Descriptors { limit, connections })
    }

    /// What is to be said at start; `None` when the limit takes nothing away.
    pub(super) fn line(&self) -> Option<String> {
        (self.connections < CONNECTIONS_MAX).then(|| {
            format!(
                "the limit on open files is {}: at most {} connections a shard, not \
                 {CONNECTIONS_MAX}; LimitNOFILE=1048576 (ulimit -Hn) lifts it",
                self.limit, self.connections
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_limit_and_files_come_first() {
        let of = |limit, shards| Descriptors::divide(limit, shards).map(|d| d.connections);
        assert_eq!(of(1_048_576, 2).unwrap(), CONNECTIONS_MAX);
        assert_eq!(of(1024, 1).unwrap(), 480);
        assert_eq!(of(512, 2).unwrap(), 112);
        assert_eq!(of(10_000, 1).unwrap(), 10_000 - 64 - 1056);
        let said = Descriptors::divide(1024, 1).unwrap().line().unwrap();
        assert!(said.contains("1024: at most 480") && said.contains("LimitNOFILE"), "{said}");
        assert_eq!(Descriptors::divide(1_048_576, 1).unwrap().line(), None);
    }

    #[test]
    fn a_limit_that_leaves_nothing_is_refused_with_the_least_that_would_do() {
        let refused = Descriptors::divide(100, 2).unwrap_err();
        assert_eq!(refused.exit_code, exit::CONFIG);
        assert!(refused.line.contains("is 100; 2 shard(s) need at least 320"), "{}", refused.line);
        assert!(Descriptors::divide(320, 2).is_ok());
        assert!(Descriptors::divide(319, 2).is_err());
    }
}
