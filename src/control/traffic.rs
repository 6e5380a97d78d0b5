//! RocketMQ's four counters of traffic: in the small set one number a shard, in the full one by its
//! labels.
//!
//! A set never holds both, or a board that adds up would count twice. Label sets are bounded where
//! they are counted; the rest is one more set, under a name that no topic and no group can have, so
//! that a sum over all is the shard's total. What weir does not have yet (transactions, delays,
//! retry topics) has no value here.

use super::ask::NoAnswer;
use super::collect::Row;
use super::exposition::{Family, Labels, Sample};
use super::metrics::{family, node};
use crate::server::{Backlog, Figures, Tally, Traffic};

/// RocketMQ's `message_type` of messages without and with a sharding key.
const KINDS: [&str; 2] = ["normal", "fifo"];
/// Name, help, and which of a tally's numbers: messages in, bytes in, messages out, bytes out.
const MESSAGES_IN: (&str, &str) = ("rocketmq_messages_in", "Messages stored");
const BYTES_IN: (&str, &str) = ("rocketmq_throughput_in", "Bytes of records stored");
const MESSAGES_OUT: (&str, &str) = ("rocketmq_messages_out", "Messages handed out");
const BYTES_OUT: (&str, &str) = ("rocketmq_throughput_out", "Bytes handed out");

/// One number a shard.
pub(super) fn totals(rows: &[Row]) -> Vec<Family> {
    let counter = |(name, help), value: fn(&Figures) -> u64| {
        family(rows, name, help, move |f| (node(f), Sample::Counter(value(f))))
    };
    vec![
        counter(MESSAGES_IN, |f| f.counts.messages_in),
        counter(BYTES_IN, |f| f.counts.bytes_in),
        counter(MESSAGES_OUT, |f| f.counts.messages_out),
        counter(BYTES_OUT, |f| f.counts.bytes_out),
    ]
}

/// By topic and kind what came in, by topic and group what went out.
pub(super) fn labelled(rows: &[Row], backlogs: &[Result<Backlog, NoAnswer>]) -> Vec<Family> {
    let (mut sent, mut read) = (Vec::new(), Vec::new());
    for (row, backlog) in rows.iter().zip(backlogs) {
        if let (Some(figures), Ok(backlog)) = (&row.last, backlog) {
            sent.extend(inward(&node(figures), backlog));
            read.extend(outward(&node(figures), backlog));
        }
    }
    let messages = |tally: Tally| tally.messages;
    let bytes = |tally: Tally| tally.bytes;
    vec![
        counters(MESSAGES_IN, &sent, messages),
        counters(BYTES_IN, &sent, bytes),
        counters(MESSAGES_OUT, &read, messages),
        counters(BYTES_OUT, &read, bytes),
    ]
}

fn counters(
    (name, help): (&'static str, &'static str),
    tallies: &[(Labels, Tally)],
    value: fn(Tally) -> u64,
) -> Family {
    let sample =
        |(labels, tally): &(Labels, Tally)| (labels.clone(), Sample::Counter(value(*tally)));
    Family { name, help, samples: tallies.iter().map(sample).collect() }
}

fn inward(node: &Labels, backlog: &Backlog) -> Vec<(Labels, Tally)> {
    let labels = |topic: &str, kind: &str, is_system: bool| {
        let mut labels = node.clone();
        labels.push(("topic", topic.to_owned()));
        labels.push(("message_type", kind.to_owned()));
        labels.push(("is_system", is_system.to_string()));
        labels
    };
    let (mut rest, mut found) = (backlog.traffic.totals.0, Vec::new());
    for topic in &backlog.traffic.sent {
        for (kind, tally) in KINDS.iter().zip(topic.kinds) {
            rest = rest.without(tally);
            if tally.messages > 0 {
                found.push((labels(&topic.topic, kind, topic.is_system), tally));
            }
        }
    }
    if rest.messages > 0 {
        found.push((labels(Traffic::OTHER, Traffic::OTHER, false), rest));
    }
    found
}

fn outward(node: &Labels, backlog: &Backlog) -> Vec<(Labels, Tally)> {
    let labels = |(topic, group): (&str, &str), is_retry: bool, is_system: bool| {
        let mut labels = node.clone();
        labels.push(("topic", topic.to_owned()));
        labels.push(("consumer_group", group.to_owned()));
        labels.push(("is_retry", is_retry.to_string()));
        labels.push(("is_system", is_system.to_string()));
        labels
    };
    let (mut rest, mut found) = (backlog.traffic.totals.1, Vec::new());
    for read in &backlog.traffic.read {
        let reader = &read.reader;
        rest = rest.without(reader.read);
        let names = (reader.topic.as_str(), reader.group.as_str());
        found.push((labels(names, read.is_retry, read.is_system), reader.read));
    }
    if rest.messages > 0 {
        found.push((labels((Traffic::OTHER, Traffic::OTHER), false, false), rest));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Read, Reader, TopicTraffic};

    fn backlog() -> Backlog {
        let tally = |messages, bytes| Tally { messages, bytes };
        let reader = |group: &str, topic: &str, read| {
            let reader = Reader { group: group.to_owned(), topic: topic.to_owned(), read };
            Read { reader, is_retry: topic.starts_with('%'), is_system: false }
        };
        Backlog {
            traffic: Traffic {
                sent: vec![TopicTraffic {
                    topic: "orders".to_owned(),
                    is_system: false,
                    kinds: [tally(70, 7000), tally(20, 2000)],
                }],
                read: vec![
                    reader("g", "orders", tally(40, 4000)),
                    reader("g", "%RETRY%g", tally(1, 100)),
                ],
                totals: (tally(100, 9500), tally(41, 4100)),
            },
            ..Backlog::default()
        }
    }

    fn sums(tallies: &[(Labels, Tally)]) -> (u64, u64) {
        tallies.iter().fold((0, 0), |sum, (_, t)| (sum.0 + t.messages, sum.1 + t.bytes))
    }

    fn has(labels: &Labels, name: &str, value: &str) -> bool {
        labels.iter().any(|(key, text)| *key == name && text == value)
    }

    #[test]
    fn what_is_told_by_label_adds_up_to_the_total() {
        let backlog = backlog();
        let sent = inward(&Vec::new(), &backlog);
        assert_eq!(sums(&sent), (100, 9500));
        assert!(has(&sent[1].0, "message_type", "fifo") && sent[1].1.messages == 20);
        assert!(has(&sent[2].0, "topic", Traffic::OTHER) && sent[2].1.messages == 10);
        let read = outward(&Vec::new(), &backlog);
        assert_eq!((sums(&read), read.len()), ((41, 4100), 2), "nothing is left for others");
        assert!(has(&read[0].0, "consumer_group", "g") && has(&read[0].0, "is_retry", "false"));
        assert!(has(&read[1].0, "is_retry", "true"));
    }
}
