//! GET_BROKER_RUNTIME_INFO (28): the broker's figures as texts by name.
//!
//! The request has no fields. Dashboards and exporters parse many of the values without asking
//! whether they are there, so a key of [`KEYS`] that is missing fails the whole broker for them;
//! the writer never leaves one out.

use std::collections::BTreeMap;

use super::kv::write_table;

/// Keys that tools rely on, with what stands there when there is nothing to say.
pub const KEYS: &[(&str, &str)] = &[
    ("EndTransactionQueueSize", "0"),
    ("EndTransactionThreadPoolQueueCapacity", "100000"),
    ("ackThreadPoolQueueCapacity", "100000"),
    ("ackThreadPoolQueueHeadWaitTimeMills", "0"),
    ("ackThreadPoolQueueSize", "0"),
    ("bootTimestamp", "0"),
    ("brokerActive", "true"),
    ("brokerVersion", "493"),
    ("brokerVersionDesc", "V5_4_0"),
    ("commitLogDirCapacity", "Total : 0 B, Free : 0 B."),
    ("commitLogDiskRatio", "0.0"),
    ("commitLogMaxOffset", "0"),
    ("commitLogMinOffset", "0"),
    ("consumeQueueDiskRatio", "0.0"),
    ("dispatchBehindBytes", "0"),
    ("dispatchMaxBuffer", "0"),
    ("earliestMessageTimeStamp", "-1"),
    ("getFoundTps", "0.0 0.0 0.0"),
    ("getMessageEntireTimeMax", "0"),
    ("getMissTps", "0.0 0.0 0.0"),
    ("getTotalTps", "0.0 0.0 0.0"),
    ("getTransferedTps", "0.0 0.0 0.0"),
    ("getTransferredTps", "0.0 0.0 0.0"),
    ("litePullThreadPoolQueueCapacity", "100000"),
    ("litePullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("litePullThreadPoolQueueSize", "0"),
    ("msgGetTotalTodayMorning", "0"),
    ("msgGetTotalTodayNow", "0"),
    ("msgGetTotalYesterdayMorning", "0"),
    ("msgPutTotalTodayMorning", "0"),
    ("msgPutTotalTodayNow", "0"),
    ("msgPutTotalYesterdayMorning", "0"),
    ("pageCacheLockTimeMills", "0"),
    ("pullThreadPoolQueueCapacity", "100000"),
    ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("pullThreadPoolQueueSize", "0"),
    ("putLatency99", "0.00"),
    ("putLatency999", "0.00"),
    ("putMessageAverageSize", "0.0"),
    (
        "putMessageDistributeTime",
        "[<=0ms]:0 [0~10ms]:0 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 \
         [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ",
    ),
    ("putMessageEntireTimeMax", "0"),
    ("putMessageFailedTimes", "0"),
    ("putMessageSizeTotal", "0"),
    ("putMessageTimesTotal", "0"),
    ("putTps", "0.0 0.0 0.0"),
    ("queryThreadPoolQueueCapacity", "20000"),
    ("queryThreadPoolQueueHeadWaitTimeMills", "0"),
    ("queryThreadPoolQueueSize", "0"),
    ("remainHowManyDataToFlush", "0 B"),
    ("remainTransientStoreBufferNumbs", "2147483647"),
    ("runtime", "[ 0 days, 0 hours, 0 minutes, 0 seconds ]"),
    ("sendThreadPoolQueueCapacity", "10000"),
    ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
    ("sendThreadPoolQueueSize", "0"),
    ("startAcceptSendRequestTimeStamp", "0"),
    ("timerCongestNum", "0"),
    ("timerDequeueTps", "0.0"),
    ("timerEnqueueTps", "0.0"),
    ("timerOffsetBehind", "0"),
    ("timerReadBehind", "0"),
];

/// Appends the body: every key of [`KEYS`], and whatever else is in `values`.
///
/// RocketMQ's own broker also has `scheduleMessageOffset_<level>` and
/// `commitLogDiskRatio_<path>`; the caller adds them.
pub fn write(out: &mut Vec<u8>, values: &BTreeMap<String, String>) {
    let mut table: BTreeMap<&str, &str> = KEYS.iter().copied().collect();
    table.extend(values.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    write_table(out, table);
}
