//! What the director of a run collects from all workers, while the run goes and at its end.
//!
//! - `flights`: messages on their way, as all workers saw them
//! - `merge`: counts added, histograms merged

mod flights;
mod merge;

use std::time::Duration;

use crate::latency::Latency;
use crate::observed::{Clock, Interval, Observed};
use crate::plan::Plan;
use crate::report::Row;
use crate::report::hlog::Logged;
use crate::report::seen::Sample;
use crate::report::timeline::Timeline;
use flights::Flights;

/// Intervals, messages and totals of all workers, merged as they come. Memory does not grow but for the time line.
#[derive(Clone, Debug)]
pub struct Gathered {
    timeline: Timeline,
    flights: Flights,
    response: Latency,
    service: Latency,
    send_lag: Latency,
    own_lag: Latency,
    so_far: SoFar,
    /// By worker: connections that stood when it last told of them.
    connected: Vec<u64>,
    observed: Observed,
}

/// What has been heard of until now, warm-up included, for who watches the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    pub sent: u64,
    pub delivered: u64,
    pub bytes: u64,
    pub connected: u64,
}

impl Gathered {
    /// `steady_by_room` says how many steady subscribers of each room are ready.
    pub(crate) fn new(plan: &Plan, workers: usize, steady_by_room: Vec<u32>) -> Self {
        Self {
            timeline: Timeline::new(&plan.schedule, plan.interval, workers),
            flights: Flights::new(plan, steady_by_room),
            response: Latency::default(),
            service: Latency::default(),
            send_lag: Latency::default(),
            own_lag: Latency::default(),
            so_far: SoFar::default(),
            connected: vec![0; workers],
            observed: Observed::default(),
        }
    }

    /// Keeps the response times of each interval too, for a log of histograms: 1 to 3 KB each.
    #[must_use]
    pub(crate) fn with_log(mut self) -> Self {
        self.timeline.keep_log();
        self
    }

    /// A worker tells of one interval.
    pub(crate) fn interval(&mut self, worker: usize, interval: Interval) {
        self.so_far.sent += interval.sent;
        self.so_far.delivered += interval.delivered;
        self.so_far.bytes += interval.bytes;
        self.stand(worker, interval.connected);
        for (all, part) in [
            (&mut self.response, &interval.response),
            (&mut self.service, &interval.service),
            (&mut self.send_lag, &interval.send_lag),
            (&mut self.own_lag, &interval.own_lag),
        ] {
            if part.count() > 0 {
                all.merge(part);
            }
        }
        interval.flights.iter().for_each(|flight| self.flights.seen(flight));
        self.timeline.add(worker, interval);
    }

    /// A worker tells of no more intervals.
    pub(crate) fn finished(&mut self, worker: usize) {
        self.stand(worker, 0);
        self.timeline.finished(worker);
    }

    /// A worker's last word.
    pub(crate) fn observed(&mut self, worker: usize, observed: &Observed) {
        self.observed.merge(observed);
        self.finished(worker);
    }

    /// Both processes, so long after the epoch. The time line shows the server's use in the interval that ended last.
    pub(crate) fn sampled(&mut self, since_epoch: Duration, sample: &Sample) {
        self.timeline.sampled(since_epoch, sample);
    }

    /// No worker will tell any more, though some did not finish: all rows count as complete.
    pub(crate) fn finish(&mut self) {
        self.timeline.finish();
    }

    /// The rows that all workers have told of, in the order of time.
    pub(crate) fn rows(&self) -> &[Row] {
        self.timeline.rows()
    }

    /// The response times of each interval, if they were kept.
    pub fn log(&self) -> Option<&[Logged]> {
        self.timeline.log()
    }

    pub(crate) fn so_far(&self) -> SoFar {
        self.so_far
    }

    /// Due to received, of each delivery.
    pub(crate) fn response(&self) -> &Latency {
        &self.response
    }

    /// Sent to received, of each delivery.
    pub(crate) fn service(&self) -> &Latency {
        &self.service
    }

    /// Due to sent, of each message.
    pub(crate) fn send_lag(&self) -> &Latency {
        &self.send_lag
    }

    /// The part of the send lag in which the server would have taken the message.
    pub(crate) fn own_lag(&self) -> &Latency {
        &self.own_lag
    }

