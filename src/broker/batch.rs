//! SEND_BATCH_MESSAGE: checking an encoded batch before any of it is stored.
//!
//! A batch is all or nothing: one bad message refuses it whole, with its number. What passes here
//! is encoded by walking the same bytes again.

use weir_wire::message::{BatchEntries, BatchEntry};

use super::names::RETRY_PREFIX;
use super::options::BrokerOptions;
use super::properties::ask;
use super::publish::{SendRequest, Size};
use super::reject::Reject;
use super::stored::{Place, of_batch};
use crate::base::limits::BATCH_MESSAGES_MAX;

/// Size and count of a batch's records when they are stored at `at`; code 13 when they cannot be.
pub(super) fn check_batch(
    options: &BrokerOptions,
    at: &Place<'_>,
    request: &SendRequest<'_>,
) -> Result<Size, Reject> {
    let limit = options.max_message_size;
    let illegal = |why: std::fmt::Arguments<'_>| Reject::message_illegal(limit, why);
    if request.topic.starts_with(RETRY_PREFIX) {
        let topic = request.topic;
        return Err(illegal(format_args!("batch request does not support retry group {topic}")));
    }
    if request.body.len() > limit {
        return Err(illegal(format_args!(
            "The batch has {}B, the limit is {limit}; send smaller batches or raise \
             maxMessageSize.",
            request.body.len()
        )));
    }
    let mut size = Size { len: 0, count: 0 };
    for entry in BatchEntries::new(request.body) {
        let number = size.count + 1;
        let entry = entry.map_err(|error| illegal(format_args!("Message {number}: {error}.")))?;
        if let Some(why) = fault(&entry) {
            return Err(illegal(format_args!("Message {number} of the batch {why}.")));
        }
        let len = of_batch(options, at, request, &entry).encoded_len();
        let len = len.map_err(|error| illegal(format_args!("Message {number} has {error}.")))?;
        size.len = size.len.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        size.count += 1;
        if size.count as usize > BATCH_MESSAGES_MAX {
            return Err(illegal(format_args!(
                "The batch has more than {BATCH_MESSAGES_MAX} messages; send smaller batches."
            )));
        }
    }
    if size.count == 0 {
        return Err(illegal(format_args!("The batch has no messages.")));
    }
    Ok(size)
}

fn fault(entry: &BatchEntry<'_>) -> Option<&'static str> {
    let asked = ask(entry.properties, false);
    let delayed = asked.delay.is_some_and(|level| level != b"0") || asked.timer.is_some();
    if entry.body.is_empty() {
        return Some("has no body");
    }
    if std::str::from_utf8(entry.properties).is_err() {
        return Some("has properties that are not UTF-8");
    }
    (asked.transaction || asked.inner_batch || delayed)
        .then_some("is delayed, timed, transactional or itself a batch; send it on its own")
}
