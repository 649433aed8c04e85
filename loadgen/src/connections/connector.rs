//! Which connection is begun when, and from where.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Remote;
use crate::party::Share;
use crate::plan::{Pace, Plan};
use crate::reasons::Reasons;

/// How many connections to one address are made from one loopback address. Linux picks from about 28 000 ports by default, and
/// looks for long when many of them are taken: 100 000 connections took 71 s from 5 addresses, and 4 s from 20.
const PORTS_FOR_EACH_SOURCE: usize = 5_000;

/// How long one that returns waits after it could not come back.
const RETRY_NS: u64 = 250_000_000;

/// One connection to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attempt {
    pub(crate) number: usize,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: SocketAddr,
}

/// Connections from begun to ready. Numbers count the worker's subscribers, then its publishers; times are the driver's.
#[derive(Debug)]
pub(crate) struct Connector {
    subscribe: SocketAddr,
    publish: SocketAddr,
    is_publish_http: bool,
    sources: Vec<IpAddr>,
    share: Share,
    pace: Pace,
    subscribers: usize,
    total: usize,
    /// How many were begun for the first time.
    fresh: usize,
    /// Those that left and are not back.
    away: HashSet<usize>,
    /// Those of them that may be begun again.
    back: VecDeque<usize>,
    /// Those that could not come back or were told when to, and not before when they try that, the earliest first.
    retries: VecDeque<(usize, u64)>,
    begun: u64,
    ready: u64,
    failed: Reasons,
    /// Why those that left could not come back.
    refused: Reasons,
    /// For each: when it was begun for the first time, or when it left.
    since: Box<[u64]>,
    begun_at: u64,
    /// When a connection was last begun, became ready or failed.
    progress_at: u64,
}

impl Connector {
    pub(crate) fn new(
        plan: &Plan,
        share: &Share,
        [subscribe, publish]: [Remote; 2],
        subscribers: usize,
        publishers: usize,
        now: u64,
    ) -> Self {
        let total = subscribers + publishers;
        let connections = plan.rooms.subscribers + plan.rooms.publishers;
        Self {
            sources: sources(&plan.place.sources, subscribe.address, connections),
            subscribe: subscribe.address,
            publish: publish.address,
            is_publish_http: publish.is_http,
            share: *share,
            pace: plan.pace,
            subscribers,
            total,
            fresh: 0,
            away: HashSet::new(),
            back: VecDeque::new(),
            retries: VecDeque::new(),
            begun: 0,
            ready: 0,
            failed: Reasons::default(),
            refused: Reasons::default(),
            since: vec![0; total].into(),
            begun_at: now,
            progress_at: now,
        }
    }

    /// The next connection to begin now, if one may.
    pub(crate) fn next(&mut self, now: u64) -> Option<Attempt> {
        if self.in_flight() >= self.pace.in_flight_max as u64 || now < self.next_at() {
            return None;
        }
        let number = if self.fresh < self.total {
            // One that the limit of connections in flight held up counts from when it was due.
            self.since[self.fresh] = if self.pace.per_second.is_some() { self.next_at() } else { now };
            self.fresh += 1;
            self.fresh - 1
        } else {
            let retry = self.retries.pop_front_if(|&mut (_, not_before)| not_before <= now);
            retry.map(|(number, _)| number).or_else(|| self.back.pop_front())?
        };
        self.progress_at = now;
        self.begun += 1;
        let remote = if number < self.subscribers { self.subscribe } else { self.publish };
        Some(Attempt { number, local: self.local(number), remote })
    }

    fn in_flight(&self) -> u64 {
        self.begun - self.ready - self.failed.total()
    }

    /// When the pace allows the next one.
    fn next_at(&self) -> u64 {
        // Each worker has its part of the whole rate.
        let gap = self.pace.per_second.map_or(0.0, |per_second| 1e9 * self.share.count as f64 / per_second);
        let in_turn = self.begun as f64 + self.share.index as f64 / self.share.count as f64;
        self.begun_at + (in_turn * gap) as u64
    }

    /// Sources in turn by blocks, so that each serves as many connections as it has ports.
    fn local(&self, number: usize) -> Option<SocketAddr> {
        let everyone = number * self.share.count + self.share.index;
        let source = self.sources.get(everyone % self.sources.len().max(1))?;
        Some(SocketAddr::new(*source, 0))
    }

    /// Whether a connection begins with POST rather than with the WebSocket handshake.
    pub(crate) fn is_http(&self, number: usize) -> bool {
        number >= self.subscribers && self.is_publish_http
    }

