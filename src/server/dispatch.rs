//! From a frame to its handler, and the refusals that need none.
//!
//! One table from request code to handler; a code that is not in it is refused by its name, never
//! by silence or a closed connection. A oneway request is never answered, not even with an error.

use std::borrow::Cow;
use std::net::SocketAddr;

use weir_wire::code::{request, response};
use weir_wire::frame::{Codec, Frame, FrameError};
use weir_wire::header::{FieldError, Header};
use weir_wire::reply::Reply;

use super::connection::ConnId;
use super::handlers;
use super::turn::Server;
use crate::broker::Reject;
use crate::shard::Waiter;

/// What the connection does after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Goes on to the next frame.
    Done,
    /// Handles this frame again when the log has room, and no later frame before it.
    Blocked,
    /// It was closed.
    Closed,
}

/// What a handler made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// Answered, or the answer is on its way.
    Done,
    /// The log has no room: see [`Flow::Blocked`].
    Full,
    /// Something must be read from disk: the request is kept and handled again then.
    Later,
}

/// The table of a listener.
type Route = fn(&mut Server, &Call<'_>) -> Result<Handled, Reject>;

/// A request being handled.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// Its connection.
    pub id: ConnId,
    /// Its peer.
    pub peer: SocketAddr,
    /// Serialization of its header.
    pub codec: Codec,
    /// Its header.
    pub header: Header<'a>,
    /// Its body.
    pub body: &'a [u8],
    /// When it was received, monotonic nanoseconds.
    pub born_ns: u64,
}

impl<'a> Call<'a> {
    /// The mandatory text field `name`.
    pub(crate) fn text(&self, name: &'static str) -> Result<Cow<'a, str>, FieldError> {
        self.header.required(name).map(|text| text.to_cow())
    }

    /// Who waits for the answer.
    pub(crate) fn waiter(&self) -> Waiter {
        Waiter {
            connection: self.id.0,
            opaque: self.header.opaque,
            codec: self.codec,
            oneway: self.header.is_oneway(),
            born_ns: self.born_ns,
        }
    }
}

impl From<FieldError> for Reject {
    fn from(error: FieldError) -> Reject {
        Reject::new(response::SYSTEM_ERROR, error.to_string())
    }
}

/// The refusal of a question whose answer stands in a damaged part of the consume queue.
pub(crate) fn damaged() -> Reject {
    let text = "the consume queue file is damaged there; restart the broker without its checkpoint \
                files to build it again from the log";
    Reject::new(response::SYSTEM_ERROR, text)
}

fn is_send(code: i32) -> bool {
    use request::{SEND_BATCH_MESSAGE, SEND_MESSAGE, SEND_MESSAGE_V2};
    [SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE].contains(&code)
}

/// The refusal of a code that is not served here.
pub(crate) fn not_supported(code: i32) -> Reject {
    let name = weir_wire::code::request_name(code).unwrap_or("no request of RocketMQ's");
    Reject::new(
        response::REQUEST_CODE_NOT_SUPPORTED,
        format!(" request type {code} not supported ({name}); docs/protocol.md lists what is"),
    )
}

impl Server {
    /// Handles one frame of a broker connection.
    pub(super) fn dispatch(&mut self, id: ConnId, peer: SocketAddr, bytes: &[u8]) -> Flow {
        match Frame::parse(bytes) {
            Ok(frame) => handlers::send::handle_alike(self, (id, peer), &frame, bytes)
                .unwrap_or_else(|| self.handle(id, peer, &frame, bytes, Server::route)),
            Err(fault) => self.malformed(id, fault),
        }
    }

    /// Handles one frame of a name server connection.
    pub(super) fn dispatch_naming(&mut self, id: ConnId, peer: SocketAddr, bytes: &[u8]) -> Flow {
        match Frame::parse(bytes) {
            Ok(frame) => self.handle(id, peer, &frame, bytes, Server::route_naming),
            Err(fault) => self.malformed(id, fault),
        }
    }

    #[cold]
    fn malformed(&mut self, id: ConnId, fault: FrameError) -> Flow {
        self.close(id, &format_args!("malformed frame: {fault}"));
        Flow::Closed
    }

    fn handle(
        &mut self,
        id: ConnId,
        peer: SocketAddr,
        frame: &Frame<'_>,
        bytes: &[u8],
        route: Route,
    ) -> Flow {
        // Lent to the header and put back; there is one, so nothing is made here but once.
        let mut fields = self.fields.take().unwrap_or_default();
        let flow = match Header::parse(frame.codec, frame.header, &mut fields) {
            Ok(header) if header.is_response() => Flow::Done,
            Ok(header) => {
                let call = self.call(id, peer, frame, header);
                let handled = route(self, &call);
                self.conclude(&call, bytes, handled)
            }
            Err(fault) => {
                self.close(id, &format_args!("malformed header: {fault}"));
                Flow::Closed
            }
        };
        self.fields = Some(fields);
        flow
    }

