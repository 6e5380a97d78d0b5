//! `weir serve --hello`: a new user's first message, sent and read like any client's.
//!
//! It goes over the wire to the broker of this very process. It never stops the broker: what goes
//! wrong is one notice line.

use std::time::{Duration, Instant};

use super::args::{Consume, Produce, Remote};
use super::output::Output;
use super::{consume, produce};
use crate::exit::Stop;

/// The first message's topic.
const TOPIC: &str = "hello";
/// How long the start may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits in the background until the name server at `namesrv` answers, then sends and reads.
pub(super) fn start(namesrv: String, json: bool) {
    std::thread::spawn(move || {
        let mut out = Output::new(json);
        if let Err(stop) = send_and_read(&namesrv, &mut out) {
            out.notice(&format!("hello: {}", stop.line));
        }
    });
}

fn send_and_read(namesrv: &str, out: &mut Output) -> Result<(), Stop> {
    let remote = Remote { namesrv: namesrv.to_owned(), timeout_ms: 5000 };
    let message = Produce {
        topic: TOPIC.to_owned(),
        body: Some("hello, weir".to_owned()),
        file: None,
        count: 1,
        broker: None,
        tag: None,
        keys: None,
        properties: Vec::new(),
        remote: remote.clone(),
    };
    let began = Instant::now();
    while let Err(stop) = produce::run(&message, out) {
        if began.elapsed() > PATIENCE {
            return Err(stop);
        }
        std::thread::sleep(PAUSE);
    }
    let reading = Consume {
        topic: TOPIC.to_owned(),
        group: None,
        from: "first".to_owned(),
        max: Some(1),
        follow: false,
        tags: "*".to_owned(),
        remote,
    };
    consume::run(&reading, out)
}
