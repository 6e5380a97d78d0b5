//! What the configuration and the data directory say of the pair, shard by shard.
//!
//! Asked once per start, before any shard is opened: which role each has (a promotion is remembered
//! in the data and wins over the configuration), where its primary is, what both sides know.
//! Never: a secret in a line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use super::shard_dir;
use crate::config::{BrokerRole, Config, PORT_STEP};
use crate::exit::{self, Stop};
use crate::replica::{ReplicaOptions, Role, State, state_path};

/// Shard `index`'s part in the pair, if there is one; `name` is its broker name, `address` the host
/// that clients find it at.
pub(super) fn options(
    config: &Config,
    name: &str,
    (index, shards): (u16, u16),
    (address, primary): (&str, Option<SocketAddr>),
) -> Result<Option<ReplicaOptions>, Stop> {
    let Some(ha_port) = config.shard_ha_port(index) else { return Ok(None) };
    let role = if config.is_standby_of(index) { Role::Standby } else { Role::Primary };
    let primary = primary.map(|mut addr| {
        addr.set_port(addr.port().saturating_add(index * PORT_STEP));
        addr
    });
    Ok(Some(ReplicaOptions {
        cluster: config.broker_cluster_name.clone(),
        broker: name.to_owned(),
        shard: index,
        shards,
        role,
        primary,
        ha_port,
        client: format!("{address}:{}", config.shard_port(index)),
        secret: config.ha_secret.clone().into_bytes(),
        seed: seed()?,
        boot: boot(),
        sync: config.broker_role == BrokerRole::SyncMaster,
        refuse: !config.standby_lost_degrade,
        ack_durable: config.replica_ack_durable,
        slave_timeout_ms: config.slave_timeout_ms,
        max_gap_bytes: config.ha_max_gap_bytes,
        catch_up_bytes: config.ha_transfer_bytes,
        scrub_bytes: config.scrub_bytes,
        reads: config.slave_read_enable,
    }))
}

/// Whether there are the shards that `standbyShards` names.
pub(super) fn check(config: &Config, shards: u16) -> Result<(), Stop> {
    let beyond = |number: &&String| number.parse::<u16>().is_ok_and(|number| number >= shards);
    match config.standby_shards.iter().find(beyond) {
        None => Ok(()),
        Some(number) => {
            let line =
                format!("standbyShards: there is no shard {number}, only 0 to {}", shards - 1);
            Err(Stop::new(exit::CONFIG, line))
        }
    }
}

/// The address that `primary` names.
pub(super) fn primary(config: &Config) -> Result<Option<SocketAddr>, Stop> {
    let Some(text) = config.primary.first() else { return Ok(None) };
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.map(Some).ok_or_else(|| {
        Stop::new(exit::CONFIG, format!("primary: {text} is not the address of a host"))
    })
}

/// What shard `index` is: as its data remembers, else as configured.
pub(super) fn role(config: &Config, data: &Path, index: u16) -> Role {
    let remembered = std::fs::read(state_path(&shard_dir(data, index)))
        .ok()
        .and_then(|bytes| State::of_file(&bytes)?.role);
    match remembered.filter(|_| config.is_paired()) {
        Some(role) => role,
        None if config.is_standby_of(index) => Role::Standby,
        None => Role::Primary,
    }
}

/// Random bytes of this start.
fn seed() -> Result<[u8; 32], Stop> {
    use std::io::Read;
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut seed))
        .map_err(|e| Stop::new(exit::CALL, format!("cannot read /dev/urandom: {e}")))?;
    Ok(seed)
}

/// A number of the machine's present boot; 0 when it has none to tell.
pub(super) fn boot() -> u64 {
    use std::hash::{Hash, Hasher};
    let Ok(text) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return 0 };
    let mut hasher = std::hash::DefaultHasher::new();
    text.trim().hash(&mut hasher);
    hasher.finish() | 1
}
