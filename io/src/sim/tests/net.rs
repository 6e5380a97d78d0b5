//! What the network does to bytes: cuts them, delays them, keeps their order.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::driver::{ReceiveEnd, Socket};
use crate::sim::{Random, SimClient, Standing};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn accepted(events: &[Event]) -> Option<Socket> {
    events.iter().find_map(|event| match event {
        Event::Accepted { result: Ok(socket), .. } => Some(*socket),
        _ => None,
    })
}

/// A driver that has accepted one client.
fn pair(world: &World) -> (Driver, Socket, SimClient) {
    let mut driver = world.driver();
    let (listener, addr) = driver.listen(ANY, Duration::ZERO).unwrap();
    driver.accept(listener, Token(1));
    let mut client = world.client();
    client.connect(addr);
    let mut events = Vec::new();
    while accepted(&events).is_none() {
        driver.wait(u64::MAX, &mut events).unwrap();
    }
    assert_eq!(client.standing(), Standing::Open);
    let socket = accepted(&events).unwrap();
    assert!(driver.peer(socket).is_some());
    (driver, socket, client)
}

fn bytes(len: usize) -> Vec<u8> {
    let mut random = Random::new(len as u64, "bytes");
    (0..len).map(|_| random.next_u64() as u8).collect()
}

#[test]
fn bytes_arrive_whole_and_in_order_in_pieces_of_any_size() {
    let mut sizes = Vec::new();
    for seed in 0..20 {
        let (mut driver, socket, mut client) = pair(&world(seed));
        driver.receive(socket, Token(2));
        let sent = bytes(100_000);
        client.send(&sent);
        let (mut got, mut events) = (Vec::new(), Vec::new());
        while got.len() < sent.len() {
            driver.wait(u64::MAX, &mut events).unwrap();
            for event in events.drain(..) {
                let Event::Received { token: Token(2), chunk } = event else { panic!("{event:?}") };
                sizes.push(chunk.len());
                got.extend_from_slice(&chunk);
            }
        }
        assert_eq!(got, sent);
    }
    assert!(sizes.iter().any(|size| *size < 1000) && sizes.contains(&16_384));
}

#[test]
fn a_send_reaches_the_client_and_gives_its_buffer_back() {
    let world = world(2);
    let (mut driver, socket, mut client) = pair(&world);
    let sent = bytes(50_000);
    driver.send(socket, sent.clone(), Token(3));
    let mut events = Vec::new();
    let mut got = Vec::new();
    while got.len() < sent.len() || events.is_empty() {
        driver.wait(u64::MAX, &mut events).unwrap();
        got.extend(client.take());
    }
    assert_eq!(got, sent);
    let Event::Sent { token: Token(3), buf, result: Ok(()) } = &events[0] else { panic!() };
    assert!(buf.is_empty() && buf.capacity() >= 50_000);
}

#[test]
fn a_client_that_does_not_read_stops_the_sender_until_it_does() {
    let world = world(3);
    let (mut driver, socket, mut client) = pair(&world);
    client.pause(true);
    driver.send(socket, bytes(1_000_000), Token(3));
    let mut events = Vec::new();
    for _ in 0..1000 {
        let deadline_ns = driver.now_ns() + 1_000_000;
        driver.wait(deadline_ns, &mut events).unwrap();
        assert!(client.take().is_empty());
    }
    assert!(events.is_empty(), "a window's worth is on its way, no more");
    client.pause(false);
    let mut got = Vec::new();
    while got.len() < 1_000_000 {
        got.extend(client.take());
        driver.wait(u64::MAX, &mut events).unwrap();
    }
    assert_eq!(got, bytes(1_000_000));
    assert_eq!(tokens(&events), [3]);
}

#[test]
fn a_sized_receive_takes_exactly_what_was_asked() {
    let (mut driver, socket, mut client) = pair(&world(4));
    client.send(&bytes(30_000));
    let mut buf = Vec::with_capacity(20_100);
    buf.extend_from_slice(&[7; 100]);
    driver.receive_exact(socket, buf, 20_000, Token(5));
    let events = collect(&mut driver, 1);
    let Event::Filled { token: Token(5), buf, result: Ok(()) } = &events[0] else { panic!() };
    assert_eq!((&buf[..100], &buf[100..]), (&[7; 100][..], &bytes(30_000)[..20_000]));
    client.close();
    driver.receive_exact(socket, Vec::with_capacity(20_000), 20_000, Token(6));
    let events = collect(&mut driver, 1);
    let Event::Filled { buf, result: Err(ReceiveEnd::Eof), .. } = &events[0] else { panic!() };
    assert_eq!(buf[..], bytes(30_000)[20_000..]);
}

