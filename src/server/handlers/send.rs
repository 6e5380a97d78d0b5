//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).
//!
//! The three differ in field names and in the body; one pass over the fields serves all, and a
//! header that is as the last one was is only compared with it. The properties are unescaped once,
//! into a buffer that is kept, and from there copied into the log.
//! Never: an allocation per message.

use std::net::SocketAddr;

use weir_wire::code::request;
use weir_wire::frame::{Codec, Frame};
use weir_wire::request::send::{SendHeader, SendPattern};

use crate::base::limits::SEND_PATTERNS;
use crate::broker::{Reject, SendRequest};
use crate::server::connection::ConnId;
use crate::server::dispatch::{Call, Flow, Handled};
use crate::server::turn::Server;
use crate::shard::Taken;

/// What the sends of a connection look like, kept for a few of them: one that has the place of
/// another, by its number, is read field by field once more.
#[derive(Debug, Default)]
pub(crate) struct Patterns([SendPattern; SEND_PATTERNS]);

impl Patterns {
    fn of(&mut self, id: ConnId) -> &mut SendPattern {
        &mut self.0[id.0 as usize % self.0.len()]
    }
}

/// Stores what is in a frame, if it is a send and its header is as that of the last one.
#[inline]
pub(crate) fn handle_alike(
    server: &mut Server,
    (id, peer): (ConnId, SocketAddr),
    frame: &Frame<'_>,
    bytes: &[u8],
) -> Option<Flow> {
    if frame.codec != Codec::Json {
        return None;
    }
    let mut properties = std::mem::take(&mut server.properties);
    let met = server.patterns.of(id).meet(frame.header, &mut properties);
    let flow = met.map(|(header, fields)| {
        let call = server.call(id, peer, frame, header);
        let plain = properties.get(..fields.properties.unescaped_len()).unwrap_or(&[]);
        let handled = store(server, &call, &fields, plain);
        server.conclude(&call, bytes, handled)
    });
    server.properties = properties;
    flow
}

/// Stores a message, a batch, or refuses it.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let fields = SendHeader::parse(&call.header)?;
    let mut properties = std::mem::take(&mut server.properties);
    server.patterns.of(call.id).learn(&call.header, &fields, &mut properties);
    properties.clear();
    fields.properties.write_unescaped(&mut properties);
    let handled = store(server, call, &fields, &properties);
    server.properties = properties;
    handled
}

fn store(
    server: &mut Server,
    call: &Call<'_>,
    fields: &SendHeader<'_>,
    properties: &[u8],
) -> Result<Handled, Reject> {
    let topic = fields.topic.to_cow();
    let send = SendRequest {
        topic: &topic,
        default_topic: fields.default_topic,
        default_topic_queue_nums: fields.default_topic_queue_nums,
        queue_id: fields.queue_id,
        sys_flag: fields.sys_flag,
        born_ms: fields.born_timestamp,
        flag: fields.flag,
        properties,
        reconsume_times: fields.reconsume_times,
        max_reconsume_times: fields.max_reconsume_times,
        unit_mode: fields.unit_mode,
        batch: fields.batch || call.header.code == request::SEND_BATCH_MESSAGE,
        body: call.body,
        client_version: call.header.version,
        peer: call.peer,
    };
    match server.shard.send(&mut server.driver, &send, call.waiter())? {
        Taken::Waiting => Ok(Handled::Done),
        Taken::Full => Ok(Handled::Full),
    }
}