    /// Due to received by the first, of each message that all received.
    pub(crate) fn to_first(&self) -> &Latency {
        &self.flights.to_first
    }

    /// Due to received by the last.
    pub(crate) fn to_last(&self) -> &Latency {
        &self.flights.to_last
    }

    /// Received by the first to received by the last.
    pub(crate) fn spread(&self) -> &Latency {
        &self.flights.spread
    }

    /// Messages that reached every steady subscriber of their room while they were followed.
    pub(crate) fn complete(&self) -> u64 {
        self.flights.complete
    }

    /// What the workers that have said their last word observed.
    pub(crate) fn total(&self) -> &Observed {
        &self.observed
    }

    /// Negative latencies of deliveries and of messages.
    pub(crate) fn clock(&self) -> Clock {
        let mut clock = self.observed.clock;
        clock.merge(&self.flights.clock);
        clock
    }

    fn stand(&mut self, worker: usize, connected: u64) {
        if let Some(stood) = self.connected.get_mut(worker) {
            self.so_far.connected = self.so_far.connected - *stood + connected;
            *stood = connected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Counts, Flight};
    use crate::testing::fixture;

    fn interval(index: u32, response_ns: &[u64], flights: Vec<Flight>) -> Interval {
        let mut interval = Interval {
            index,
            sent: 4,
            delivered: response_ns.len() as u64,
            bytes: 640,
            connected: 5,
            flights,
            ..Interval::default()
        };
        for &ns in response_ns {
            interval.response.record(ns);
            interval.service.record(ns / 2);
            interval.send_lag.record(ns / 4);
        }
        interval
    }

    #[test]
    fn workers_out_of_step_add_up() {
        let plan = fixture::plan();
        let slot = plan.schedule.warmup() + 3;
        let mut gathered = Gathered::new(&plan, 2, vec![4]).with_log();
        let seen = |first, last| vec![Flight { slot, intended: 1_000, first, last, received: 2 }];
        gathered.interval(0, interval(0, &[400, 800], seen(1_400, 1_800)));
        gathered.interval(0, interval(1, &[500], vec![]));
        assert_eq!((gathered.rows().len(), gathered.complete()), (0, 0));
        assert_eq!(gathered.so_far(), SoFar { sent: 8, delivered: 3, bytes: 1_280, connected: 5 });
        // Worker 1 saw the same message as of a later interval, and then has nothing more to tell.
        gathered.interval(1, interval(0, &[], vec![]));
        gathered.interval(1, interval(1, &[100, 900], seen(1_100, 1_900)));
        assert_eq!((gathered.rows().len(), gathered.complete()), (2, 1));
        assert_eq!(gathered.so_far().connected, 10);
        gathered.finished(1);
        assert_eq!(gathered.so_far().connected, 5);
        gathered.interval(0, interval(2, &[600], vec![]));
        assert_eq!(gathered.rows().len(), 3);

        let spectrum = gathered.response().spectrum();
        assert_eq!((spectrum.count, spectrum.min, spectrum.p50, spectrum.max), (6, 100, 500, 900));
        assert_eq!((gathered.service().spectrum().max, gathered.send_lag().spectrum().max), (450, 225));
        let broadcast = [gathered.to_first(), gathered.to_last(), gathered.spread()];
        assert_eq!(broadcast.map(|latency| latency.spectrum().max), [100, 900, 800]);
        assert_eq!(gathered.log().map(<[Logged]>::len), Some(3));
    }

    #[test]
    fn last_words_are_merged_and_clocks_include_messages() {
        let plan = fixture::plan();
        let mut gathered = Gathered::new(&plan, 2, vec![1]);
        let slot = plan.schedule.warmup();
        let early = Flight { slot, intended: 1_000, first: 600, last: 2_000, received: 1 };
        gathered.interval(0, interval(0, &[], vec![early]));
        let part = Observed {
            counts: Counts { delivered: 7, ..Counts::default() },
            clock: Clock { negative: 2, worst_ns: 90 },
            ..Observed::default()
        };
        gathered.observed(0, &part);
        gathered.observed(1, &part);
        assert_eq!(gathered.total().counts.delivered, 14);
        assert_eq!(gathered.clock(), Clock { negative: 5, worst_ns: 400 });
        assert_eq!(gathered.rows().len(), 1);
    }
}
