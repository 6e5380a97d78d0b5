//! The threads that speak with others for the shards: with name servers, and with the majority that
//! decides who is the primary.
//!
//! They begin when every shard serves, and end before the shards drain. Never: a shard that waits
//! for one of them.

use std::sync::mpsc;
use std::time::Duration;

use weir_io::mailbox::Sender;

use super::Plan;
use super::address::advertised;
use super::arbiter::{self, Arbitration};
use super::registrar::{self, Registrar, ShardAddress};
use crate::config::Config;
use crate::exit::{self, Stop};
use crate::replica::Lease;
use crate::server::Letter;

/// Gives every shard the ring for name servers outside, if there are any to be told.
pub(super) fn rings(config: &Config, plans: &mut [Plan]) -> Option<mpsc::Receiver<()>> {
    if config.namesrv_addr.is_empty() {
        return None;
    }
    let (ring, rung) = registrar::ring();
    plans.iter_mut().for_each(|plan| plan.ring = Some(ring.clone()));
    Some(rung)
}

/// The threads that speak with others for the shards, until what it gives is dropped.
pub(super) fn start(
    config: &Config,
    boxes: &[Sender<Letter>],
    rung: Option<mpsc::Receiver<()>>,
    leases: &[Lease],
) -> Result<(Option<Registrar>, Arbitration), Stop> {
    let arbitration = arbiter::start(config, boxes, leases)?;
    Ok((register(config, boxes, rung)?, arbitration))
}

/// Registers the shards with the name servers outside until the handle is dropped.
fn register(
    config: &Config,
    boxes: &[Sender<Letter>],
    rung: Option<mpsc::Receiver<()>>,
) -> Result<Option<Registrar>, Stop> {
    let Some(rung) = rung else { return Ok(None) };
    let address = advertised(config)?;
    let at = |shard: u16| {
        let port = config.shard_port(shard);
        let ha_addr = format!("{address}:{}", config.shard_ha_port(shard).unwrap_or(port + 1));
        ShardAddress { addr: format!("{address}:{port}"), ha_addr }
    };
    let shards = (0..boxes.len() as u16).map(at).collect();
    let period = Duration::from_millis(config.register_name_server_period_ms);
    let started = Registrar::start(&config.namesrv_addr, shards, boxes, rung, period);
    let failed = |e| Stop::new(exit::CALL, format!("cannot start a thread for name servers: {e}"));
    started.map(Some).map_err(failed)
}
