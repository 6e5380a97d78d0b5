//! Answers that come later than their request: sends whose watermark moved, pulls that were woken,
//! requests that waited for the disk.
//!
//! All of them are written here, so that a client sees the same reply whether it waited or not.

use std::net::SocketAddr;

use weir_wire::code::{request, response};
use weir_wire::frame::Codec;
use weir_wire::message::{OffsetMsgId, Record, Records, properties};
use weir_wire::reply::Reply;
use weir_wire::request::sent::Sent;

use super::connection::{ConnId, Role};
use super::dispatch::{Call, Flow};
use super::turn::Server;
use crate::base::limits::{KEPT_BYTES_MAX, KEPT_MAX, PARKED_PULLS_MAX};
use crate::broker::{PullReply, Reject, ReplyTo};
use crate::shard::{Answer, Fetch, Lack, QueueLimit, Ready, Shard, Tuning, Waiter};

/// A request that waits for the disk.
#[derive(Debug)]
pub(super) struct Kept {
    id: ConnId,
    peer: SocketAddr,
    frame: Vec<u8>,
    class: KeptClass,
    born_ns: u64,
}

/// Requests that wait for the disk, and how many of each kind.
#[derive(Debug, Default)]
pub(super) struct KeptList {
    list: Vec<Kept>,
    counts: [usize; 4],
    bytes: usize,
}

impl KeptList {
    fn push(&mut self, kept: Kept) {
        self.counts[kept.class as usize] += 1;
        self.bytes += kept.frame.len();
        self.list.push(kept);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// What waits in the queues that RocketMQ's tools look at, by the beginning of their keys:
    /// requests, and when the oldest was born.
    pub(super) fn queues(&self) -> [(&'static str, usize, Option<u64>); 3] {
        let named = [
            ("pull", KeptClass::Pull),
            ("litePull", KeptClass::LitePull),
            ("query", KeptClass::Query),
        ];
        named.map(|(name, class)| {
            let same = self.list.iter().filter(|kept| kept.class == class);
            (name, self.counts[class as usize], same.map(|kept| kept.born_ns).min())
        })
    }

    fn take(&mut self) -> Vec<Kept> {
        std::mem::take(self).list
    }
}

/// Which of RocketMQ's queues a request that waits for the disk would stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptClass {
    Pull,
    LitePull,
    Query,
    Other,
}

impl KeptClass {
    fn of(code: i32) -> KeptClass {
        match code {
            request::PULL_MESSAGE => KeptClass::Pull,
            request::LITE_PULL_MESSAGE => KeptClass::LitePull,
            request::VIEW_MESSAGE_BY_ID => KeptClass::Query,
            _ => KeptClass::Other,
        }
    }

