//! Listening and accepting.
//!
//! One repeating accept per listener; after an error it is armed again, at once when the fault
//! was the peer's, after a pause when it was this process's (no descriptors left), so that the
//! loop does not spin. `TCP_NODELAY` is set on the listener and inherited by what it accepts.
//! Never: an accepted connection that is forgotten open.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::opcode;

use super::files::RETRY_PAUSE;
use super::op::Op;
use super::ring::Completion;
use super::setup::Uring;
use super::slab::CANCEL;
use crate::driver::{Errno, Event, Listener, Token};

/// Connections that the kernel completes ahead of the accept.
const BACKLOG: i32 = 1024;

/// Pause after an error that would only come again.
const REST_NS: u64 = 50_000_000;

/// A place of the table of listeners.
#[derive(Debug)]
pub(super) struct ListenerSlot {
    listener: Option<TcpListener>,
    closed: bool,
    /// Number of the accept that runs or rests.
    pub(super) accept: Option<u64>,
}

impl Uring {
    /// See [`crate::Driver::listen`].
    pub fn listen(
        &mut self,
        addr: SocketAddr,
        patience: Duration,
    ) -> Result<(Listener, SocketAddr), Errno> {
        let listener = open_listener(addr, patience)?;
        let bound = listener.local_addr()?;
        Ok((self.listen_on(listener)?, bound))
    }

    /// See [`crate::Driver::listen_on`].
    pub fn listen_on(&mut self, listener: TcpListener) -> Result<Listener, Errno> {
        prepare(&listener)?;
        let slot = ListenerSlot { listener: Some(listener), closed: false, accept: None };
        let free = self.listeners.iter().position(|slot| slot.listener.is_none());
        let index = free.unwrap_or(self.listeners.len());
        match self.listeners.get_mut(index) {
            Some(place) => *place = slot,
            None => self.listeners.push(slot),
        }
        Ok(Listener(index as u32))
    }

    /// See [`crate::Driver::accept`]. Once per listener.
    pub fn accept(&mut self, listener: Listener, token: Token) {
        let slot = &self.listeners[listener.0 as usize];
        assert!(!slot.closed && slot.accept.is_none(), "{listener:?} accepts already or is closed");
        let fd = slot.listener.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let number = self.start(Op::Accept { listener: listener.0, token }, fd);
        self.listeners[listener.0 as usize].accept = Some(number);
    }

    /// See [`crate::Driver::close_listener`].
    pub fn close_listener(&mut self, listener: Listener) {
        let Some(slot) = self.listeners.get_mut(listener.0 as usize) else { return };
        slot.closed = true;
        if let Some(listening) = &slot.listener {
            // SAFETY: an open descriptor; the call takes no pointers. Connections that were not
            // accepted are reset and no new ones are completed.
            unsafe { libc::shutdown(listening.as_raw_fd(), libc::SHUT_RDWR) };
        }
        match slot.accept {
            Some(number) if !self.resting.iter().any(|(_, resting)| *resting == number) => {
                let cancel = opcode::AsyncCancel::new(number).build();
                self.ring.push(cancel.user_data(number | CANCEL));
            }
            Some(number) => {
                self.resting.retain(|(_, resting)| *resting != number);
                self.accept_ended(number, listener.0);
            }
            None => slot.listener = None,
        }
    }

    /// See [`crate::Driver::accept_stop`].
    pub fn accept_stop(&mut self, listener: Listener) {
        let Some(slot) = self.listeners.get(listener.0 as usize) else { return };
        let Some(number) = slot.accept else { return };
        if self.resting.iter().any(|(_, resting)| *resting == number) {
            self.resting.retain(|(_, resting)| *resting != number);
            self.ops.remove(number);
            self.listeners[listener.0 as usize].accept = None;
        } else {
            let cancel = opcode::AsyncCancel::new(number).build();
            self.ring.push(cancel.user_data(number | CANCEL));
        }
    }

    fn accept_ended(&mut self, number: u64, listener: u32) {
        self.ops.remove(number);
        let slot = &mut self.listeners[listener as usize];
        slot.listener = None;
        slot.accept = None;
    }

    /// A connection has come, or an accept has failed.
    pub(super) fn accept_completed(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let number = completion.user_data;
        let Some(Op::Accept { listener, token }) = self.ops.get_mut(number) else { return };
        let (listener, token) = (*listener, *token);
        let stream = completion.count().map(|fd| {
            // SAFETY: the kernel has just made this descriptor for this completion.
            TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd as i32) })
        });
        let closed = self.listeners[listener as usize].closed;
        if closed {
            if !completion.more() {
                self.accept_ended(number, listener);
            }
            return;
        }
        let failed = stream.as_ref().err().copied();
        if failed == Some(Errno::CANCELED) {
            // Asked for by `accept_stop`: the listener stays open.
            self.ops.remove(number);
            self.listeners[listener as usize].accept = None;
            return;
        }
        let result = stream.and_then(|stream| self.adopt(stream));
        if failed != Some(Errno(libc::EINTR)) {
            events.push(Event::Accepted { token, result });
        }
        if !completion.more() {
            match failed {
                None | Some(Errno(libc::ECONNABORTED | libc::EPROTO | libc::EINTR)) => {
                    self.accept_again(number);
                }
                Some(_) => self.resting.push((crate::clock::now_ns() + REST_NS, number)),
            }
        }
    }

    fn accept_again(&mut self, number: u64) {
        let Some(Op::Accept { listener, .. }) = self.ops.get_mut(number) else { return };
        let slot = &self.listeners[*listener as usize];
        let fd = slot.listener.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        self.go_on(number, fd);
    }

    /// Arms accepts that have rested long enough; gives the time of the next one that has not.
    pub(super) fn wake_resting(&mut self, now_ns: u64) -> u64 {
        while let Some(index) = self.resting.iter().position(|(due_ns, _)| *due_ns <= now_ns) {
            let (_, number) = self.resting.swap_remove(index);
            self.accept_again(number);
        }
        self.resting.iter().map(|(due_ns, _)| *due_ns).min().unwrap_or(u64::MAX)
    }
}

/// A listening socket at `addr`, retrying a busy port for `patience`. Port 0 picks one.
pub fn open_listener(addr: SocketAddr, patience: Duration) -> Result<TcpListener, Errno> {
    let start = Instant::now();
    loop {
        // The standard library sets `SO_REUSEADDR` and a backlog of its own.
        match TcpListener::bind(addr).map_err(Errno::from) {
            Err(Errno(libc::EADDRINUSE)) if start.elapsed() < patience => {
                std::thread::sleep(RETRY_PAUSE);
            }
            other => return other,
        }
    }
}

/// Sets what accepted connections inherit, and the backlog, whoever opened the listener.
fn prepare(listener: &TcpListener) -> Result<(), Errno> {
    // The ring answers EAGAIN at once on a descriptor that does not block.
    listener.set_nonblocking(false)?;
    let fd = listener.as_raw_fd();
    // SAFETY: an open descriptor; the call takes no pointers.
    let failed = unsafe { libc::listen(fd, BACKLOG) };
    if failed != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let (one, size) = (1_i32, size_of::<i32>() as libc::socklen_t);
    let value = (&raw const one).cast();
    // SAFETY: an open descriptor and a value of the size that the option takes.
    let failed = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, value, size) };
    if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