    /// A connection is ready. Returns how long that took, in nanoseconds, since it was begun or since it left.
    pub(crate) fn is_ready(&mut self, number: usize, now: u64) -> u64 {
        self.ready += 1;
        self.progress_at = now;
        self.away.remove(&number);
        now - self.since[number]
    }

    /// How long ago a connection left.
    pub(crate) fn since_left(&self, number: usize, now: u64) -> u64 {
        now.saturating_sub(self.since[number])
    }

    /// A connection could not be made. One that returns tries again.
    pub(crate) fn has_failed(&mut self, number: usize, reason: String, now: u64) {
        self.failed.add(reason.clone());
        self.progress_at = now;
        if self.away.contains(&number) {
            self.refused.add(reason);
            self.again_at(number, now + RETRY_NS);
        }
    }

    /// A connection leaves, to come back.
    pub(crate) fn leaves(&mut self, number: usize, now: u64) {
        self.since[number] = now;
        self.away.insert(number);
    }

    pub(crate) fn is_any_away(&self) -> bool {
        !self.away.is_empty()
    }

    /// Whether a connection has left and is not back.
    pub(crate) fn is_away(&self, number: usize) -> bool {
        self.away.contains(&number)
    }

    /// A connection that left may be begun again.
    pub(crate) fn again(&mut self, number: usize) {
        self.back.push_back(number);
    }

    /// The same, but not before that time.
    pub(crate) fn again_at(&mut self, number: usize, not_before: u64) {
        let place = self.retries.partition_point(|&(_, other)| other <= not_before);
        self.retries.insert(place, (number, not_before));
    }

    pub(crate) fn ready(&self) -> u64 {
        self.ready
    }

    pub(crate) fn failed(&self) -> &Reasons {
        &self.failed
    }

    /// Why those that left could not come back, at first or for good.
    pub(crate) fn refused(&self) -> &Reasons {
        &self.refused
    }

    /// Every connection is ready or failed.
    pub(crate) fn is_done(&self) -> bool {
        self.fresh == self.total && self.back.is_empty() && self.retries.is_empty() && self.in_flight() == 0
    }

    /// The server has answered none of those in flight for too long.
    pub(crate) fn is_stuck(&self, now: u64) -> bool {
        let timeout_ns = u64::try_from(self.pace.timeout.as_nanos()).unwrap_or(u64::MAX);
        self.in_flight() > 0 && now >= self.progress_at.saturating_add(timeout_ns)
    }

    /// When there is something to do even if nothing happens. `None` when there is nothing to begin.
    pub(crate) fn wake_at(&self, now: u64) -> Option<u64> {
        let next = match self.retries.front() {
            _ if self.fresh < self.total || !self.back.is_empty() => self.next_at(),
            Some(&(_, not_before)) => self.next_at().max(not_before),
            None => return None,
        };
        // Else the limit of connections in flight holds it up, and one that becomes ready is an event.
        (next > now).then_some(next)
    }
}

