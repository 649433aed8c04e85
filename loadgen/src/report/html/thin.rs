//! Fewer points, same picture: no maximum, minimum or gap is lost.

use std::ops::Range;

/// A point of a line, in the axes' values. `y` is not a number where there is nothing to show: there the line has a gap.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// Of each of `buckets` stretches of as many points: the lowest, the highest, and one of its gaps; and the two ends.
/// All points if that is not fewer.
pub(super) fn thinned(points: &[Point], buckets: usize) -> Vec<Point> {
    let buckets = buckets.max(1);
    if points.len() <= 2 * buckets {
        return points.to_vec();
    }
    let bound = |bucket: usize| bucket * points.len() / buckets;
    let mut kept = vec![0];
    kept.extend((0..buckets).flat_map(|bucket| worth_keeping(points, bound(bucket)..bound(bucket + 1))));
    kept.push(points.len() - 1);
    kept.dedup();
    kept.into_iter().map(|index| points[index]).collect()
}

/// The places of those points of a stretch that shape the line, in order.
fn worth_keeping(points: &[Point], stretch: Range<usize>) -> Vec<usize> {
    let seen = || stretch.clone().filter(|&index| !points[index].y.is_nan());
    let order = |&a: &usize, &b: &usize| points[a].y.total_cmp(&points[b].y);
    let gap = stretch.clone().find(|&index| points[index].y.is_nan());
    let mut kept: Vec<usize> =
        [gap, seen().min_by(order), seen().max_by(order)].into_iter().flatten().collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(values: &[f64]) -> Vec<Point> {
        values.iter().enumerate().map(|(index, &y)| Point { x: index as f64, y }).collect()
    }

    #[test]
    fn one_high_row_of_thousands_stays() {
        let mut values = vec![1.0; 50_000];
        values[31_337] = 900.0;
        values[40_001] = f64::NAN;
        let thin = thinned(&line(&values), 100);
        assert!(thin.len() < 204, "{}", thin.len());
        assert!(thin.contains(&Point { x: 31_337.0, y: 900.0 }));
        assert_eq!(thin.iter().filter(|point| point.y.is_nan()).count(), 1);
    }

    proptest! {
        #[test]
        fn extremes_of_every_stretch_stay(
            values in prop::collection::vec(prop_oneof![9 => 0.0f64..1e9, 1 => Just(f64::NAN)], 1..3000),
            buckets in 1usize..200,
        ) {
            let points = line(&values);
            let thin = thinned(&points, buckets);
            prop_assert!(thin.len() <= 3 * buckets + 2);
            prop_assert!(thin.is_sorted_by(|a, b| a.x < b.x), "in order, each once");
            prop_assert_eq!(thin.first().map(|point| point.x), Some(0.0));
            prop_assert_eq!(thin.last().map(|point| point.x), points.last().map(|point| point.x));
            for bucket in 0..buckets {
                let stretch = bucket * points.len() / buckets..(bucket + 1) * points.len() / buckets;
                let inside = thin.iter().filter(|point| stretch.contains(&(point.x as usize)));
                let (mut low, mut high, mut gap) = (f64::INFINITY, f64::NEG_INFINITY, false);
                for point in inside {
                    low = low.min(point.y);
                    high = high.max(point.y);
                    gap |= point.y.is_nan();
                }
                let all = &values[stretch];
                prop_assert_eq!(low, all.iter().copied().fold(f64::INFINITY, f64::min));
                prop_assert_eq!(high, all.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                prop_assert_eq!(gap, all.iter().any(|value| value.is_nan()));
            }
        }
    }
}
