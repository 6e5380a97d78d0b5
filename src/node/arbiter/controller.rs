//! A RocketMQ Controller as the majority outside: the master it elected is the holder, its
//! SyncStateSet is the record.
//!
//! It knows boxes by numbers. Which number is whose follows from the check code that a number is
//! taken with: the name of the box. A box says that it lives only while it may be elected, because
//! the Controller does not ask. What it was the master of, and in which life of its machine, stands
//! in a small file.
//! There is no lease that a box could see: a Controller elects another when it heard nothing for
//! the time that the box itself told it, or when the connection ends. What is lent counts from a
//! heartbeat that its leader and most Controllers took, and a leader that still names this box.
//! Never: a claim to be the master that the leader did not make.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use weir_io::clock;
use weir_wire::codes::{request, response};

use super::law::{Holder, Own, Part, Record, Seen};
use super::{Arbiter, Fault, Look};
use crate::base::limits::CONTROLLER_NUMBERS_MAX;
use crate::node::remoting::{Answer, Links};

/// What a box is to the Controller.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// `brokerClusterName`.
    pub(super) cluster: String,
    /// `brokerName`, without a shard's number.
    pub(super) broker: String,
    /// `host:port` of the first shard.
    pub(super) address: String,
}

/// The Controllers, for one pair.
pub(super) struct Controller {
    names: Names,
    controllers: Vec<String>,
    leader: Option<String>,
    /// It has committed something since it was found: what it says is not older than that.
    is_proven: bool,
    links: Links,
    timeout_ms: u64,
    /// Epoch and life of the machine in which this box was the master last.
    mastered: Mastered,
    /// Number of this box, once it is registered.
    number: Option<u64>,
    /// Numbers of boxes that are known by name.
    known: BTreeMap<u64, String>,
    /// Epoch in which this process was told that this box is the master.
    claimed: Option<u64>,
    /// Master epoch and SyncStateSet's epoch, as read last.
    epochs: (u64, u64),
    /// Lent until then.
    until_ns: u64,
    /// It was a standby that may be elected, in this process's life.
    was_kept: bool,
}

impl Controller {
    /// Speaks with `controllers`, and tells them that this box is dead after `timeout_ms` of
    /// silence. `file` is where it remembers what it was. Nothing is sent yet.
    pub(super) fn new(
        controllers: &[String],
        names: Names,
        timeout_ms: u64,
        file: PathBuf,
    ) -> Controller {
        Controller {
            names,
            controllers: controllers.to_vec(),
            leader: None,
            is_proven: false,
            links: Links::default(),
            timeout_ms,
            mastered: Mastered::read(file),
            number: None,
            known: BTreeMap::new(),
            claimed: None,
            epochs: (0, 0),
            until_ns: 0,
            was_kept: false,
        }
    }

