//! One connection to a Controller: a request, its answer, in bounded time.
//!
//! It speaks RocketMQ's remoting with headers in JSON. A connection that failed is closed and made
//! again at the next request. Never: an answer to another request believed; a wait without end.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use weir_wire::frame::{Codec, Frame, Split, split};
use weir_wire::header::{Fields, Header};
use weir_wire::reply::Request;

use crate::base::limits::{ARBITER_ANSWER_MAX, CONTROLLER_ANSWER_MS};

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 is success.
    pub(super) code: i32,
    pub(super) remark: String,
    /// Its fields.
    pub(super) fields: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.parse().ok()
    }
}

/// Connections by address.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<String, TcpStream>,
    opaque: i32,
}

impl Links {
    /// Asks `addr` and waits for the answer.
    pub(super) fn ask(
        &mut self,
        addr: &str,
        code: i32,
        fields: &[(&str, String)],
        body: &[u8],
    ) -> Result<Answer, Error> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut bytes = Vec::new();
        let mut request = Request::new(&mut bytes, Codec::Json, code, self.opaque, false);
        for (name, value) in fields {
            request = request.ext_str(name, value);
        }
        request.finish_with(body);
        let mut link = match self.open.remove(addr) {
            Some(link) => link,
            None => connect(addr)?,
        };
        link.write_all(&bytes)?;
        let answer = answer(&mut link, self.opaque)?;
        self.open.insert(addr.to_owned(), link);
        Ok(answer)
    }

    /// Closes all: a Controller takes that for the end of this box at once.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

fn connect(addr: &str) -> Result<TcpStream, Error> {
    let patience = Duration::from_millis(CONTROLLER_ANSWER_MS);
    let mut last = Error::other("the name has no address");
    for addr in addr.to_socket_addrs()?.take(4) {
        match TcpStream::connect_timeout(&addr, patience) {
            Ok(link) => {
                link.set_nodelay(true)?;
                link.set_read_timeout(Some(patience))?;
                link.set_write_timeout(Some(patience))?;
                return Ok(link);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Waits for the answer to request `opaque`; a few other frames are passed over.
fn answer(link: &mut impl Read, opaque: i32) -> Result<Answer, Error> {
    for _ in 0..64 {
        let bytes = read_frame(link)?;
        let other = |fault: &dyn std::fmt::Display| Error::other(fault.to_string());
        let frame = Frame::parse(&bytes).map_err(|fault| other(&fault))?;
        let mut room = Fields::default();
        let header =
            Header::parse(frame.codec, frame.header, &mut room).map_err(|fault| other(&fault))?;
        if header.is_response() && header.opaque == opaque {
            let text = |text: weir_wire::header::Text<'_>| text.to_cow().into_owned();
            return Ok(Answer {
                code: header.code,
                remark: text(header.remark),
                fields: header.ext.iter().map(|(key, value)| (text(key), text(value))).collect(),
                body: frame.body.to_vec(),
            });
        }
    }
    Err(Error::other("it talks of something else"))
}

/// One whole frame, its length included.
fn read_frame(link: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        let begun = bytes.len();
        match split(&bytes, ARBITER_ANSWER_MAX as usize) {
            Split::Whole(_) => return Ok(bytes),
            Split::Need(len) if len > begun => bytes.resize(len, 0),
            Split::Need(_) => return Err(ErrorKind::UnexpectedEof.into()),
            Split::Bad(fault) => return Err(Error::other(fault.to_string())),
        }
        let Some(rest) = bytes.get_mut(begun..) else { continue };
        link.read_exact(rest)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use weir_wire::reply::Reply;

    use super::*;

    #[test]
    fn the_answer_to_this_request_is_taken_and_a_connection_that_ended_is_made_anew() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut link, _) = listener.accept().unwrap();
                let asked = read_frame(&mut link).unwrap();
                let frame = Frame::parse(&asked).unwrap();
                let mut room = Fields::default();
                let header = Header::parse(frame.codec, frame.header, &mut room).unwrap();
                let mut out = Vec::new();
                // One that answers something else, then the right one; then the end.
                Reply::new(&mut out, Codec::Json, 1, header.opaque + 40).finish();
                let reply = Reply::new(&mut out, Codec::Json, 2011, header.opaque).remark("r");
                reply.ext_str("masterBrokerId", "2").finish_with(b"{}");
                link.write_all(&out).unwrap();
            }
        });
        let mut links = Links::default();
        let answer = links.ask(&addr, 1002, &[("brokerId", "1".to_owned())], &[]).unwrap();
        assert_eq!((answer.code, answer.number("masterBrokerId")), (2011, Some(2)));
        assert_eq!((answer.remark.as_str(), answer.body.as_slice()), ("r", &b"{}"[..]));
        // The next attempt meets the end of that connection, the one after makes another.
        let again: Vec<i32> =
            (0..2).filter_map(|_| Some(links.ask(&addr, 1002, &[], &[]).ok()?.code)).collect();
        assert_eq!(again, [2011]);
        server.join().unwrap();
    }
}
