//! Connections over loopback against plain blocking sockets.
//! What is never tolerated here: a lost, doubled or reordered byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{LISTEN, Rig, pattern};
use crate::driver::{Errno, Event, ReceiveEnd, Socket, Token};
use crate::uring::UringOptions;

const RECEIVE: Token = Token(2);
const SEND: Token = Token(3);
const FILL: Token = Token(4);
const CONNECT: Token = Token(5);

/// Sends back what arrives until the peer closes its side; gives the number of chunks.
fn echo(rig: &mut Rig, socket: Socket) -> usize {
    let (mut chunks, mut waiting, mut sending, mut ended) = (0, Vec::new(), false, false);
    rig.driver.receive(socket, RECEIVE);
    loop {
        match rig.next() {
            Event::Received { token: RECEIVE, chunk } => {
                chunks += 1;
                waiting.extend_from_slice(&chunk);
            }
            Event::ReceiveEnded { token: RECEIVE, end: ReceiveEnd::Eof } => ended = true,
            Event::Sent { token: SEND, buf, result: Ok(()) } => {
                assert!(buf.is_empty() && buf.capacity() > 0);
                sending = false;
            }
            other => panic!("{other:?} in an echo"),
        }
        if !sending && !waiting.is_empty() {
            rig.driver.send(socket, std::mem::take(&mut waiting), SEND);
            sending = true;
        }
        if ended && !sending {
            return chunks;
        }
    }
}

#[test]
fn three_mebibytes_come_back_as_they_were_sent() {
    let mut rig = Rig::small();
    let (socket, peer) = rig.pair();
    assert_eq!(rig.driver.peer(socket), Some(peer.local_addr().unwrap()));
    let text = pattern(1, 3 << 20);
    let (mut reader, mut writer, expected) = (peer.try_clone().unwrap(), peer, text.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&text).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    let chunks = echo(&mut rig, socket);
    rig.driver.close(socket);
    assert!(chunks >= 48, "{chunks} chunks of at most 64 KiB");
    writing.join().unwrap();
    assert!(reading.join().unwrap() == expected, "the echo differs");
}

#[test]
fn accepted_and_opened_connections_do_not_wait_for_more_to_send() {
    let mut rig = Rig::small();
    let (_, addr) = rig.listen();
    rig.driver.connect(addr, CONNECT);
    let (mut opened, mut accepted) = (None, None);
    while opened.is_none() || accepted.is_none() {
        match rig.next() {
            Event::Connected { token: CONNECT, result } => opened = Some(result.unwrap()),
            Event::Accepted { token: LISTEN, result } => accepted = Some(result.unwrap()),
            other => panic!("{other:?}"),
        }
    }
    let (opened, accepted) = (opened.unwrap(), accepted.unwrap());
    assert_eq!(rig.driver.peer(opened), Some(addr));
    for socket in [opened, accepted] {
        let fd = rig.uring().socket_fd(socket);
        let mut value = 0_i32;
        let mut size = 4;
        // SAFETY: an open descriptor and a place of the size said.
        let failed = unsafe {
            let place = (&raw mut value).cast();
            libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, place, &raw mut size)
        };
        assert_eq!((failed, value), (0, 1), "TCP_NODELAY of {socket:?}");
    }
}

