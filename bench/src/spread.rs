//! A figure of a noisy machine: the median of several tries with its extremes.
//!
//! No single try is ever shown as the figure, and no mean is taken: one disturbed try would move
//! it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Least, median and greatest of some tries.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Spread {
    /// Least.
    pub min: f64,
    /// Median (mean of the middle two when the count is even).
    pub median: f64,
    /// Greatest.
    pub max: f64,
    /// Tries.
    pub count: usize,
}

impl Spread {
    /// The spread of these values; zeros when there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (Some(min), Some(max)) = (values.first(), values.last()) else {
            return Self { min: 0.0, median: 0.0, max: 0.0, count };
        };
        let median = f64::midpoint(values[(count - 1) / 2], values[count / 2]);
        Self { min: *min, median, max: *max, count }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max, count } = self;
        write!(f, "{median:.3} (of {count}: {min:.3} to {max:.3})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_what_is_no_number_does_not_count() {
        for (values, expected) in [
            (vec![3.0, 1.0, 2.0], (1.0, 2.0, 3.0, 3)),
            (vec![4.0, 1.0, f64::NAN, 2.0, 3.0], (1.0, 2.5, 4.0, 4)),
            (vec![], (0.0, 0.0, 0.0, 0)),
        ] {
            let spread = Spread::of(values);
            assert_eq!((spread.min, spread.median, spread.max, spread.count), expected);
        }
    }
}
