//! Pulling: the checks of RocketMQ's pull processor in its order, and the plan of an answer.
//!
//! The answer is a list of log extents; no record is looked at. An entry is seen only when the
//! watermark of its topic's flush class has passed its record, so a consumer never gets what a
//! crash could take back. A pull that needs a cold chunk says which and is asked again.
//! Never: more messages than the client asked for; an answer without progress but "nothing yet".

use super::Broker;
use super::filter::{TagFilter, is_tag_type, parse_tags};
use super::membership::{ConsumerGroup, MessageModel};
use super::names::check_group;
use super::options::{PERM_READ, Watermarks};
use super::parking::{Hold, ParkId, ParkingFull, PullTarget, ReplyTo};
use super::record::Meta;
use super::reject::{Reject, code};
use super::traffic::ReaderId;
use crate::base::limits::{PARK_MAX_MS, PULL_BYTES_MAX, PULL_MESSAGES_MAX};
use crate::queue::ChunkRef;

/// Flag of a pull's `sysFlag`: `commitOffset` is to be stored.
pub const PULL_COMMIT: i32 = 1;
/// Flag: the request may be held.
pub const PULL_SUSPEND: i32 = 2;
/// Flag: the subscription is in the request.
pub const PULL_SUBSCRIPTION: i32 = 4;
/// RocketMQ never goes below this many bytes.
const PULL_BYTES_MIN: u32 = 100;

/// PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361), as the rules see them.
#[derive(Clone, Copy, Debug)]
pub struct PullRequest<'a> {
    /// `consumerGroup`.
    pub group: &'a str,
    /// `topic`.
    pub topic: &'a str,
    /// `queueId`.
    pub queue_id: i32,
    /// `queueOffset`.
    pub queue_offset: i64,
    /// `maxMsgNums`.
    pub max_messages: i32,
    /// `maxMsgBytes`, `None` when not sent.
    pub max_bytes: Option<i32>,
    /// `sysFlag`.
    pub sys_flag: i32,
    /// `commitOffset`.
    pub commit_offset: i64,
    /// `suspendTimeoutMillis`.
    pub suspend_ms: i64,
    /// `subscription`, `None` when not sent.
    pub subscription: Option<&'a str>,
    /// `subVersion`.
    pub sub_version: i64,
    /// `expressionType`, `None` when not sent.
    pub expression_type: Option<&'a str>,
    /// Code 361.
    pub lite: bool,
    /// Whether `commitOffset` is to be taken: true once per request.
    pub first_pass: bool,
}

/// Extents of a pull's answer; the buffer is reused.
#[derive(Debug, Default)]
pub struct PullPlan {
    /// Position and size of each record, in order.
    pub extents: Vec<(u64, u32)>,
    /// Sum of the sizes.
    pub bytes: usize,
    /// Who reads, for the counters.
    pub reader: ReaderId,
}

impl PullPlan {
    fn clear(&mut self) {
        self.extents.clear();
        self.bytes = 0;
    }
}

/// The header of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullReply {
    /// Response code.
    pub code: i32,
    /// RocketMQ's name of the status, which is the remark.
    pub remark: &'static str,
    /// `nextBeginOffset`.
    pub next: u64,
    /// `minOffset`.
    pub min: u64,
    /// `maxOffset`: the visible maximum.
    pub max: u64,
    /// `suggestWhichBrokerId`.
    pub suggest: u64,
}

/// What the shard is to do about a pull.
#[derive(Clone, Debug, PartialEq)]
pub enum PullStep {
    /// Answer; with code 0 the plan holds the extents.
    Reply(PullReply),
    /// Read this chunk, hand it to `queues.loaded`, and ask again with `first_pass` false.
    Need(ChunkRef),
    /// Hold it ([`Broker::park`]) or, if that cannot be, answer `reply`.
    Park(ParkTicket),
    /// Log and apply these (here and on the other shards), then ask again.
    Create(Vec<Meta>),
    /// Refuse.
    Reject(Reject),
}

/// A pull that may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkTicket {
    /// What it waits for.
    pub target: PullTarget,
    /// Until when, on the clock of `now_ms`.
    pub deadline_ms: i64,
    /// The answer when it is not held.
    pub reply: PullReply,
}

impl Broker {
    /// Decides about a pull. `now_ms` is monotonic; `marks` says what is visible; `plan` is
    /// cleared and filled.
    pub fn pull(
        &mut self,
        now_ms: i64,
        request: &PullRequest<'_>,
        marks: Watermarks,
        plan: &mut PullPlan,
    ) -> PullStep {
        plan.clear();
        let mut codes = std::mem::take(&mut self.scratch_codes);
        let step = match self.check_pull(request, &mut codes) {
            Ok(Checked::Create(metas)) => PullStep::Create(metas),
            Ok(Checked::Target { target, all }) => {
                self.commit_on_pull(request);
                let reader = self.readers.number(request.group, request.topic);
                let target = PullTarget { reader, ..target };
                plan.reader = reader;
                let filter = TagFilter { all, codes: &codes };
                self.scan(&target, filter, marks, plan)
                    .unwrap_or_else(|reply| self.hold_or_reply(now_ms, request, target, reply))
            }
            Err(reject) => PullStep::Reject(reject),
        };
        self.scratch_codes = codes;
        step
    }

