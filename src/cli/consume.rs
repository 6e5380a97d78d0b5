//! `weir consume`: pulls a topic's queues in turn and prints what it finds.
//!
//! It is no member of a group: with `--group` it starts where the group stands and moves it on
//! after printing, so that nothing is marked consumed that was not printed.

use std::time::Duration;

use weir_wire::codes::{request, response};
use weir_wire::message::Records;

use super::args::Consume;
use super::output::Output;
use super::remote::{Answer, Remote};
use super::{record, route};
use crate::exit::{self, Stop};

/// The group RocketMQ's own tools pull with.
const TOOLS: &str = "TOOLS_CONSUMER";
const BATCH: &str = "32";
/// Pause before the queues are asked again when none had anything.
const PAUSE: Duration = Duration::from_millis(100);

struct Place {
    broker: String,
    addr: String,
    queue: String,
    next: i64,
}

/// Prints messages until there are none, or `--max`, or for ever with `--follow`.
pub(super) fn run(args: &Consume, out: &mut Output) -> Result<(), Stop> {
    let mut remote = Remote::new(&args.remote);
    let mut places = places(args, &mut remote)?;
    let mut left = args.max.unwrap_or(u64::MAX);
    let bar = out.bar(args.max, "messages", true);
    while left > 0 {
        let mut found = false;
        for place in &mut places {
            let printed = pull(args, &mut remote, place, left, out)?;
            found |= printed.moved;
            left -= printed.messages;
            bar.inc(printed.messages);
            if left == 0 {
                break;
            }
        }
        if !found {
            if !args.follow {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn places(args: &Consume, remote: &mut Remote) -> Result<Vec<Place>, Stop> {
    let Some(parts) = route::of_topic(remote, &args.topic)? else {
        return Err(Stop::new(exit::FAILED, format!("no broker has topic {}", args.topic)));
    };
    let mut places = Vec::new();
    for part in parts.iter().filter(|part| part.perm & 4 != 0) {
        for queue in 0..part.read_queues {
            let mut place = Place {
                broker: part.broker.clone(),
                addr: part.addr.clone(),
                queue: queue.to_string(),
                next: 0,
            };
            place.next = beginning(args, remote, &place)?;
            places.push(place);
        }
    }
    Ok(places)
}

fn beginning(args: &Consume, remote: &mut Remote, place: &Place) -> Result<i64, Stop> {
    let queue = [("topic", args.topic.as_str()), ("queueId", place.queue.as_str())];
    if let Some(group) = &args.group {
        let ext = [queue[0], queue[1], ("consumerGroup", group.as_str())];
        let answer = remote.ask(&place.addr, request::QUERY_CONSUMER_OFFSET, &ext, &[])?;
        if answer.code != response::QUERY_NOT_FOUND {
            return answer.good("group offset")?.number("offset");
        }
    }
    let answer = match args.from.as_str() {
        "first" => remote.ask(&place.addr, request::GET_MIN_OFFSET, &queue, &[])?,
        "last" => remote.ask(&place.addr, request::GET_MAX_OFFSET, &queue, &[])?,
        time if time.parse::<i64>().is_ok() => {
            let ext = [queue[0], queue[1], ("timestamp", time)];
            remote.ask(&place.addr, request::SEARCH_OFFSET_BY_TIMESTAMP, &ext, &[])?
        }
        other => {
            let line = format!("--from {other}: expected first, last or milliseconds since 1970");
            return Err(Stop::new(exit::USAGE, line));
        }
    };
    Ok(answer.good("offset")?.number("offset")?.max(0))
}

/// What one pull did.
struct Printed {
    messages: u64,
    /// The place moved, so there may be more.
    moved: bool,
}

fn pull(
    args: &Consume,
    remote: &mut Remote,
    place: &mut Place,
    left: u64,
    out: &mut Output,
) -> Result<Printed, Stop> {
    let offset = place.next.to_string();
    let ext = [
        ("consumerGroup", args.group.as_deref().unwrap_or(TOOLS)),
        ("topic", args.topic.as_str()),
        ("queueId", place.queue.as_str()),
        ("queueOffset", offset.as_str()),
        ("maxMsgNums", BATCH),
        ("sysFlag", "4"), // the subscription is in the request, no waiting
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", args.tags.as_str()),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    let answer = remote.ask(&place.addr, request::PULL_MESSAGE, &ext, &[])?;
    match answer.code {
        response::SUCCESS => print(args, remote, place, (&answer, left), out),
        response::PULL_NOT_FOUND => Ok(Printed { messages: 0, moved: false }),
        response::PULL_RETRY_IMMEDIATELY | response::PULL_OFFSET_MOVED => {
            let before = std::mem::replace(&mut place.next, answer.number("nextBeginOffset")?);
            Ok(Printed { messages: 0, moved: place.next != before })
        }
        _ => Err(answer.refused("pull")),
    }
}

fn print(
    args: &Consume,
    remote: &mut Remote,
    place: &mut Place,
    (answer, left): (&Answer, u64),
    out: &mut Output,
) -> Result<Printed, Stop> {
    let mut messages = 0;
    let mut next = answer.number("nextBeginOffset")?;
    for found in Records::new(&answer.body) {
        let found = found.map_err(|fault| {
            Stop::new(exit::FAILED, format!("{} sent no message: {fault}", place.broker))
        })?;
        if messages == left {
            next = found.queue_offset();
            break;
        }
        if matches(&args.tags, record::tag(&found)) {
            let broker = &place.broker;
            out.row(&record::text(&found, broker), &record::value(&found, broker))?;
            messages += 1;
        }
    }
    place.next = next;
    if let Some(group) = &args.group {
        commit(args, remote, place, group)?;
    }
    Ok(Printed { messages, moved: true })
}

/// The broker filters by hash; the exact check is the client's.
fn matches(expression: &str, tag: Option<&str>) -> bool {
    let all = matches!(expression.trim(), "" | "*");
    all || tag.is_some_and(|tag| expression.split("||").any(|one| one.trim() == tag))
}

fn commit(args: &Consume, remote: &mut Remote, place: &Place, group: &str) -> Result<(), Stop> {
    let offset = place.next.to_string();
    let ext = [
        ("consumerGroup", group),
        ("topic", args.topic.as_str()),
        ("queueId", place.queue.as_str()),
        ("commitOffset", offset.as_str()),
    ];
    remote.ask(&place.addr, request::UPDATE_CONSUMER_OFFSET, &ext, &[])?.good("commit")?;
    Ok(())
}
