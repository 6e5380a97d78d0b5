//! How many sends a turn of weir's loop takes in, from the broker's own control port.
//!
//! The port answers `GET /latency` with counts since the start; two of them give the mean of the
//! time between. A broker without the port, or with another answer, gives nothing: the field of
//! the report stays empty.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(300);
/// The control port lies this far below the broker's, unless it was moved.
const BELOW: u16 = 11;

/// Turns so far, and the sends they took in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ticks {
    turns: f64,
    sends: f64,
}

impl Ticks {
    /// Asks the control port of the broker that listens on `port`.
    pub(super) fn of(port: u16) -> Option<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port.checked_sub(BELOW)?));
        let mut stream = TcpStream::connect_timeout(&addr, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(b"GET /latency HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Self::parse(answer.split_once("\r\n\r\n")?.1)
    }

    fn parse(body: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        let stage = value.pointer("/shards/0/sinceStart/turn_sends")?;
        let turns = stage.get("count")?.as_f64()?;
        Some(Self { turns, sends: turns * stage.get("mean")?.as_f64()? })
    }

    /// Sends of a turn since `before`.
    pub(super) fn since(self, before: Self) -> Option<f64> {
        let turns = self.turns - before.turns;
        (turns > 0.0).then(|| (self.sends - before.sends) / turns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_give_the_mean_between_them_and_another_answer_gives_nothing() {
        let body = |count: u32, mean: f64| {
            format!(
                "{{\"shards\":[{{\"sinceStart\":{{\"turn_sends\":{{\"count\":{count},\
                 \"mean\":{mean}}}}}}}]}}"
            )
        };
        let (before, after) = (Ticks::parse(&body(100, 2.0)), Ticks::parse(&body(200, 11.0)));
        assert_eq!(after.unwrap().since(before.unwrap()), Some(20.0));
        assert_eq!(Ticks::parse("{\"shards\":[]}"), None);
        assert_eq!(before.unwrap().since(before.unwrap()), None);
    }
}