    /// Asks the leader; finds it first when it is not known.
    fn ask(&mut self, code: i32, fields: &[(&str, String)], body: &[u8]) -> Result<Answer, Fault> {
        let leader = match &self.leader {
            Some(leader) => leader.clone(),
            None => self.find_leader()?,
        };
        let answer = self.links.ask(&leader, code, fields, body);
        match answer {
            Ok(answer) if answer.code == response::CONTROLLER_NOT_LEADER => {
                self.leader = None;
                Err(Fault::new(&format!("{leader} is not the leader any more")))
            }
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.leader = None;
                Err(Fault::new(&format!("{leader}: {error}")))
            }
        }
    }

    fn find_leader(&mut self) -> Result<String, Fault> {
        let mut why = Fault::new("none of them is known");
        for addr in self.controllers.clone() {
            let asked = self.links.ask(&addr, request::CONTROLLER_GET_METADATA_INFO, &[], &[]);
            match asked.map(|answer| answer.fields.get("controllerLeaderAddress").cloned()) {
                Ok(Some(leader)) if !leader.is_empty() => {
                    self.leader = Some(leader.clone());
                    self.is_proven = false;
                    return Ok(leader);
                }
                Ok(_) => why = Fault::new(&format!("{addr} knows no leader")),
                Err(error) => why = Fault::new(&format!("{addr}: {error}")),
            }
        }
        Err(why)
    }

    /// The fields that name this pair.
    fn pair(&self) -> Vec<(&'static str, String)> {
        vec![("clusterName", self.names.cluster.clone()), ("brokerName", self.names.broker.clone())]
    }

    /// Takes the number that is this box's, or a new one, and registers with it.
    fn register(&mut self, own: &Own) -> Result<u64, Fault> {
        let next = self.ask(request::CONTROLLER_GET_NEXT_BROKER_ID, &self.pair(), &[])?;
        let next = next.number("nextBrokerId").unwrap_or(1).min(CONTROLLER_NUMBERS_MAX);
        for number in 1..=next {
            if !self.is_number_of(number, &own.id)? {
                continue;
            }
            let mut fields = self.pair();
            fields.push(("brokerId", number.to_string()));
            fields.push(("brokerAddress", self.names.address.clone()));
            let answer = self.ask(request::CONTROLLER_REGISTER_BROKER, &fields, &[])?;
            if answer.code != response::SUCCESS {
                return Err(refused("registering", &answer));
            }
            self.number = Some(number);
            self.known.insert(number, own.id.clone());
            return Ok(number);
        }
        Err(Fault::new("it has no number for this box: clean its broker data of dead boxes"))
    }

    /// Whether a number is that of the box called `id`; a free one becomes so.
    fn is_number_of(&mut self, number: u64, id: &str) -> Result<bool, Fault> {
        let mut fields = self.pair();
        fields.push(("appliedBrokerId", number.to_string()));
        fields.push(("registerCheckCode", format!("{id};weir")));
        let answer = self.ask(request::CONTROLLER_APPLY_BROKER_ID, &fields, &[])?;
        Ok(answer.code == response::SUCCESS)
    }

    /// Learns the number of the other box, out of those that are taken.
    fn learn(&mut self, peer: &str) -> Result<(), Fault> {
        if self.known.values().any(|id| id == peer) {
            return Ok(());
        }
        let names = json!([self.names.broker]).to_string();
        let answer = self.ask(request::CONTROLLER_GET_SYNC_STATE_DATA, &[], names.as_bytes())?;
        let state: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let state = &state["replicasInfoTable"][&self.names.broker];
        let rows = ["inSyncReplicas", "notInSyncReplicas"].map(|key| state[key].as_array());
        let numbers: Vec<u64> =
            rows.into_iter().flatten().flatten().filter_map(|r| r["brokerId"].as_u64()).collect();
        for number in numbers {
            if !self.known.contains_key(&number) && self.is_number_of(number, peer)? {
                self.known.insert(number, peer.to_owned());
                return Ok(());
            }
        }
        Ok(())
    }

    /// The name of a number's box; a box that is not known by name has one that nobody else has.
    fn name(&self, number: u64) -> String {
        self.known.get(&number).cloned().unwrap_or_else(|| format!("number {number}"))
    }

    /// Says to all Controllers that this box lives. True: the leader and most of them took it.
    fn heartbeat(&mut self, number: u64) -> bool {
        let mut fields = self.pair();
        fields.push(("brokerAddr", self.names.address.clone()));
        fields.push(("brokerId", number.to_string()));
        fields.push(("epoch", self.epochs.0.to_string()));
        fields.push(("maxOffset", "0".to_owned()));
        fields.push(("confirmOffset", "0".to_owned()));
        fields.push(("heartbeatTimeoutMills", self.timeout_ms.to_string()));
        fields.push(("electionPriority", i32::MAX.to_string()));
        let leader = self.leader.clone().unwrap_or_default();
        let mut taken = 0;
        let mut leader_took = false;
        for addr in self.controllers.clone() {
            let took = self.beat(&addr, &fields);
            taken += usize::from(took);
            leader_took |= took && addr == leader;
        }
        // A leader that calls itself by another address than the configuration counts once.
        if !self.controllers.contains(&leader) && !leader.is_empty() {
            leader_took = self.beat(&leader, &fields);
        }
        leader_took && taken > self.controllers.len() / 2
    }

    /// One heartbeat to one Controller. True: it took it.
    fn beat(&mut self, addr: &str, fields: &[(&str, String)]) -> bool {
        let answer = self.links.ask(addr, request::BROKER_HEARTBEAT, fields, &[]);
        answer.is_ok_and(|answer| answer.code == response::SUCCESS)
    }

    /// Whether the Controller may elect this box.
    fn may_live(&mut self, own: &Own, set: &[u64]) -> bool {
        self.was_kept |= own.part == Part::Standby && own.kept;
        let whole = self.mastered.boot == 0 || self.mastered.boot == own.boot;
        let was_master = self.mastered.epoch == self.epochs.0;
        let good = match own.part {
            Part::Standby => own.kept,
            // None was ever elected.
            _ if self.epochs.0 == 0 => true,
            _ if was_master => whole || own.in_step || set.len() < 2,
            _ => own.in_step || self.was_kept,
        };
        !own.failed && (good || self.claimed.is_some())
    }

    /// Master, and SyncStateSet, with their epochs.
    fn read(&mut self) -> Result<(Option<u64>, Vec<u64>), Fault> {
        let fields = [("brokerName", self.names.broker.clone())];
        let answer = self.ask(request::CONTROLLER_GET_REPLICA_INFO, &fields, &[])?;
        if answer.code != response::SUCCESS {
            // It may have lost what it knew: this box registers again.
            self.number = None;
            self.known.clear();
            self.epochs = (0, 0);
            return Err(refused("asking for the replicas", &answer));
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let numbers = body["syncStateSet"].as_array().into_iter().flatten();
        let set: Vec<u64> = numbers.filter_map(Value::as_u64).collect();
        let epoch = answer.number("masterEpoch").unwrap_or(0);
        let epochs = (epoch, body["syncStateSetEpoch"].as_u64().unwrap_or(0));
        if epochs < self.epochs {
            return Err(Fault::new("its leader is behind what it said before"));
        }
        self.epochs = epochs;
        Ok((answer.number("masterBrokerId").filter(|number| *number > 0), set))
    }

    /// What was read, in the law's words.
    fn seen(&self, own: &Own, number: u64, master: Option<u64>, set: &[u64]) -> Seen {
        let (epoch, _) = self.epochs;
        let is_ours = |master: u64| master == number && self.claimed == Some(epoch);
        let holder =
            master.map(|master| Holder { id: self.name(master), is_ours: is_ours(master) });
        let last = match master {
            Some(master) => self.name(master),
            None if self.mastered.epoch == epoch => own.id.clone(),
            None => String::new(),
        };
        let record = Record {
            term: epoch,
            boot: if last == own.id { self.mastered.boot } else { 0 },
            primary: last,
            in_step: set.iter().map(|number| self.name(*number)).collect(),
        };
        // No master was ever elected.
        let record = (epoch > 0).then_some(record);
        Seen { holder, record }
    }
}

