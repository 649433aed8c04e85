//! From a workload to a plan: everything that follows from other values, and everything that does not fit together.

use std::time::Duration;

use fanfare_wire::url::WsUrl;

use super::Workload;
use super::values::Amount;
use crate::dialect::Dialect;
use crate::payload::{Content, PUBLISHERS_MAX, Records};
use crate::plan::{Bounds, Leaving, Pace, Place, Plan, Readers, Rooms, Server, Target};
use crate::schedule::Schedule;

/// The longest run: a payload has 48 bits for the nanoseconds since its beginning.
const SPAN_MAX: Duration = Duration::from_hours(72);

const _: () = assert!(SPAN_MAX.as_nanos() < 1 << 48);

/// The most rows that a time line may have.
const INTERVALS_MAX: u128 = 300_000;

/// What stands for the room's number.
const ROOM: &str = "{room}";

/// A value that the lowest layer has.
fn said<T>(value: Option<T>) -> T {
    value.expect("the defaults have it")
}

impl Workload {
    /// The plan that was asked for.
    ///
    /// # Errors
    /// What cannot work, in a sentence.
    pub fn plan(&self) -> Result<Plan, String> {
        let mut dialect =
            Dialect::parse(&said(self.dialect.clone()), self.set.as_deref().unwrap_or_default())
                .map_err(|sentence| format!("--dialect: {sentence}"))?;
        if let Some(options) = self.subscribe.clone() {
            dialect.subscribe_with(options).map_err(|error| format!("--subscribe: {error}"))?;
        }
        let rooms = self.rooms()?;
        let target = self.target(&dialect, rooms)?;
        let publish = target.publish.clone();
        dialect
            .check(&Target::in_room(&target.topic, 0), Some(&publish))
            .map_err(|error| format!("--dialect: {error}"))?;
        let (duration, warmup) = (said(self.duration), said(self.warmup));
        let text = said(self.text);
        let readers = self.readers(rooms.subscribers, duration)?;
        if readers.recovers {
            dialect.check_recovery(&target.subscribe).map_err(|error| format!("--recover: {error}"))?;
        }
        Ok(Plan {
            title: self.name.clone().unwrap_or_else(|| target.subscribe.clone()),
            target,
            deflate: said(self.deflate),
            rooms,
            readers,
            pace: Pace {
                in_flight_max: said(self.connects_in_flight),
                per_second: self.connect_rate,
                timeout: said(self.connect_timeout),
            },
            schedule: self.schedule(rooms.publishers, warmup, duration)?,
            content: self.content(text, &dialect, &publish)?,
            dialect,
            text,
            drain: said(self.drain),
            interval: self.interval(warmup + duration)?,
            place: Place {
                workers: said(self.workers),
                cores: self.cores.clone().unwrap_or_default(),
                sources: self.sources.clone().unwrap_or_default(),
            },
            server: Server::default(),
            bounds: Bounds {
                send_lag: said(self.send_lag_max),
                own_cpu_percent: said(self.own_cpu_max),
                unready_percent: said(self.unready_max),
            },
            gates: self.require.clone().unwrap_or_default(),
        })
    }

    fn target(&self, dialect: &Dialect, rooms: Rooms) -> Result<Target, String> {
        let subscribe = self.url.clone().ok_or(
            "where subscribers connect is missing: a URL such as ws://127.0.0.1:9000/ws/demo, or `url` in the workload",
        )?;
        check_url(&subscribe)?;
        let publish = match &self.publish_url {
            Some(url) => url.clone(),
            None => dialect.default_publish(&subscribe),
        };
        match publish.strip_prefix("http://") {
            Some(rest) => {
                check_url(&format!("ws://{rest}")).map_err(|error| format!("--publish-url: {error}"))?
            }
            None => check_url(&publish).map_err(|error| format!("--publish-url: {error}"))?,
        }
        let topic = self.topic.clone().unwrap_or_default();
        if topic.is_empty() && dialect.needs_topic() {
            return Err("this dialect names the topic in its messages; say which with --topic".to_owned());
        }
        let topic_has_room = dialect.needs_topic() && topic.contains(ROOM);
        for (what, url) in [("the URL", &subscribe), ("--publish-url", &publish)] {
            if rooms.count > 1 && !topic_has_room && !url.contains(ROOM) {
                let or_topic = if dialect.needs_topic() { " or in --topic" } else { "" };
                return Err(format!(
                    "with --rooms {}, write {ROOM} where the room's number belongs in {what}{or_topic}",
                    rooms.count
                ));
            }
        }
        Ok(Target { subscribe, publish, topic })
    }

    fn rooms(&self) -> Result<Rooms, String> {
        let (count, subscribers) = (said(self.rooms), said(self.subscribers));
        let publishers = self.publishers.unwrap_or(count);
        if publishers > PUBLISHERS_MAX {
            return Err(format!(
                "there can be at most {PUBLISHERS_MAX} --publishers, and --rooms, not {publishers}"
            ));
        }
        if !publishers.is_multiple_of(count) {
            return Err(format!(
                "--publishers must be a multiple of the {count} --rooms, so that each room has as many; {publishers} is \
                 not"
            ));
        }
        if count > subscribers {
            return Err(format!(
                "--rooms {count} leaves rooms without any of the {subscribers} --subscribers"
            ));
        }
        Ok(Rooms { count, subscribers, publishers })
    }

