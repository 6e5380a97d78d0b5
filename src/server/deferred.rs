//! Answers that come later than their request: sends whose watermark moved, pulls that were woken,
//! requests that waited for the disk.
//!
//! All of them are written here, so that a client sees the same reply whether it waited or not.

use std::net::SocketAddr;

use weir_wire::code::response;
use weir_wire::frame::Codec;
use weir_wire::message::{OffsetMsgId, Record, Records, properties};
use weir_wire::reply::Reply;
use weir_wire::request::sent::Sent;

use super::connection::{ConnId, Role};
use super::dispatch::Flow;
use super::turn::Server;
use crate::base::limits::PARKED_PULLS_MAX;
use crate::broker::{PullReply, Reject, ReplyTo};
use crate::shard::{Answer, Fetch, Ready, Shard, Waiter};

/// Requests kept for the disk, per shard.
const KEPT_MAX: usize = 4096;

/// A request that waits for the disk.
#[derive(Debug)]
pub(super) struct Kept {
    id: ConnId,
    peer: SocketAddr,
    frame: Vec<u8>,
    /// When it was received, nanoseconds.
    asked_ns: u64,
}

/// The tag of a held pull: how its reply's header is written.
pub(super) fn tag_of(codec: Codec) -> u32 {
    u32::from(codec == Codec::Binary)
}

fn codec_of(tag: u32) -> Codec {
    if tag == 0 { Codec::Json } else { Codec::Binary }
}

impl Server {
    /// Keeps a request until something was read.
    pub(super) fn keep_for_later(&mut self, id: ConnId, peer: SocketAddr, bytes: &[u8]) {
        if self.kept.len() >= KEPT_MAX {
            return self.close(id, &format_args!("{KEPT_MAX} requests wait for the disk"));
        }
        self.kept.push(Kept { id, peer, frame: bytes.to_vec(), asked_ns: self.asked_ns });
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
            self.asked_ns = kept.asked_ns;
            if role == Role::Broker
                && self.dispatch(kept.id, kept.peer, &kept.frame) == Flow::Blocked
            {
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
            Answer::Sent { queue_id, queue_offset, position, count, len, key } => {
                let sent = Sent {
                    queue_id,
                    queue_offset: queue_offset.cast_signed(),
                    position: position.cast_signed(),
                    key: key.as_bytes(),
                };
                let answers = &self.sent_answers;
                if count != 1 {
                    let host = answers.host();
                    let ids = batch_ids(self.shard.record(position, len as usize), host, count);
                    answers.write_batch(out, codec, opaque, &ids, &sent);
                } else if sent.key.is_empty() {
                    // Too long to be carried: it is read where it was stored.
                    let record = self.shard.record(position, len as usize).map(Record::parse);
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