    /// The request with this header.
    pub(super) fn call<'a>(
        &self,
        id: ConnId,
        peer: SocketAddr,
        frame: &Frame<'a>,
        header: Header<'a>,
    ) -> Call<'a> {
        let born_ns = self.now_ns.saturating_sub(self.block_wait_ns);
        Call { id, peer, codec: frame.codec, header, body: frame.body, born_ns }
    }

    /// Ends the request that stands in `bytes` and was handled so.
    pub(super) fn conclude(
        &mut self,
        call: &Call<'_>,
        bytes: &[u8],
        handled: Result<Handled, Reject>,
    ) -> Flow {
        match handled {
            Ok(Handled::Done) => Flow::Done,
            Ok(Handled::Full) => Flow::Blocked,
            Ok(Handled::Later) => {
                self.keep_for_later(call, bytes);
                Flow::Done
            }
            Err(reject) => {
                self.refuse(call, &reject);
                Flow::Done
            }
        }
    }

    /// The table.
    fn route(&mut self, call: &Call<'_>) -> Result<Handled, Reject> {
        match call.header.code {
            request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE => {
                handlers::send::handle(self, call)
            }
            request::PULL_MESSAGE | request::LITE_PULL_MESSAGE => {
                handlers::pull::handle(self, call)
            }
            request::QUERY_CONSUMER_OFFSET => handlers::query_offset::handle(self, call),
            request::UPDATE_CONSUMER_OFFSET => handlers::update_offset::handle(self, call),
            request::GET_MAX_OFFSET => handlers::max_offset::handle(self, call),
            request::GET_MIN_OFFSET => handlers::min_offset::handle(self, call),
            request::SEARCH_OFFSET_BY_TIMESTAMP => handlers::search_offset::handle(self, call),
            request::GET_EARLIEST_MSG_STORETIME => handlers::earliest::handle(self, call),
            request::HEART_BEAT => handlers::heartbeat::handle(self, call),
            request::UNREGISTER_CLIENT => handlers::unregister::handle(self, call),
            request::GET_CONSUMER_LIST_BY_GROUP => handlers::consumer_list::handle(self, call),
            request::CHECK_CLIENT_CONFIG => handlers::client_config::handle(self, call),
            request::VIEW_MESSAGE_BY_ID => handlers::view::handle(self, call),
            request::UPDATE_AND_CREATE_TOPIC => handlers::create_topic::handle(self, call),
            request::DELETE_TOPIC_IN_BROKER => handlers::delete_topic::handle(self, call),
            request::GET_ALL_TOPIC_CONFIG => handlers::all_topics::handle(self, call),
            request::GET_TOPIC_CONFIG => handlers::topic_config::handle(self, call),
            request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
                handlers::create_group::handle(self, call)
            }
            request::DELETE_SUBSCRIPTIONGROUP => handlers::delete_group::handle(self, call),
            request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => handlers::all_groups::handle(self, call),
            request::GET_SUBSCRIPTIONGROUP_CONFIG => handlers::group_config::handle(self, call),
            request::GET_BROKER_CONFIG => handlers::broker_config::handle(self, call),
            request::GET_TOPIC_STATS_INFO => handlers::topic_stats::handle(self, call),
            request::GET_BROKER_RUNTIME_INFO => handlers::runtime_info::handle(self, call),
            code => Err(not_supported(code)),
        }
    }

    /// Answers a refusal.
    pub(super) fn refuse(&mut self, call: &Call<'_>, reject: &Reject) {
        self.shard.meter.counts.sends_refused += u64::from(is_send(call.header.code));
        if let Some(out) = self.out(call) {
            Reply::new(out, call.codec, reject.code, call.header.opaque)
                .remark(&reject.remark)
                .finish();
        }
    }

    /// Where the answer to a call goes; `None` when it must not be answered or nobody is there.
    pub(super) fn out(&mut self, call: &Call<'_>) -> Option<&mut Vec<u8>> {
        if call.header.is_oneway() { None } else { self.connections.outbox(call.id) }
    }

    /// Answers success with a number as ext field `name`.
    pub(super) fn answer_number(&mut self, call: &Call<'_>, name: &str, value: i64) -> Handled {
        if let Some(out) = self.out(call) {
            Reply::new(out, call.codec, response::SUCCESS, call.header.opaque)
                .ext_int(name, value)
                .finish();
        }
        Handled::Done
    }

    /// Answers success with a body.
    pub(super) fn answer_body(&mut self, call: &Call<'_>, body: &[u8]) -> Handled {
        if let Some(out) = self.out(call) {
            Reply::new(out, call.codec, response::SUCCESS, call.header.opaque).finish_with(body);
        }
        Handled::Done
    }

    /// Answers plain success.
    pub(super) fn answer_done(&mut self, call: &Call<'_>) -> Handled {
        self.answer_body(call, &[])
    }
}
