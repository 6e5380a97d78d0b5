//! Which connection does what: senders with their templates, pullers with their queues.
//!
//! Queues are dealt out the same way each time, so that two runs with the same options send the
//! same. It opens no connection; what it has to know of offsets it asks over one of set-up's.

use std::io;

use super::args::{LoadArgs, Mode};
use super::connection::{Job, Tail};
use crate::frame::{PullShape, SendShape, Template};
use crate::target::{self, Queue};

/// A following pull is held for this long when nothing is new.
const HOLD_MS: u32 = 1000;
/// Up to this many queues every sender writes to all; above it they are dealt out, or the
/// templates would not fit the processor's caches.
const SHARED_QUEUES: usize = 64;

/// The job of connection `i`.
pub(super) fn job(args: &LoadArgs, i: usize, queues: &[Queue]) -> io::Result<Job> {
    match args.mode {
        Mode::Pull => hot_tail(args, i, queues),
        Mode::Drain => share_of_group(args, i, queues),
        Mode::Mixed if i % 2 == 1 => follower(args, i, queues),
        Mode::Send | Mode::Mixed => Ok(sender(args, i, queues)),
    }
}

fn tail(args: &LoadArgs, queue: &Queue, low: u64, high: u64, hold_ms: u32) -> Tail {
    let shape = PullShape {
        encoding: args.headers,
        topic: queue.topic.clone(),
        group: args.group.clone(),
        commit: args.mode == Mode::Drain,
        queue_id: queue.queue_id,
        batch: args.batch,
        hold_ms,
    };
    Tail { shape, low, high, next: low }
}

fn hot_tail(args: &LoadArgs, i: usize, queues: &[Queue]) -> io::Result<Job> {
    let queue = &queues[i % queues.len()];
    let batch = u64::from(args.batch);
    let high = target::max_offset(queue)?;
    let per_queue = args.tail / args.body.max(1) / queues.len() as u64;
    let low = high.saturating_sub(per_queue.max(batch));
    // Connections on the same queue start at different places of it.
    let apart = (high - low) / u64::from(args.connections) * i as u64;
    let start = low + apart / batch * batch;
    let next = if start + batch > high { low } else { start };
    let tail = Tail { next, ..tail(args, queue, low, high, 0) };
    Ok(Job::PullTail { tail, asked: Vec::new() })
}

/// What RocketMQ's averaging allocation gives consumer `i`: a run of neighbouring queues, the
/// first ones one more when it does not come out even, none when there are more consumers.
fn share_of_group(args: &LoadArgs, i: usize, queues: &[Queue]) -> io::Result<Job> {
    let consumers = usize::from(args.connections);
    let (each, more) = (queues.len() / consumers, queues.len() % consumers);
    let first = i * each + i.min(more);
    let count = each + usize::from(i < more);
    let tails = queues[first..first + count]
        .iter()
        .map(|queue| {
            let (low, high) = (target::min_offset(queue)?, target::max_offset(queue)?);
            Ok(tail(args, queue, low, high, 0))
        })
        .collect::<io::Result<Vec<_>>>()?;
    // A queue without messages is read already.
    let tails = tails.into_iter().filter(|tail| tail.low < tail.high).collect();
    Ok(Job::Follow { tails, again: args.again })
}

fn follower(args: &LoadArgs, i: usize, queues: &[Queue]) -> io::Result<Job> {
    let followers = usize::from(args.connections) / 2;
    let addr = queues[i % queues.len()].addr;
    let mine = queues.iter().enumerate().filter(|(q, _)| q % followers == i / 2);
    let tails = mine
        .filter(|(_, queue)| queue.addr == addr)
        .map(|(_, queue)| {
            let high = target::max_offset(queue)?;
            Ok(tail(args, queue, high, u64::MAX, HOLD_MS))
        })
        .collect::<io::Result<_>>()?;
    Ok(Job::Follow { tails, again: false })
}

fn sender(args: &LoadArgs, i: usize, queues: &[Queue]) -> Job {
    let addr = queues[i % queues.len()].addr;
    let all = queues.len() <= SHARED_QUEUES;
    let senders = usize::from(args.connections);
    let templates = queues
        .iter()
        .enumerate()
        .filter(|(q, queue)| queue.addr == addr && (all || q % senders == i % senders))
        .map(|(_, queue)| {
            Template::send(&SendShape {
                encoding: args.headers,
                topic: &queue.topic,
                broker_name: &queue.broker_name,
                queue_id: queue.queue_id,
                body_bytes: args.body_bytes(),
                wait: !args.no_wait,
            })
        })
        .collect();
    Job::Send { templates, counter: (i as u64) << 24 }
}