    fn schedule(&self, publishers: usize, warmup: Duration, duration: Duration) -> Result<Schedule, String> {
        if warmup.saturating_add(duration) > SPAN_MAX {
            return Err("--warmup and --duration must be at most 72h together".to_owned());
        }
        let schedule = Schedule::new(said(self.schedule), said(self.rate), publishers, warmup, duration);
        if schedule.measured() == 0 && schedule.messages_per_second() > 0.0 {
            return Err("--rate and --duration together make no message; --rate 0 asks for none".to_owned());
        }
        if schedule.total().div_ceil(publishers as u64) > u64::from(u32::MAX) {
            return Err("a publisher can send at most 2^32 - 1 messages; use more --publishers".to_owned());
        }
        Ok(schedule)
    }

    fn content(&self, text: bool, dialect: &Dialect, publish: &str) -> Result<Content, String> {
        let Some(path) = &self.records else {
            return Ok(Content::filler(said(self.size.clone()), said(self.compressible)));
        };
        let records = Records::load(path).map_err(|sentence| format!("--records: {sentence}"))?;
        let content = Content::records(records);
        if (text || !dialect.carries_binary(publish)) && !content.is_text() {
            let why = if text { "--text" } else { "the dialect" };
            return Err(format!("--records: {}: {why} needs payloads that are valid UTF-8", path.display()));
        }
        Ok(content)
    }

    fn readers(&self, subscribers: usize, duration: Duration) -> Result<Readers, String> {
        let count = |amount: Option<Amount>| said(amount).of(subscribers);
        let (churn, storm) = (said(self.churn), count(self.storm));
        let storm_at = self.storm_at.unwrap_or(duration / 4);
        let (returning, leaving) = match (churn > 0.0, storm > 0) {
            (true, true) => {
                return Err(
                    "--churn and --storm cannot be in the same run; 0 turns one of them off".to_owned()
                );
            }
            (true, false) => (count(self.returning), Leaving::PerSecond(churn)),
            (false, true) => (storm, Leaving::At(storm_at)),
            (false, false) => (0, Leaving::Never),
        };
        if churn > 0.0 && returning == 0 {
            return Err(
                "--churn needs subscribers that take part in it; say how many with --returning".to_owned()
            );
        }
        if storm > 0 && storm_at >= duration {
            return Err("--storm-at is after the end of the run".to_owned());
        }
        let readers = Readers {
            stalled: count(self.stalled),
            slow: count(self.slow),
            slow_bytes_per_second: said(self.slow_rate),
            pausing: count(self.pausing),
            pause_at: self.pause_at.unwrap_or(duration / 4),
            pause_for: self.pause_for.unwrap_or(duration / 4),
            returning,
            leaving,
            recovers: said(self.recover),
        };
        if readers.recovers && returning == 0 {
            return Err(
                "--recover is for subscribers who come back; say who with --churn or --storm".to_owned()
            );
        }
        if readers.pausing > 0 && readers.pause_at.saturating_add(readers.pause_for) > duration {
            return Err("--pause-at and --pause-for end after the run".to_owned());
        }
        if readers.slow > 0 && readers.slow_bytes_per_second == 0 {
            return Err(
                "--slow-rate must be above 0; --stalled is for subscribers that never read".to_owned()
            );
        }
        let kinds = [readers.stalled, readers.slow, readers.pausing, readers.returning];
        if kinds.into_iter().fold(0, usize::saturating_add) >= subscribers {
            return Err(
                "no subscriber is left to be measured: --stalled, --slow, --pausing and those who leave must be fewer \
                 than --subscribers together"
                    .to_owned(),
            );
        }
        Ok(readers)
    }

    fn interval(&self, span: Duration) -> Result<Duration, String> {
        let usual = (span / 60).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let interval = self.interval.unwrap_or(usual);
        if span.as_nanos() / interval.as_nanos() > INTERVALS_MAX {
            return Err(format!("--interval makes more than {INTERVALS_MAX} rows of so long a run"));
        }
        Ok(interval)
    }
}

/// Whether a URL can be connected to once the room's number is in it.
fn check_url(url: &str) -> Result<(), String> {
    let parsed = WsUrl::parse(&Target::in_room(url, 0)).map_err(|error| format!("{url}: {error}"))?;
    let other = WsUrl::parse(&Target::in_room(url, 1)).map_err(|error| format!("{url}: {error}"))?;
    if (&parsed.host, parsed.port) != (&other.host, other.port) {
        return Err(format!("{url}: all rooms are on one server; {ROOM} belongs in the path or the query"));
    }
    if parsed.secure {
        return Err(format!("{url}: this version measures ws:// only"));
    }
    Ok(())
}
