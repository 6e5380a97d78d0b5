//! The test's end of a TCP connection: no driver, no events, just bytes in and out.
//!
//! Calls take no time; what they cause happens as the world's clock moves. A waiting driver
//! returns whenever something reached a client, so that the test can look. Never blocks.

use std::net::SocketAddr;

use super::net::{Owner, Standing};
use super::world::World;
use crate::driver::Token;

/// A client. Dropping it closes its connection.
#[derive(Debug)]
pub struct SimClient {
    world: World,
    end: Option<u64>,
}

impl SimClient {
    /// A client of `world`, outside of all its machines.
    pub(crate) fn new(world: World) -> SimClient {
        SimClient { world, end: None }
    }

    /// Starts to connect, leaving an earlier connection.
    pub fn connect(&mut self, addr: SocketAddr) {
        self.close();
        self.end = Some(self.world.with(|state| {
            state.note("client-connect", &[u64::from(addr.port())]);
            state.connect(Owner::Outside, addr, Token(0))
        }));
    }

    /// Sends bytes, after those of earlier calls; before the connection stands they wait.
    pub fn send(&mut self, bytes: &[u8]) {
        self.on_end(|state, end| {
            state.note("client-send", &[super::state::hash(bytes)]);
            state.send(end, bytes.to_vec(), None);
        });
    }

    /// Takes what has arrived since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        let mut taken = Vec::new();
        self.on_end(|state, end| taken = state.take_arrived(end));
        taken
    }

    /// A client that stops reading (`true`) until told otherwise; its window fills up.
    pub fn pause(&mut self, paused: bool) {
        self.on_end(|state, end| {
            if let Some(end) = state.net.end_mut(end) {
                end.paused = paused;
            }
        });
    }

    /// How the connection stands.
    pub fn standing(&self) -> Standing {
        let Some(end) = self.end else { return Standing::Failed };
        self.world.with(|state| state.net.standing(end))
    }

    /// Sends the last byte; reading goes on.
    pub fn half_close(&mut self) {
        self.on_end(|state, end| state.half_close(end));
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.leave(false);
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        self.leave(true);
    }

    fn leave(&mut self, reset: bool) {
        self.on_end(|state, end| {
            state.note("client-close", &[u64::from(reset)]);
            state.close_end(end, reset);
        });
        self.end = None;
    }

    fn on_end(&self, body: impl FnOnce(&mut super::state::State, u64)) {
        if let Some(end) = self.end {
            self.world.with(|state| body(state, end));
        }
    }
}

impl Drop for SimClient {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close();
        }
    }
}
