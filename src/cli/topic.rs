//! `weir topic`: create, list, describe, delete.
//!
//! Creating and deleting go to every master the name server knows, which is what `mqadmin` with
//! a cluster name does.

use serde_json::json;
use weir_wire::codes::{request, response};

use super::args::{Topic, TopicCreate, TopicList, TopicName};
use super::output::Output;
use super::remote::{Answer, Remote};
use super::route;
use crate::exit::{self, Stop};

/// Runs one of the topic commands.
pub(super) fn run(args: &Topic, out: &mut Output) -> Result<(), Stop> {
    match args {
        Topic::Create(args) => create(args, out),
        Topic::List(args) => list(args, out),
        Topic::Describe(args) => describe(args, out),
        Topic::Delete(args) => delete(args, out),
    }
}

fn create(args: &TopicCreate, out: &mut Output) -> Result<(), Stop> {
    let mut remote = Remote::new(&args.remote);
    let queues = args.queues.to_string();
    let perm = args.permission.to_string();
    let attributes: Vec<String> = args.attributes.iter().map(|one| format!("+{one}")).collect();
    let attributes = attributes.join(",");
    let mut ext = vec![
        ("topic", args.name.as_str()),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", &perm),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    if !attributes.is_empty() {
        ext.push(("attributes", &attributes));
    }
    for (broker, addr) in some_masters(&mut remote)? {
        remote
            .ask(&addr, request::UPDATE_AND_CREATE_TOPIC, &ext, &[])?
            .good(&format!("create on {broker}"))?;
        let text = format!("{} has {} queues on {broker}", args.name, args.queues);
        let value = json!({ "topic": args.name, "broker": broker, "queues": args.queues });
        out.row(&text, &value)?;
    }
    Ok(())
}

fn list(args: &TopicList, out: &mut Output) -> Result<(), Stop> {
    let mut remote = Remote::new(&args.remote);
    let answer =
        remote.ask_naming(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[])?.good("topic list")?;
    let body = route::body(&answer.body)?;
    let names = body["topicList"].as_array();
    let mut names: Vec<&str> = names.into_iter().flatten().filter_map(|n| n.as_str()).collect();
    names.sort_unstable();
    let brokers: Vec<String> =
        route::masters(&mut remote)?.into_iter().map(|(name, _)| name).collect();
    for name in names {
        if args.all || !is_system(name, &brokers) {
            out.row(name, &json!({ "topic": name }))?;
        }
    }
    Ok(())
}

/// Topics that RocketMQ keeps for itself: fixed names, reserved beginnings, and one per broker.
fn is_system(name: &str, brokers: &[String]) -> bool {
    const FIXED: &[&str] = &[
        "TBW102",
        "BenchmarkTest",
        "DefaultCluster",
        "SELF_TEST_TOPIC",
        "OFFSET_MOVED_EVENT",
        "SCHEDULE_TOPIC_XXXX",
        "TRANS_CHECK_MAX_TIME_TOPIC",
    ];
    const BEGINNINGS: &[&str] = &["RMQ_SYS_", "rmq_sys_", "%RETRY%", "%DLQ%"];
    FIXED.contains(&name)
        || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || name.ends_with("_REPLY_TOPIC")
        || brokers.iter().any(|broker| broker == name)
}

fn describe(args: &TopicName, out: &mut Output) -> Result<(), Stop> {
    let mut remote = Remote::new(&args.remote);
    let Some(parts) = route::of_topic(&mut remote, &args.name)? else {
        return Err(Stop::new(exit::FAILED, format!("no broker has topic {}", args.name)));
    };
    for part in parts {
        for queue in 0..part.read_queues.max(part.write_queues) {
            let id = queue.to_string();
            let ext = [("topic", args.name.as_str()), ("queueId", id.as_str())];
            let mut offset = |code| remote.ask(&part.addr, code, &ext, &[])?.good("offset");
            let min = offset(request::GET_MIN_OFFSET)?.number("offset")?;
            let max = offset(request::GET_MAX_OFFSET)?.number("offset")?;
            let held = (max - min).max(0);
            let text = format!("{}/{queue}  {min}..{max}  {held} messages", part.broker);
            let value = json!({
                "topic": args.name, "broker": part.broker, "address": part.addr,
                "queueId": queue, "minOffset": min, "maxOffset": max, "permission": part.perm,
            });
            out.row(&text, &value)?;
        }
    }
    Ok(())
}

fn delete(args: &TopicName, out: &mut Output) -> Result<(), Stop> {
    let mut remote = Remote::new(&args.remote);
    let ext = [("topic", args.name.as_str())];
    for (broker, addr) in some_masters(&mut remote)? {
        remote
            .ask(&addr, request::DELETE_TOPIC_IN_BROKER, &ext, &[])?
            .good(&format!("delete on {broker}"))?;
        let text = format!("{} is deleted on {broker}", args.name);
        out.row(&text, &json!({ "topic": args.name, "broker": broker, "deleted": true }))?;
    }
    // A name server that keeps its own table forgets the topic at once; weir's follows its shards.
    let answer = remote.ask_naming(request::DELETE_TOPIC_IN_NAMESRV, &ext)?;
    if answer.code == response::REQUEST_CODE_NOT_SUPPORTED { Ok(()) } else { forgotten(answer) }
}

fn forgotten(answer: Answer) -> Result<(), Stop> {
    answer.good("delete on the name server").map(|_| ())
}

fn some_masters(remote: &mut Remote) -> Result<Vec<(String, String)>, Stop> {
    let masters = route::masters(remote)?;
    if masters.is_empty() {
        return Err(Stop::new(exit::FAILED, "the name server knows no broker"));
    }
    Ok(masters)
}