    /// Its bounds, and the keys that set them: capacity, wait.
    fn limit(self, tuning: &Tuning) -> (QueueLimit, &'static str, &'static str) {
        match self {
            KeptClass::Pull => {
                (tuning.pulls, "pullThreadPoolQueueCapacity", "waitTimeMillsInPullQueue")
            }
            KeptClass::LitePull => (
                tuning.lite_pulls,
                "litePullThreadPoolQueueCapacity",
                "waitTimeMillsInLitePullQueue",
            ),
            KeptClass::Query => {
                (tuning.queries, "queryThreadPoolQueueCapacity", "waitTimeMillsInAdminBrokerQueue")
            }
            KeptClass::Other => (
                tuning.others,
                "adminBrokerThreadPoolQueueCapacity",
                "waitTimeMillsInAdminBrokerQueue",
            ),
        }
    }
}

/// The tag of a held pull: how its reply's header is written.
pub(super) fn tag_of(codec: Codec) -> u32 {
    u32::from(codec == Codec::Binary)
}

fn codec_of(tag: u32) -> Codec {
    if tag == 0 { Codec::Json } else { Codec::Binary }
}

impl Server {
    /// Keeps a request until something was read, or refuses it when too many or too old wait.
    pub(super) fn keep_for_later(&mut self, call: &Call<'_>, bytes: &[u8]) {
        let class = KeptClass::of(call.header.code);
        let (limit, capacity_key, wait_key) = class.limit(self.shard.tuning());
        let waited_ms = self.now_ns.saturating_sub(call.born_ns) / 1_000_000;
        let (same, held) = (self.kept.counts[class as usize], self.kept.bytes);
        let most = limit.capacity.min(KEPT_MAX as u64);
        let remark = if waited_ms > limit.wait_ms {
            format!(
                "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in \
                 queue: {waited_ms}ms, size of queue: {same}, reason: device, waited: \
                 {waited_ms}ms, limit: {}ms, change: {wait_key}",
                limit.wait_ms
            )
        } else if same as u64 >= most || self.kept.len() >= KEPT_MAX {
            format!(
                "[OVERLOAD]system busy, start flow control for a while, reason: device, waited: \
                 {waited_ms}ms, requests that wait for the disk: {same}, limit: {most}, change: \
                 {capacity_key}"
            )
        } else if held + bytes.len() > KEPT_BYTES_MAX {
            format!(
                "[OVERLOAD]system busy, start flow control for a while, reason: memory, waited: \
                 {waited_ms}ms, bytes of requests that wait for the disk: {held}, limit: \
                 {KEPT_BYTES_MAX}, change: send smaller requests"
            )
        } else {
            let Call { id, peer, born_ns, .. } = *call;
            self.kept.push(Kept { id, peer, frame: bytes.to_vec(), class, born_ns });
            return;
        };
        let reject = Reject::new(response::SYSTEM_BUSY, remark);
        match class {
            KeptClass::Pull | KeptClass::LitePull => {
                if let Some(out) = self.out(call) {
                    write_pull_refusal(out, call.codec, call.header.opaque, &reject);
                }
            }
            KeptClass::Query | KeptClass::Other => self.refuse(call, &reject),
        }
    }

    /// Has kept requests handled again, read or not, when one of them waited too long: it is
    /// refused then.
    pub(super) fn look_at_kept(&mut self) {
        let (tuning, now_ns) = (self.shard.tuning(), self.now_ns);
        let late = |kept: &Kept| {
            let (limit, ..) = kept.class.limit(tuning);
            now_ns.saturating_sub(kept.born_ns) / 1_000_000 > limit.wait_ms
        };
        if self.kept.list.iter().any(late) {
            self.arrivals_seen = u64::MAX;
        }
    }

    /// Handles kept requests again when something was read since.
    fn serve_kept(&mut self) {
        let arrivals = self.shard.arrivals();
        if std::mem::replace(&mut self.arrivals_seen, arrivals) == arrivals {
            return;
        }
        for kept in self.kept.take() {
            let Some(role) = self.connections.get(kept.id).map(|connection| connection.role) else {
                continue;
            };
            self.asked_ns = kept.born_ns;
            self.block_wait_ns = self.now_ns.saturating_sub(kept.born_ns);
            self.again = true;
            let blocked = role == Role::Broker
                && self.dispatch(kept.id, kept.peer, &kept.frame) == Flow::Blocked;
            self.again = false;
            self.block_wait_ns = 0;
            if blocked {
                self.kept.push(kept);
            }
        }
        self.asked_ns = self.now_ns;
        let mut waiting = std::mem::take(&mut self.woken);
        self.shard.take_waiting(&mut waiting);
        self.woken = waiting;
    }

    /// Answers held pulls that have something now, or whose time is over.
    pub(super) fn serve_woken(&mut self) {
        self.serve_kept();
        self.shard.woken(&mut self.woken);
        let mut woken = std::mem::take(&mut self.woken);
        assert!(woken.len() <= 2 * PARKED_PULLS_MAX, "a place is woken once");
        let mut plan = std::mem::take(&mut self.plan);
        for id in woken.drain(..) {
            let Some(fetched) = self.shard.pull_again(&mut self.driver, id, &mut plan) else {
                continue;
            };
            self.plan = plan;
            self.answer_pull(fetched.reply_to, &fetched.fetch, true);
            plan = std::mem::take(&mut self.plan);
        }
        self.plan = plan;
        // Held pulls that wait for a chunk again stay with the shard.
        let again = std::mem::replace(&mut self.woken, woken);
        self.woken.extend(again);
    }

