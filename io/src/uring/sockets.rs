//! Connections: the table, opening, sending, closing.
//!
//! A slot's generation moves on when it is closed, so an old [`Socket`] finds nothing; the
//! descriptor stays open until the last operation on it has ended, so no operation can reach
//! another connection that got the same number. Never: two sends in flight on one socket.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::op::{Address, Op};
use super::setup::Uring;
use crate::driver::{Errno, Event, Socket, Token};

/// A place of the table of connections.
#[derive(Debug)]
pub(super) struct SocketSlot {
    stream: Option<TcpStream>,
    generation: u32,
    open: bool,
    in_flight: u32,
    /// Number of the receive that runs, also while it waits for buffers.
    pub(super) receive: Option<u64>,
}

impl SocketSlot {
    /// Ends the connection in both directions: operations in flight end by themselves.
    pub(super) fn shut_down(&self) {
        if let Some(stream) = &self.stream {
            // It fails when the peer has reset the connection, which ends them too.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Uring {
    /// Gives a new connection a slot; `EMFILE` closes it, when there are too many.
    pub(super) fn adopt(&mut self, stream: TcpStream) -> Result<Socket, Errno> {
        let slot = match self.free_sockets.pop() {
            Some(slot) => slot,
            None if self.sockets.len() < self.socket_limit => {
                self.sockets.push(SocketSlot {
                    stream: None,
                    generation: 0,
                    open: false,
                    in_flight: 0,
                    receive: None,
                });
                self.sockets.len() as u32 - 1
            }
            None => return Err(Errno(libc::EMFILE)),
        };
        let place = &mut self.sockets[slot as usize];
        assert!(place.stream.is_none() && place.in_flight == 0, "socket slot {slot} is taken");
        place.stream = Some(stream);
        place.open = true;
        Ok(Socket { slot, generation: place.generation })
    }

    /// The slot of a socket that was not closed.
    pub(super) fn socket(&mut self, socket: Socket) -> Option<&mut SocketSlot> {
        let slot = self.sockets.get_mut(socket.slot as usize)?;
        if slot.open && slot.generation == socket.generation { Some(slot) } else { None }
    }

    /// The descriptor of a socket with an operation in flight, closed or not.
    pub(super) fn socket_fd(&self, socket: Socket) -> RawFd {
        let stream = self.sockets[socket.slot as usize].stream.as_ref();
        stream.map_or(-1, AsRawFd::as_raw_fd)
    }

    /// An operation begins on a socket that was not closed; gives the descriptor.
    pub(super) fn socket_begin(&mut self, socket: Socket) -> Option<RawFd> {
        let slot = self.socket(socket)?;
        slot.in_flight += 1;
        slot.stream.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// An operation on a socket has ended; says whether the socket is still open.
    pub(super) fn socket_end(&mut self, socket: Socket) -> bool {
        let open = self.socket(socket).is_some();
        let slot = &mut self.sockets[socket.slot as usize];
        assert!(slot.in_flight > 0, "an end without a begin");
        slot.in_flight -= 1;
        self.release_socket(socket.slot);
        open
    }

    fn release_socket(&mut self, index: u32) {
        let slot = &mut self.sockets[index as usize];
        if !slot.open && slot.in_flight == 0 {
            slot.stream = None;
            self.free_sockets.push(index);
        }
    }

    /// See [`crate::Driver::close`].
    pub fn close(&mut self, socket: Socket) {
        let Some(slot) = self.socket(socket) else { return };
        slot.open = false;
        slot.generation = slot.generation.wrapping_add(1);
        slot.shut_down();
        let receive = slot.receive.take();
        let hungry = receive.filter(|number| self.starved.contains(number));
        if let Some(number) = hungry {
            // The kernel does not have it, so no completion will end it.
            self.starved.retain(|starved| *starved != number);
            self.ops.remove(number);
            self.sockets[socket.slot as usize].in_flight -= 1;
        }
        self.release_socket(socket.slot);
    }

    /// See [`crate::Driver::connect`].
    pub fn connect(&mut self, addr: SocketAddr, token: Token) {
        let address = Box::new(Address::from(addr));
        match open_stream(&address) {
            Ok(stream) => {
                let fd = stream.as_raw_fd();
                self.start(Op::Connect { stream, address, token }, fd);
            }
            Err(errno) => self.ready.push(Event::Connected { token, result: Err(errno) }),
        }
    }

    /// A connect has completed.
    pub(super) fn connect_completed(
        &mut self,
        number: u64,
        count: Result<usize, Errno>,
        events: &mut Vec<Event>,
    ) {
        if let Some(Op::Connect { stream, token, .. }) = self.ops.remove(number) {
            let result = count.and_then(|_| self.adopt(stream));
            events.push(Event::Connected { token, result });
        }
    }

    /// See [`crate::Driver::peer`].
    pub fn peer(&mut self, socket: Socket) -> Option<SocketAddr> {
        self.socket(socket)?.stream.as_ref()?.peer_addr().ok()
    }

    /// See [`crate::Driver::send`]. On a socket that was closed the buffer is dropped.
    pub fn send(&mut self, socket: Socket, mut buf: Vec<u8>, token: Token) {
        if buf.is_empty() {
            if self.socket(socket).is_some() {
                buf.clear();
                self.ready.push(Event::Sent { token, buf, result: Ok(()) });
            }
            return;
        }
        if let Some(fd) = self.socket_begin(socket) {
            self.start(Op::Send { socket, buf, sent: 0, token }, fd);
        }
    }

    /// A send has completed, all of it or a part.
    pub(super) fn send_completed(
        &mut self,
        number: u64,
        count: Result<usize, Errno>,
        events: &mut Vec<Event>,
    ) {
        let Some(Op::Send { socket, buf, sent, .. }) = self.ops.get_mut(number) else { return };
        let socket = *socket;
        let result = match count {
            Ok(0) => Err(Errno(libc::EPIPE)),
            Ok(count) => {
                *sent += count;
                assert!(*sent <= buf.len(), "more sent than there was");
                Ok(*sent == buf.len())
            }
            Err(Errno(libc::EINTR | libc::EAGAIN)) => Ok(false),
            Err(errno) => Err(errno),
        };
        if result == Ok(false) && self.socket(socket).is_some() {
            self.go_on(number, self.socket_fd(socket));
            return;
        }
        let Some(Op::Send { mut buf, token, .. }) = self.ops.remove(number) else { return };
        if self.socket_end(socket) {
            buf.clear();
            events.push(Event::Sent { token, buf, result: result.map(drop) });
        }
    }
}

fn open_stream(address: &Address) -> Result<TcpStream, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::socket(address.family(), kind, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the descriptor is new and owned by nobody else.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    stream.set_nodelay(true)?;
    Ok(stream)
}
