//! A stream through the protocol crate alone: every reader there is, on every frame.
//!
//! Readers are called whatever the code says, so that none is reached only by a lucky guess.
//! Never: a look at what a reader returns, but that it returns.

use std::hint::black_box;

use weir::base::limits::FRAME_MAX;
use weir_wire::frame::{Frame, Split, split};
use weir_wire::header::{Fields, Header};
use weir_wire::message::{BatchEntries, OffsetMsgId, Record, Records, properties};
use weir_wire::request as wire;

/// Reads the frames of a stream, and the stream itself as a body.
pub(crate) fn read(stream: &[u8]) {
    let mut rest = stream;
    while let Split::Whole(len) = split(rest, FRAME_MAX) {
        let (bytes, after) = rest.split_at(len.min(rest.len()));
        frame(bytes);
        rest = after;
    }
    body(rest);
}

fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(bytes) else { return };
    body(frame.body);
    let mut fields = Fields::default();
    let Ok(header) = Header::parse(frame.codec, frame.header, &mut fields) else { return };
    for (name, text) in header.ext.iter() {
        black_box((name.to_cow(), text.to_cow(), text.parse_i64(), text.parse_bool()));
    }
    black_box((header.is_response(), header.is_oneway(), header.remark.to_cow()));
    headers(&header, frame.header);
}

macro_rules! headers {
    ($header:expr; $($reader:path),+ $(,)?) => { $( let _ = black_box($reader($header)); )+ };
}

fn headers(header: &Header<'_>, bytes: &[u8]) {
    headers!(header;
        wire::cluster::TopicsByClusterHeader::parse,
        wire::consumer_list::ConsumerListHeader::parse,
        wire::group::DeleteGroupHeader::parse,
        wire::group::GroupHeader::parse,
        wire::group::AllGroupConfigHeader::parse,
        wire::kv::PutKvHeader::parse,
        wire::kv::KvHeader::parse,
        wire::kv::KvListHeader::parse,
        wire::offset::QueryOffsetHeader::parse,
        wire::offset::UpdateOffsetHeader::parse,
        wire::offset::QueueOffsetHeader::parse,
        wire::offset::SearchOffsetHeader::parse,
        wire::pull::PullHeader::parse,
        wire::register::RegisterBrokerHeader::parse,
        wire::register::UnregisterBrokerHeader::parse,
        wire::register::QueryDataVersionHeader::parse,
        wire::register::BrokerHeartbeatHeader::parse,
        wire::route::RouteHeader::parse,
        wire::stats::TopicStatsHeader::parse,
        wire::stats::ConsumeStatsHeader::parse,
        wire::topic::CreateTopicHeader::parse,
        wire::topic::TopicHeader::parse,
        wire::topic::DeleteTopicInNamesrvHeader::parse,
        wire::topic::AllTopicConfigHeader::parse,
        wire::unregister::UnregisterHeader::parse,
        wire::view::ViewHeader::parse,
        wire::send::SendHeader::parse,
    );
    if let Ok(send) = wire::send::SendHeader::parse(header) {
        let mut text = Vec::new();
        send.properties.write_unescaped(&mut text);
        black_box(properties::find(&text, "UNIQ_KEY"));
        let mut pattern = wire::send::SendPattern::default();
        pattern.learn(header, &send, &mut text);
        black_box(pattern.meet(bytes, &mut text));
    }
}

fn body(bytes: &[u8]) {
    for entry in BatchEntries::new(bytes) {
        let _ = black_box(entry);
    }
    for record in Records::new(bytes) {
        let Ok(record) = record else { break };
        black_box((record.topic(), record.body_is_intact(), record.born_host()));
    }
    let _ = black_box(Record::parse(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = black_box(OffsetMsgId::parse(text));
    }
    let _ = black_box(wire::kv::KvTable::parse(bytes));
    let _ = black_box(wire::heartbeat::HeartbeatData::parse(bytes));
    let _ = black_box(wire::lock::LockBatch::parse(bytes));
    let _ = black_box(wire::cluster::ClusterInfo::parse(bytes));
    let _ = black_box(wire::cluster::TopicList::parse(bytes));
    let _ = black_box(wire::consumer_list::ConsumerList::parse(bytes));
    let _ = black_box(wire::topic::TopicConfig::parse(bytes));
    let _ = black_box(wire::topic::TopicConfigList::parse(bytes));
    let _ = black_box(wire::topic::TopicTable::parse(bytes));
    let _ = black_box(wire::register::RegisterBroker::parse(bytes));
    let _ = black_box(wire::register::parse_data_version(bytes));
    let _ = black_box(wire::group::SubscriptionGroupConfig::parse(bytes));
    let _ = black_box(wire::group::GroupConfigList::parse(bytes));
    let _ = black_box(wire::group::GroupTable::parse(bytes));
    let _ = black_box(wire::route::TopicRouteData::parse(bytes));
    let _ = black_box(wire::client_config::CheckClientConfig::parse(bytes));
}
