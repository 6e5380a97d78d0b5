//! What an operation in flight owns, and how it is written for the kernel.
//!
//! The slab keeps an [`Op`] from its submission to its last completion; the pointers in its
//! submission entry point into memory that the op owns and that does not move with it. Never: an
//! entry built from borrowed memory.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::RawFd;

use io_uring::squeue::Entry;
use io_uring::{opcode, types};

use crate::buf::Buf;
use crate::driver::{Socket, Source, Token};

/// Buffer group of the receive pool; a ring has one.
pub(super) const POOL_GROUP: u16 = 0;

/// Longest piece of one read, write, send or receive, a multiple of [`crate::ALIGN`]; longer ones
/// go in several. Small under test, so that going on after a piece is tested all the time.
const MAX_PIECE: usize = if cfg!(test) { 16 * crate::ALIGN } else { 1 << 30 };

/// An operation that the kernel knows of, or will at the next submission.
#[derive(Debug)]
pub(super) enum Op {
    /// The read on the bell's eventfd.
    Bell { count: Box<[u8; 8]> },
    /// A write; `done` bytes of the source are written.
    Write { file: u32, offset: u64, source: Source, done: usize, durable: bool, token: Token },
    /// A read; `done` bytes of the buffer are filled.
    Read { file: u32, offset: u64, buf: Buf, done: usize, token: Token },
    /// An `fdatasync`.
    Sync { file: u32, token: Token },
    /// A repeating accept.
    Accept { listener: u32, token: Token },
    /// A connection being opened.
    Connect { stream: TcpStream, address: Box<Address>, token: Token },
    /// A repeating receive into the pool. `armed`: the kernel has it; otherwise it waits for free
    /// buffers.
    Receive { socket: Socket, armed: bool, stopping: bool, token: Token },
    /// A sized receive; the buffer grows up to `target` bytes.
    Fill { socket: Socket, buf: Vec<u8>, target: usize, token: Token },
    /// A send; `sent` bytes are taken.
    Send { socket: Socket, buf: Vec<u8>, sent: usize, token: Token },
}

/// The bytes of a write.
pub(super) fn source_bytes(source: &Source) -> &[u8] {
    match source {
        Source::Slice(slice) => slice.bytes(),
        Source::Buf(buf) => buf,
    }
}

impl Op {
    /// The submission entry for what is left to do, on descriptor `fd`.
    pub(super) fn entry(&mut self, fd: RawFd) -> Entry {
        let fd = types::Fd(fd);
        match self {
            Op::Bell { count } => {
                opcode::Read::new(fd, count.as_mut_ptr(), count.len() as u32).build()
            }
            Op::Write { offset, source, done, durable, .. } => {
                let bytes = &source_bytes(source)[*done..];
                let flags = if *durable { libc::RWF_DSYNC } else { 0 };
                opcode::Write::new(fd, bytes.as_ptr(), piece(bytes.len()))
                    .offset(*offset + *done as u64)
                    .rw_flags(flags)
                    .build()
            }
            Op::Read { offset, buf, done, .. } => {
                let space = &mut buf[*done..];
                opcode::Read::new(fd, space.as_mut_ptr(), piece(space.len()))
                    .offset(*offset + *done as u64)
                    .build()
            }
            Op::Sync { .. } => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            Op::Accept { .. } => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
            Op::Connect { address, .. } => {
                let (start, len) = address.parts();
                opcode::Connect::new(fd, start, len).build()
            }
            Op::Receive { .. } => opcode::RecvMulti::new(fd, POOL_GROUP).build(),
            Op::Fill { buf, target, .. } => {
                let left = *target - buf.len();
                let space = &mut buf.spare_capacity_mut()[..left];
                opcode::Recv::new(fd, space.as_mut_ptr().cast(), piece(left))
                    .flags(libc::MSG_WAITALL)
                    .build()
            }
            Op::Send { buf, sent, .. } => {
                let bytes = &buf[*sent..];
                opcode::Send::new(fd, bytes.as_ptr(), piece(bytes.len()))
                    .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
                    .build()
            }
        }
    }
}

fn piece(len: usize) -> u32 {
    len.min(MAX_PIECE) as u32
}

/// A peer's address as the kernel wants it.
#[derive(Clone, Copy)]
pub(super) enum Address {
    /// IPv4.
    V4(libc::sockaddr_in),
    /// IPv6.
    V6(libc::sockaddr_in6),
}

impl Address {
    /// The address family, for `socket`.
    pub(super) fn family(&self) -> i32 {
        match self {
            Address::V4(_) => libc::AF_INET,
            Address::V6(_) => libc::AF_INET6,
        }
    }

    fn parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        match self {
            Address::V4(v4) => ((&raw const *v4).cast(), size_of_val(v4) as libc::socklen_t),
            Address::V6(v6) => ((&raw const *v6).cast(), size_of_val(v6) as libc::socklen_t),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Address {
        match addr {
            SocketAddr::V4(v4) => Address::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Address::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.family() == libc::AF_INET { "V4" } else { "V6" })
    }
}
