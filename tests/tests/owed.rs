//! What each subscriber is owed: whole shards against the simulated kernel with seeded faults, held against a model.
//!
//! Subscribers stall and go on, leave and recover, change their minds; logs are too small, messages grow old. Whatever
//! happens, each subscription gets exactly what `fanfare_tests::owed` says.
//!
//! `FANFARE_SIM_SEEDS=1000` runs more seeds, `FANFARE_SIM_SEED=42` just one.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use fanfare_core::{Config, PolicySet, ShardStats, Stat, TopicRule};
use fanfare_io::sim::{Faults, SimOptions};
use fanfare_tests::cluster::{Chance, Cluster};
use fanfare_tests::owed::client::{Client, Resume, Topic};
use fanfare_tests::owed::inside::Inside;
use fanfare_tests::owed::ledger::{Entry, KEYLESS, KEYS, Ledger};
use fanfare_tests::owed::subscription::Seen;
use fanfare_tests::owed::terms::{From, Terms};
use fanfare_tests::peer::Peer;
use fanfare_tests::seeds::run_seeds;
use fanfare_wire::Kind;
use fanfare_wire::subscribe::{Policy, Start};

const NS_PER_MS: u64 = 1_000_000;
const SEGMENT_BYTES_MAX: usize = 4 << 10;
const CLIENTS_MAX: usize = 16;
const ACTS: usize = 5000;

/// The topics, and how many of ten messages have a key.
const TOPICS: [(&str, usize); 7] = [
    ("keyed.one", 10),
    ("keyed.two", 10),
    ("plain.one", 0),
    ("mixed.one", 5),
    ("small.one", 8),
    ("brief.one", 7),
    ("fleeting.one", 0),
];