    /// Answers a pull that is neither held (any more) nor waiting; `held`: it was.
    pub(super) fn answer_pull(&mut self, to: ReplyTo, fetch: &Fetch, held: bool) {
        let (id, codec) = (ConnId(to.conn.0), codec_of(to.tag));
        let full = match fetch {
            Fetch::Reply(reply) if reply.code == response::SUCCESS => {
                self.room_for_reply(id, self.plan.bytes).err()
            }
            _ => None,
        };
        if full.is_none() {
            self.count_pull(to, fetch, held);
        }
        let Some(out) = self.connections.outbox(id) else { return };
        if let Some(reject) = full {
            return write_pull_refusal(out, codec, to.opaque, &reject);
        }
        match fetch {
            Fetch::Reply(reply) => {
                write_pull(out, &self.shard, codec, to.opaque, reply, &self.plan.extents);
            }
            Fetch::Reject(reject) => write_pull_refusal(out, codec, to.opaque, reject),
            Fetch::Parked | Fetch::Reading => {}
        }
    }

    fn count_pull(&mut self, to: ReplyTo, fetch: &Fetch, held: bool) {
        let Fetch::Reply(reply) = fetch else { return };
        let (records, bytes) = match reply.code {
            response::SUCCESS => (self.plan.extents.len(), self.plan.bytes as u64),
            _ => (0, 0),
        };
        self.shard.meter.pulled(to.asked_ns, held, records, bytes);
        if records > 0 {
            self.shard.broker.count_read(self.plan.reader, records as u64, bytes);
        }
    }

