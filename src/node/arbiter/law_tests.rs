//! The law on a model of two boxes, an etcd and a clock: random kills, freezes and cuts, and the
//! two promises counted at every step.
//!
//! The model's boxes acknowledge by the rules of `replica::lease`; whatever it finds repeats from
//! its seed.

use super::law::{Holder, Law, Own, Part, Partner, Record, Seen, Step};

const TTL: u64 = 2000;
const MARGIN: u64 = 250;

/// The majority.
#[derive(Default)]
struct Majority {
    /// Box, session, end.
    holder: Option<(usize, u64, u64)>,
    record: Option<Record>,
    version: u64,
}

struct Node {
    up: bool,
    frozen_until: u64,
    reaches_majority: bool,
    part: Part,
    law: Law,
    /// Numbers of the messages it holds, and how many of them its device has, for each look back.
    log: Vec<u64>,
    durable: usize,
    flushed: u64,
    boot: u64,
    /// Machine's life in which it was told that it is in step.
    pledge: Option<u64>,
    session: u64,
    until: u64,
    partner: Partner,
    wants_alone: bool,
    /// Its standby is in step; a primary.
    in_step: bool,
    away_since: u64,
    /// A step that was decided before a pause and is done after it, with what it had seen.
    late: Option<(Step, u64)>,
}

struct Model {
    now: u64,
    random: u64,
    majority: Majority,
    boxes: [Node; 2],
    link: bool,
    refuse: bool,
    acknowledged: Vec<u64>,
    /// Those of them that the sender was told are on one box only.
    lone: Vec<u64>,
    next: u64,
    sessions: u64,
    terms: u64,
}

fn id(at: usize) -> String {
    format!("box{at}")
}

