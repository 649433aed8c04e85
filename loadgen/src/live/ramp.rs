//! How many connections were ready when.

/// Points that are kept; more than the widest terminal has columns.
const POINTS_MAX: usize = 1024;

#[derive(Clone, Debug, Default)]
pub(super) struct Ramp {
    points: Vec<(f64, u64)>,
}

impl Ramp {
    /// Adds a point after all others.
    pub(super) fn push(&mut self, seconds: f64, ready: u64) {
        if self.points.len() >= POINTS_MAX {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        self.points.push((seconds, ready));
    }

    /// How many were ready at the end of each of `count` columns over the time from 0 to `seconds`, as far as is known.
    pub(super) fn columns(&self, seconds: f64, count: usize) -> Vec<Option<f64>> {
        let mut points = self.points.iter().peekable();
        let mut ready = 0;
        let column = |index: usize| {
            let start = seconds * index as f64 / count as f64;
            let end = seconds * (index + 1) as f64 / count as f64;
            while let Some(&(_, next)) = points.next_if(|&&(at, _)| at <= end) {
                ready = next;
            }
            let is_known = self.points.last().is_some_and(|&(at, _)| at > start);
            is_known.then_some(ready as f64)
        };
        (0..count).map(column).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_show_the_last_point_before_their_end() {
        let mut ramp = Ramp::default();
        assert_eq!(ramp.columns(2.0, 2), [None, None]);
        ramp.push(0.5, 10);
        ramp.push(0.9, 20);
        ramp.push(2.5, 30);
        assert_eq!(ramp.columns(4.0, 4), [Some(20.0), Some(20.0), Some(30.0), None]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut ramp = Ramp::default();
        (0..100_000u64).for_each(|i| ramp.push(i as f64, i));
        assert!(ramp.points.len() <= POINTS_MAX);
        assert_eq!(ramp.points.last(), Some(&(99_999.0, 99_999)));
    }
}
