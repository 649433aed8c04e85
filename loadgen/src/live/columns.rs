//! From rows of the time line to one value for each column of a plot.

use crate::report::Row;

/// How the values of rows that share a column become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Join {
    Mean,
    /// The worst, so that no spike is lost.
    Max,
}

/// `count` columns over the time from 0 to `seconds`. A row's value holds for its whole interval. `None` where no row has one.
pub(super) fn columns(
    rows: &[Row],
    seconds: f64,
    count: usize,
    join: Join,
    value: impl Fn(&Row) -> Option<f64>,
) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0u32); count];
    let per_second = count as f64 / seconds;
    for row in rows {
        let Some(value) = value(row).filter(|value| value.is_finite()) else { continue };
        // Whole columns, with room for what the division rounds.
        let first = ((row.seconds - row.interval_seconds) * per_second + 1e-6).floor().max(0.0) as usize;
        let end = (row.seconds * per_second - 1e-6).ceil().max(0.0) as usize;
        let range = first.min(count)..end.max(first.saturating_add(1)).min(count);
        for (sum, times) in &mut sums[range] {
            match join {
                Join::Max if *times > 0 => *sum = value.max(*sum),
                Join::Max => (*sum, *times) = (value, 1),
                Join::Mean => (*sum, *times) = (*sum + value, *times + 1),
            }
        }
    }
    sums.into_iter().map(|(sum, times)| (times > 0).then(|| sum / f64::from(times))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seconds: f64, interval_seconds: f64, delivered: u64) -> Row {
        Row { seconds, interval_seconds, delivered, ..Row::default() }
    }

    fn check(rows: &[Row], seconds: f64, join: Join, expected: &[Option<f64>]) {
        let value = |row: &Row| (row.delivered > 0).then_some(row.delivered as f64);
        assert_eq!(columns(rows, seconds, expected.len(), join, value), expected);
    }

    #[test]
    fn a_row_fills_the_columns_of_its_interval() {
        let rows = [row(1.0, 1.0, 5), row(2.0, 1.0, 7)];
        check(&rows, 3.0, Join::Max, &[Some(5.0), Some(5.0), Some(7.0), Some(7.0), None, None]);
    }

    #[test]
    fn rows_that_share_a_column_are_joined() {
        let rows: Vec<_> = (1..=8).map(|i| row(f64::from(i), 1.0, i as u64)).collect();
        check(&rows, 8.0, Join::Max, &[Some(4.0), Some(8.0)]);
        check(&rows, 8.0, Join::Mean, &[Some(2.5), Some(6.5)]);
    }

    #[test]
    fn gaps_stay_gaps_and_rows_outside_are_left_out() {
        let rows = [row(1.0, 1.0, 5), row(2.0, 1.0, 0), row(3.0, 1.0, 7), row(f64::INFINITY, 1.0, 9)];
        check(&rows, 4.0, Join::Max, &[Some(5.0), None, Some(7.0), None]);
        check(&[row(f64::NAN, f64::NAN, 9)], 4.0, Join::Max, &[Some(9.0), None]);
        check(&rows, 4.0, Join::Mean, &[]);
    }
}