    /// Holds a pull that [`PullStep::Park`] allowed. An error means every place is taken: answer
    /// the ticket's reply instead.
    pub fn park(
        &mut self,
        request: &PullRequest<'_>,
        ticket: &ParkTicket,
        reply: ReplyTo,
    ) -> Result<ParkId, ParkingFull> {
        let target = ticket.target;
        let queue = self.queue_of(target.topic, target.queue_id).map_err(|_| ParkingFull)?;
        let mut codes = std::mem::take(&mut self.scratch_codes);
        // The subscription may have gone since; waking too often only costs the client a turn.
        let all = self.filter_of(request, &mut codes).unwrap_or(true);
        let deadline_ms = ticket.deadline_ms;
        let hold = Hold { reply, target, queue, deadline_ms, all, codes: &codes };
        let parked = self.parking.hold(hold);
        self.scratch_codes = codes;
        let class = self.catalog.at(target.topic).map(|topic| topic.class);
        if let Some(class) = class
            && self.queues.bounds(queue).max > target.offset
        {
            self.parking.mark_fresh(queue, class);
        }
        parked
    }

    /// Runs a woken pull again; it is not held again. Gives who asked, and from which offset.
    /// `None`: it was dropped meanwhile. After anything but [`PullStep::Need`] the place is free.
    pub fn rerun(
        &mut self,
        id: ParkId,
        marks: Watermarks,
        plan: &mut PullPlan,
    ) -> Option<(ReplyTo, u64, PullStep)> {
        plan.clear();
        let (reply_to, target, all, codes) = self.parking.woken(id)?;
        let same_life =
            self.catalog.at(target.topic).is_some_and(|topic| topic.created == target.created);
        plan.reader = target.reader;
        let step = if same_life {
            let filter = TagFilter { all, codes: &codes };
            self.scan(&target, filter, marks, plan).unwrap_or_else(PullStep::Reply)
        } else {
            PullStep::Reject(Reject::new(
                code::TOPIC_NOT_EXIST,
                "the topic was deleted while the pull waited for messages",
            ))
        };
        self.parking.give_back(id, codes);
        if !matches!(step, PullStep::Need(_)) {
            self.parking.release(id);
        }
        Some((reply_to, target.offset, step))
    }

    /// The watermarks moved: appends pulls that now have something to `woken`. Only queues that
    /// got entries while somebody waited are looked at.
    pub fn visible_advanced(&mut self, marks: Watermarks, woken: &mut Vec<ParkId>) {
        woken.append(&mut self.parking.orphans);
        for class in [super::FlushClass::Staged, super::FlushClass::Durable] {
            let mark = marks.of(class);
            let mut fresh = self.parking.take_fresh(class);
            fresh.retain(|queue| {
                self.wake_queue(*queue, mark, woken);
                let stays =
                    self.parking.first(*queue).is_some() && self.queues.last_end(*queue) > mark;
                if !stays {
                    self.parking.clear_fresh(*queue);
                }
                stays
            });
            self.parking.put_fresh(class, fresh);
        }
    }

    /// Appends pulls whose time is over to `woken`.
    pub fn expire_pulls(&mut self, now_ms: i64, woken: &mut Vec<ParkId>) {
        self.parking.expire(now_ms, woken);
    }

    /// The checks, in RocketMQ's order.
    fn check_pull(
        &self,
        request: &PullRequest<'_>,
        codes: &mut Vec<i64>,
    ) -> Result<Checked, Reject> {
        let forbidden = |remark: String| Reject::new(code::NO_PERMISSION, remark);
        let host = || self.options.host_text();
        if self.options.broker_permission & PERM_READ == 0 {
            return Err(forbidden(format!("the broker[{}] pulling message is forbidden", host())));
        }
        if request.lite && !self.options.lite_pull {
            return Err(forbidden(format!(
                "the broker[{}] for lite pull consumer is forbidden",
                host()
            )));
        }
        let Some(group) = self.catalog.group(request.group) else {
            return self.create_group_on_pull(request.group);
        };
        if !group.consume_enable {
            return Err(forbidden(format!("subscription group no permission, {}", request.group)));
        }
        let Some((index, topic)) = self.catalog.topic(request.topic) else {
            return Err(Reject::topic_not_exist(request.topic));
        };
        if topic.config.perm & PERM_READ == 0 {
            return Err(forbidden(format!(
                "the topic[{}] pulling message is forbidden",
                request.topic
            )));
        }
        let queue_id = u32::try_from(request.queue_id).ok();
        let Some(queue_id) = queue_id.filter(|id| *id < topic.config.read_queues) else {
            return Err(Reject::new(
                code::INVALID_PARAMETER,
                format!(
                    "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}]",
                    request.queue_id, request.topic, topic.config.read_queues
                ),
            ));
        };
        let created = topic.created;
        let all = self.filter_of(request, codes)?;
        let target = PullTarget {
            topic: index,
            created,
            queue_id,
            // A negative offset is below every minimum; the scan answers the minimum to it.
            offset: u64::try_from(request.queue_offset).unwrap_or(u64::MAX),
            max_messages: clamp(request.max_messages, PULL_MESSAGES_MAX).max(1),
            max_bytes: request
                .max_bytes
                .map_or(PULL_BYTES_MAX as u32, |max| clamp(max, PULL_BYTES_MAX))
                .max(PULL_BYTES_MIN),
            reader: ReaderId::OTHER,
        };
        Ok(Checked::Target { target, all })
    }

