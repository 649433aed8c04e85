//! Which connection is begun when, and from where.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Reasons;

/// How many connections to one address are made from one loopback address. Linux picks from about 28 000 ports by default.
const PORTS_FOR_EACH_SOURCE: usize = 25_000;

/// How fast connections are made.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Begun and not yet ready.
    pub in_flight_max: usize,
    /// Begun each second; no limit if `None`.
    pub per_second: Option<f64>,
    /// How long nothing may become ready before that counts as a failure.
    pub timeout: Duration,
}

/// Counts connections from begun to ready.
#[derive(Debug)]
pub struct Connector {
    remote: SocketAddr,
    pace: Pace,
    total: usize,
    started: usize,
    ready: usize,
    failed: Reasons,
    begun_at: u64,
    /// When a connection was last begun, became ready or failed.
    progress_at: u64,
}

impl Connector {
    pub fn new(remote: SocketAddr, pace: Pace, total: usize, now: u64) -> Self {
        Self {
            remote,
            pace,
            total,
            started: 0,
            ready: 0,
            failed: Reasons::default(),
            begun_at: now,
            progress_at: now,
        }
    }

    /// The number of the next connection to begin now, if one may.
    pub fn next(&mut self, now: u64) -> Option<usize> {
        let in_flight = self.started - self.ready - self.failed.total() as usize;
        let may = self.started < self.total && in_flight < self.pace.in_flight_max && now >= self.next_at();
        may.then(|| {
            self.progress_at = now;
            self.started += 1;
            self.started - 1
        })
    }

    /// When the pace allows the next one.
    fn next_at(&self) -> u64 {
        let gap = self.pace.per_second.map_or(0.0, |per_second| 1e9 / per_second);
        self.begun_at + (self.started as f64 * gap) as u64
    }

    /// Where connection `number` comes from. Only loopback has as many addresses as one likes.
    pub fn local(&self, number: usize) -> Option<SocketAddr> {
        let needed =
            self.remote.is_ipv4() && self.remote.ip().is_loopback() && self.total > PORTS_FOR_EACH_SOURCE;
        let source = u32::from(Ipv4Addr::LOCALHOST) + (number / PORTS_FOR_EACH_SOURCE) as u32;
        needed.then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(source)), 0))
    }

    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub fn is_ready(&mut self, now: u64) {
        self.ready += 1;
        self.progress_at = now;
    }

    pub fn has_failed(&mut self, reason: String, now: u64) {
        self.failed.add(reason);
        self.progress_at = now;
    }

    pub fn total(&self) -> usize {
        self.total
    }

    pub fn ready(&self) -> usize {
        self.ready
    }

    pub fn failed(&self) -> &Reasons {
        &self.failed
    }

    /// Every connection is ready or failed.
    pub fn is_done(&self) -> bool {
        self.ready + self.failed.total() as usize == self.total
    }

    /// Nothing has happened for too long.
    pub fn is_stuck(&self, now: u64) -> bool {
        now >= self.deadline()
    }

    fn deadline(&self) -> u64 {
        self.progress_at.saturating_add(u64::try_from(self.pace.timeout.as_nanos()).unwrap_or(u64::MAX))
    }

    /// When there is something to do even if nothing happens.
    pub fn wake_at(&self, now: u64) -> u64 {
        let next = self.next_at();
        if self.started < self.total && next > now { next.min(self.deadline()) } else { self.deadline() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: &str = "127.0.0.1:9000";

    fn connector(total: usize, in_flight_max: usize, per_second: Option<f64>) -> Connector {
        let pace = Pace { in_flight_max, per_second, timeout: Duration::from_nanos(500) };
        Connector::new(REMOTE.parse().expect("an address"), pace, total, 1000)
    }

    #[test]
    fn no_more_than_the_limit_are_in_flight() {
        let mut connector = connector(5, 2, None);
        assert_eq!(
            [connector.next(1000), connector.next(1000), connector.next(1000)],
            [Some(0), Some(1), None]
        );
        connector.is_ready(1001);
        connector.has_failed("no".to_owned(), 1001);
        assert_eq!(
            [connector.next(1001), connector.next(1001), connector.next(1001)],
            [Some(2), Some(3), None]
        );
        (0..2).for_each(|_| connector.is_ready(1002));
        assert_eq!((connector.next(1002), connector.is_done()), (Some(4), false));
        connector.is_ready(1003);
        assert_eq!((connector.next(1003), connector.is_done(), connector.ready()), (None, true, 4));
    }

    #[test]
    fn a_rate_spaces_them_out() {
        let mut connector = connector(3, 10, Some(1e7));
        assert_eq!([connector.next(1000), connector.next(1000)], [Some(0), None]);
        assert_eq!(connector.wake_at(1000), 1100);
        assert_eq!([connector.next(1099), connector.next(1100), connector.next(1100)], [None, Some(1), None]);
    }

    #[test]
    fn a_server_that_stops_answering_is_noticed() {
        let mut connector = connector(3, 2, None);
        let _ = (connector.next(1000), connector.next(1000));
        connector.is_ready(1200);
        assert_eq!((connector.is_stuck(1699), connector.is_stuck(1700)), (false, true));
        assert_eq!(connector.wake_at(1300), 1700);
    }

    #[test]
    fn many_connections_come_from_several_loopback_addresses() {
        assert_eq!(connector(25_000, 1, None).local(24_999), None);
        let connector = connector(60_000, 1, None);
        let local = |number| connector.local(number).expect("a source").to_string();
        assert_eq!(
            [local(0), local(24_999), local(25_000), local(59_999)].join(" "),
            "127.0.0.1:0 127.0.0.1:0 127.0.0.2:0 127.0.0.3:0"
        );
    }
}
