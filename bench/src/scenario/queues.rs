//! What many queues cost: the same closed load over 1 to 50,000 queues.
//!
//! Each number of queues has a server of its own, so a server with 8 queues has no others. All
//! are started beforehand and take turns. A queue gets its share of messages in turn, which is
//! the worst case for every cache.

use std::io;

use clap::Args;

use super::ladder::CLOSED;
use super::steps::{self, Label, START_S, Which, cpu, order, pairs};
use crate::bed::{BedArgs, Kind, Lengths, Load, Server, Session, Setup};
use crate::findings::{Curve, Ratio, Target};

/// Queues of one topic, at most.
const TOPIC_QUEUES: u32 = 1000;
/// The number of queues the others are held against.
const FEW: u32 = 8;

/// Many queues.
#[derive(Args, Clone, Debug)]
pub(crate) struct QueuesArgs {
    /// Where, how long, what is written where.
    #[command(flatten)]
    pub bed: BedArgs,
    /// Numbers of queues: up to 1000, or whole thousands.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 100, 1000, 10_000, 50_000],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queues: Vec<u32>,
    /// Body bytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(..=65_536))]
    pub body: u64,
}

/// Runs it.
pub(crate) fn queues(args: &QueuesArgs) -> io::Result<()> {
    if let Some(odd) = args.queues.iter().find(|q| **q > TOPIC_QUEUES && **q % TOPIC_QUEUES != 0) {
        return Err(io::Error::other(format!(
            "--queues {odd}: above {TOPIC_QUEUES} only whole multiples of it (topics of \
             {TOPIC_QUEUES} queues)"
        )));
    }
    let lengths = args.bed.lengths(
        Lengths { seconds: 2.0, warmup: 0.5, rounds: 2 },
        Lengths { seconds: 5.0, warmup: 1.0, rounds: 8 },
        Lengths { seconds: 10.0, warmup: 2.0, rounds: 12 },
    );
    let each = lengths.seconds + lengths.warmup + START_S;
    let runs = f64::from(lengths.rounds + 1) * args.queues.len() as f64;
    let mut session = Session::begin(&args.bed, "queues", runs * each)?;
    let mut servers = Vec::new();
    for &count in &args.queues {
        let mut server = session.server(Setup::new(Kind::Weir, false), None)?;
        server.name = format!("{count} queues");
        // The first run makes the topics and the first chunk of each queue.
        session.progress.doing(format!("first messages of {}", server.name));
        load(args, &session, &server, count, lengths).run()?;
        session.progress.done(each);
        servers.push((server, count));
    }
    let panel = steps::size_name(args.body);
    for round in 0..lengths.rounds {
        for i in order(servers.len(), round) {
            let (server, count) = &servers[i];
            let load = load(args, &session, server, *count, lengths);
            steps::run(&mut session, server, &load, &Label::new(&*panel, CLOSED, round), each)?;
        }
    }
    ratios(&mut session, args, &panel);
    session.finish(servers)
}

fn load(
    args: &QueuesArgs,
    session: &Session,
    server: &Server,
    count: u32,
    lengths: Lengths,
) -> Load {
    let topics = (count / TOPIC_QUEUES).max(1);
    Load::new(&session.bed, &server.addr, &server.name)
        .with("topics", topics)
        .with("queues", count / topics)
        .with("body", args.body)
        .with("seconds", lengths.seconds)
        .with("warmup", lengths.warmup)
}

fn ratios(session: &mut Session, args: &QueuesArgs, panel: &str) {
    let points = session.findings.points.clone();
    let few = format!("{FEW} queues");
    let mut line = Vec::new();
    for &count in &args.queues {
        let name = format!("{count} queues");
        let which = |series| Which { panel, series, step: CLOSED };
        if let Some(cpu_ns) = steps::median(&points, which(&name), cpu) {
            line.push((f64::from(count), cpu_ns));
        }
        if count == FEW {
            continue;
        }
        let target = (count == 50_000).then_some(Target::AtMost(1.15));
        let costs = pairs(&points, which(&name), which(&few), cpu);
        let figure = format!("CPU per message, {count} queues / {FEW}");
        session.ratio(Ratio::of(figure, "ns", target, costs));
    }
    session.findings.curves.push(Curve {
        title: "Processor time of the server for one message (medians)".to_owned(),
        x: "queues".to_owned(),
        log_x: true,
        y: "ns per message".to_owned(),
        series: vec![("weir ASYNC".to_owned(), line)],
    });
}
