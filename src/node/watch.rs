//! Which shards did something since the watchdog was last fed.
//!
//! Each shard is asked, and answers within a turn of its loop; the watchdog is fed when every one
//! has answered a question that was asked after the last feeding. So a shard that hangs or spins
//! within one turn starves it, however busy the others are. It knows no clock and sends nothing.

/// The state of the questions.
#[derive(Debug)]
pub(super) struct Watch {
    /// Asked and not answered yet.
    asked: Vec<bool>,
    /// Answered since the last feeding.
    alive: Vec<bool>,
}

impl Watch {
    /// For this many shards.
    pub(super) fn new(shards: u16) -> Watch {
        let none = vec![false; usize::from(shards)];
        Watch { asked: none.clone(), alive: none }
    }

    /// The shards to be asked now: one question at a time, so that a shard that does not turn
    /// collects no more.
    pub(super) fn due(&mut self) -> Vec<u16> {
        let due = (0..self.asked.len()).filter(|shard| !self.asked[*shard] && !self.alive[*shard]);
        let due: Vec<usize> = due.collect();
        for shard in &due {
            self.asked[*shard] = true;
        }
        due.into_iter().map(|shard| shard as u16).collect()
    }

    /// A shard answered. True: all have, the watchdog is to be fed.
    pub(super) fn answered(&mut self, shard: u16) -> bool {
        let shard = usize::from(shard);
        if let (Some(asked), Some(alive)) = (self.asked.get_mut(shard), self.alive.get_mut(shard)) {
            (*asked, *alive) = (false, true);
        }
        let all = self.alive.iter().all(|alive| *alive);
        if all {
            self.alive.fill(false);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_only_when_every_shard_has_answered_since_the_last_time() {
        let mut watch = Watch::new(3);
        assert_eq!(watch.due(), [0, 1, 2]);
        assert!(!watch.answered(0) && !watch.answered(2));
        assert_eq!(watch.due(), [] as [u16; 0], "one question at a time");
        assert!(watch.answered(1));
        assert_eq!(watch.due(), [0, 1, 2]);
    }

    #[test]
    fn one_shard_that_hangs_starves_it_whatever_the_others_do() {
        let mut watch = Watch::new(2);
        for _ in 0..100 {
            if watch.due().contains(&0) {
                assert!(!watch.answered(0));
            }
        }
        assert!(watch.answered(1), "until it turns again");
    }
}
