//! One thing that the doctor has looked at, and what it says of it.
//!
//! A finding has a topic from a fixed list, so that programs can find it; figures go into
//! `details`. Nothing is looked at here.

use serde_json::{Value, json};

/// What a finding means for the start of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ready,
    /// weir works; something could be better, or is to be known.
    Warn,
    /// weir would not start, or would not keep its promises.
    NotReady,
    /// This box does not tell.
    Unknown,
}

impl Verdict {
    /// The word that is printed.
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Ready => "ready",
            Verdict::Warn => "warning",
            Verdict::NotReady => "NOT READY",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One row of the report.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// From a fixed list.
    pub(super) topic: &'static str,
    pub(super) verdict: Verdict,
    /// What was found, one or more lines.
    pub(super) text: String,
    /// What to do about it.
    pub(super) mend: Option<String>,
    /// Figures for programs.
    pub(super) details: Value,
}

impl Finding {
    /// A row without a remedy or figures.
    pub(super) fn new(topic: &'static str, verdict: Verdict, text: impl Into<String>) -> Finding {
        Finding { topic, verdict, text: text.into(), mend: None, details: Value::Null }
    }

    /// With what mends it.
    pub(super) fn mended_by(self, mend: impl Into<String>) -> Finding {
        Finding { mend: Some(mend.into()), ..self }
    }

    /// With figures.
    pub(super) fn with(self, details: Value) -> Finding {
        Finding { details, ..self }
    }

    /// For people: the remedy stands on a line of its own.
    pub(super) fn line(&self) -> String {
        let indent = format!("\n{:11}", "");
        let text = self.text.replace('\n', &indent);
        let mend = self.mend.as_ref().map(|mend| {
            let mend = mend.replace('\n', &format!("{indent}    "));
            format!("{indent}do: {mend}")
        });
        format!("{:<10} {}: {text}{}", self.verdict.word(), self.topic, mend.unwrap_or_default())
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        json!({
            "topic": self.topic, "verdict": self.verdict.word(), "text": self.text,
            "do": self.mend, "details": self.details,
        })
    }
}