    fn create_group_on_pull(&self, group: &str) -> Result<Checked, Reject> {
        if !self.options.auto_create_group || check_group(group).is_err() {
            return Err(Reject::group_not_exist(group));
        }
        Ok(Checked::Create(vec![self.new_group(group)?]))
    }

    /// The filter a pull goes by, from the request or the group's heartbeat; true for "all".
    fn filter_of(&self, request: &PullRequest<'_>, codes: &mut Vec<i64>) -> Result<bool, Reject> {
        codes.clear();
        if request.sys_flag & PULL_SUBSCRIPTION != 0 {
            if !is_tag_type(request.expression_type) {
                return Err(not_by_tags(request.expression_type.unwrap_or_default()));
            }
            return parse_tags(request.subscription.unwrap_or_default(), codes);
        }
        let Some(here) = self.membership.consumer(request.group) else {
            return Err(Reject::new(
                code::SUBSCRIPTION_NOT_EXIST,
                format!(
                    "the consumer's group info not exist, group: {}; its heartbeat has not \
                     arrived yet",
                    request.group
                ),
            ));
        };
        self.check_group_rules(request, here)?;
        let Some(sub) = here.subscriptions.get(request.topic) else {
            return Err(Reject::new(
                code::SUBSCRIPTION_NOT_EXIST,
                format!(
                    "the consumer's subscription not exist, group: {}, topic: {}; all members of \
                     a group must subscribe to the same topics",
                    request.group, request.topic
                ),
            ));
        };
        if sub.sub_version < request.sub_version {
            return Err(Reject::new(
                code::SUBSCRIPTION_NOT_LATEST,
                format!(
                    "the consumer's subscription not latest: here {}, in the request {}; its \
                     heartbeat has not arrived yet",
                    sub.sub_version, request.sub_version
                ),
            ));
        }
        if !is_tag_type(Some(&sub.expression_type)) {
            return Err(not_by_tags(&sub.expression_type));
        }
        codes.extend_from_slice(&sub.codes);
        Ok(sub.all)
    }

    fn check_group_rules(
        &self,
        request: &PullRequest<'_>,
        here: &ConsumerGroup,
    ) -> Result<(), Reject> {
        let Some(group) = self.catalog.group(request.group) else { return Ok(()) };
        if !group.consume_broadcast_enable && here.message_model == MessageModel::Broadcasting {
            return Err(Reject::new(
                code::NO_PERMISSION,
                format!("the consumer group[{}] can not consume by broadcast way", request.group),
            ));
        }
        if group.forbidden_topics.iter().any(|topic| topic == request.topic) {
            return Err(Reject::new(
                code::NO_PERMISSION,
                format!(
                    "the consumer group[{}] is forbidden for topic[{}]",
                    request.group, request.topic
                ),
            ));
        }
        Ok(())
    }

    fn commit_on_pull(&mut self, request: &PullRequest<'_>) {
        let wanted = request.first_pass && request.sys_flag & PULL_COMMIT != 0;
        if wanted && let Ok(queue_id) = u32::try_from(request.queue_id) {
            // Offsets being full is answered on explicit commits; a pull goes on.
            let _ = self.offsets.commit(
                request.group,
                request.topic,
                queue_id,
                request.commit_offset.max(0),
            );
        }
    }

    fn hold_or_reply(
        &self,
        now_ms: i64,
        request: &PullRequest<'_>,
        target: PullTarget,
        reply: PullReply,
    ) -> PullStep {
        if reply.code != code::PULL_NOT_FOUND || request.sys_flag & PULL_SUSPEND == 0 {
            return PullStep::Reply(reply);
        }
        let hold_ms = if self.options.long_polling {
            u64::try_from(request.suspend_ms).unwrap_or(0).min(PARK_MAX_MS)
        } else {
            self.options.short_polling_ms
        };
        let deadline_ms = now_ms.saturating_add_unsigned(hold_ms);
        PullStep::Park(ParkTicket { target, deadline_ms, reply })
    }
}

enum Checked {
    Target { target: PullTarget, all: bool },
    Create(Vec<Meta>),
}

fn clamp(value: i32, max: usize) -> u32 {
    u32::try_from(value).unwrap_or(0).min(u32::try_from(max).unwrap_or(u32::MAX))
}

fn not_by_tags(expression_type: &str) -> Reject {
    Reject::new(
        code::SYSTEM_ERROR,
        format!("The broker does not support consumer to filter message by {expression_type}"),
    )
}
