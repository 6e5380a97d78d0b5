//! PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).
//! The rules decide; held and woken pulls are answered by `deferred`.

use weir_wire::code::request;

use crate::broker::{ConnId, PullRequest, Reject, ReplyTo};
use crate::server::deferred::{tag_of, write_pull_refusal};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;
use crate::shard::Fetch;

/// Answers, holds or refuses a pull.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let h = &call.header;
    let (group, topic) = (call.text("consumerGroup")?, call.text("topic")?);
    let subscription = h.ext.get("subscription").map(|text| text.to_cow());
    let expression_type = h.ext.get("expressionType").map(|text| text.to_cow());
    let request = PullRequest {
        group: &group,
        topic: &topic,
        queue_id: h.required_i32("queueId")?,
        queue_offset: h.required_i64("queueOffset")?,
        max_messages: h.required_i32("maxMsgNums")?,
        max_bytes: h.optional_i32("maxMsgBytes")?,
        sys_flag: h.required_i32("sysFlag")?,
        commit_offset: h.required_i64("commitOffset")?,
        suspend_ms: h.required_i64("suspendTimeoutMillis")?,
        subscription: subscription.as_deref(),
        sub_version: h.optional_i64("subVersion")?.unwrap_or(0),
        expression_type: expression_type.as_deref(),
        lite: h.code == request::LITE_PULL_MESSAGE,
        first_pass: !server.again,
    };
    let reply_to = ReplyTo {
        conn: ConnId(call.id.0),
        opaque: h.opaque,
        tag: tag_of(call.codec),
        asked_ns: server.asked_ns,
    };
    let mut plan = std::mem::take(&mut server.plan);
    let fetch = server.shard.pull(&mut server.driver, &request, reply_to, &mut plan);
    server.plan = plan;
    match fetch {
        Fetch::Reading => return Ok(Handled::Later),
        Fetch::Parked => {}
        Fetch::Reject(reject) => {
            if let Some(out) = server.out(call) {
                write_pull_refusal(out, call.codec, h.opaque, &reject);
            }
        }
        Fetch::Reply(_) if h.is_oneway() => {}
        reply @ Fetch::Reply(_) => server.answer_pull(reply_to, &reply, false),
    }
    Ok(Handled::Done)
}
