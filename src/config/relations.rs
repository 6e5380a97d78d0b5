//! What follows from several knobs together: derived values, and combinations that cannot work.
//!
//! It asks the host nothing; whatever a rule needs from outside (cores, disk size, host name) is
//! an argument. Ranges of single knobs are the table's business, not this file's.

use super::kind::BrokerRole;
use super::table::{Config, PORT_STEP, SHARDS_MAX};
use crate::base::limits::{
    ARBITERS_MAX, BLOCK_ALIGN, BLOCK_MAX, NAME_SERVERS_MAX, PENDING_REPLIES_MAX,
    RECORD_OVERHEAD_MAX, STAGING_DEFAULT,
};

/// The control port lies this far below `listenPort`: under shard 0's old VIP port.
const CONTROL_BELOW: u16 = 11;
/// `sendMsgTimeout` of stock producers.
const CLIENT_TIMEOUT_MS: u64 = 3000;
/// `consumerTimeoutMillisWhenSuspend` of stock consumers.
const PULL_TIMEOUT_MS: u64 = 30_000;
/// RocketMQ's default of `syncFlushTimeout`: known to be beyond it, and accepted.
const SYNC_FLUSH_TIMEOUT_MS: u64 = 5000;
const SEGMENT_MIN: u64 = 64 * 1024 * 1024;
const SEGMENT_MAX: u64 = 1024 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

impl Config {
    /// Shards of a new data directory when `shards` is not set: one per usable core but one,
    /// which is left to control, interrupts and neighbours; at least one.
    #[must_use]
    pub fn default_shards(usable_cores: usize) -> u16 {
        let shards = usable_cores.saturating_sub(1).max(1);
        u16::try_from(shards).unwrap_or(u16::MAX).min(SHARDS_MAX)
    }

    /// Listening port of a shard. Only after [`Config::check_ports`] for the same count.
    #[must_use]
    pub fn shard_port(&self, shard: u16) -> u16 {
        self.listen_port.saturating_add(shard.saturating_mul(PORT_STEP))
    }

    /// The old VIP port of a shard, two below its own; `None` when `vipPort` is off.
    #[must_use]
    pub fn shard_vip_port(&self, shard: u16) -> Option<u16> {
        self.vip_port.then(|| self.shard_port(shard).saturating_sub(2))
    }

