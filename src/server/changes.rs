//! Changes of topics and groups between shards, and what clients are told of changed groups.
//!
//! A change is made where it was asked for, then on every other shard; the one who asked is
//! answered when all have it. Changes without somebody who asked (auto-creation) travel the same
//! way and nobody waits.
//! Never: an answer before every shard has the change.

use weir_wire::code::request;
use weir_wire::frame::Codec;
use weir_wire::reply::Request;

use super::connection::ConnId;
use super::dispatch::{Call, Handled};
use super::mail::Letter;
use super::turn::Server;
use crate::base::map::Map;
use crate::broker::{Effect, Meta, Reject};
use crate::queue::ChunkRef;
use crate::shard::Waiter;

/// Changes that wait for other shards; more are answered when this shard has them.
const WAITING_MAX: usize = 4096;

/// Changes on their way to the other shards.
#[derive(Debug, Default)]
pub(super) struct Changes {
    next: u64,
    pub(super) waiting: Map<u64, (Waiter, u32)>,
    /// The pair's other half as the name server was told of it last.
    neighbour: Option<(u64, String)>,
}

impl Server {
    /// Makes a planned change (or none) and answers when every shard has it.
    pub(super) fn carry_out(
        &mut self,
        call: &Call<'_>,
        planned: Option<Meta>,
    ) -> Result<Handled, Reject> {
        let Some(meta) = planned else { return Ok(self.answer_done(call)) };
        self.shard.change(&mut self.driver, meta)?;
        let waiter = call.waiter();
        match self.post_metas(Some(waiter)) {
            true => {}
            false => self.shard.answer_when_kept(waiter),
        }
        Ok(Handled::Done)
    }

    /// Sends the changes made here to the other shards. Says whether `waiter` is answered later
    /// because of them.
    fn post_metas(&mut self, waiter: Option<Waiter>) -> bool {
        let metas = self.shard.take_outgoing();
        let others: Vec<u16> = self.post.others().collect();
        if metas.is_empty() || others.is_empty() {
            return false;
        }
        self.changes.next += 1;
        let ticket = self.changes.next;
        let waits = waiter.filter(|_| self.changes.waiting.len() < WAITING_MAX);
        if let Some(waiter) = waits {
            self.changes.waiting.insert(ticket, (waiter, others.len() as u32));
        }
        let from = self.post.own;
        for to in others {
            self.post.send(to, Letter::Change { from, ticket, metas: metas.clone() });
        }
        waits.is_some()
    }

    /// Posts what this turn changed: topics for the name server, changes for the other shards,
    /// notices for clients.
    pub(super) fn post_changes(&mut self) {
        self.post.retry();
        self.post_metas(None);
        self.post_routes();
        self.notify();
    }

    /// Tells the name server which topics changed here.
    fn post_routes(&mut self) {
        let (changed, removed) = self.shard.take_changed_topics();
        let known = self.changes.neighbour.as_ref().map(|(id, addr)| (*id, addr.as_str()));
        let met = self.shard.neighbour() != known;
        if !changed.is_empty() || !removed.is_empty() {
            self.ring();
        } else if !met {
            return;
        }
        let neighbour = self.shard.neighbour().map(|(id, addr)| (id, addr.to_owned()));
        self.changes.neighbour.clone_from(&neighbour);
        let broker_name = self.shard.broker.options().broker_name.clone();
        let broker_id = u64::from(self.shard.is_standby());
        let routes = Letter::Routes { broker_name, broker_id, neighbour, changed, removed };
        if self.naming.is_some() {
            self.take_routes(routes);
        } else {
            self.post.send(0, routes);
        }
    }

    fn take_routes(&mut self, routes: Letter) {
        let now_ns = self.now_ns;
        let Letter::Routes { broker_name, broker_id, neighbour, changed, removed } = routes else {
            return;
        };
        let Some(desk) = self.naming.as_mut() else { return };
        desk.set_role(&broker_name, broker_id, neighbour.as_ref());
        if let Err(why) = desk.routes(now_ns, &broker_name, &changed, &removed) {
            self.shard.voice.say("route-refused", &format_args!("{broker_name}: {why}"));
        }
    }

    /// Tells members that their group changed (oneway: a lost one is made good by the clients'
    /// own rebalance timer).
    fn notify(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        self.shard.take_effects(&mut effects);
        for Effect::NotifyIdsChanged { conn, group } in effects.drain(..) {
            self.next_opaque = self.next_opaque.wrapping_add(1);
            let opaque = self.next_opaque;
            if let Some(out) = self.connections.outbox(ConnId(conn.0)) {
                Request::new(out, Codec::Json, request::NOTIFY_CONSUMER_IDS_CHANGED, opaque, true)
                    .ext_str("consumerGroup", &group)
                    .finish();
            }
        }
        self.effects = effects;
    }

    /// Takes letters from the other shards and the node.
    pub(super) fn read_mail(&mut self) {
        while let Some(letter) = self.post.inbox.receive() {
            match letter {
                Letter::Open => self.open_doors(),
                Letter::Stop => self.stop(),
                Letter::Drain(timeout_ms, reply) => self.begin_drain(timeout_ms, reply),
                routes @ Letter::Routes { .. } => self.take_routes(routes),
                Letter::Change { from, ticket, metas } => {
                    for meta in &metas {
                        if let Err(reject) = self.shard.change_from_peer(&mut self.driver, meta) {
                            let why = format_args!("from shard {from}: {}", reject.remark);
                            self.shard.voice.say("change-refused", &why);
                        }
                    }
                    // The route must have it before the one who asked is told.
                    self.post_routes();
                    self.post.send(from, Letter::Changed { ticket });
                }
                Letter::Changed { ticket } => self.changed_elsewhere(ticket),
                Letter::Ask(question) => self.answer_question(question),
            }
        }
    }

    fn changed_elsewhere(&mut self, ticket: u64) {
        let Some((waiter, left)) = self.changes.waiting.get_mut(&ticket) else { return };
        *left -= 1;
        if *left == 0 {
            let waiter = *waiter;
            self.changes.waiting.remove(&ticket);
            self.shard.answer_when_kept(waiter);
        }
    }

    /// Reads a chunk of the consume queue for a request that is handled again then.
    pub(super) fn fetch_chunk(&mut self, chunk: ChunkRef) -> Handled {
        self.shard.fetch_chunk(&mut self.driver, chunk);
        Handled::Later
    }
}
