//! Small pictures made of characters: how response times are spread, and how a figure goes over time.

use crate::latency::Latency;

/// The characters of a cell, from empty to full.
const BLOCKS: [char; 9] =
    [' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
const ASCII: [char; 4] = [' ', '.', ':', '|'];

fn cells(unicode: bool) -> &'static [char] {
    if unicode { &BLOCKS } else { &ASCII }
}

/// A column for each value, the largest one as high as all `lines`, from the top line to the bottom. A value above 0 is
/// never invisible.
pub(crate) fn columns(values: &[f64], lines: usize, unicode: bool) -> Vec<String> {
    let cells = cells(unicode);
    let full = cells.len() - 1;
    let largest = values.iter().copied().fold(0.0, f64::max);
    let level = |value: f64| match largest > 0.0 && value > 0.0 {
        true => ((value / largest * (lines * full) as f64).round() as usize).max(1),
        false => 0,
    };
    let line = |above: usize| {
        values.iter().map(|&value| cells[level(value).saturating_sub(above * full).min(full)]).collect()
    };
    (0..lines).rev().map(line).collect()
}

/// How many deliveries took how long, on a logarithmic scale from the shortest to the longest.
///
/// `None` if there is nothing to tell apart.
pub(crate) fn spread(latency: &Latency, width: usize) -> Option<Scale> {
    let spectrum = latency.spectrum();
    let (min, max) = (spectrum.min.max(1) as f64, spectrum.max as f64);
    if spectrum.count == 0 || max <= min * 1.01 {
        return None;
    }
    let mut scale = Scale { min, max, counts: vec![0.0; width] };
    for step in latency.histogram().iter_recorded() {
        let column = scale.column(step.value_iterated_to());
        scale.counts[column] += step.count_at_value() as f64;
    }
    Some(scale)
}

#[derive(Debug)]
pub(crate) struct Scale {
    min: f64,
    max: f64,
    pub(crate) counts: Vec<f64>,
}

impl Scale {
    /// Where a value stands.
    pub(crate) fn column(&self, value: u64) -> usize {
        let share = (value.max(1) as f64 / self.min).ln() / (self.max / self.min).ln();
        ((share * self.counts.len() as f64) as usize).min(self.counts.len() - 1)
    }

    /// A line with each label at its value, as far as there is room. Earlier labels go first.
    pub(crate) fn labels(&self, labels: &[(&str, u64)]) -> String {
        let mut line = vec![b' '; self.counts.len()];
        for &(label, value) in labels {
            let at = self.column(value).min(line.len().saturating_sub(label.len()));
            let around = at.saturating_sub(1)..(at + label.len() + 1).min(line.len());
            if label.len() <= line.len() && line[around].iter().all(|&byte| byte == b' ') {
                line[at..at + label.len()].copy_from_slice(label.as_bytes());
            }
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}

/// As many values as there is room for, each put together from neighbours by `join`.
pub(crate) fn thinned(values: &[f64], room: usize, join: fn(f64, f64) -> f64) -> Vec<f64> {
    let each = values.len().div_ceil(room.max(1)).max(1);
    values.chunks(each).filter_map(|chunk| chunk.iter().copied().reduce(join)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_full_and_the_smallest_is_seen() {
        for (values, lines, unicode, expected) in [
            (&[0.0, 0.001, 4.0, 8.0][..], 1, true, &[" \u{2581}\u{2584}\u{2588}"][..]),
            (&[0.0, 0.001, 4.0, 8.0], 2, true, &["   \u{2588}", " \u{2581}\u{2588}\u{2588}"]),
            (&[0.0, 1.0, 2.0, 3.0], 1, false, &[" .:|"]),
            (&[0.0, 1.0, 4.0, 6.0], 2, false, &["  .|", " .||"]),
            (&[0.0, 0.0], 1, true, &["  "]),
            (&[], 1, true, &[""]),
        ] {
            assert_eq!(columns(values, lines, unicode), expected, "{values:?}");
        }
    }

    #[test]
    fn columns_of_a_spread_are_equal_ratios() {
        let mut latency = Latency::default();
        for (ns, times) in [(1_000, 3), (10_000, 2), (100_000, 1), (1_000_000, 4)] {
            (0..times).for_each(|_| latency.record(ns));
        }
        let scale = spread(&latency, 30).expect("some");
        let seen: Vec<(usize, f64)> =
            scale.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0.0).collect();
        assert_eq!(seen, [(0, 3.0), (10, 2.0), (20, 1.0), (29, 4.0)]);
        // A label stands where it begins, or further left where it would not fit.
        assert_eq!(
            scale.labels(&[("p50", 10_100), ("p90", 11_000), ("p99", 1_000_000)]),
            "          p50              p99"
        );
    }

    #[test]
    fn there_is_no_spread_of_one_value_or_none() {
        let mut latency = Latency::default();
        assert!(spread(&latency, 30).is_none());
        (0..9).for_each(|_| latency.record(5_000));
        assert!(spread(&latency, 30).is_none());
        latency.record(0);
        latency.record(u64::MAX);
        assert_eq!(spread(&latency, 30).expect("some").counts.iter().sum::<f64>(), 11.0);
    }

    #[test]
    fn neighbours_are_put_together_when_there_is_no_room() {
        let values = [1.0, 5.0, 2.0, 3.0, 4.0];
        for (room, expected) in
            [(9, &values[..]), (5, &values), (3, &[5.0, 3.0, 4.0]), (1, &[5.0]), (0, &[5.0])]
        {
            assert_eq!(thinned(&values, room, f64::max), expected, "{room}");
        }
    }
}