    /// Whether the box is one of a pair, or may become one.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        match self.ha_listen_port {
            Some(port) => port != 0,
            None => self.follows() || self.is_sync_master() || !self.ha_secret.is_empty(),
        }
    }

    /// Whether a shard of this box begins as a standby.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.is_standby || !self.standby_shards.is_empty()
    }

    /// Whether shard `index` begins as a standby.
    #[must_use]
    pub fn is_standby_of(&self, index: u16) -> bool {
        self.is_standby || self.standby_shards.contains(&index.to_string())
    }

    /// Whether an acknowledgement waits for the standby.
    #[must_use]
    pub fn is_sync_master(&self) -> bool {
        self.broker_role == BrokerRole::SyncMaster
    }

    /// The port of a shard that the other box connects to; `None`: there is no pair.
    #[must_use]
    pub fn shard_ha_port(&self, shard: u16) -> Option<u16> {
        let first = self.ha_listen_port.unwrap_or(self.listen_port.saturating_add(1));
        self.is_paired().then(|| first.saturating_add(shard.saturating_mul(PORT_STEP)))
    }

    /// Port of the control plane; 0: there is none.
    #[must_use]
    pub fn control_port(&self) -> u16 {
        self.control_listen_port.unwrap_or(self.listen_port.saturating_sub(CONTROL_BELOW))
    }

    /// Broker name of a shard: always suffixed, so that no name changes when a shard is added.
    /// `host_name` stands in when `brokerName` is not set.
    #[must_use]
    pub fn shard_name(&self, host_name: &str, shard: u16) -> String {
        let first = self.broker_name.as_deref().unwrap_or(host_name);
        format!("{first}-{shard}")
    }

    /// Checks that the ports of `shards` shards exist and meet neither the name server's nor the
    /// control plane's.
    /// The error is a whole sentence for the operator.
    pub fn check_ports(&self, shards: u16) -> Result<(), String> {
        let last =
            u32::from(self.listen_port) + u32::from(PORT_STEP) * u32::from(shards.max(1) - 1);
        if last + 1 > u32::from(u16::MAX) {
            return Err(format!(
                "listenPort {} leaves no room for {shards} shards (the last would be {last}); \
                 lower listenPort or shards",
                self.listen_port
            ));
        }
        let (namesrv, control) = (self.namesrv_listen_port, self.control_port());
        for (key, port) in [("namesrvListenPort", namesrv), ("controlListenPort", control)] {
            let taken = |shard: &u16| {
                let others = [self.shard_vip_port(*shard), self.shard_ha_port(*shard)];
                self.shard_port(*shard) == port || others.contains(&Some(port))
            };
            if let Some(shard) = (0..shards).find(taken).filter(|_| port != 0) {
                return Err(format!(
                    "{key} {port} is a port of shard {shard}; move it or listenPort"
                ));
            }
        }
        if let Some(shard) = (0..shards).find(|shard| self.ha_port_is_taken(*shard, shards)) {
            let port = self.shard_ha_port(shard).unwrap_or(0);
            return Err(format!(
                "haListenPort: {port} of shard {shard} is a port of a shard already; move it or \
                 listenPort"
            ));
        }
        if namesrv == control {
            return Err(format!(
                "controlListenPort {control} is the name server's port; move it or \
                 namesrvListenPort"
            ));
        }
        Ok(())
    }

    fn ha_port_is_taken(&self, shard: u16, shards: u16) -> bool {
        let own = self.shard_ha_port(shard);
        let taken =
            |other: u16| own == Some(self.shard_port(other)) || own == self.shard_vip_port(other);
        own.is_some() && (0..shards).any(taken)
    }

    /// Why the keys of the pair cannot work together: the key at fault, and the remedy.
    fn pair_contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        if self.is_standby && !self.standby_shards.is_empty() {
            let why = "role=standby means all shards: leave one of the two away";
            found.push(("standbyShards", why.into()));
        }
        if self.broker_role == BrokerRole::Slave && !self.is_standby {
            let why = "SLAVE means that this box follows another: set role=standby and \
                       primary=host:port, and let brokerRole say what holds after a promotion";
            found.push(("brokerRole", why.into()));
        }
        if self.follows() && self.primary.len() != 1 {
            let why = "a standby follows one primary: set it to the host and HA port of the other \
                       box, such as 10.0.0.1:10912";
            found.push(("primary", why.into()));
        }
        match (self.in_sync_replicas, self.is_sync_master()) {
            (Some(2), false) => found.push((
                "inSyncReplicas",
                "2 means that a send waits for the standby: set brokerRole=SYNC_MASTER".into(),
            )),
            (Some(1), true) => found.push((
                "inSyncReplicas",
                "1 means that a send waits for nobody: set brokerRole=ASYNC_MASTER, or leave \
                 inSyncReplicas away"
                    .into(),
            )),
            _ => {}
        }
        if self.is_paired() && self.ha_secret.is_empty() && !self.bind.is_loopback() {
            let why = format!(
                "replication on {} needs a secret that both boxes know: set haSecret, or bind to \
                 loopback",
                self.bind
            );
            found.push(("haSecret", why));
        }
        if self.follows() && self.ha_listen_port == Some(0) {
            let why = "0 means that there is no pair, and a standby is half of one";
            found.push(("haListenPort", why.into()));
        }
        found
    }

    /// Whether a majority outside decides who of the pair is the primary.
    #[must_use]
    pub fn is_arbitrated(&self) -> bool {
        self.enable_controller_mode || !self.etcd_endpoints.is_empty()
    }

    /// Why nobody outside could decide who of the pair is the primary.
    fn arbiter_contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let key =
            if self.enable_controller_mode { "enableControllerMode" } else { "etcdEndpoints" };
        if self.enable_controller_mode && !self.etcd_endpoints.is_empty() {
            let why = "etcdEndpoints decides who is the primary already, and only one can: leave \
                       one of the two away";
            found.push((key, why.into()));
        }
        if self.enable_controller_mode && self.controller_addr.is_empty() {
            let why = "nobody is there to ask: set it to the Controllers, such as \
                       10.0.0.5:9878;10.0.0.6:9878;10.0.0.7:9878";
            found.push(("controllerAddr", why.into()));
        }
        if !self.enable_controller_mode && !self.controller_addr.is_empty() {
            let why = "it has no effect without enableControllerMode=true";
            found.push(("controllerAddr", why.into()));
        }
        for (key, list) in
            [("etcdEndpoints", &self.etcd_endpoints), ("controllerAddr", &self.controller_addr)]
        {
            if list.len() > ARBITERS_MAX {
                let why = format!("{} of them, at most {ARBITERS_MAX}; name fewer", list.len());
                found.push((key, why));
            }
        }
        if self.is_arbitrated() && !self.is_sync_master() {
            let why = "a standby that takes over by itself must hold what was acknowledged: set \
                       brokerRole=SYNC_MASTER on both boxes";
            found.push((key, why.into()));
        }
        if self.is_arbitrated() && self.broker_name.is_none() {
            let why = "both boxes are known outside by one name: set brokerName, the same on both";
            found.push((key, why.into()));
        }
        found
    }

    /// Segment size in bytes on a disk of `disk_bytes`: the knob, else 1/64 of the disk between
    /// 64 MiB and 1 GiB; never less than twice the staging area. A multiple of 4096.
    #[must_use]
    pub fn segment_size(&self, disk_bytes: u64) -> u64 {
        self.segment_size_bytes
            .unwrap_or_else(|| (disk_bytes / 64 / MIB * MIB).clamp(SEGMENT_MIN, SEGMENT_MAX))
            .max(2 * self.staging_size())
            .next_multiple_of(BLOCK_ALIGN as u64)
    }

    /// Staging memory of one shard in bytes: the knob, else 16 MiB; never less than four of the
    /// largest records and two blocks. A multiple of 4096.
    #[must_use]
    pub fn staging_size(&self) -> u64 {
        self.staging_size_bytes
            .unwrap_or(STAGING_DEFAULT as u64)
            .max(4 * self.largest_record() + 2 * BLOCK_MAX as u64)
            .next_multiple_of(BLOCK_ALIGN as u64)
    }

    /// One shard's part of `retentionSize` in bytes; `None`: no limit by size.
    #[must_use]
    pub fn retention_per_shard(&self, shards: u16) -> Option<u64> {
        (self.retention_size_bytes > 0)
            .then(|| self.retention_size_bytes / u64::from(shards.max(1)))
    }

    /// Bytes of the largest record a message can make.
    #[must_use]
    pub fn largest_record(&self) -> u64 {
        self.max_message_size_bytes + RECORD_OVERHEAD_MAX as u64
    }

    /// Values that are allowed and cannot do what they are for: the key and why. RocketMQ's own
    /// defaults are never among them, since only keys that were set are looked up here.
    pub(super) fn doubts(&self) -> Vec<(&'static str, String)> {
        let sends = |key, value_ms: u64, default_ms: u64| {
            let late = value_ms >= CLIENT_TIMEOUT_MS && value_ms != default_ms;
            late.then(|| {
                let why = format!(
                    "stock producers give up after {CLIENT_TIMEOUT_MS} ms (sendMsgTimeout), so \
                     nobody hears an answer that comes after that"
                );
                (key, why)
            })
        };
        let pulls = |key, value_ms: u64| {
            (value_ms >= PULL_TIMEOUT_MS).then(|| {
                let why = format!(
                    "stock consumers give up after {PULL_TIMEOUT_MS} ms \
                     (consumerTimeoutMillisWhenSuspend), so nobody hears an answer that comes \
                     after that"
                );
                (key, why)
            })
        };
        let mut found: Vec<(&'static str, String)> = [
            sends("waitTimeMillsInSendQueue", self.wait_time_in_send_queue_ms, 200),
            sends("osPageCacheBusyTimeOutMills", self.os_page_cache_busy_timeout_ms, 1000),
            sends("syncFlushTimeout", self.sync_flush_timeout_ms, SYNC_FLUSH_TIMEOUT_MS),
            sends("slaveTimeout", self.slave_timeout_ms, CLIENT_TIMEOUT_MS),
            pulls("waitTimeMillsInPullQueue", self.wait_time_in_pull_queue_ms),
            pulls("waitTimeMillsInLitePullQueue", self.wait_time_in_lite_pull_queue_ms),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.send_queue_capacity > PENDING_REPLIES_MAX as u64 {
            let why = format!("no more than {PENDING_REPLIES_MAX} have effect");
            found.push(("sendThreadPoolQueueCapacity", why));
        }
        if self.disk_space_clean_forcibly_percent > self.disk_space_warning_level_percent {
            let why = "above diskSpaceWarningLevelRatio: deletion begins there already";
            found.push(("diskSpaceCleanForciblyRatio", why.into()));
        }
        if self.disk_free_warning_bytes > self.disk_free_clean_bytes
            && self.disk_free_clean_bytes > 0
        {
            let why = "below diskFreeWarning: deletion begins there already";
            found.push(("diskFreeClean", why.into()));
        }
        found
    }

    /// Combinations that cannot work: the key at fault and what to do about it.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.disk_max_used_space_percent >= self.disk_space_warning_level_percent {
            found.push((
                "diskMaxUsedSpaceRatio",
                "must be below diskSpaceWarningLevelRatio, or sends are refused before anything \
                 is deleted"
                    .into(),
            ));
        }
        found.extend(self.pair_contradictions());
        found.extend(self.arbiter_contradictions());
        if let Err(why) = self.check_ports(self.shards.unwrap_or(1)) {
            found.push(("listenPort", why));
        }
        let servers = self.namesrv_addr.len();
        if servers > NAME_SERVERS_MAX {
            let why = format!("{servers} name servers, at most {NAME_SERVERS_MAX}; name fewer");
            found.push(("namesrvAddr", why));
        }
        if let Err(why) = self.memory_plan(self.shards.unwrap_or(1), None) {
            found.push(("memoryMax", why));
        }
        found
    }
}
