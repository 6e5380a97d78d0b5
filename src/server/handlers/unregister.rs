//! UNREGISTER_CLIENT (35): a client leaves its groups before it closes.
//! Clients send empty group names for what they are not (C++).

use crate::broker::{ConnId, Reject};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Takes the connection out of the named groups.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let group = |name| {
        let text = call.header.optional(name);
        (!text.is_empty()).then(|| text.to_cow())
    };
    let (producer, consumer) = (group("producerGroup"), group("consumerGroup"));
    server.shard.unregister(ConnId(call.id.0), producer.as_deref(), consumer.as_deref());
    Ok(server.answer_done(call))
}
