//! The records a request is stored as: its fields and ours, for the wire's record encoder.
//!
//! Addresses are IPv4 always, because older clients cannot read records with longer ones, and no
//! topic name is long enough for a record of version 2, for the same reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use weir_wire::message::{BatchEntries, BatchEntry, RecordFields, UNIQ_KEY_V4, properties};

use super::options::BrokerOptions;
use super::publish::SendRequest;
use super::uniq::uniq_key;

/// Bytes of a UNIQ_KEY property the broker makes.
pub(super) const UNIQ_PAIR: usize = "UNIQ_KEY".len() + 2 + UNIQ_KEY_V4;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) queue_id: u32,
    pub(super) queue_offset: u64,
    pub(super) position: u64,
    pub(super) store_ms: i64,
}

/// The fields of a single message's record. `sent` are the properties that are stored of those
/// sent, `appended` the broker's own.
pub(super) fn single<'a>(
    options: &BrokerOptions,
    at: &Place<'a>,
    request: &SendRequest<'a>,
    sent: &'a [u8],
    appended: [&'a [u8]; 2],
) -> RecordFields<'a> {
    let (ip, port) = options.store_host;
    RecordFields {
        topic: at.topic,
        queue_id: at.queue_id.cast_signed(),
        flag: request.flag,
        sys_flag: request.sys_flag,
        born_timestamp: request.born_ms,
        born_host: ipv4(request.peer),
        store_host: SocketAddr::from((ip, port)),
        store_timestamp: at.store_ms,
        queue_offset: at.queue_offset.cast_signed(),
        position: at.position.cast_signed(),
        reconsume_times: request.reconsume_times,
        prepared_transaction_offset: 0,
        body: request.body,
        properties: sent,
        appended: [appended[0], appended[1], &[]],
    }
}

/// The fields of one message of a batch: its own flag, body and properties, byte for byte.
pub(super) fn of_batch<'a>(
    options: &BrokerOptions,
    at: &Place<'a>,
    request: &SendRequest<'a>,
    entry: &BatchEntry<'a>,
) -> RecordFields<'a> {
    let fields = single(options, at, request, entry.properties, [&[], &[]]);
    RecordFields { flag: entry.flag, body: entry.body, ..fields }
}

/// The messages of a batch that was checked: ends early at anything malformed.
pub(super) fn batch_entries(body: &[u8]) -> impl Iterator<Item = BatchEntry<'_>> {
    BatchEntries::new(body).map_while(Result::ok)
}

/// The UNIQ_KEY property of message `counter`.
pub(super) fn uniq_pair(options: &BrokerOptions, store_ms: i64, counter: u32) -> [u8; UNIQ_PAIR] {
    let mut pair = [0; UNIQ_PAIR];
    pair[..9].copy_from_slice(b"UNIQ_KEY\x01");
    pair[9..9 + UNIQ_KEY_V4].copy_from_slice(uniq_key(options, store_ms, counter).as_bytes());
    pair[UNIQ_PAIR - 1] = properties::VALUE_END;
    pair
}

/// Tag hash of stored properties; 0 without a tag.
pub(super) fn tags_of(stored: &[u8]) -> i64 {
    let tag = properties::find(stored, properties::name::TAGS);
    tag.map_or(0, weir_wire::message::tags_code_of)
}

fn ipv4(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, peer.port()),
        IpAddr::V6(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, peer.port())),
    }
}
