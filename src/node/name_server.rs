//! One name server outside: a connection for each shard, what it is told, and when again.
//!
//! A connection for each shard, because a name server takes a broker out of its table when the
//! connection it registered over ends. A closed connection is noticed within seconds and made
//! again; a name server that cannot be reached is tried with growing pauses, and told of in one
//! line now and then.
//! Never: a wait without end; an answer that is larger than [`ANSWER_MAX`]; a line per attempt.

use std::io::{Error, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_wire::codes::{request, response};
use weir_wire::frame::Codec;
use weir_wire::message::body_crc;
use weir_wire::reply::Request;

use super::registrar::{Announcement, Board};
use super::remoting;
use crate::base::limits::{
    REGISTRATION_ANSWER_MS, REGISTRATION_CONNECT_MS, REGISTRATION_LOOK_MS, REGISTRATION_RETRY_MS,
    REGISTRATION_SAY_MS,
};
use crate::shard::Voice;

/// An answer to a registration; larger ones hold what nobody here reads.
const ANSWER_MAX: usize = 1024 * 1024;

/// Registers at `server` until the board says stop, then unregisters.
pub(super) fn run(server: &str, board: &Board, period: Duration) {
    let mut desk = Desk {
        server,
        links: Vec::new(),
        opaque: 0,
        frame: Vec::new(),
        voice: Voice::new(server.to_owned(), false),
        begun: Instant::now(),
        state: Standing::New,
    };
    let (mut edition, mut due, mut failures) = (0, Instant::now(), 0_u32);
    loop {
        let look = Duration::from_millis(REGISTRATION_LOOK_MS);
        let left = due.saturating_duration_since(Instant::now());
        // Before the first edition there is nothing to be due.
        let patience = if edition == 0 { look } else { left.min(look) };
        let (newest, shards, stop) = board.wait(edition, patience);
        if stop {
            return desk.leave(&shards);
        }
        let told = newest != edition && failures == 0;
        edition = newest;
        if shards.is_empty() || !(told || Instant::now() >= due || desk.lost()) {
            continue;
        }
        failures = if desk.register(&shards) { 0 } else { failures.saturating_add(1) };
        due = Instant::now() + pause(failures, period);
    }
}

/// How long until the next time: the period, or less after failures, doubled with each.
fn pause(failures: u32, period: Duration) -> Duration {
    match failures {
        0 => period,
        n => period.min(Duration::from_millis(REGISTRATION_RETRY_MS << (n - 1).min(8))),
    }
}

/// What was last said of a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing yet.
    New,
    /// It has taken the registrations.
    Registered,
    /// It could not be told: when that was said, how often it was tried since.
    Failing(Instant, u32),
}

struct Desk<'a> {
    server: &'a str,
    links: Vec<Option<TcpStream>>,
    opaque: i32,
    frame: Vec<u8>,
    voice: Voice,
    begun: Instant,
    state: Standing,
}