#[test]
fn version_six_addresses_work_where_the_machine_has_them() {
    let mut rig = Rig::small();
    let any = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    let (listener, addr) = match rig.driver.listen(any, Duration::ZERO) {
        Err(errno) => return assert!(std::net::TcpListener::bind(any).is_err(), "{errno}"),
        Ok(listening) => listening,
    };
    rig.driver.accept(listener, LISTEN);
    rig.driver.connect(addr, CONNECT);
    let mut peers = Vec::new();
    for _ in 0..2 {
        match rig.next() {
            Event::Connected { result, .. } | Event::Accepted { result, .. } => {
                peers.push(rig.driver.peer(result.unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(peers.contains(&Some(addr)), "{peers:?}");
}

#[test]
fn connecting_to_a_closed_port_is_refused() {
    let mut rig = Rig::small();
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    rig.driver.connect(addr, CONNECT);
    match rig.next() {
        Event::Connected { token: CONNECT, result } => {
            assert_eq!(result, Err(Errno(libc::ECONNREFUSED)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sized_receive_grows_the_buffer_by_exactly_what_was_asked() {
    let mut rig = Rig::small();
    let (socket, mut peer) = rig.pair();
    let text = pattern(2, (2 << 20) + 5);
    let expected = text.clone();
    let writing = std::thread::spawn(move || {
        for piece in text.chunks(77_777) {
            peer.write_all(piece).unwrap();
        }
        peer
    });
    let mut buf = Vec::with_capacity(3 << 20);
    buf.extend_from_slice(b"head");
    rig.driver.receive_exact(socket, buf, 2 << 20, FILL);
    let buf = match rig.next() {
        Event::Filled { token: FILL, buf, result: Ok(()) } => buf,
        other => panic!("{other:?}"),
    };
    assert_eq!(buf.len(), 4 + (2 << 20));
    assert!(&buf[..4] == b"head" && buf[4..] == expected[..2 << 20], "the bytes differ");
    // The rest comes to the repeating receive, and to nobody else.
    let peer = writing.join().unwrap();
    rig.driver.receive(socket, RECEIVE);
    match rig.next() {
        Event::Received { chunk, .. } => assert_eq!(chunk[..], expected[2 << 20..]),
        other => panic!("{other:?}"),
    }
    drop(peer);
    assert!(matches!(rig.next(), Event::ReceiveEnded { end: ReceiveEnd::Eof, .. }));
    rig.driver.receive_exact(socket, Vec::with_capacity(8), 8, FILL);
    match rig.next() {
        Event::Filled { result, .. } => assert_eq!(result, Err(ReceiveEnd::Eof)),
        other => panic!("{other:?}"),
    }
    rig.driver.receive_exact(socket, Vec::new(), 0, FILL);
    assert!(matches!(rig.next(), Event::Filled { result: Ok(()), .. }));
}

#[test]
fn a_receive_that_is_stopped_and_started_again_loses_no_byte() {
    let mut rig = Rig::small();
    let (socket, mut peer) = rig.pair();
    let text = pattern(3, 4 << 20);
    let expected = text.clone();
    let writing = std::thread::spawn(move || {
        for piece in text.chunks(3001) {
            peer.write_all(piece).unwrap();
        }
    });
    let (mut all, mut stops, mut fills) = (Vec::new(), 0, 0);
    rig.driver.receive(socket, RECEIVE);
    let mut pieces = 0;
    loop {
        match rig.next() {
            Event::Received { chunk, .. } => {
                all.extend_from_slice(&chunk);
                pieces += 1;
                if pieces % 5 == 0 {
                    rig.driver.receive_stop(socket);
                }
            }
            Event::ReceiveEnded { end: ReceiveEnd::Stopped, .. } => {
                stops += 1;
                let sized = expected.len() - all.len() > 5000 && stops % 2 == 0;
                if sized {
                    all.reserve(5000);
                    rig.driver.receive_exact(socket, std::mem::take(&mut all), 5000, FILL);
                } else {
                    rig.driver.receive(socket, RECEIVE);
                }
            }
            Event::Filled { buf, result: Ok(()), .. } => {
                all = buf;
                fills += 1;
                rig.driver.receive(socket, RECEIVE);
            }
            Event::ReceiveEnded { end: ReceiveEnd::Eof, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    writing.join().unwrap();
    assert!(stops > 3 && fills > 1, "{stops} stops, {fills} sized receives");
    assert!(all == expected, "the bytes differ");
}

#[test]
fn a_quiet_receive_ends_when_it_is_stopped() {
    let mut rig = Rig::small();
    let (socket, mut peer) = rig.pair();
    for round in 0..100_u8 {
        rig.driver.receive(socket, RECEIVE);
        if round % 3 == 0 {
            rig.drain(Duration::from_micros(100));
        }
        if round % 2 == 0 {
            peer.write_all(&[round]).unwrap();
        }
        rig.driver.receive_stop(socket);
        rig.driver.receive_stop(socket);
        loop {
            match rig.next() {
                Event::Received { .. } => {}
                Event::ReceiveEnded { end, .. } => break assert_eq!(end, ReceiveEnd::Stopped),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(rig.drain(Duration::from_millis(20)).is_empty(), "an end is told once");
}

#[test]
fn chunks_that_are_kept_hold_the_sender_back_and_nothing_is_lost() {
    let options = UringOptions {
        entries: 32,
        recv_buffers: 4,
        recv_buffer_bytes: 4096,
        ..UringOptions::default()
    };
    let mut rig = Rig::new(options);
    let (socket, mut peer) = rig.pair();
    let text = pattern(4, 1 << 20);
    let expected = text.clone();
    let writing = std::thread::spawn(move || peer.write_all(&text).unwrap());
    rig.driver.receive(socket, RECEIVE);
    let mut all = Vec::new();
    while all.len() < expected.len() {
        // All four buffers are taken and kept: nothing more may come.
        let kept = rig.drain(Duration::from_millis(1));
        assert!(kept.len() <= 4, "{} chunks of 4 buffers", kept.len());
        for event in kept {
            match event {
                Event::Received { chunk, .. } => all.extend_from_slice(&chunk),
                Event::ReceiveEnded { end: ReceiveEnd::Eof, .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    writing.join().unwrap();
    assert!(all == expected, "the bytes differ");
}

#[test]
fn a_starved_receive_can_be_stopped_and_closed() {
    let options = UringOptions {
        entries: 32,
        recv_buffers: 2,
        recv_buffer_bytes: 4096,
        ..UringOptions::default()
    };
    let mut rig = Rig::new(options);
    let (first, mut first_peer) = rig.pair();
    let (second, mut second_peer) = rig.pair();
    for (socket, peer) in [(first, &mut first_peer), (second, &mut second_peer)] {
        peer.write_all(&[7; 16384]).unwrap();
        rig.driver.receive(socket, RECEIVE);
    }
    let kept = rig.drain(Duration::from_millis(20));
    assert_eq!((kept.len(), rig.uring().starved.len()), (2, 2));
    rig.driver.receive_stop(first);
    assert!(matches!(rig.next(), Event::ReceiveEnded { end: ReceiveEnd::Stopped, .. }));
    rig.driver.close(second);
    rig.driver.close(first);
    drop(kept);
    assert!(rig.drain(Duration::from_millis(20)).is_empty());
    assert_eq!(rig.uring().pool.free(), 2);
    assert_eq!(rig.uring().ops.len(), 1, "only the bell's read is left");
    assert_eq!(rig.uring().free_sockets.len(), 2, "both slots are free again");
}

#[test]
fn eight_mebibytes_go_to_a_reader_that_takes_its_time() {
    let mut rig = Rig::small();
    let (socket, mut peer) = rig.pair();
    let text = pattern(5, 8 << 20);
    rig.driver.send(socket, text.clone(), SEND);
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut piece = vec![0; 300_000];
        while all.len() < 8 << 20 {
            std::thread::sleep(Duration::from_millis(1));
            let count = peer.read(&mut piece).unwrap();
            assert!(count > 0, "the connection ended after {} bytes", all.len());
            all.extend_from_slice(&piece[..count]);
        }
        all
    });
    let buf = rig.sent().unwrap();
    assert!(buf.is_empty() && buf.capacity() >= 8 << 20, "the buffer comes back with its memory");
    assert!(reading.join().unwrap() == text, "the bytes differ");
    rig.driver.send(socket, buf, SEND);
    assert!(rig.sent().is_ok(), "an empty send ends at once");
}

#[test]
fn a_connection_that_the_peer_reset_fails_its_operations() {
    let mut rig = Rig::small();
    let (socket, peer) = rig.pair();
    rig.driver.receive(socket, RECEIVE);
    rig.drain(Duration::from_millis(1));
    reset(peer);
    match rig.next() {
        Event::ReceiveEnded { end, .. } => {
            assert_eq!(end, ReceiveEnd::Failed(Errno(libc::ECONNRESET)));
        }
        other => panic!("{other:?}"),
    }
    rig.driver.send(socket, vec![1; 100], SEND);
    assert_eq!(rig.sent(), Err(Errno(libc::EPIPE)));
}

fn reset(peer: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let value = (&raw const linger).cast();
    let size = size_of::<libc::linger>() as u32;
    use std::os::fd::AsRawFd;
    // SAFETY: an open descriptor and a value of the size that the option takes.
    let failed = unsafe {
        libc::setsockopt(peer.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    };
    assert_eq!(failed, 0);
}

#[test]
fn closing_swallows_what_is_in_flight_and_frees_the_slot() {
    let mut rig = Rig::small();
    for round in 0..50 {
        let (socket, mut peer) = rig.pair();
        // A send that cannot end, and a receive that waits, a sized one in every other round.
        rig.driver.send(socket, vec![round; 16 << 20], SEND);
        if round % 2 == 0 {
            rig.driver.receive(socket, RECEIVE);
        } else {
            rig.driver.receive_exact(socket, Vec::with_capacity(64), 64, FILL);
        }
        if round % 3 == 0 {
            rig.drain(Duration::from_micros(500));
            peer.write_all(b"late").unwrap();
        }
        rig.driver.close(socket);
        rig.driver.close(socket);
        rig.driver.receive_stop(socket);
        assert_eq!(rig.driver.peer(socket), None);
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while rig.uring().free_sockets.is_empty() {
            assert!(std::time::Instant::now() < deadline, "operations did not end");
            assert!(rig.drain(Duration::from_millis(1)).is_empty(), "events after close");
        }
        assert_eq!(rig.uring().sockets.len(), 1, "one slot is used again and again");
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
    }
    assert_eq!(rig.uring().pool.free(), 8, "every buffer came back");
    // The bell's read and the listener's accept may be left.
    assert!(rig.uring().ops.len() <= 2, "{} operations left", rig.uring().ops.len());
}

#[test]
fn what_was_sent_before_a_close_arrives() {
    let mut rig = Rig::small();
    let (socket, mut peer) = rig.pair();
    rig.driver.send(socket, b"good bye".to_vec(), SEND);
    rig.sent().unwrap();
    rig.driver.close(socket);
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "good bye");
}

#[test]
fn a_thousand_connections_are_accepted_and_the_limit_closes_the_rest() {
    crate::probe::raise_descriptor_limit();
    let options = UringOptions { entries: 64, sockets: 1000, ..UringOptions::default() };
    let mut rig = Rig::new(options);
    let (listener, addr) = rig.listen();
    let connecting = std::thread::spawn(move || {
        (0..1010).map(|_| TcpStream::connect(addr).unwrap()).collect::<Vec<_>>()
    });
    let (mut good, mut refused) = (Vec::new(), 0);
    while good.len() + refused < 1010 {
        match rig.next() {
            Event::Accepted { result: Ok(socket), .. } => {
                rig.driver.receive(socket, RECEIVE);
                good.push(socket);
            }
            Event::Accepted { result: Err(errno), .. } => {
                assert_eq!(errno, Errno(libc::EMFILE));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    let mut peers = connecting.join().unwrap();
    assert_eq!((good.len(), refused), (1000, 10));
    rig.driver.close_listener(listener);
    for peer in &mut peers[..1000] {
        peer.write_all(b"x").unwrap();
    }
    let mut bytes = 0;
    while bytes < 1000 {
        match rig.next() {
            Event::Received { chunk, .. } => bytes += chunk.len(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_closed_listener_refuses_and_its_port_is_free_at_once() {
    let mut rig = Rig::small();
    let (listener, addr) = rig.listen();
    rig.drain(Duration::from_millis(1));
    rig.driver.close_listener(listener);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
    assert!(rig.drain(Duration::from_millis(5)).is_empty());
    let (again, bound) = rig.driver.listen(addr, Duration::ZERO).unwrap();
    assert_eq!((bound, again), (addr, listener), "the slot is used again");
    let busy = rig.driver.listen(addr, Duration::from_millis(30));
    assert_eq!(busy, Err(Errno(libc::EADDRINUSE)));
}

#[test]
fn listening_waits_for_a_port_that_becomes_free() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = held.local_addr().unwrap();
    let holding = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(40));
        drop(held);
    });
    let mut rig = Rig::small();
    assert!(rig.driver.listen(addr, Duration::from_secs(5)).is_ok());
    holding.join().unwrap();
}

#[test]
fn an_accept_without_descriptors_reports_rests_and_goes_on() {
    let mut rig = Rig::small();
    let (_, addr) = rig.listen();
    // What the kernel says when no descriptor is left; the accept has ended.
    let number = rig.uring().listeners[0].accept.unwrap();
    rig.drain(Duration::from_millis(1));
    let failed = crate::uring::ring::Completion { user_data: number, result: -24, flags: 0 };
    let mut events = Vec::new();
    let cancel = io_uring::opcode::AsyncCancel::new(number).build();
    rig.uring().ring.push(cancel.user_data(super::super::slab::CANCEL | 99));
    rig.uring().ring.poll().unwrap();
    let mut gone = Vec::new();
    rig.uring().ring.take(&mut gone);
    assert_eq!(gone.len(), 2, "the cancellation and what it cancelled");
    rig.uring().accept_completed(failed, &mut events);
    assert!(matches!(events[..], [Event::Accepted { result: Err(Errno(libc::EMFILE)), .. }]));
    let begun = std::time::Instant::now();
    let peer = TcpStream::connect(addr).unwrap();
    rig.accepted();
    assert!(begun.elapsed() >= Duration::from_millis(40), "rested {:?}", begun.elapsed());
    drop(peer);
}

#[test]
fn a_listener_that_was_stopped_lets_connections_wait_for_its_other_holder() {
    let opened = crate::open_listener(([127, 0, 0, 1], 0).into(), Duration::ZERO).unwrap();
    let addr = opened.local_addr().unwrap();
    let kept = opened.try_clone().unwrap();
    // As a socket unit opens them.
    opened.set_nonblocking(true).unwrap();
    let mut first = Rig::small();
    let listener = first.driver.listen_on(opened).unwrap();
    first.driver.accept(listener, LISTEN);
    let _early = std::net::TcpStream::connect(addr).unwrap();
    assert!(matches!(first.next(), Event::Accepted { token: LISTEN, result: Ok(_) }));
    first.driver.accept_stop(listener);
    first.drain(Duration::from_millis(20));
    let _late = std::net::TcpStream::connect(addr).unwrap();
    let seen = first.drain(Duration::from_millis(50));
    assert!(seen.is_empty(), "a stopped listener accepts nothing");
    drop(first);
    let mut second = Rig::small();
    let listener = second.driver.listen_on(kept).unwrap();
    second.driver.accept(listener, LISTEN);
    assert!(matches!(second.next(), Event::Accepted { token: LISTEN, result: Ok(_) }));
}
