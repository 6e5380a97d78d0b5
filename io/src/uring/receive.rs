//! Receiving: repeating into the pool, or a given number of bytes into the caller's buffer.
//!
//! A repeating receive that finds no free buffer ends in the kernel and is armed again here as
//! soon as chunks have been given back; its bytes wait in the socket meanwhile, which is
//! back-pressure. Never: a byte lost or given twice when a receive is stopped and started again.

use io_uring::opcode;

use super::op::Op;
use super::ring::Completion;
use super::setup::Uring;
use super::slab::CANCEL;
use crate::buf::Chunk;
use crate::driver::{Errno, Event, ReceiveEnd, Socket, Token};

impl Uring {
    /// See [`crate::Driver::receive`].
    pub fn receive(&mut self, socket: Socket, token: Token) {
        let Some(fd) = self.socket_begin(socket) else { return };
        let op = Op::Receive { socket, armed: true, stopping: false, token };
        let number = self.start(op, fd);
        if let Some(slot) = self.socket(socket) {
            assert!(slot.receive.is_none(), "{socket:?} receives already");
            slot.receive = Some(number);
        }
    }

    /// See [`crate::Driver::receive_stop`].
    pub fn receive_stop(&mut self, socket: Socket) {
        let Some(number) = self.socket(socket).and_then(|slot| slot.receive) else { return };
        let Some(Op::Receive { armed, stopping, .. }) = self.ops.get_mut(number) else { return };
        if *stopping {
            return;
        }
        *stopping = true;
        if *armed {
            self.cancel_receive(number);
        } else {
            self.starved.retain(|starved| *starved != number);
            let mut events = std::mem::take(&mut self.ready);
            self.receive_ended(number, ReceiveEnd::Stopped, &mut events);
            self.ready = events;
        }
    }

    fn cancel_receive(&mut self, number: u64) {
        let cancel = opcode::AsyncCancel::new(number).build();
        self.ring.push(cancel.user_data(number | CANCEL));
    }

    /// A cancellation has ended. One that did not find the operation, which is still there, came
    /// while the kernel had it between two of its lists: it is asked for again.
    pub(super) fn cancel_completed(&mut self, completion: Completion) {
        let number = completion.user_data & !CANCEL;
        if completion.result >= 0 {
            return;
        }
        if let Some(Op::Receive { stopping: true, .. }) = self.ops.get_mut(number) {
            self.cancel_receive(number);
        }
    }

    fn receive_ended(&mut self, number: u64, end: ReceiveEnd, events: &mut Vec<Event>) {
        let Some(Op::Receive { socket, token, .. }) = self.ops.remove(number) else { return };
        if self.socket_end(socket) {
            if let Some(slot) = self.socket(socket) {
                slot.receive = None;
            }
            events.push(Event::ReceiveEnded { token, end });
        }
    }

    /// A repeating receive has brought bytes, or has ended.
    pub(super) fn receive_completed(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let number = completion.user_data;
        let filled = completion.buffer().map(|buffer| {
            self.pool.taken();
            let len = completion.count().unwrap_or(0);
            Chunk::pooled(&self.pool, buffer, len)
        });
        let Some(Op::Receive { socket, stopping, token, .. }) = self.ops.get_mut(number) else {
            return;
        };
        let (socket, stopping, token) = (*socket, *stopping, *token);
        if let Some(chunk) = filled.filter(|chunk| !chunk.is_empty())
            && self.socket(socket).is_some()
        {
            events.push(Event::Received { token, chunk });
        }
        if completion.more() {
            return;
        }
        match completion.count() {
            Ok(0) => self.receive_ended(number, ReceiveEnd::Eof, events),
            Err(Errno(libc::ECANCELED | libc::ENOBUFS | libc::EINTR)) | Ok(_) if stopping => {
                self.receive_ended(number, ReceiveEnd::Stopped, events);
            }
            Ok(_) | Err(Errno(libc::EINTR)) => self.receive_again(number),
            Err(Errno(libc::ENOBUFS)) => self.starve(number),
            Err(errno) => self.receive_ended(number, ReceiveEnd::Failed(errno), events),
        }
    }

    fn receive_again(&mut self, number: u64) {
        let Some(Op::Receive { socket, armed, .. }) = self.ops.get_mut(number) else { return };
        let socket = *socket;
        *armed = true;
        if self.socket(socket).is_some() {
            self.go_on(number, self.socket_fd(socket));
        } else {
            self.receive_ended(number, ReceiveEnd::Stopped, &mut Vec::new());
        }
    }

    fn starve(&mut self, number: u64) {
        let Some(Op::Receive { socket, armed, .. }) = self.ops.get_mut(number) else { return };
        let socket = *socket;
        *armed = false;
        if self.socket(socket).is_some() {
            self.starved.push(number);
        } else {
            self.receive_ended(number, ReceiveEnd::Stopped, &mut Vec::new());
        }
    }

    /// Arms receives that wait for buffers, as many as there are free ones, oldest first.
    pub(super) fn feed_starved(&mut self) {
        let count = self.starved.len().min(usize::from(self.pool.free()));
        for index in 0..count {
            let number = self.starved[index];
            self.receive_again(number);
        }
        self.starved.drain(..count);
    }

    /// See [`crate::Driver::receive_exact`]. On a socket that was closed the buffer is dropped.
    pub fn receive_exact(&mut self, socket: Socket, buf: Vec<u8>, len: usize, token: Token) {
        let target = buf.len() + len;
        assert!(target <= buf.capacity(), "{len} bytes into {} spare", buf.capacity() - buf.len());
        let Some(slot) = self.socket(socket) else { return };
        assert!(slot.receive.is_none(), "{socket:?} receives already");
        if len == 0 {
            self.ready.push(Event::Filled { token, buf, result: Ok(()) });
        } else if let Some(fd) = self.socket_begin(socket) {
            self.start(Op::Fill { socket, buf, target, token }, fd);
        }
    }

    /// A sized receive has brought bytes, or has failed.
    pub(super) fn fill_completed(
        &mut self,
        number: u64,
        count: Result<usize, Errno>,
        events: &mut Vec<Event>,
    ) {
        let Some(Op::Fill { socket, buf, target, .. }) = self.ops.get_mut(number) else { return };
        let socket = *socket;
        let result = match count {
            Ok(0) => Err(ReceiveEnd::Eof),
            Ok(count) => {
                let len = buf.len() + count;
                assert!(len <= *target, "more received than there was room for");
                // SAFETY: `len` is within the capacity, and the kernel has filled these bytes.
                unsafe { buf.set_len(len) };
                Ok(len == *target)
            }
            Err(Errno(libc::EINTR | libc::EAGAIN)) => Ok(false),
            Err(errno) => Err(ReceiveEnd::Failed(errno)),
        };
        if result == Ok(false) && self.socket(socket).is_some() {
            self.go_on(number, self.socket_fd(socket));
            return;
        }
        let Some(Op::Fill { buf, token, .. }) = self.ops.remove(number) else { return };
        if self.socket_end(socket) {
            events.push(Event::Filled { token, buf, result: result.map(drop) });
        }
    }
}
