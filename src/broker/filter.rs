//! Tag expressions: which index entries a consumer wants.
//!
//! The broker compares tag hashes only; the client compares the text again, so a collision costs
//! a transfer and nothing else. Hashes are always computed here from the expression: the code sets
//! clients send are wrong for some clients and tags.

use weir_wire::message::tags_code;

use super::reject::{Reject, code};

/// Tags of one expression at most.
pub const FILTER_TAGS_MAX: usize = 256;

/// Parses `*`, an empty expression or `a || b` into `codes` (cleared first). Returns whether all
/// messages match. Code 23 as RocketMQ's parser gives it.
pub fn parse_tags(expression: &str, codes: &mut Vec<i64>) -> Result<bool, Reject> {
    codes.clear();
    let expression = expression.trim();
    if expression.is_empty() || expression == "*" {
        return Ok(true);
    }
    for tag in expression.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
        if codes.len() == FILTER_TAGS_MAX {
            return Err(Reject::new(
                code::SUBSCRIPTION_PARSE_FAILED,
                format!(
                    "parse the consumer's subscription failed: more than {FILTER_TAGS_MAX} tags; \
                     subscribe to * and filter in the consumer"
                ),
            ));
        }
        codes.push(tags_code(tag));
    }
    if codes.is_empty() {
        return Err(Reject::new(
            code::SUBSCRIPTION_PARSE_FAILED,
            "parse the consumer's subscription failed: no tag between ||",
        ));
    }
    Ok(false)
}

/// What a pull wants of the entries it passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TagFilter<'a> {
    /// Everything matches.
    pub(super) all: bool,
    /// Hashes that match.
    pub(super) codes: &'a [i64],
}

impl TagFilter<'_> {
    /// Whether a message with this tag hash is wanted.
    pub(super) fn wants(&self, tags: i64) -> bool {
        self.all || self.codes.contains(&tags)
    }
}

/// Whether the expression type is the tag filter: RocketMQ takes a missing or empty one as that.
pub fn is_tag_type(expression_type: Option<&str>) -> bool {
    matches!(expression_type.map(str::trim), None | Some("" | "TAG" | "null"))
}