struct World {
    cluster: Cluster,
    chance: Chance,
    topics: Vec<Topic>,
    ledger: Ledger,
    clients: Vec<Client>,
    /// The other end of each client's connection.
    peers: Vec<Peer>,
    taps: Vec<Inside>,
    resumes: Vec<Resume>,
    /// The network behaves, and nobody who reads is ever behind.
    calm: bool,
    log_total_bytes_max: usize,
    published: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let calm = seed % 4 == 3;
        let (config, topics) = config_of(seed, calm, &mut chance);
        let mut faults = Faults::MODERATE;
        if calm {
            (faults.short_send, faults.full_send) = (0.0, 0.0);
        }
        let options = SimOptions { connections_max: 64, window_bytes: 2048, faults, ..SimOptions::default() };
        let log_total_bytes_max = config.log_total_bytes_max;
        Self {
            cluster: Cluster::new(seed, config, options),
            chance,
            topics,
            ledger: Ledger::default(),
            clients: Vec::new(),
            peers: Vec::new(),
            taps: Vec::new(),
            resumes: Vec::new(),
            calm,
            log_total_bytes_max,
            published: 0,
        }
    }

    /// Notes what was published, and holds what came against the rules.
    fn look(&mut self) {
        let most = self.log_total_bytes_max + self.cluster.handle.shards() * SEGMENT_BYTES_MAX;
        let held = self.cluster.handle.log_total_bytes();
        assert!(held <= most, "logs and values take {held} bytes of {}", self.log_total_bytes_max);
        if !self.ledger.settle(&self.cluster.handle) {
            return;
        }
        self.taps.iter_mut().for_each(|tap| tap.hear(&self.ledger));
        let now = self.cluster.net.now();
        for (number, (client, peer)) in self.clients.iter_mut().zip(&mut self.peers).enumerate() {
            let heard = AssertUnwindSafe(|| client.hear(peer, &self.topics, &self.ledger, now));
            match std::panic::catch_unwind(heard) {
                Ok(resume) => self.resumes.extend(resume),
                Err(panic) => {
                    eprintln!("client {number}: {client:#?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn act(&mut self) {
        let present: Vec<usize> = (0..self.peers.len())
            .filter(|pick| !self.peers[*pick].link.is_closed() && !self.clients[*pick].left)
            .collect();
        let pick = present.get(self.chance.below(present.len().max(1))).copied();
        match (self.chance.below(32), pick) {
            (0, _) if present.len() < CLIENTS_MAX => self.join(),
            (1, Some(pick)) if !self.clients[pick].healthy => self.peers[pick].stalled ^= true,
            (2, Some(pick)) if self.chance.one_in(4) => self.leave(pick),
            (3, Some(pick)) => self.ask_more(pick),
            (4..8, _) => self.publish(1),
            (8, _) => {
                let many = self.chance.one_in(8);
                let count = 1 + self.chance.below(if many { 40 } else { 12 });
                self.publish(count);
            }
            (9..16, Some(pick)) if !self.peers[pick].stalled => {
                let max = 1 + self.chance.below(3000);
                self.peers[pick].take(max);
            }
            (16, _) => self.pass_time(),
            (17, _) if self.chance.one_in(8) => self.tap(),
            _ => self.cluster.turn(),
        }
        for (client, peer) in self.clients.iter().zip(&mut self.peers) {
            if client.healthy {
                peer.read();
            }
        }
    }

    fn join(&mut self) {
        let shard = self.chance.below(self.cluster.handle.shards());
        let topic = self.chance.below(TOPICS.len());
        let healthy = self.calm && self.chance.one_in(2);
        let (mut client, path) = if self.chance.one_in(2) {
            (Client::stream(), "/stream".to_owned())
        } else {
            let (topic, terms) = self.resume().unwrap_or_else(|| (topic, self.terms(topic)));
            let path = terms.path(self.topics[topic].name);
            (Client::raw(&self.topics, topic, terms, &self.ledger), path)
        };
        client.healthy = healthy;
        let peer = match self.chance.one_in(2) {
            true => self.cluster.connect_deflating(shard, &path),
            false => self.cluster.connect(shard, &path),
        };
        peer.link.set_window(if healthy { 1 << 24 } else { 100 + self.chance.below(3000) });
        self.clients.push(client);
        self.peers.push(peer);
        let pick = self.peers.len() - 1;
        if self.clients[pick].raw.is_none() {
            self.subscribe(pick);
        }
    }

    /// Somebody inside the process begins to listen, or ends.
    fn tap(&mut self) {
        if self.taps.len() > 2 || (!self.taps.is_empty() && self.chance.one_in(3)) {
            let place = self.chance.below(self.taps.len());
            self.taps.swap_remove(place);
            return;
        }
        let topic = self.chance.below(TOPICS.len());
        let start = match self.terms(topic).from {
            From::Head => Start::Head,
            From::Last(count) => Start::Last(count),
            From::Since { seq, epoch } => Start::Since { seq, epoch: epoch.parse().expect("an epoch") },
        };
        self.taps.extend(Inside::new(&self.cluster.handle, topic, TOPICS[topic].0, start));
    }

    /// Goes on where a subscription of somebody else was cut off.
    fn resume(&mut self) -> Option<(usize, Terms)> {
        if self.resumes.is_empty() || self.chance.one_in(4) {
            return None;
        }
        let place = self.chance.below(self.resumes.len());
        let Resume { topic, seq, epoch } = self.resumes.swap_remove(place);
        let snapshot = self.chance.one_in(2);
        let terms = Terms { from: From::Since { seq, epoch }, snapshot, ..self.terms(topic) };
        Some((topic, terms))
    }

    fn terms(&mut self, topic: usize) -> Terms {
        let chance = &mut self.chance;
        let life = self.ledger.present(self.topics[topic].name);
        let known = if life.epoch.is_empty() || chance.one_in(8) { "0123456789abcdef" } else { &life.epoch };
        let seq = (life.head() + 2).saturating_sub(chance.below(40) as u64);
        let from = match chance.below(6) {
            0 => From::Since { seq, epoch: known.to_owned() },
            1 => From::Last(chance.below(40) as u64),
            _ => From::Head,
        };
        let policy = [None, None, None].into_iter().chain(Policy::ALL.map(Some)).nth(chance.below(7));
        let rates = [1000.0, 50.0, 20.0, 7.5, 4.0];
        Terms {
            from,
            snapshot: chance.one_in(4),
            policy: policy.expect("one of seven"),
            max_rate: chance.one_in(5).then(|| rates[chance.below(rates.len())]),
            presence: chance.one_in(3),
        }
    }

    /// A `/stream` client asks for topics; perhaps it has some of them.
    fn subscribe(&mut self, pick: usize) {
        let count = 1 + self.chance.below(3);
        let mut asked = Vec::new();
        for _ in 0..count {
            let topic = self.chance.below(TOPICS.len());
            asked.push(match self.chance.below(4) {
                0 => (topic, None),
                1 => {
                    let (topic, terms) = self.resume().unwrap_or_else(|| (topic, self.terms(topic)));
                    (topic, Some(terms))
                }
                _ => (topic, Some(self.terms(topic))),
            });
        }
        self.clients[pick].subscribe(&self.peers[pick], &self.topics, asked, &self.ledger);
    }

    fn ask_more(&mut self, pick: usize) {
        if self.clients[pick].raw.is_some() {
            return;
        }
        if self.chance.one_in(4) {
            let topic = self.chance.below(TOPICS.len());
            self.clients[pick].unsubscribe(&self.peers[pick], &self.topics, topic);
        } else {
            self.subscribe(pick);
        }
    }

    fn leave(&mut self, pick: usize) {
        self.clients[pick].left = true;
        self.resumes.extend(self.clients[pick].places());
        let peer = &mut self.peers[pick];
        match self.chance.below(3) {
            0 => peer.reset(),
            1 => peer.finish(),
            _ => peer.close(1000),
        }
    }

    fn publish(&mut self, count: usize) {
        let index = self.chance.below(TOPICS.len());
        for _ in 0..count {
            self.publish_to(index);
        }
    }

    fn publish_to(&mut self, index: usize) {
        let (topic, keyed) = TOPICS[index];
        let chance = &mut self.chance;
        let key = if chance.below(10) < keyed { chance.below(KEYS) } else { KEYLESS };
        let filler = if chance.one_in(20) { 1500 } else { chance.below(200) };
        let mut text = format!("{topic}/{}/{}", self.published, "x".repeat(filler));
        let kind = match chance.below(6) {
            0 if key != KEYLESS => Kind::Tombstone,
            1..3 => Kind::Json,
            _ => Kind::Text,
        };
        if kind == Kind::Tombstone {
            text = String::new();
        }
        self.published += 1;
        let entry = Entry::new(text, kind, key, self.cluster.net.now());
        self.ledger.publish(&self.cluster.handle, topic, entry);
    }

    fn pass_time(&mut self) {
        if self.calm {
            // Whoever reads has everything before time goes on.
            self.cluster.settle(&mut self.peers);
            while !self.ledger.settle(&self.cluster.handle) {
                self.cluster.settle(&mut self.peers);
            }
            self.look();
            self.check_current();
        }
        let most = if self.chance.one_in(4) { 60 } else { 15 };
        let ms = 1 + self.chance.below(most);
        self.cluster.net.advance(ms as u64 * NS_PER_MS);
    }

    /// However many are stalled, nobody who reads waits for them.
    fn check_current(&self) {
        for pick in (0..self.clients.len()).filter(|pick| self.is_open(*pick)) {
            let client = &self.clients[pick];
            if client.healthy {
                client.check_current(&self.topics, &self.ledger);
            }
        }
    }

    /// Everybody who is still there reads; the network behaves; time passes.
    fn heal(&mut self) {
        // While what came was looked at as it came.
        self.clients.iter_mut().for_each(Client::check_rates);
        self.cluster.net.set_faults(Faults::NONE);
        self.peers.iter_mut().for_each(|peer| peer.stalled = false);
        for _ in 0..20 {
            self.cluster.pass_ms(50, &mut self.peers);
            self.look();
        }
        assert!(self.ledger.settle(&self.cluster.handle), "every epoch is known");
    }

    fn is_open(&self, pick: usize) -> bool {
        self.peers[pick].is_open() && !self.clients[pick].left
    }

    fn check_end(&mut self, who: impl Fn(&Self, usize) -> bool) {
        self.taps.iter().for_each(|tap| tap.check_current(&self.ledger));
        for pick in (0..self.clients.len()).filter(|pick| who(self, *pick)).collect::<Vec<_>>() {
            let client = &mut self.clients[pick];
            let end = AssertUnwindSafe(|| client.at_end(&self.topics, &self.ledger));
            if let Err(panic) = std::panic::catch_unwind(end) {
                eprintln!("client {pick} in the end: {:#?}", self.clients[pick]);
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Whoever watches a topic knows how many subscribers it has.
    fn check_presence(&self) {
        let open = || (0..self.clients.len()).filter(|pick| self.is_open(*pick));
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for topic in open().flat_map(|pick| self.clients[pick].subscriptions.keys()) {
            *counts.entry(*topic).or_default() += 1;
        }
        for tap in &self.taps {
            *counts.entry(tap.topic).or_default() += 1;
        }
        for pick in open() {
            for (topic, told) in &self.clients[pick].watched {
                let name = self.topics[*topic].name;
                assert_eq!(told.as_ref(), counts.get(topic), "client {pick} watches {name}");
            }
        }
    }

    /// What is published just before the shutdown reaches everybody too.
    fn shut_down(&mut self) {
        let open: Vec<bool> = (0..self.clients.len()).map(|pick| self.is_open(pick)).collect();
        // Topics in the middle of a life whose epoch is known: nobody could ask for another one any more.
        let of_client = |pick: usize| self.clients[pick].subscriptions.iter();
        let subscribed = (0..self.clients.len()).filter(|pick| open[*pick]).flat_map(of_client);
        let present = |topic: &usize| &self.ledger.present(TOPICS[*topic].0).epoch;
        let topics = subscribed.filter(|(topic, subscription)| *present(topic) == subscription.epoch);
        for topic in topics.map(|(topic, _)| *topic).collect::<Vec<_>>() {
            self.publish_to(topic);
        }
        self.cluster.handle.shutdown(5_000);
        self.cluster.pass_ms(8_000, &mut self.peers);
        assert!(self.ledger.settle(&self.cluster.handle), "every epoch is known");
        self.look();
        assert_eq!(self.cluster.running(), 0, "the shutdown ends");
        self.check_end(|world, pick| open[pick] && world.peers[pick].closed == Some(1001));
        for shard in 0..self.cluster.handle.shards() {
            assert_eq!(self.cluster.net.buffers_held(shard), 0, "no receive buffer is kept");
            let stats = &self.cluster.handle.stats()[shard];
            assert_eq!((stats.connections.get(), stats.subscriptions.get()), (0, 0), "nothing leaks");
        }
    }
}

/// The limits and rules of a seed's world.
fn config_of(seed: u64, calm: bool, chance: &mut Chance) -> (Config, Vec<Topic>) {
    let policy = |chance: &mut Chance| Policy::ALL[chance.below(Policy::ALL.len())];
    let rule = |pattern: &str| TopicRule::new(pattern.parse().expect("a pattern"));
    let some_only = PolicySet::of(&[Policy::Skip, Policy::Conflate]);
    let log_bytes_max = if calm { 1 << 20 } else { 16 << 10 };
    let tight = !calm && chance.one_in(2);
    let rules = vec![
        TopicRule { policy: Some(policy(chance)), ..rule("keyed.*") },
        TopicRule {
            policy: Some(if chance.one_in(2) { Policy::Skip } else { Policy::Conflate }),
            policies_allowed: Some(some_only),
            keys_max: Some(6),
            ..rule("mixed.*")
        },
        TopicRule { log_bytes_max: Some(4096), policy: Some(policy(chance)), ..rule("small.*") },
        TopicRule {
            log_age_ms: Some(100),
            lag_age_ms: Some(30),
            log_messages_max: Some(12),
            policy: Some(policy(chance)),
            ..rule("brief*")
        },
        TopicRule {
            log_age_ms: Some(20),
            log_messages_max: Some(chance.below(4) as u64),
            ..rule("*fleeting*")
        },
    ];
    let config = Config {
        shards: 1 + (seed % 3) as usize,
        segment_bytes_max: SEGMENT_BYTES_MAX,
        log_bytes_max,
        log_messages_max: if calm || chance.one_in(2) { 10_000 } else { 30 },
        log_total_bytes_max: if tight { 40 << 10 } else { 8 << 20 },
        values_bytes_max: 20 << 10,
        lag_bytes_max: 500 + chance.below(6000) as u64,
        lag_messages_max: 2 + chance.below(30) as u64,
        lag_age_ms: [0, 0, 20, 100][chance.below(4)],
        topic_idle_ms: 60,
        presence_interval_ms: 20,
        inbox_commands_max: 16,
        inbox_bytes_max: 4096,
        message_bytes_max: 4096,
        outbox_bytes_max: 1024,
        deflate_bytes_min: 16,
        fan_out_slice: 3,
        send_slice: 4,
        rules,
        ..Config::default()
    };
    let topics = TOPICS.iter().map(|(name, _)| {
        let rule = config.rules.iter().find(|rule| rule.pattern.as_str().contains(&name[..4]));
        Topic {
            name,
            policy: rule.and_then(|rule| rule.policy).unwrap_or(config.policy),
            allowed: rule.and_then(|rule| rule.policies_allowed).unwrap_or(PolicySet::ALL),
            log_messages_max: rule.and_then(|rule| rule.log_messages_max).unwrap_or(config.log_messages_max),
            log_age_ms: rule.and_then(|rule| rule.log_age_ms).unwrap_or(config.log_age_ms),
            lag_bytes_max: config.lag_bytes_max,
            lag_messages_max: config.lag_messages_max,
            lag_age_ms: rule.and_then(|rule| rule.lag_age_ms).unwrap_or(config.lag_age_ms),
            roomy: calm && ["keyed", "plain", "mixed"].iter().any(|roomy| name.starts_with(roomy)),
            steady: calm,
        }
    });
    let topics = topics.collect();
    (config, topics)
}

/// How often the interesting things happened: a simulation in which they do not proves nothing.
#[derive(Debug, Default)]
struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    fn count(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// What the engine says it has done.
    fn stats(&mut self, stats: &ShardStats) {
        let counted: [(&str, &Stat); 14] = [
            ("slow_skips", &stats.slow_skips),
            ("slow_conflations", &stats.slow_conflations),
            ("slow_latest", &stats.slow_latest),
            ("slow_disconnects", &stats.slow_disconnects),
            ("recovered", &stats.recovered),
            ("recoveries_failed", &stats.recoveries_failed),
            ("snapshots_built", &stats.snapshots_built),
            ("snapshots_sent", &stats.snapshots_sent),
            ("paced_updates", &stats.paced_updates),
            ("log_bytes_dropped", &stats.log_bytes_dropped),
            ("sends_short", &stats.sends_short),
            ("inbox_refusals", &stats.inbox_refusals),
            ("publish_refused", &stats.publish_refused),
            ("broken", &stats.broken),
        ];
        counted.into_iter().for_each(|(name, stat)| self.count(name, stat.get()));
    }

    /// What subscribers say they have seen.
    fn seen(&mut self, seen: &Seen) {
        for (what, count) in [
            ("messages", seen.messages),
            ("gaps", seen.gaps),
            ("conflated", seen.conflated),
            ("continued", seen.continued),
            ("snapshots", seen.snapshots),
            ("forced_snapshots", seen.forced_snapshots),
            ("tombstones", seen.tombstones),
            ("slow_closes", seen.slow_closes),
            ("caught_up", seen.caught_up),
            ("complete_values", seen.complete_values),
            ("paced", seen.paced),
            ("clocked", seen.clocked),
        ] {
            self.count(what, count);
        }
    }
}

fn run(seed: u64, coverage: &mut Coverage) {
    let mut world = World::new(seed);
    for _ in 0..ACTS {
        world.act();
        world.look();
    }
    world.heal();
    world.check_end(World::is_open);
    world.check_presence();
    world.shut_down();
    world.cluster.handle.stats().iter().for_each(|stats| coverage.stats(stats));
    for client in &world.clients {
        client.seen().for_each(|seen| coverage.seen(&seen));
        coverage.count("told_recovered", client.recovered);
        coverage.count("told_refused", client.refused);
        coverage.count("told_presence", client.told_presence);
    }
    coverage.count("taps_messages", world.taps.iter().map(|tap| tap.messages).sum());
    coverage.count("taps_gaps", world.taps.iter().map(|tap| tap.gaps).sum());
    coverage.count("rebirths", world.ledger.rebirths() as u64);
    coverage.count("refused_values", world.ledger.refused);
}

#[test]
fn every_subscriber_gets_what_it_is_owed() {
    let mut coverage = Coverage::default();
    let seeds = run_seeds("owed", |seed| run(seed, &mut coverage));
    println!("{} seeds: {coverage:#?}", seeds.unwrap_or(1));
    let Some(seeds) = seeds else { return };
    for (what, count) in &coverage.0 {
        assert!(seeds < 100 || *count > seeds / 20, "{what} happened {count} times in {seeds} seeds");
    }
}
