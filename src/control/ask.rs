//! Questions to shards: a letter out, an answer or a reason within a bounded time.
//!
//! Each shard has a few tickets; a question holds one until it is answered or its letter is
//! dropped, so a shard that does not turn collects no more letters than that.
//! Never: a wait without end; a letter that keeps the node's own (`Stop`) out of a full mailbox.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use weir_io::mailbox::Sender;

use crate::base::limits::{CONTROL_ASK_MS, CONTROL_QUESTIONS_MAX};
use crate::server::{Letter, Question, Reply};

/// The shards, as the control plane reaches them. Clones speak to the same shards.
#[derive(Clone, Debug)]
pub struct Shards {
    lines: Arc<[Line]>,
    patience: Duration,
}

#[derive(Debug)]
struct Line {
    mailbox: Sender<Letter>,
    tickets: Arc<Semaphore>,
}

/// Why a shard has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no shard of this number.
    Unknown,
    /// Earlier questions, this many, are still waiting there.
    Busy(usize),
    /// It did not answer within this many milliseconds.
    Silent(u64),
    /// It has ended.
    Ended,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::Unknown => write!(f, "there is no such shard"),
            NoAnswer::Busy(count) => write!(f, "{count} questions wait for the shard already"),
            NoAnswer::Silent(ms) => write!(f, "the shard gave no answer within {ms} ms"),
            NoAnswer::Ended => write!(f, "the shard has ended"),
        }
    }
}

impl Shards {
    /// Reaches the shards behind these mailboxes, by number.
    #[must_use]
    pub fn new(boxes: &[Sender<Letter>]) -> Shards {
        let line = |mailbox: &Sender<Letter>| Line {
            mailbox: mailbox.clone(),
            tickets: Arc::new(Semaphore::new(CONTROL_QUESTIONS_MAX)),
        };
        Shards {
            lines: boxes.iter().map(line).collect(),
            patience: Duration::from_millis(CONTROL_ASK_MS),
        }
    }

    /// How long an answer is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.lines.len() as u16
    }

    /// Asks one shard; `question` puts the way back into the question.
    pub async fn ask<T: Send + 'static>(
        &self,
        shard: u16,
        question: impl FnOnce(Reply<T>) -> Question,
    ) -> Result<T, NoAnswer> {
        let answer = self.send(shard, question)?;
        self.wait(answer).await
    }

    /// Asks all shards at once; the answers stand in the order of the shards. It takes as long as
    /// the slowest, and never longer than one may.
    pub async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(Reply<T>) -> Question,
    ) -> Vec<Result<T, NoAnswer>> {
        let sent: Vec<_> = (0..self.count()).map(|shard| self.send(shard, &question)).collect();
        let deadline = tokio::time::Instant::now() + self.patience;
        let mut answers = Vec::new();
        for sent in sent {
            answers.push(match sent {
                Ok(answer) => self.outcome(tokio::time::timeout_at(deadline, answer).await),
                Err(why) => Err(why),
            });
        }
        answers
    }

    /// Sends a question; the answer is waited for by the caller.
    pub(super) fn send<T: Send + 'static>(
        &self,
        shard: u16,
        question: impl FnOnce(Reply<T>) -> Question,
    ) -> Result<oneshot::Receiver<T>, NoAnswer> {
        let line = self.lines.get(usize::from(shard)).ok_or(NoAnswer::Unknown)?;
        let busy = NoAnswer::Busy(CONTROL_QUESTIONS_MAX);
        let ticket = Arc::clone(&line.tickets).try_acquire_owned().map_err(|_| busy)?;
        let (back, answer) = oneshot::channel();
        let reply = Reply::new(move |told| {
            // Nobody waits any more: then nobody needs the answer.
            let _ = back.send(told);
            drop(ticket);
        });
        line.mailbox.send(Letter::Ask(question(reply))).map_err(|_| busy)?;
        Ok(answer)
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, NoAnswer> {
        self.outcome(tokio::time::timeout(self.patience, answer).await)
    }

    fn outcome<T>(
        &self,
        waited: Result<Result<T, oneshot::error::RecvError>, tokio::time::error::Elapsed>,
    ) -> Result<T, NoAnswer> {
        match waited {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(_)) => Err(NoAnswer::Ended),
            Err(_) => Err(NoAnswer::Silent(self.patience.as_millis() as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Health;
    use weir_io::mailbox;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    fn health(broker: &str) -> Health {
        Health { broker: broker.into(), ..Health::default() }
    }

    #[test]
    fn an_answering_shard_is_heard_and_a_silent_one_is_named_after_the_patience() {
        let (one, inbox) = mailbox::channel(16);
        let (two, _kept) = mailbox::channel(16);
        let mut shards = Shards::new(&[one, two]);
        shards.patience = Duration::from_millis(200);
        let served = std::thread::spawn(move || {
            loop {
                if let Some(Letter::Ask(Question::Health(reply))) = inbox.receive() {
                    return reply.send(health("box-0"));
                }
                std::thread::yield_now();
            }
        });
        let answers = run(shards.ask_all(Question::Health));
        served.join().unwrap();
        assert_eq!(answers, [Ok(health("box-0")), Err(NoAnswer::Silent(200))]);
        assert_eq!(run(shards.ask(2, Question::Health)), Err(NoAnswer::Unknown));
    }

    #[test]
    fn a_stuck_shard_collects_a_bounded_number_of_letters_and_gives_tickets_back() {
        let (mailbox, inbox) = mailbox::channel(1024);
        let mut shards = Shards::new(&[mailbox]);
        shards.patience = Duration::from_millis(1);
        for _ in 0..CONTROL_QUESTIONS_MAX {
            assert_eq!(run(shards.ask(0, Question::Health)), Err(NoAnswer::Silent(1)));
        }
        let busy = Err(NoAnswer::Busy(CONTROL_QUESTIONS_MAX));
        assert_eq!(run(shards.ask(0, Question::Health)), busy);
        assert_eq!(inbox.len(), CONTROL_QUESTIONS_MAX);
        drop(inbox.receive());
        assert_eq!(run(shards.ask(0, Question::Health)), Err(NoAnswer::Silent(1)));
    }

    #[test]
    fn a_shard_that_drops_the_question_counts_as_ended() {
        let (mailbox, inbox) = mailbox::channel(16);
        let shards = Shards::new(&[mailbox]);
        let dropped = std::thread::spawn(move || while inbox.receive().is_none() {});
        assert_eq!(run(shards.ask(0, Question::Health)), Err(NoAnswer::Ended));
        dropped.join().unwrap();
    }
}