impl Model {
    fn new(seed: u64) -> Model {
        let node = |part| Node {
            up: true,
            frozen_until: 0,
            reaches_majority: true,
            part,
            law: Law::default(),
            log: Vec::new(),
            durable: 0,
            flushed: 0,
            boot: 1,
            pledge: None,
            session: 0,
            until: 0,
            partner: Partner::Unknown,
            wants_alone: false,
            in_step: false,
            away_since: 0,
            late: None,
        };
        Model {
            now: 1000,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            majority: Majority::default(),
            boxes: [node(Part::Primary), node(Part::Standby)],
            link: true,
            refuse: seed.is_multiple_of(2),
            acknowledged: Vec::new(),
            lone: Vec::new(),
            next: 0,
            sessions: 0,
            terms: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    fn runs(&self, at: usize) -> bool {
        self.boxes[at].up && self.now >= self.boxes[at].frozen_until
    }

    /// Something breaks or heals.
    fn fault(&mut self) {
        let at = self.below(2) as usize;
        match self.below(12) {
            0 | 1 if self.boxes[at].up => {
                let power = self.below(4) == 0;
                let node = &mut self.boxes[at];
                (node.up, node.law) = (false, Law::default());
                (node.until, node.partner, node.late) = (0, Partner::Unknown, None);
                node.session = 0;
                if power {
                    // What only its memory held is gone: what it acknowledged alone may be, and
                    // after a power cut of both more.
                    node.boot += 1;
                    node.log.truncate(node.durable);
                    let (own, other, lone) =
                        (&self.boxes[at].log, &self.boxes[1 - at].log, &self.lone);
                    self.acknowledged
                        .retain(|m| own.contains(m) || !lone.contains(m) && other.contains(m));
                }
            }
            2..=5 => self.boxes[at].up = true,
            6 => self.boxes[at].frozen_until = self.now + self.below(5000),
            7 => self.link = false,
            8 => self.link = true,
            9 => self.boxes[at].reaches_majority = false,
            _ => self.boxes[at].reaches_majority = true,
        }
    }

    /// The device has all, now and then.
    fn flush(&mut self, at: usize) {
        if self.now >= self.boxes[at].flushed {
            let pause = self.below(500);
            let node = &mut self.boxes[at];
            (node.flushed, node.durable) = (self.now + pause, node.log.len());
        }
        let node = &mut self.boxes[at];
        node.durable = node.durable.min(node.log.len());
    }

    /// The stream between them, and the old primary that meets a newer one.
    fn replicate(&mut self) {
        let both = self.link && self.runs(0) && self.runs(1);
        for at in 0..2 {
            let other = 1 - at;
            if self.boxes[at].part != Part::Primary {
                continue;
            }
            if !both || self.boxes[other].part != Part::Standby {
                if std::mem::take(&mut self.boxes[at].in_step) {
                    self.boxes[at].away_since = self.now;
                }
                continue;
            }
            // A primary that lost what its standby has is not followed.
            let (own, theirs) = (self.boxes[at].log.clone(), self.boxes[other].log.clone());
            if !own.starts_with(&theirs) {
                self.boxes[at].in_step = false;
                continue;
            }
            self.boxes[other].log = own;
            if !self.boxes[at].in_step {
                self.boxes[at].in_step = true;
                self.boxes[at].wants_alone = false;
                self.boxes[other].pledge = Some(self.boxes[other].boot);
            }
        }
        if both && self.boxes[0].part == Part::Primary && self.boxes[1].part == Part::Primary {
            let newest = self.majority.record.as_ref().map(|record| record.primary.clone());
            let old = usize::from(newest == Some(id(0)));
            let log = self.boxes[1 - old].log.clone();
            let common = log.iter().zip(&self.boxes[old].log).take_while(|(a, b)| a == b).count();
            let node = &mut self.boxes[old];
            node.log.truncate(common);
            (node.part, node.pledge, node.in_step) = (Part::Standby, None, false);
        }
    }

    /// Both primaries take a message and acknowledge it where they may.
    fn produce(&mut self, at: usize) {
        let node = &self.boxes[at];
        let may_lack = node.partner == Partner::Nobody && !self.refuse;
        let waited = self.now.saturating_sub(node.away_since) >= 1000;
        if node.part != Part::Primary {
            return;
        }
        if !node.in_step && waited && !self.refuse && node.partner != Partner::Nobody {
            let node = &mut self.boxes[at];
            node.wants_alone = node.durable == node.log.len();
        }
        let node = &self.boxes[at];
        let named = node.in_step && node.partner == Partner::Named(id(1 - at));
        if self.now >= node.until || !(named || may_lack && !node.in_step) {
            return;
        }
        let message = self.next;
        self.next += 1;
        let in_step = self.boxes[at].in_step;
        self.boxes[at].log.push(message);
        if in_step {
            self.boxes[1 - at].log.push(message);
        } else {
            self.lone.push(message);
        }
        self.acknowledged.push(message);
    }

    fn own(&self, at: usize) -> Own {
        let (node, other) = (&self.boxes[at], &self.boxes[1 - at]);
        let linked = self.link && self.runs(1 - at) && other.part != node.part;
        let standby = node.part == Part::Standby;
        Own {
            part: node.part,
            id: id(at),
            boot: node.boot,
            peer: linked.then(|| id(1 - at)),
            in_step: node.part == Part::Primary && node.in_step,
            kept: standby && node.pledge == Some(node.boot),
            failed: false,
            hears_primary: standby && linked,
            wants_alone: node.wants_alone,
        }
    }

    fn seen(&self, at: usize) -> Seen {
        let alive = self.majority.holder.filter(|(.., end)| self.now < *end);
        let holder = alive.map(|(who, session, _)| Holder {
            id: id(who),
            is_ours: who == at && session == self.boxes[at].session,
        });
        Seen { holder, record: self.majority.record.clone() }
    }

    /// A look of one box, as `Desk::turn`.
    fn look(&mut self, at: usize) {
        if let Some((step, version)) = self.boxes[at].late.take() {
            self.act(at, step, version);
            return;
        }
        let (own, seen) = (self.own(at), self.seen(at));
        let ours = seen.holder.as_ref().is_some_and(|holder| holder.is_ours);
        if ours && let Some(holder) = &mut self.majority.holder {
            holder.2 = self.now + TTL;
        }
        let step = self.boxes[at].law.next(&own, &seen, self.now, TTL);
        let partner = self.boxes[at].law.partner(&own, &seen);
        let lent = ours && partner != Partner::Unknown;
        let node = &mut self.boxes[at];
        if partner == Partner::Nobody {
            node.wants_alone = false;
        }
        (node.partner, node.until) = (partner, if lent { self.now + TTL - MARGIN } else { 0 });
        let version = self.majority.version;
        if self.below(3) == 0 {
            self.boxes[at].late = Some((step, version));
        } else {
            self.act(at, step, version);
        }
    }

    fn act(&mut self, at: usize, step: Step, version: u64) {
        let same = version == self.majority.version;
        match step {
            Step::Take(record) if same => {
                let own = |(who, ..): &(usize, u64, u64)| *who == at;
                let free = self.majority.holder.is_none_or(|h| self.now >= h.2 || own(&h));
                if !free {
                    return;
                }
                self.sessions += 1;
                self.terms += u64::from(record.term > 1);
                self.boxes[at].session = self.sessions;
                self.majority.holder = Some((at, self.sessions, self.now + TTL));
                (self.majority.record, self.majority.version) = (Some(record), version + 1);
            }
            Step::Write(record) if same && self.holds(at) => {
                (self.majority.record, self.majority.version) = (Some(record), version + 1);
            }
            Step::Release(record) if self.holds(at) => {
                self.boxes[at].until = 0;
                self.majority.holder = None;
                self.majority.version += 1;
                if record.is_some() && same {
                    self.majority.record = record;
                }
            }
            Step::Promote => {
                let node = &mut self.boxes[at];
                if node.part == Part::Standby && node.pledge == Some(node.boot) {
                    // The shard is closed, which makes it durable, and opened anew.
                    (node.part, node.pledge, node.durable) = (Part::Primary, None, node.log.len());
                    node.away_since = self.now;
                }
            }
            _ => {}
        }
    }

    fn holds(&self, at: usize) -> bool {
        let session = self.boxes[at].session;
        self.majority
            .holder
            .is_some_and(|(who, s, end)| who == at && s == session && self.now < end)
    }

    /// The promises, now.
    fn check(&self, seed: u64) {
        let may = |node: &Node| {
            let lent = self.now < node.until && node.partner != Partner::Unknown;
            node.up && node.part == Part::Primary && lent
        };
        assert!(!(may(&self.boxes[0]) && may(&self.boxes[1])), "seed {seed}: both at {}", self.now);
        for node in self.boxes.iter().filter(|node| may(node)) {
            for message in &self.acknowledged {
                let held = node.log.contains(message);
                assert!(held, "seed {seed}: {message} is lost at {}", self.now);
            }
        }
    }
}

/// Takeovers and acknowledged messages of one schedule.
fn run(seed: u64) -> (u64, usize) {
    let mut model = Model::new(seed);
    for _ in 0..1500 {
        model.now += 20 + model.below(100);
        if model.below(12) == 0 {
            model.fault();
        }
        model.replicate();
        for at in 0..2 {
            model.flush(at);
            if model.runs(at) {
                model.produce(at);
                if model.boxes[at].reaches_majority {
                    model.look(at);
                }
            }
        }
        model.check(seed);
    }
    (model.terms, model.acknowledged.len())
}

#[test]
fn over_random_faults_two_boxes_never_acknowledge_at_once_and_nothing_acknowledged_is_lost() {
    let (mut takeovers, mut acknowledged) = (0, 0);
    for seed in 1..=200 {
        let (terms, messages) = run(seed);
        takeovers += terms;
        acknowledged += messages;
    }
    assert!(takeovers > 500, "only {takeovers} takeovers: the schedules show nothing");
    assert!(acknowledged > 20_000, "only {acknowledged} messages");
}

fn own(part: Part) -> Own {
    Own {
        part,
        id: "a".into(),
        boot: 1,
        peer: Some("b".into()),
        in_step: false,
        kept: false,
        failed: false,
        hears_primary: false,
        wants_alone: false,
    }
}

fn seen(holder: Option<(&str, bool)>, in_step: &[&str]) -> Seen {
    let holder = holder.map(|(id, is_ours)| Holder { id: id.into(), is_ours });
    let in_step: Vec<String> = in_step.iter().map(|id| (*id).to_owned()).collect();
    let primary = in_step.first().cloned().unwrap_or_default();
    Seen { holder, record: Some(Record { term: 1, primary, boot: 1, in_step }) }
}

#[test]
fn a_standby_is_named_only_after_a_look_at_which_nothing_was_acknowledged_without_it() {
    let mut law = Law::default();
    let primary = Own { in_step: true, ..own(Part::Primary) };
    let alone = seen(Some(("a", true)), &["a"]);
    assert_eq!(law.next(&primary, &alone, 0, 0), Step::Again);
    assert_eq!(law.partner(&primary, &alone), Partner::Coming("b".into()), "closed first");
    assert!(matches!(law.next(&primary, &alone, 1, 0), Step::Write(r) if r.in_step == ["a", "b"]));
    let other = Own { peer: Some("c".into()), ..primary.clone() };
    assert_eq!(law.next(&other, &alone, 2, 0), Step::Again, "another one begins anew");
    let lost = Own { in_step: false, ..primary };
    assert_eq!(law.next(&lost, &alone, 3, 0), Step::Rest);
    assert_eq!(law.partner(&lost, &alone), Partner::Nobody);
}

#[test]
fn a_standby_takes_a_vacant_lease_only_when_it_is_named_and_kept_and_the_primary_is_not_heard() {
    let mut law = Law::default();
    let named = seen(None, &["b", "a"]);
    let kept = Own { kept: true, ..own(Part::Standby) };
    assert_eq!(law.next(&own(Part::Standby), &named, 0, 500), Step::Rest, "not kept");
    assert_eq!(law.next(&kept, &seen(None, &["b"]), 0, 500), Step::Rest, "not named");
    let hears = Own { hears_primary: true, ..kept.clone() };
    assert_eq!(law.next(&hears, &named, 499, 500), Step::Rest, "it may come back");
    assert!(matches!(law.next(&hears, &named, 500, 500), Step::Take(r) if r.in_step == ["a"]));
    let held = seen(Some(("b", false)), &["b", "a"]);
    assert_eq!(Law::default().next(&kept, &held, 0, 0), Step::Rest, "another holds it");
    let failed = Own { failed: true, ..kept };
    assert_eq!(Law::default().next(&failed, &named, 0, 0), Step::Rest);
}

#[test]
fn a_primary_whose_machine_lost_its_memory_takes_its_lease_again_only_with_a_standby_in_step() {
    let mut law = Law::default();
    let rebooted = Own { boot: 2, ..own(Part::Primary) };
    let named = seen(None, &["a", "b"]);
    assert_eq!(law.next(&rebooted, &named, 0, 0), Step::Rest);
    let whole = Own { in_step: true, ..rebooted.clone() };
    assert!(matches!(law.next(&whole, &named, 0, 0), Step::Take(r) if r.boot == 2 && r.term == 1));
    assert!(matches!(law.next(&rebooted, &seen(None, &["a"]), 0, 0), Step::Take(_)));
    let earlier_life = seen(Some(("a", false)), &["a", "b"]);
    assert!(matches!(law.next(&own(Part::Primary), &earlier_life, 0, 0), Step::Take(_)));
}

#[test]
fn a_holder_that_is_no_primary_any_more_lets_go_and_one_that_was_promoted_goes_on() {
    let ours = seen(Some(("a", true)), &["a", "b"]);
    let follows = Own { hears_primary: true, ..own(Part::Standby) };
    let step = Law::default().next(&follows, &ours, 0, 0);
    assert!(matches!(step, Step::Release(Some(r)) if r.primary == "b" && r.term == 2));
    let mut law = Law::default();
    let kept = Own { kept: true, ..own(Part::Standby) };
    assert!(matches!(law.next(&kept, &seen(None, &["b", "a"]), 0, 0), Step::Take(_)));
    let won = seen(Some(("a", true)), &["a"]);
    assert_eq!(law.next(&kept, &won, 1, 0), Step::Promote);
    assert_eq!(law.next(&Own { part: Part::Mixed, ..kept }, &won, 2, 0), Step::Promote);
    assert_eq!(law.next(&own(Part::Primary), &won, 3, 0), Step::Rest);
    let failed = Own { failed: true, ..own(Part::Primary) };
    assert_eq!(law.next(&failed, &ours, 4, 0), Step::Release(None));
}
