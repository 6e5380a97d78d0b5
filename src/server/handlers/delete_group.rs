//! DELETE_SUBSCRIPTIONGROUP (207): a consumer group goes, its offsets too when asked.
//! The flag has two names: `cleanOffset`, and `removeOffset` in older tools.

use crate::broker::Reject;
use crate::server::dispatch::{Call, Handled};
use crate::server::turn::Server;

/// Logs the change and answers when it is kept.
pub(crate) fn handle(server: &mut Server, call: &Call<'_>) -> Result<Handled, Reject> {
    let h = &call.header;
    let group = call.text("groupName")?;
    let clean = h.flag_or("cleanOffset", false) || h.flag_or("removeOffset", false);
    let planned = server.shard.broker.plan_group_delete(&group, clean)?;
    server.carry_out(call, planned)
}