impl Arbiter for Controller {
    fn look(&mut self, own: &Own) -> Result<Look, Fault> {
        let number = match self.number {
            Some(number) => number,
            None => self.register(own)?,
        };
        // A leader answers from what it has applied, which right after its election may lack the
        // last changes, until something new is committed.
        if !self.is_proven {
            self.is_proven = self.is_number_of(number, &own.id)?;
        }
        if let Some(peer) = &own.peer {
            self.learn(peer)?;
        }
        let (master, set) = self.read()?;
        let sent_ns = clock::boot_ns();
        let lives = self.may_live(own, &set);
        let heard = lives && self.heartbeat(number);
        // Read after the heartbeat: a box that was given up before it is not the master any more.
        let (master, set) = if heard { self.read()? } else { (master, set) };
        let seen = self.seen(own, number, master, &set);
        let ours = seen.holder.as_ref().is_some_and(|holder| holder.is_ours);
        if ours && heard {
            self.until_ns = sent_ns.saturating_add(self.timeout_ms.saturating_mul(1_000_000));
        } else if !ours {
            self.claimed = None;
        }
        Ok(Look { seen, until_ns: ours.then_some(self.until_ns) })
    }

    fn take(&mut self, own: &Own, _: &Record) -> Result<bool, Fault> {
        let Some(number) = self.number else { return Ok(false) };
        let mut fields = self.pair();
        fields.push(("brokerId", number.to_string()));
        fields.push(("designateElect", "false".to_owned()));
        let answer = self.ask(request::CONTROLLER_ELECT_MASTER, &fields, &[])?;
        let (master, epoch) = (answer.number("masterBrokerId"), answer.number("masterEpoch"));
        let (Some(master), Some(epoch)) = (master, epoch) else {
            return Err(refused("electing this box", &answer));
        };
        if master != number {
            return Ok(false);
        }
        self.mastered.write(epoch, own.boot)?;
        self.claimed = Some(epoch);
        Ok(true)
    }

    fn write(&mut self, own: &Own, record: &Record) -> Result<bool, Fault> {
        let number = |id: &String| self.known.iter().find(|(_, name)| *name == id).map(|(n, _)| *n);
        let (Some(own_number), Some(set)) =
            (number(&own.id), record.in_step.iter().map(number).collect::<Option<Vec<u64>>>())
        else {
            return Ok(false);
        };
        let (epoch, set_epoch) = self.epochs;
        let fields = [
            ("brokerName", self.names.broker.clone()),
            ("masterBrokerId", own_number.to_string()),
            ("masterEpoch", epoch.to_string()),
        ];
        let body = json!({ "syncStateSet": set, "syncStateSetEpoch": set_epoch }).to_string();
        let answer =
            self.ask(request::CONTROLLER_ALTER_SYNC_STATE_SET, &fields, body.as_bytes())?;
        match answer.code {
            response::SUCCESS => Ok(true),
            // The other box has not said yet that it lives; it will.
            response::CONTROLLER_BROKER_NOT_ALIVE => Ok(false),
            _ => Err(refused("changing the SyncStateSet", &answer)),
        }
    }

