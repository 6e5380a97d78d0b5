//! GET_BROKER_CONFIG (26): every configuration key and its value, as RocketMQ's properties text.
//! Changing it over the wire (25) is refused until there is authentication: see `weir config set`.

use weir_wire::code::response;
use weir_wire::reply::Reply;

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Answers the text as the body.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let mut text = String::new();
    for (key, value) in &server.config_texts {
        text.push_str(key);
        text.push('=');
        text.push_str(value);
        text.push('\n');
    }
    if let Some(out) = server.out(call) {
        // The configuration is not counted; tools show the version and compare nothing with it.
        let version = "{\"counter\":0,\"stateVersion\":0,\"timestamp\":0}";
        Reply::new(out, call.codec, response::SUCCESS, call.header.opaque)
            .ext_str("version", version)
            .finish_with(text.as_bytes());
    }
    Ok(Handled::Done)
}