#[test]
fn a_stopped_receive_says_so_once_and_loses_nothing() {
    for seed in 0..20 {
        let (mut driver, socket, mut client) = pair(&world(seed));
        driver.receive(socket, Token(2));
        client.send(&bytes(60_000));
        let (mut events, mut got, mut stops) = (Vec::new(), Vec::new(), 0);
        driver.wait(u64::MAX, &mut events).unwrap();
        driver.receive_stop(socket);
        while stops == 0 {
            driver.wait(u64::MAX, &mut events).unwrap();
            for event in events.drain(..) {
                match event {
                    Event::Received { chunk, .. } => got.extend_from_slice(&chunk),
                    Event::ReceiveEnded { end: ReceiveEnd::Stopped, .. } => stops += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        let rest = 60_000 - got.len();
        if rest > 0 {
            driver.receive_exact(socket, Vec::with_capacity(rest), rest, Token(4));
            let filled = collect(&mut driver, 1);
            let Event::Filled { buf, result: Ok(()), .. } = &filled[0] else { panic!() };
            got.extend_from_slice(buf);
        }
        assert_eq!(got, bytes(60_000), "seed {seed}");
    }
}

#[test]
fn a_half_close_ends_receiving_and_leaves_sending() {
    let world = world(5);
    let (mut driver, socket, mut client) = pair(&world);
    driver.receive(socket, Token(2));
    client.send(b"last words");
    client.half_close();
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Event::ReceiveEnded { end: ReceiveEnd::Eof, .. })) {
        driver.wait(u64::MAX, &mut events).unwrap();
    }
    driver.send(socket, b"answer".to_vec(), Token(3));
    collect(&mut driver, 1);
    let mut got = client.take();
    while got.len() < 6 {
        driver.wait(u64::MAX, &mut Vec::new()).unwrap();
        got.extend(client.take());
    }
    assert_eq!(got, b"answer");
}

#[test]
fn a_reset_fails_the_receive_and_the_send() {
    let (mut driver, socket, mut client) = pair(&world(6));
    driver.receive(socket, Token(2));
    client.pause(true);
    driver.send(socket, bytes(1_000_000), Token(3));
    client.reset();
    let events = collect(&mut driver, 2);
    let failed = |event: &Event| match event {
        Event::ReceiveEnded { end: ReceiveEnd::Failed(_), .. } => true,
        Event::Sent { result: Err(_), .. } => true,
        _ => panic!("{event:?}"),
    };
    assert!(events.iter().all(failed));
}

#[test]
fn closing_swallows_events_and_old_sockets_name_nothing() {
    let world = world(7);
    let (mut driver, socket, mut client) = pair(&world);
    driver.receive(socket, Token(2));
    client.send(&bytes(5000));
    world.advance_by(10_000_000);
    driver.close(socket);
    let mut events = Vec::new();
    for _ in 0..20 {
        let deadline_ns = driver.now_ns() + 1_000_000;
        driver.wait(deadline_ns, &mut events).unwrap();
    }
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(driver.peer(socket), None);
    driver.send(socket, vec![1], Token(9));
    assert!(matches!(client.standing(), Standing::Ended | Standing::Failed));
}

#[test]
fn nobody_listening_refuses_and_a_busy_port_is_busy() {
    let world = world(8);
    let mut driver = world.driver();
    driver.connect(SocketAddr::new(ANY.ip(), 9), Token(1));
    let events = collect(&mut driver, 1);
    let refused = Errno(libc::ECONNREFUSED);
    assert!(matches!(events[0], Event::Connected { result: Err(error), .. } if error == refused));
    let (_, addr) = driver.listen(ANY, Duration::ZERO).unwrap();
    let busy = Errno(libc::EADDRINUSE);
    assert_eq!(driver.listen(addr, Duration::from_millis(50)), Err(busy));
    let mut client = world.client();
    client.connect(SocketAddr::new(ANY.ip(), 9));
    world.advance_by(100_000_000);
    assert_eq!(client.standing(), Standing::Failed);
}

#[test]
fn a_killed_process_resets_its_clients_and_may_hold_its_port_for_a_moment() {
    let mut held = 0;
    for seed in 0..40 {
        let world = world(seed);
        let (mut driver, _, mut client) = pair(&world);
        let (_, addr) = driver.listen(ANY, Duration::ZERO).unwrap();
        world.kill();
        let mut next = world.driver();
        held += usize::from(next.listen(addr, Duration::ZERO).is_err());
        let mut next = world.driver();
        next.listen(SocketAddr::new(addr.ip(), addr.port() + 1), Duration::ZERO).unwrap();
        world.advance_by(50_000_000);
        assert!(matches!(client.standing(), Standing::Ended | Standing::Failed));
        client.close();
    }
    assert!((5..35).contains(&held), "{held}");
}

#[test]
fn two_drivers_talk_over_a_connection() {
    let world = world(9);
    let other = world.another_machine();
    let (mut server, mut caller) = (world.driver(), other.driver());
    let (listener, addr) = server.listen(ANY, Duration::ZERO).unwrap();
    server.accept(listener, Token(1));
    caller.connect(addr, Token(2));
    let (mut at_server, mut at_caller) = (Vec::new(), Vec::new());
    let sent = bytes(70_000);
    let mut got = Vec::new();
    let mut parted = 0;
    while got.len() < sent.len() {
        server.wait(0, &mut at_server).unwrap();
        caller.wait(0, &mut at_caller).unwrap();
        for event in at_caller.drain(..) {
            if let Event::Connected { result: Ok(socket), .. } = event {
                caller.send(socket, sent.clone(), Token(3));
                world.partition(&other);
            }
        }
        for event in at_server.drain(..) {
            match event {
                Event::Accepted { result: Ok(socket), .. } => server.receive(socket, Token(4)),
                Event::Received { chunk, .. } => got.extend_from_slice(&chunk),
                other => panic!("{other:?}"),
            }
        }
        world.advance();
        if world.now_ns() > 50_000_000 {
            parted = parted.max(got.len());
            world.heal(&other);
        }
        if world.now_ns() < 50_000_000 {
            assert!(got.is_empty(), "nothing passes a partition");
            world.advance_by(1_000_000);
        }
    }
    assert_eq!(got, sent);
}
