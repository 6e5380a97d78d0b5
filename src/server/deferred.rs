//! Answers that come later than their request: sends whose watermark moved, pulls that were woken,
//! requests that waited for the disk.
//!
//! All of them are written here, so that a client sees the same reply whether it waited or not.

use std::net::SocketAddr;

use weir_wire::code::{request, response};
use weir_wire::frame::Codec;
use weir_wire::message::{OffsetMsgId, Record, properties};
use weir_wire::reply::Reply;

use super::connection::{ConnId, Role};
use super::dispatch::{Call, Flow};
use super::turn::Server;
use crate::base::limits::{BATCH_MESSAGES_MAX, KEPT_BYTES_MAX, KEPT_MAX, PARKED_PULLS_MAX};
use crate::broker::{PullReply, Reject, ReplyTo};
use crate::shard::{Answer, Fetch, QueueLimit, Ready, Shard, Tuning, Waiter};

/// A request that waits for the disk.
#[derive(Debug)]
pub(super) struct Kept {
    id: ConnId,
    peer: SocketAddr,
    frame: Vec<u8>,
    class: KeptClass,
    born_ns: u64,
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
            KeptClass::LitePull => {
                (tuning.lite_pulls, "litePullThreadPoolQueueCapacity", "waitTimeMillsInLitePullQueue")
            }
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
        let same = self.kept.iter().filter(|kept| kept.class == class).count();
        let held: usize = self.kept.iter().map(|kept| kept.frame.len()).sum();
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

    /// Handles kept requests again when something was read since.
    fn serve_kept(&mut self) {
        let arrivals = self.shard.arrivals();
        if std::mem::replace(&mut self.arrivals_seen, arrivals) == arrivals {
            return;
        }
        for kept in std::mem::take(&mut self.kept) {
            let Some(role) = self.connections.get(kept.id).map(|connection| connection.role) else {
                continue;
            };
            self.block_wait_ns = self.now_ns.saturating_sub(kept.born_ns);
            let blocked = role == Role::Broker
                && self.dispatch(kept.id, kept.peer, &kept.frame) == Flow::Blocked;
            self.block_wait_ns = 0;
            if blocked {
                self.kept.push(kept);
            }
        }
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
            self.answer_pull(fetched.reply_to, &fetched.fetch);
            plan = std::mem::take(&mut self.plan);
        }
        self.plan = plan;
        // Held pulls that wait for a chunk again stay with the shard.
        let again = std::mem::replace(&mut self.woken, woken);
        self.woken.extend(again);
    }

    /// Answers a pull that is neither held nor waiting.
    pub(super) fn answer_pull(&mut self, to: ReplyTo, fetch: &Fetch) {
        let Some(out) = self.connections.outbox(ConnId(to.conn.0)) else { return };
        let codec = codec_of(to.tag);
        match fetch {
            Fetch::Reply(reply) => {
                write_pull(out, &self.shard, codec, to.opaque, reply, &self.plan.extents);
            }
            Fetch::Reject(reject) => write_pull_refusal(out, codec, to.opaque, reject),
            Fetch::Parked | Fetch::Reading => {}
        }
    }

    /// Answers a reply whose promise holds.
    pub(super) fn deliver(&mut self, ready: Ready) {
        let Waiter { connection, opaque, codec, .. } = ready.waiter;
        let Some(out) = self.connections.outbox(ConnId(connection)) else { return };
        match ready.answer {
            Answer::Done => Reply::new(out, codec, response::SUCCESS, opaque).finish(),
            Answer::Failed => {
                let why = "writing the log failed while this request waited: its outcome is \
                           unknown, it may or may not be stored";
                Reply::new(out, codec, response::SYSTEM_ERROR, opaque).remark(why).finish();
            }
            Answer::Late => {
                let timeout_ms = self.shard.tuning().sync_flush_timeout_ms;
                let why = format!(
                    "the change is in the log and in force, but not on the device within \
                     {timeout_ms}ms (syncFlushTimeout): a power cut now could take it back"
                );
                Reply::new(out, codec, response::SYSTEM_ERROR, opaque).remark(&why).finish();
            }
            Answer::Unflushed { queue_id, queue_offset, position, count, len } => {
                let timeout_ms = self.shard.tuning().sync_flush_timeout_ms;
                let why = format!(
                    "stored, but not on the device within {timeout_ms}ms (syncFlushTimeout): do \
                     not send it again"
                );
                let sent = SentReply { queue_id, queue_offset, position, count, len };
                let code = response::FLUSH_DISK_TIMEOUT;
                write_sent(out, &self.shard, codec, opaque, (code, &why), &sent);
            }
            Answer::Sent { queue_id, queue_offset, position, count, len } => {
                let sent = SentReply { queue_id, queue_offset, position, count, len };
                write_sent(out, &self.shard, codec, opaque, (response::SUCCESS, ""), &sent);
            }
        }
    }
}

/// Fields of [`Answer::Sent`].
struct SentReply {
    queue_id: i32,
    queue_offset: u64,
    position: u64,
    count: u32,
    len: u32,
}

fn write_sent(
    out: &mut Vec<u8>,
    shard: &Shard,
    codec: Codec,
    opaque: i32,
    (code, remark): (i32, &str),
    sent: &SentReply,
) {
    let host = SocketAddr::from(shard.broker.options().store_host);
    let reply = Reply::new(out, codec, code, opaque)
        .remark(remark)
        .ext_str("MSG_REGION", &shard.broker.options().region)
        .ext_str("TRACE_ON", "true");
    let reply = if sent.count == 1 {
        reply.ext_bytes("msgId", OffsetMsgId::new(host, sent.position as i64).as_bytes())
    } else {
        reply.ext_str("msgId", &batch_ids(shard, host, sent))
    };
    let reply = reply
        .ext_int("queueId", i64::from(sent.queue_id))
        .ext_int("queueOffset", sent.queue_offset as i64);
    let record = shard.record(sent.position, sent.len as usize).map(Record::parse);
    match record {
        Some(Ok(record)) => match properties::find(record.properties(), "UNIQ_KEY") {
            Some(key) if sent.count == 1 => reply.ext_bytes("transactionId", key).finish(),
            _ => reply.finish(),
        },
        _ => reply.finish(),
    }
}

/// The ids of a batch's messages, joined by commas.
fn batch_ids(shard: &Shard, host: SocketAddr, sent: &SentReply) -> String {
    let mut ids = String::new();
    let bytes = shard.record(sent.position, sent.len as usize).unwrap_or(&[]);
    let mut at = 0;
    for _ in 0..sent.count.min(BATCH_MESSAGES_MAX as u32) {
        let Some(rest) = bytes.get(at..) else { break };
        let Ok(record) = Record::parse(rest) else { break };
        if !ids.is_empty() {
            ids.push(',');
        }
        let position = sent.position + at as u64;
        ids.push_str(OffsetMsgId::new(host, position as i64).as_str());
        at += record.len();
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