impl Desk<'_> {
    /// Tells of every shard. False: some was not taken, which is said.
    fn register(&mut self, shards: &[Arc<Announcement>]) -> bool {
        self.links.resize_with(shards.len(), || None);
        let mut fault = None;
        for (index, shard) in shards.iter().enumerate() {
            match self.register_one(index, shard) {
                Ok(()) => {}
                Err(Fault::Refused(remark)) => {
                    fault.get_or_insert(format!("{} is refused: {remark}", shard.broker));
                }
                Err(Fault::Broken(error)) => {
                    self.links[index] = None;
                    fault = Some(format!("{error}"));
                    // The others would wait as long for the same.
                    break;
                }
            }
        }
        let good = fault.is_none();
        self.tell(shards, fault);
        good
    }

    fn register_one(&mut self, index: usize, shard: &Announcement) -> Result<(), Fault> {
        // A name server that was started again has ended all connections: each is made anew at
        // once, or the second shard would wait for a pause that is meant for failures.
        if self.links[index].as_ref().is_none_or(has_ended) {
            self.links[index] = Some(remoting::connect(
                self.server,
                REGISTRATION_CONNECT_MS,
                REGISTRATION_ANSWER_MS,
            )?);
        }
        for body in &shard.bodies {
            let crc = body_crc(body).to_string();
            let id = shard.broker_id.to_string();
            let fields = [
                ("brokerName", shard.broker.as_str()),
                ("brokerAddr", &shard.at.addr),
                ("clusterName", &shard.cluster),
                ("haServerAddr", &shard.at.ha_addr),
                ("brokerId", &id),
                ("enableActingMaster", "false"),
                ("compressed", "false"),
                ("bodyCrc32", &crc),
            ];
            self.exchange(index, request::REGISTER_BROKER, &fields, body)?;
        }
        Ok(())
    }

    /// Says that the shards are gone, over the connections that are there.
    fn leave(&mut self, shards: &[Arc<Announcement>]) {
        for (index, shard) in shards.iter().enumerate().take(self.links.len()) {
            let id = shard.broker_id.to_string();
            let fields = [
                ("brokerName", shard.broker.as_str()),
                ("brokerAddr", &shard.at.addr),
                ("clusterName", &shard.cluster),
                ("brokerId", &id),
            ];
            // A name server that does not answer sees the connection's end.
            let told = self.exchange(index, request::UNREGISTER_BROKER, &fields, &[]);
            if let Err(Fault::Broken(_)) = told {
                return;
            }
        }
    }

    /// Whether a connection has ended since.
    fn lost(&self) -> bool {
        self.state == Standing::Registered
            && self.links.iter().any(|link| link.as_ref().is_none_or(has_ended))
    }

    fn exchange(
        &mut self,
        index: usize,
        code: i32,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), Fault> {
        let Some(Some(link)) = self.links.get_mut(index) else {
            return Err(Fault::Broken(ErrorKind::NotConnected.into()));
        };
        self.opaque = self.opaque.wrapping_add(1);
        self.frame.clear();
        let mut request = Request::new(&mut self.frame, Codec::Json, code, self.opaque, false);
        for (name, value) in fields {
            request = request.ext_str(name, value);
        }
        request.finish_with(body);
        link.write_all(&self.frame)?;
        answer(link, self.opaque)
    }

    /// One line when it changes how the name server stands, and now and then while it fails.
    fn tell(&mut self, shards: &[Arc<Announcement>], fault: Option<String>) {
        self.voice.at(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let now = Instant::now();
        self.state = match (fault, self.state) {
            (None, Standing::Registered) => Standing::Registered,
            (None, _) => {
                let text = format_args!("{} shard(s) are registered there", shards.len());
                self.voice.say("name-server-told", &text);
                Standing::Registered
            }
            (Some(_), Standing::Failing(said, times))
                if now - said < Duration::from_millis(REGISTRATION_SAY_MS) =>
            {
                Standing::Failing(said, times + 1)
            }
            (Some(why), state) => {
                let times = if let Standing::Failing(_, times) = state { times } else { 0 };
                let text = format_args!(
                    "{why}; it is tried again and again ({times} times since this was last said)"
                );
                self.voice.say("name-server-failed", &text);
                Standing::Failing(now, 0)
            }
        };
    }
}

/// Why a name server did not take something.
#[derive(Debug)]
enum Fault {
    /// It said no.
    Refused(String),
    /// It said nothing, or nothing that can be read.
    Broken(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Broken(match error.kind() {
            ErrorKind::WouldBlock => Error::new(ErrorKind::TimedOut, "no answer in time"),
            _ => error,
        })
    }
}

/// Whether the peer has closed; what it may have said unasked is left alone.
fn has_ended(link: &TcpStream) -> bool {
    let peeked = link.set_nonblocking(true).and_then(|()| link.peek(&mut [0]));
    let ended = match peeked {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    ended || link.set_nonblocking(false).is_err()
}

/// Waits for the answer to request `opaque`: success, or why not.
fn answer(link: &mut TcpStream, opaque: i32) -> Result<(), Fault> {
    let answer = remoting::answer(link, opaque, ANSWER_MAX)?;
    match answer.code {
        response::SUCCESS => Ok(()),
        code => Err(Fault::Refused(format!("{} (code {code})", answer.remark))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_and_end_at_the_period() {
        let period = Duration::from_secs(30);
        let seconds = [0, 1, 2, 3, 6, 60].map(|failures| pause(failures, period).as_secs());
        assert_eq!(seconds, [30, 1, 2, 4, 30, 30]);
    }
}
