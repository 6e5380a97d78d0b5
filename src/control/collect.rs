//! The collector: takes what the shards measured, and keeps the sums.
//!
//! A shard's set is exchanged for an empty one by letter, so the shard copies nothing. A late
//! answer is not lost: its receiver is kept and looked at the next time. Sums are kept since the
//! start, for the interval that runs, and of the last whole interval.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Mutex, oneshot};

use super::ask::{NoAnswer, Shards};
use crate::measure::Stages;
use crate::server::{Figures, Question};

/// The collector. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    shards: Shards,
    rows: Arc<Mutex<Vec<Row>>>,
}

/// What is known of one shard.
#[derive(Debug)]
pub(super) struct Row {
    /// Measured since the start.
    pub total: Stages,
    /// Measured in the last whole interval.
    pub recent: Stages,
    /// Its last answer; the stages in it are already counted and empty.
    pub last: Option<Figures>,
    /// Why the last question has no answer yet.
    pub silent: Option<NoAnswer>,
    running: Stages,
    spare: Option<Box<Stages>>,
    waiting: Option<oneshot::Receiver<Figures>>,
}

impl Row {
    fn new() -> Row {
        Row {
            total: Stages::default(),
            recent: Stages::default(),
            last: None,
            silent: None,
            running: Stages::default(),
            spare: None,
            waiting: None,
        }
    }

    /// Takes an answer in.
    fn take(&mut self, mut figures: Figures) {
        self.total.add(&figures.stages);
        self.running.add(&figures.stages);
        figures.stages.clear();
        // The last answer's set, which is empty, goes back with the next question.
        self.spare = self.last.replace(figures).map(|before| before.stages);
        self.silent = None;
    }
}

impl Collector {
    /// A collector that has asked nobody yet.
    pub(super) fn new(shards: Shards) -> Collector {
        let rows = (0..shards.count()).map(|_| Row::new()).collect();
        Collector { shards, rows: Arc::new(Mutex::new(rows)) }
    }

    /// The shards it asks.
    pub(super) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Asks every shard and gives `look` what is known then.
    pub(super) async fn collect<T>(&self, look: impl FnOnce(&[Row]) -> T) -> T {
        let mut rows = self.rows.lock().await;
        self.ask(&mut rows).await;
        look(&rows)
    }

    /// Ends the running interval, and gives `look` what is known then and the time.
    pub(super) async fn roll<T>(&self, look: impl FnOnce(&[Row], SystemTime) -> T) -> T {
        let mut rows = self.rows.lock().await;
        self.ask(&mut rows).await;
        for row in rows.iter_mut() {
            std::mem::swap(&mut row.recent, &mut row.running);
            row.running.clear();
        }
        look(&rows, SystemTime::now())
    }

    async fn ask(&self, rows: &mut [Row]) {
        for (shard, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.waiting.is_none()) {
            let empty = row.spare.take().unwrap_or_default();
            match self.shards.send(shard as u16, |reply| Question::Figures(empty, reply)) {
                Ok(answer) => row.waiting = Some(answer),
                Err(why) => row.silent = Some(why),
            }
        }
        let deadline = tokio::time::Instant::now() + self.shards.patience();
        for row in rows {
            let Some(mut answer) = row.waiting.take() else { continue };
            match tokio::time::timeout_at(deadline, &mut answer).await {
                Ok(Ok(figures)) => row.take(figures),
                Ok(Err(_)) => row.silent = Some(NoAnswer::Ended),
                Err(_) => {
                    let ms = self.shards.patience().as_millis() as u64;
                    row.silent = Some(NoAnswer::Silent(ms));
                    row.waiting = Some(answer);
                }
            }
        }
    }
}
