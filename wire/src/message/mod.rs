//! Messages: the record that is stored and delivered, its properties and its names.
//!
//! One format serves the disk, pull bodies and single-message answers. Nothing here owns bytes.

mod batch;
mod encode;
mod identity;
pub mod properties;
mod record;
#[cfg(test)]
mod tests;

pub use batch::{BATCH_ENTRY_MIN, BatchEntries, BatchEntry, BatchError};
pub use encode::{
    APPENDED_MAX, EncodeError, PROPERTIES_MAX, RecordFields, TOPIC_MAX, TOPIC_V1_MAX, body_crc,
    patch_position, patch_queue_offset, patch_store_timestamp,
};
pub use identity::{
    OFFSET_MSG_ID_V4, OFFSET_MSG_ID_V6, OffsetMsgId, ShortKey, UNIQ_KEY_V4, UNIQ_KEY_V6, UniqKey,
    tags_code, tags_code_of,
};
pub use record::{MAGIC_V1, MAGIC_V2, RECORD_MIN, Record, RecordError, Records, sys_flag};