    /// Answers a reply whose promise holds.
    pub(super) fn deliver(&mut self, ready: &Ready) {
        let Waiter { connection, opaque, codec, .. } = ready.waiter;
        let Some(out) = self.connections.outbox(ConnId(connection)) else { return };
        match &ready.answer {
            Answer::Done => Reply::new(out, codec, response::SUCCESS, opaque).finish(),
            Answer::Failed => {
                let why = "writing the log failed while this request waited: its outcome is \
                           unknown, it may or may not be stored";
                Reply::new(out, codec, response::SYSTEM_ERROR, opaque).remark(why).finish();
            }
            Answer::Fenced => {
                let why = "this primary lost its lease while this request waited: its outcome is \
                           unknown, it may or may not be stored";
                Reply::new(out, codec, response::SYSTEM_ERROR, opaque).remark(why).finish();
            }
            Answer::Late(lack) => {
                let why = format!(
                    "the change is in the log and in force, but {}: a failure now could take it \
                     back",
                    lacking(&self.shard, *lack)
                );
                Reply::new(out, codec, response::SYSTEM_ERROR, opaque).remark(&why).finish();
            }
            Answer::Less { lack, queue_id, queue_offset, position, count, len } => {
                let stored = self.shard.record(*position, *len as usize);
                let at = (*queue_id, *queue_offset, *count);
                write_less(out, &self.shard, (codec, opaque, *lack), stored, at);
            }
            Answer::Sent { queue_id, queue_offset, position, count, len, key } => {
                let sent = Sent {
                    queue_id: *queue_id,
                    queue_offset: queue_offset.cast_signed(),
                    position: position.cast_signed(),
                    key: key.as_bytes(),
                };
                let answers = &self.sent_answers;
                if *count != 1 {
                    let host = answers.host();
                    let ids = batch_ids(self.shard.record(*position, *len as usize), host, *count);
                    answers.write_batch(out, codec, opaque, &ids, &sent);
                } else if sent.key.is_empty() {
                    // Too long to be carried: it is read where it was stored.
                    let record = self.shard.record(*position, *len as usize).map(Record::parse);
                    let stored = record.and_then(Result::ok).map(|record| record.properties());
                    let key = stored.and_then(|stored| properties::find(stored, "UNIQ_KEY"));
                    let sent = Sent { key: key.unwrap_or(&[]), ..sent };
                    answers.write(out, codec, opaque, &sent);
                } else {
                    answers.write(out, codec, opaque, &sent);
                }
            }
        }
    }
}

/// What is missing of a promise, in words.
fn lacking(shard: &Shard, lack: Lack) -> String {
    match lack {
        Lack::Device => {
            let timeout_ms = shard.tuning().sync_flush_timeout_ms;
            format!("not on the device within {timeout_ms}ms (syncFlushTimeout)")
        }
        Lack::Standby => {
            let timeout_ms = shard.slave_timeout_ms();
            format!("not with the standby within {timeout_ms}ms (slaveTimeout)")
        }
        Lack::Pair => "on this box only: the primary goes on alone (standbyLost=degrade)".into(),
    }
}

/// The answer to a send whose promise is less than asked for: the fields of a success.
fn write_less(
    out: &mut Vec<u8>,
    shard: &Shard,
    (codec, opaque, lack): (Codec, i32, Lack),
    stored: Option<&[u8]>,
    (queue_id, queue_offset, count): (i32, u64, u32),
) {
    let host = SocketAddr::from(shard.broker.options().store_host);
    let why = format!("stored, but {}: do not send it again", lacking(shard, lack));
    let code = match lack {
        Lack::Device => response::FLUSH_DISK_TIMEOUT,
        Lack::Standby => response::FLUSH_SLAVE_TIMEOUT,
        Lack::Pair => response::SLAVE_NOT_AVAILABLE,
    };
    let reply = Reply::new(out, codec, code, opaque)
        .remark(&why)
        .ext_str("MSG_REGION", &shard.broker.options().region)
        .ext_str("TRACE_ON", "true")
        .ext_str("msgId", &batch_ids(stored, host, count))
        .ext_int("queueId", i64::from(queue_id))
        .ext_int("queueOffset", queue_offset.cast_signed());
    let record = stored.map(Record::parse).and_then(Result::ok).filter(|_| count == 1);
    match record.and_then(|record| properties::find(record.properties(), "UNIQ_KEY")) {
        Some(key) => reply.ext_bytes("transactionId", key).finish(),
        None => reply.finish(),
    }
}

/// The ids of a batch's messages, joined by commas.
fn batch_ids(stored: Option<&[u8]>, host: SocketAddr, count: u32) -> String {
    let mut ids = String::new();
    for record in Records::new(stored.unwrap_or(&[])).map_while(Result::ok).take(count as usize) {
        if !ids.is_empty() {
            ids.push(',');
        }
        ids.push_str(OffsetMsgId::new(host, record.position()).as_str());
    }
    ids
}

fn write_pull(
    out: &mut Vec<u8>,
    shard: &Shard,
    codec: Codec,
    opaque: i32,
    reply: &PullReply,
    extents: &[(u64, u32)],
) {
    let body = Reply::new(out, codec, reply.code, opaque)
        .remark(reply.remark)
        .ext_int("suggestWhichBrokerId", reply.suggest as i64)
        .ext_int("nextBeginOffset", reply.next as i64)
        .ext_int("minOffset", reply.min as i64)
        .ext_int("maxOffset", reply.max as i64)
        .open_body();
    if reply.code == response::SUCCESS {
        for (position, size) in extents {
            let record = shard.record(*position, *size as usize);
            assert!(record.is_some(), "the shard answers with what is in memory");
            out.extend_from_slice(record.unwrap_or(&[]));
        }
    }
    body.close(out);
}

/// A refused pull: clients read the same fields from it.
pub(super) fn write_pull_refusal(out: &mut Vec<u8>, codec: Codec, opaque: i32, reject: &Reject) {
    Reply::new(out, codec, reject.code, opaque)
        .remark(&reject.remark)
        .ext_int("suggestWhichBrokerId", 0)
        .ext_int("nextBeginOffset", 0)
        .ext_int("minOffset", 0)
        .ext_int("maxOffset", 0)
        .finish();
}