/// The addresses to connect from; none for the kernel's choice. Only loopback has as many as one likes.
pub(crate) fn sources(given: &[IpAddr], remote: SocketAddr, connections: usize) -> Vec<IpAddr> {
    let needed = connections.div_ceil(PORTS_FOR_EACH_SOURCE) as u32;
    if given.is_empty() && needed > 1 && remote.is_ipv4() && remote.ip().is_loopback() {
        return (0..needed)
            .map(|nth| IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + nth)))
            .collect();
    }
    given.to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::plan;

    const REMOTE: &str = "127.0.0.1:9000";

    fn remotes() -> [Remote; 2] {
        [false, true].map(|is_http| Remote { address: REMOTE.parse().expect("an address"), is_http })
    }

    /// A worker's connector for so many subscribers and one publisher.
    fn connector(subscribers: usize, in_flight_max: usize, per_second: Option<f64>) -> Connector {
        let mut plan = plan(subscribers, 1, 1);
        plan.pace = Pace { in_flight_max, per_second, timeout: Duration::from_nanos(500) };
        let share = Share { index: 0, count: 1, run: 0, core: None };
        Connector::new(&plan, &share, remotes(), subscribers, 1, 1000)
    }

    fn next<const N: usize>(connector: &mut Connector, now: [u64; N]) -> [Option<usize>; N] {
        now.map(|now| connector.next(now).map(|attempt| attempt.number))
    }

    #[test]
    fn no_more_than_the_limit_are_in_flight() {
        let mut connector = connector(4, 2, None);
        assert_eq!(next(&mut connector, [1000; 3]), [Some(0), Some(1), None]);
        assert_eq!(connector.is_ready(0, 1001), 1);
        connector.has_failed(1, "no".to_owned(), 1001);
        assert_eq!(next(&mut connector, [1001; 3]), [Some(2), Some(3), None]);
        (2..4).for_each(|number| assert_eq!(connector.is_ready(number, 1005), 4));
        assert_eq!((next(&mut connector, [1005]), connector.is_done()), ([Some(4)], false));
        connector.is_ready(4, 1006);
        assert_eq!((next(&mut connector, [1006]), connector.is_done(), connector.ready()), ([None], true, 4));
    }

    #[test]
    fn a_rate_spaces_them_out() {
        let mut connector = connector(2, 10, Some(1e7));
        assert_eq!(next(&mut connector, [1000, 1000]), [Some(0), None]);
        assert_eq!(connector.wake_at(1000), Some(1100));
        assert_eq!(next(&mut connector, [1099, 1100, 1100]), [None, Some(1), None]);
        // It was due at 1200.
        assert_eq!(next(&mut connector, [1250]), [Some(2)]);
        assert_eq!(connector.is_ready(2, 1260), 60);
    }

    #[test]
    fn a_server_that_stops_answering_is_noticed() {
        let mut connector = connector(2, 2, None);
        next(&mut connector, [1000, 1000]);
        connector.is_ready(0, 1200);
        assert_eq!((connector.is_stuck(1699), connector.is_stuck(1700)), (false, true));
    }

    #[test]
    fn one_that_left_comes_back_and_tries_again_when_it_cannot() {
        let mut connector = connector(2, 9, None);
        next(&mut connector, [1000; 3]);
        (0..3).for_each(|number| assert_eq!(connector.is_ready(number, 1010), 10));
        connector.leaves(1, 2000);
        assert!(connector.is_any_away() && next(&mut connector, [2000]) == [None]);
        connector.again(1);
        assert_eq!(next(&mut connector, [2100, 2100]), [Some(1), None]);
        connector.has_failed(1, "not now".to_owned(), 2200);
        connector.leaves(0, 2150);
        connector.again(0);
        assert_eq!(next(&mut connector, [2201, 2201]), [Some(0), None]);
        assert_eq!(connector.is_ready(0, 2250), 100);
        assert_eq!(connector.wake_at(2201), Some(2200 + RETRY_NS));
        assert_eq!(next(&mut connector, [2200 + RETRY_NS]), [Some(1)]);
        // Another one is not held up by that, and it counts from when it left.
        assert_eq!(connector.is_ready(1, 2300 + RETRY_NS), 300 + RETRY_NS);
        assert!(!connector.is_any_away() && connector.is_done());
    }

    #[test]
    fn whoever_was_told_when_to_come_back_comes_then_and_in_that_order() {
        let mut connector = connector(3, 9, None);
        next(&mut connector, [1000; 4]);
        (0..4).for_each(|number| assert_eq!(connector.is_ready(number, 1010), 10));
        for (number, not_before) in [(0, 5000), (1, 3000), (2, 4000)] {
            connector.leaves(number, 2000);
            connector.again_at(number, not_before);
        }
        assert_eq!((connector.wake_at(2000), connector.is_done()), (Some(3000), false));
        assert_eq!(next(&mut connector, [2999, 3000, 3999]), [None, Some(1), None]);
        assert_eq!(next(&mut connector, [5000; 3]), [Some(2), Some(0), None]);
    }

    #[test]
    fn publishers_may_post() {
        let connector = connector(2, 2, None);
        assert_eq!([0, 1, 2].map(|number| connector.is_http(number)), [false, false, true]);
    }

    #[test]
    fn many_connections_come_from_several_loopback_addresses() {
        let remote: SocketAddr = REMOTE.parse().expect("an address");
        let text = |sources: Vec<IpAddr>| sources.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(text(sources(&[], remote, 5_000)), "");
        assert_eq!(text(sources(&[], remote, 12_000)), "127.0.0.1 127.0.0.2 127.0.0.3");
        let given = ["10.0.0.1".parse().expect("an address")];
        assert_eq!(text(sources(&given, remote, 60_000)), "10.0.0.1");
        assert_eq!(text(sources(&[], "10.1.1.1:80".parse().expect("an address"), 60_000)), "");
    }
}