    fn release(&mut self, _: &Own, _: Option<&Record>) -> Result<(), Fault> {
        // The Controller elects from the set when the connection of its master ends.
        self.claimed = None;
        self.links.close();
        Ok(())
    }
}

fn refused(what: &str, answer: &Answer) -> Fault {
    let name = weir_wire::code::response_name(answer.code).unwrap_or("?");
    Fault::new(&format!("{what} was refused: {} ({name}, {})", answer.remark, answer.code))
}

/// What this box was the master of, on disk: two numbers in a line.
struct Mastered {
    file: PathBuf,
    epoch: u64,
    boot: u64,
}

impl Mastered {
    fn read(file: PathBuf) -> Mastered {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
        // Without the file it was the master of nothing.
        let (epoch, boot) = (numbers.next().unwrap_or(u64::MAX), numbers.next().unwrap_or(0));
        Mastered { file, epoch, boot }
    }

    /// Durable when it returns.
    fn write(&mut self, epoch: u64, boot: u64) -> Result<(), Fault> {
        let fault = |error: std::io::Error| {
            Fault::new(&format!("{} cannot be written: {error}", self.file.display()))
        };
        let fresh = self.file.with_extension("new");
        let mut file = std::fs::File::create(&fresh).map_err(fault)?;
        std::io::Write::write_all(&mut file, format!("{epoch} {boot}\n").as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&fresh, &self.file))
            .map_err(fault)?;
        (self.epoch, self.boot) = (epoch, boot);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(name: &str) -> Controller {
        let file = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
        // It may be left from a run that was ended.
        let _ = std::fs::remove_file(&file);
        let names =
            Names { cluster: "C".into(), broker: "b".into(), address: "127.0.0.1:1".into() };
        Controller::new(&["127.0.0.1:1".to_owned()], names, 3000, file)
    }

    fn own(part: Part) -> Own {
        Own {
            part,
            id: "a".into(),
            boot: 7,
            peer: None,
            in_step: false,
            kept: false,
            failed: false,
            hears_primary: false,
            wants_alone: false,
        }
    }

    #[test]
    fn what_it_was_the_master_of_outlives_the_process_and_without_the_file_it_was_of_nothing() {
        let mut first = controller("mastered");
        assert_eq!(first.mastered.epoch, u64::MAX);
        first.mastered.write(3, 7).unwrap();
        let file = first.mastered.file.clone();
        let again = Mastered::read(file.clone());
        assert_eq!((again.epoch, again.boot), (3, 7));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_box_that_must_not_be_elected_is_silent() {
        let mut box_a = controller("silent");
        assert!(box_a.may_live(&own(Part::Primary), &[]), "none was ever elected");
        box_a.epochs = (3, 1);
        assert!(!box_a.may_live(&own(Part::Standby), &[1, 2]), "it has not kept what it had");
        assert!(!box_a.may_live(&own(Part::Primary), &[1, 2]), "it was not the master");
        (box_a.mastered.epoch, box_a.mastered.boot) = (3, 6);
        assert!(!box_a.may_live(&own(Part::Primary), &[1, 2]), "its machine was booted since");
        assert!(box_a.may_live(&own(Part::Primary), &[1]), "nobody holds more");
        box_a.mastered.boot = 7;
        assert!(box_a.may_live(&own(Part::Primary), &[1, 2]));
        assert!(!box_a.may_live(&Own { failed: true, ..own(Part::Primary) }, &[1, 2]));
        assert!(box_a.may_live(&Own { kept: true, ..own(Part::Standby) }, &[1, 2]));
    }

    #[test]
    fn a_master_of_an_earlier_life_is_not_ours_and_unknown_numbers_have_names_of_their_own() {
        let mut box_a = controller("seen");
        box_a.epochs = (3, 1);
        box_a.known.insert(1, "a".into());
        let seen = box_a.seen(&own(Part::Primary), 1, Some(1), &[1, 2]);
        assert_eq!(seen.holder, Some(Holder { id: "a".into(), is_ours: false }));
        assert_eq!(seen.record.unwrap().in_step, ["a", "number 2"]);
        box_a.claimed = Some(3);
        let seen = box_a.seen(&own(Part::Primary), 1, Some(1), &[1]);
        assert!(seen.holder.unwrap().is_ours);
        box_a.epochs = (4, 1);
        assert!(!box_a.seen(&own(Part::Primary), 1, Some(1), &[1]).holder.unwrap().is_ours);
        assert_eq!(box_a.seen(&own(Part::Primary), 1, None, &[2]).record.unwrap().primary, "");
    }
}
