//! VIEW_MESSAGE_BY_ID (33): the record at a log position, if one begins there.
//! A position inside a body is refused: a forged record is never served as a message.

use weir_wire::code::response;

use crate::broker::{Meta, Reject};
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;
use crate::shard::RecordAt;

/// Answers the record as the body.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let offset = call.header.required_i64("offset")?;
    let missing = || {
        let text = format!("can not find message by the offset, {offset}");
        Reject::new(response::SYSTEM_ERROR, text)
    };
    let position = u64::try_from(offset).map_err(|_| missing())?;
    match server.shard.record_at(&mut server.driver, position) {
        RecordAt::Reading => Ok(Handled::Later),
        RecordAt::Nothing => Err(missing()),
        RecordAt::Here(record) if Meta::is_meta(record) => Err(missing()),
        RecordAt::Here(record) => {
            let record = record.to_vec();
            Ok(server.answer_body(call, &record))
        }
    }
}
